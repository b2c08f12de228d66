"""JSON Web Tokens: what a client's signed token says of who it is and what it may follow.

Invariants of this file:

1. Nothing a token says is looked at before its signature is verified; which keys and algorithms count is decided by
   the app alone (`openline.signing`).
2. The protocol's rules are here, the types of the claims in `openline.claims`.

Source: docs/reference/protocol.md, "Tokens"; RFC 7519.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import msgspec

from openline import signing
from openline.claims import (
    Claims,
    ConnectionClaims,
    InvalidToken,
    Kind,
    SubscriptionClaims,
    TokenSubscription,
)
from openline.errors import DeclarationError, TokenExpired, UsageError
from openline.signing import Key, PrivateKey, PublicKey

__all__ = ["JWT", "ConnectionClaims", "InvalidToken", "SubscriptionClaims", "TokenSubscription"]

_log: Final = logging.getLogger("openline")

#: Claims that mean something else than who the user is.
_TAKEN: Final = frozenset(
    {"aud", "b64data", "b64info", "channel", "channels", "client", "data", "exp", "expire_at", "iat", "info", "iss"}
    | {"jti", "meta", "nbf", "override", "subs"}
)


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

    __slots__ = (
        "_audience",
        "_issuer",
        "_keys",
        "_leeway_seconds",
        "_now",
        "_signer",
        "_subscriptions",
        "_user_claim",
        "anonymous",
    )

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
        if not user_claim or user_claim in _TAKEN:
            raise DeclarationError(f"JWT.user_claim is {user_claim!r}: it must be a claim that means nothing else")
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
            channels=tuple(dict.fromkeys(claims.texts("channels"))),
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

    def _read(self, token: str, kind: Kind) -> Claims:
        try:
            return Claims(signing.verified(token, self._keys), kind)
        except signing.NotSigned as error:
            raise InvalidToken(str(error), kind=kind) from None

    def _check_standard(self, claims: Claims, now: float | None) -> float | None:
        """Check what every token may say; give the moment at which it ends what it is for."""
        moment = self._now() if now is None else now
        claims.number("iat")  # its type only: an issuer whose clock is ahead has done no harm
        if self._issuer and claims.text("iss") not in self._issuer:
            raise InvalidToken("it is not by an issuer that is accepted here", kind=claims.kind)
        if self._audience and not set(self._audience).intersection(claims.text_or_texts("aud")):
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

    def _claims(self, user: str, expires_in: float | None) -> dict[str, Any]:
        """Begin the claims of a new token."""
        if not isinstance(user, str):
            raise UsageError(f"user is a {type(user).__name__}: a user's id is a string")
        moment = self._now()
        claims: dict[str, Any] = {self._user_claim: user} if user else {}
        claims["iat"] = math.floor(moment)
        if expires_in is not None:
            if not (math.isfinite(expires_in) and expires_in > 0):
                raise UsageError(f"expires_in is {expires_in!r}: it must be above 0, or None for never")
            # Whole seconds, as other verifiers may know no fractions; never less than was asked for.
            claims["exp"] = math.ceil(moment + expires_in)
        for name, accepted in (("aud", self._audience), ("iss", self._issuer)):
            if accepted:
                claims[name] = accepted[0]
        return claims

    def _signed(self, claims: dict[str, Any]) -> str:
        if self._signer is None:
            raise UsageError("JWT has only public keys, which cannot sign: give it a private_key or a secret")
        try:
            return self._signer.sign(msgspec.json.encode(claims))
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            raise UsageError(f"a claim cannot be written as JSON: {error}") from error


def _keys(
    secret: str | bytes | None,
    previous_secrets: Sequence[str | bytes],
    public_key: str | bytes | PublicKey | Sequence[str | bytes | PublicKey] | None,
    private_key: str | bytes | PrivateKey | None,
    algorithms: Sequence[str] | None,
) -> tuple[list[Key], Key | None]:
    """Make the keys that verify, and the one that signs."""
    if isinstance(previous_secrets, str | bytes):
        raise DeclarationError("JWT.previous_secrets is one secret: give a list of them")
    if previous_secrets and secret is None:
        raise DeclarationError("JWT.previous_secrets is given without JWT.secret")
    keys: list[Key] = []
    signer: Key | None = None
    if secret is not None:
        signer = signing.secret_key("JWT.secret", secret, algorithms)
        keys.append(signer)
    for number, previous in enumerate(previous_secrets):
        keys.append(signing.secret_key(f"JWT.previous_secrets[{number}]", previous, algorithms))
    if private_key is not None:
        signer, public = signing.private_key("JWT.private_key", private_key, algorithms)
        keys.append(public)
    if public_key is not None:
        if isinstance(public_key, Sequence) and not isinstance(public_key, str | bytes):
            named = [(f"JWT.public_key[{number}]", public) for number, public in enumerate(public_key)]
        else:
            named = [("JWT.public_key", public_key)]
        keys += [signing.public_key(option, public, algorithms) for option, public in named]
    if not keys:
        raise DeclarationError("JWT has no key: give it a secret, a public_key or a private_key")
    return keys, signer


def _check_algorithms(algorithms: Sequence[str] | None) -> None:
    if algorithms is None:
        return
    if isinstance(algorithms, str) or not algorithms:
        raise DeclarationError(f"JWT.algorithms is {algorithms!r}: it must be a list with one algorithm or more")
    for algorithm in algorithms:
        if algorithm not in signing.ALGORITHMS:
            raise DeclarationError(f"JWT.algorithms has {algorithm!r}: known are {', '.join(signing.ALGORITHMS)}")


def _names(option: str, names: str | Sequence[str] | None) -> tuple[str, ...]:
    if names is None:
        return ()
    found = (names,) if isinstance(names, str) else tuple(names)
    if not found or not all(found):
        raise DeclarationError(f"{option} is {names!r}: it must be a name or a list of them")
    return found
