"""The login of an app that knows nothing of Openline: it signs tokens with what every language has at hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

from tests.servers.program import SECRET


def connection_token(user: str, *, expires_in: float | None = None, channels: tuple[str, ...] = ()) -> str:
    """Sign that this is the user.

    Args:
        expires_in: seconds from now, negative for a token that has expired; None for one that never does.
        channels: the server subscribes the client to these.
    """
    claims: dict[str, object] = {"sub": user, "info": {"name": user.title()}}
    if channels:
        claims["channels"] = list(channels)
    return _signed(claims, expires_in)


def subscription_token(user: str, channel: str, *, expires_in: float | None = None) -> str:
    """Sign that this user may enter this channel."""
    return _signed({"sub": user, "channel": channel}, expires_in)


def _signed(claims: dict[str, object], expires_in: float | None) -> str:
    if expires_in is not None:
        claims["exp"] = time.time() + expires_in
    signed = _encode(json.dumps({"alg": "HS256"}).encode()) + b"." + _encode(json.dumps(claims).encode())
    return (signed + b"." + _encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256))).decode()


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
