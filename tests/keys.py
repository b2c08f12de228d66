"""Real keys of every kind, made once, and tokens signed with them by PyJWT: by somebody else than what is tested."""

from __future__ import annotations

import functools
import json
import secrets
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from openline.signing import PrivateKey, PublicKey
from openline.tokens import JWT

#: The time on the clock of `auth`.
NOW: Final = 1_700_000_000.0

SECRET: Final = secrets.token_hex(64)
OTHER_SECRET: Final = secrets.token_hex(64)

#: Each algorithm with a public key, and the kind of key it is for.
KINDS: Final = {
    "RS256": "rsa",
    "RS384": "rsa",
    "RS512": "rsa",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}
HMAC: Final = ("HS256", "HS384", "HS512")


def private_key(kind: str, number: int = 0) -> PrivateKey:
    """Give the key of a kind; another one for another number."""
    return _made(kind, number)


@functools.cache
def _made(kind: str, number: int) -> PrivateKey:
    makers: dict[str, Any] = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "Ed448": ed448.Ed448PrivateKey.generate,
    }
    key: PrivateKey = makers[kind]()
    return key


def public_key(kind: str, number: int = 0) -> PublicKey:
    """Give the public half of a key."""
    return private_key(kind, number).public_key()


def private_pem(kind: str) -> str:
    """Write a private key as PEM."""
    return private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(kind: str, number: int = 0) -> str:
    """Write a public key as PEM."""
    return public_key(kind, number).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def issue(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    """Sign a token."""
    return jwt.encode(claims, key, algorithm, headers or None)


def issue_raw(claims: dict[str, Any]) -> str:
    """Sign claims of types that PyJWT would not."""
    return jwt.api_jws.encode(json.dumps(claims).encode(), SECRET, "HS256")


def auth(**options: Any) -> JWT:
    """Make a verifier whose clock stands still."""
    defaults: dict[str, Any] = {"secret": SECRET, "now": lambda: NOW}
    return JWT(**(defaults | options))
