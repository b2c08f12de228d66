"""JSON Web Tokens: what a client's signed token says of who it is and what it may follow.

Invariants of this file:

1. Nothing a token says is looked at before its signature is verified.
2. A claim that is there has its type, else the token is invalid: nothing is guessed and nothing rounded to "absent".
3. No error repeats anything of a token: what it says may be shown to the client and written to a log.

Source: docs/reference/protocol.md, "Tokens"; RFC 7519.
"""

from __future__ import annotations

import base64
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, final

import msgspec
from msgspec import Raw

from openline import codes
from openline.errors import DeclarationError, Disconnect, TokenExpired, UsageError
from openline.signing import ALGORITHMS, Key, NotSigned, PrivateKey, PublicKey, private_key, public_key, secret_key
from openline.signing import verified as verified_payload

_log: Final = logging.getLogger("openline")

Kind = Literal["connection", "subscription"]
Claim = TypeVar("Claim")

#: Claims that cannot be renamed into the user's id.
_RESERVED: Final = frozenset(
    "exp expire_at nbf iat jti aud iss info b64info data b64data channels channel client subs meta override".split()
)


class InvalidToken(Disconnect):
    """A client's token cannot be used: it is broken, not signed by a known key, or not for this purpose (3500).

    It is the client's, or whoever issued it for the client; a new attempt with the same token changes nothing.
    """

    def __init__(self, problem: str, *, kind: Kind) -> None:
        super().__init__(codes.CLOSED_INVALID_TOKEN)
        self.args = (f"invalid {kind} token: {problem}",)
        self.problem = problem  #: in words that may be shown to the client
        self.kind: Kind = kind  #: which of the two kinds of tokens was expected


class Override(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a token changes of a channel's options for one subscription; None leaves an option as declared."""

    presence: bool | None = None
    join_leave: bool | None = None
    force_push_join_leave: bool | None = None
    force_positioning: bool | None = None
    force_recovery: bool | None = None


class TokenSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription the server makes because a connection token says so."""

    info: bytes = b""  #: encoded info of the subscription; b"" for none
    data: bytes = b""  #: encoded data for the client; b"" for none
    override: Override = Override()


class ConnectionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection token says."""

    user: str = ""  #: the user's id; "" for an anonymous one
    info: bytes = b""  #: encoded info of the connection; b"" for none
    channels: tuple[str, ...] = ()  #: to subscribe by the server, each once
    subs: Mapping[str, TokenSubscription] = {}  #: to subscribe by the server as well, with more said of each
    meta: bytes = b""  #: encoded, for the app only; b"" for none
    expires_at: float | None = None  #: unix seconds at which the connection ends unless refreshed; may have passed


class SubscriptionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription token says. Whether it is for this client is not checked yet: see `JWT.verify_subscription`."""

    user: str = ""  #: has to be the connection's user
    channel: str  #: has to be the channel asked for
    client: str = ""  #: has to be the connection's id, unless ""
    info: bytes = b""  #: encoded info of the subscription; b"" for none
    data: bytes = b""  #: encoded data for the client; b"" for none
    expires_at: float | None = None  #: unix seconds at which the subscription ends unless refreshed; may have passed
    override: Override = Override()


@final
class JWT:
    """Verifies the tokens clients connect and subscribe with, and makes them.

    Which algorithms are accepted follows from the keys: a secret takes HS256, HS384 and HS512; an RSA key RS256, RS384
    and RS512; an elliptic curve P-256 ES256, P-384 ES384, P-521 ES512; Ed25519 and Ed448 EdDSA. Several keys may be
    given at once, of different kinds too: each is used with its own algorithms only.

    Args:
        secret: shared with whoever issues the tokens; at least 32 random bytes, a shorter one is warned of in the log.
        previous_secrets: still accepted, never signed with: give the old secret here while tokens of it live.
        public_key: one or several that issuers sign for: PEM, a certificate in PEM, or objects of `cryptography`.
        private_key: to sign with; its public half is accepted. Where it is given, `secret` is not signed with.
        algorithms: accept only these, and sign with the first that fits; None accepts all that the keys are for.
        audience: one or several, of which a token has to name one in `aud`; None does not look.
        issuer: one or several, of which `iss` has to be one; None does not look.
        anonymous: let clients without a token in. One that is shown is verified all the same.
        user_claim: the claim that holds the user's id.
        leeway_seconds: how far the issuer's clock may be off: tokens live longer by this, and begin earlier.
        subscriptions: verifies and makes subscription tokens; None: this does.
        now: the wall clock in unix seconds.
    Raises:
        DeclarationError: an option cannot be; the message names it.
    """

    __slots__ = ("_audience", "_issuer", "_keys", "_leeway_seconds", "_now", "_signer", "_subscriptions", "_user_claim", "anonymous")

    def __init__(
        self,
        secret: str | bytes | None = None,
        *,
        previous_secrets: Sequence[str | bytes] = (),
        public_key: str | bytes | PublicKey | Sequence[str | bytes | PublicKey] | None = None,
        private_key: str | bytes | PrivateKey | None = None,
        algorithms: Sequence[str] | None = None,
        audience: str | Sequence[str] | None = None,
        issuer: str | Sequence[str] | None = None,
        anonymous: bool = False,
        user_claim: str = "sub",
        leeway_seconds: float = 0,
        subscriptions: JWT | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        _check_algorithms(algorithms)
        if not (math.isfinite(leeway_seconds) and leeway_seconds >= 0):
            raise DeclarationError(f"JWT.leeway_seconds is {leeway_seconds!r}: it must be at least 0")
        if not isinstance(user_claim, str) or not user_claim or user_claim in _RESERVED:
            raise DeclarationError(f"JWT.user_claim is {user_claim!r}: it must be a claim with no meaning of its own")
        self.anonymous = anonymous
        self._keys, self._signer = _keys(secret, previous_secrets, public_key, private_key, algorithms)
        self._audience = _names("JWT.audience", audience)
        self._issuer = _names("JWT.issuer", issuer)
        self._user_claim = user_claim
        self._leeway_seconds = leeway_seconds
        self._subscriptions = subscriptions
        self._now = now
        for key in self._keys:
            if key.weakness:
                _log.warning("%s is not safe: %s", key.option, key.weakness)

    def verify(self, token: str, *, now: float | None = None) -> ConnectionClaims:
        """Read a connection token.

        Args:
            token: as the client gave it; not "", which is for the caller to judge by `anonymous`.
            now: unix seconds; None asks the clock this was made with.
        Raises:
            InvalidToken: it cannot be used.
            TokenExpired: it could have been used earlier, or can be later: the client fetches a new one.
        """
        claims = self._read(token, "connection")
        if "channel" in claims:
            raise InvalidToken("it is a subscription token", kind="connection")
        expires_at = self._check_standard(claims, now)
        return ConnectionClaims(
            user=claims.text(self._user_claim),
            info=claims.embedded("info"),
            channels=tuple(dict.fromkeys(claims.get("channels", _texts, []))),
            subs={
                channel: TokenSubscription(
                    info=said.embedded("info"), data=said.embedded("data"), override=said.override()
                )
                for channel, said in claims.inner("subs").items()
            },
            meta=claims.embedded("meta"),
            expires_at=expires_at,
        )

    def verify_subscription(self, token: str, *, now: float | None = None) -> SubscriptionClaims:
        """Read a subscription token.

        The caller compares `user`, `channel` and `client` with the connection it came on: a token of somebody else's
        ends that connection with 3500, where one that cannot be used is only refused with 103.

        Raises:
            InvalidToken: it cannot be used.
            TokenExpired: it could have been used earlier, or can be later: the client fetches a new one.
        """
        if self._subscriptions is not None:
            return self._subscriptions.verify_subscription(token, now=self._now() if now is None else now)
        claims = self._read(token, "subscription")
        channel = claims.text("channel")
        if not channel:
            raise InvalidToken("it names no channel", kind="subscription")
        expires_at = self._check_standard(claims, now)
        return SubscriptionClaims(
            user=claims.text(self._user_claim),
            channel=channel,
            client=claims.text("client"),
            info=claims.embedded("info"),
            data=claims.embedded("data"),
            expires_at=expires_at,
            override=claims.override(),
        )

    def sign(
        self,
        user: str = "",
        *,
        expires_in: float | None,
        info: object = None,
        channels: Sequence[str] = (),
        meta: object = None,
    ) -> str:
        """Make a connection token for a client.

        Args:
            user: the user's id, a string; "" for an anonymous one.
            expires_in: seconds until the client has to come with a new one; None: never.
            info: shown to others as who the client is; anything that can be JSON. None for none.
            channels: the server subscribes the client to these.
            meta: for the app alone; anything that can be JSON. None for none.
        Returns:
            The token, with the first audience and issuer that are accepted here.
        Raises:
            UsageError: there is no key to sign with, or an argument cannot be.
        """
        claims = self._claims(user, expires_in)
        if info is not None:
            claims["info"] = info
        if isinstance(channels, str):
            raise UsageError(f"channels is the string {channels!r}: give a list of channels")
        if channels:
            claims["channels"] = list(channels)
        if meta is not None:
            claims["meta"] = meta
        return self._signed(claims)

    def sign_subscription(
        self, user: str, channel: str, *, expires_in: float | None, info: object = None, data: object = None
    ) -> str:
        """Make a subscription token: this user may subscribe to this channel.

        Args:
            user: the id the connection has; "" for an anonymous one.
            channel: its full name.
            expires_in: seconds until the client has to come with a new one; None: never.
            info: shown to the others in the channel; anything that can be JSON. None for none.
            data: given to the client as it subscribes; anything that can be JSON. None for none.
        Raises:
            UsageError: there is no key to sign with, or an argument cannot be.
        """
        if self._subscriptions is not None:
            return self._subscriptions.sign_subscription(user, channel, expires_in=expires_in, info=info, data=data)
        if not channel:
            raise UsageError("channel is empty: a subscription token is for one channel")
        claims = self._claims(user, expires_in)
        claims["channel"] = channel
        if info is not None:
            claims["info"] = info
        if data is not None:
            claims["data"] = data
        return self._signed(claims)

    def __repr__(self) -> str:
        algorithms = sorted({algorithm for key in self._keys for algorithm in key.algorithms})
        return f"JWT(algorithms={algorithms}, anonymous={self.anonymous})"

    def _read(self, token: str, kind: Kind) -> _Claims:
        try:
            return _Claims(verified_payload(token, self._keys), kind)
        except NotSigned as error:
            raise InvalidToken(str(error), kind=kind) from None

    def _check_standard(self, claims: _Claims, now: float | None) -> float | None:
        """Check what every token may say; give the moment at which it ends what it is for."""
        moment = self._now() if now is None else now
        claims.number("iat")  # its type only: an issuer whose clock is ahead has done no harm
        if self._issuer and claims.text("iss") not in self._issuer:
            raise InvalidToken("it is not by an issuer that is accepted here", kind=claims.kind)
        if self._audience and not self._audience & set(claims.get("aud", _text_or_texts, [])):
            raise InvalidToken("it is not for this audience", kind=claims.kind)
        begins_at, expires_at, ends_at = claims.number("nbf"), claims.number("exp"), claims.number("expire_at")
        if expires_at is not None:
            expires_at += self._leeway_seconds
            if moment >= expires_at:
                raise TokenExpired
        if begins_at is not None and moment + self._leeway_seconds < begins_at:
            raise TokenExpired("token is not valid yet")
        if ends_at is None:
            return expires_at
        return ends_at or None
