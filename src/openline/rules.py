"""What was declared for the channels of one pattern, as the engine asks for it: options, handlers, tokens."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, final

from openline import codes
from openline.admission import Allow, Publish, unix_seconds
from openline.application import Admission, Outgoing, Renewal
from openline.errors import Disconnect, PermissionDenied, TokenExpired, UsageError
from openline.handlers import Handler
from openline.handshake import Handshake
from openline.names import Pattern
from openline.options import AS_DECLARED, ChannelOptions
from openline.payload import Payload
from openline.protocol.json import one_line
from openline.protocol.messages import SubscribeRequest
from openline.session import Session
from openline.tokens import JWT, InvalidToken, SubscriptionClaims

_ANY: Final = Payload(None)


@final
class ChannelRules:
    """The rules of one pattern. The handlers are set by the decorators of `Channel`, before the hub starts.

    Args:
        publish: clients may publish without a handler.
        auth: verifies subscription tokens; None where there are none.
        now: the wall clock.
    """

    __slots__ = (
        "_auth",
        "_now",
        "leaving",
        "options",
        "pattern",
        "payload",
        "publish",
        "publishing",
        "refreshing",
        "subscribing",
    )

    def __init__(
        self,
        pattern: Pattern,
        payload: Payload,
        options: ChannelOptions,
        *,
        publish: bool,
        auth: JWT | None,
        now: Callable[[], float],
    ) -> None:
        self.pattern = pattern
        self.payload = payload
        self.options = options
        self.publish = publish
        self.subscribing: Handler | None = None
        self.publishing: Handler | None = None
        self.leaving: Handler | None = None
        self.refreshing: Handler | None = None
        self._auth = auth
        self._now = now

    @property
    def hears_leaving(self) -> bool:
        """Whether a handler waits for those who leave."""
        return self.leaving is not None

    @property
    def renews(self) -> bool:
        """Whether a handler is asked about subscriptions that run out."""
        return self.refreshing is not None

    @property
    def handlers(self) -> tuple[Handler | None, ...]:
        """The handlers there are, and None for each that there is not."""
        return self.subscribing, self.publishing, self.leaving, self.refreshing

    @property
    def is_guarded(self) -> bool:
        """Whether not everybody connected may subscribe."""
        return self.subscribing is not None or self.options.protected

    def parts(self, channel: str) -> dict[str, str]:
        """Give the parts of a channel's name that was found to match."""
        return self.pattern.match(channel) or {}

    async def admit(self, session: Session, channel: str, request: SubscribeRequest) -> Admission:
        """Let a client subscribe: by its token, where it has one or needs one, and by the handler."""
        claims = None
        # Without `auth` a token is whatever the client sends, and the handler makes of it what it likes.
        opaque = self._auth is None and self.subscribing is not None
        if self.options.protected or (request.token and not opaque):
            claims = self._verify(session, channel, request.token)
        allowed = None
        if self.subscribing is not None:
            allowed = await self.subscribing(
                session,
                handshake_of(session),
                parts=self.parts(channel),
                message=bytes(request.data),
                supplied={"token": request.token},
            )
        return _admission(session, claims, allowed, self.subscribing)

    async def readmit(self, session: Session, channel: str, token: str) -> Admission:
        """Let a client stay subscribed, by a new token."""
        return _admission(session, self._verify(session, channel, token, refreshing=True), None, None)

    async def renew(self, session: Session, channel: str) -> Renewal | None:
        """Let a client stay subscribed, as the handler says."""
        if self.refreshing is None:
            return None
        answer = await self.refreshing(session, handshake_of(session), parts=self.parts(channel))
        if isinstance(answer, Allow) and answer.data is None and answer.override is AS_DECLARED:
            return Renewal(expires_at=answer.expires_at, info=encoded(answer.info))
        return renewal(answer, self.refreshing, "Allow(…) of an expiry and info")

    def _verify(self, session: Session, channel: str, token: str, *, refreshing: bool = False) -> SubscriptionClaims:
        if self._auth is None or not token:
            raise PermissionDenied
        try:
            claims = self._auth.verify_subscription(token, now=self._now())
        except InvalidToken as error:
            if refreshing:
                raise
            raise PermissionDenied(error.problem) from error
        except TokenExpired as error:
            if refreshing:
                raise Disconnect(codes.CLOSED_SUBSCRIPTION_EXPIRED) from error
            raise
        if claims.channel != channel or claims.user != session.user or claims.client not in ("", session.id):
            raise Disconnect(codes.CLOSED_INVALID_TOKEN)
        return claims

    async def accept(self, session: Session, channel: str, data: bytes) -> Outgoing:
        """Let a client publish; give what the handler made of its message."""
        if self.publishing is None and not self.publish:
            raise PermissionDenied
        if session.subscription(channel) is None and self.is_guarded:
            # Who was not let in may not speak there either: a handler that decides on messages need not repeat
            # what the one that decides on subscriptions has checked.
            raise PermissionDenied("only those in this channel may publish to it")
        if self.publishing is None:
            return Outgoing(data=self.payload.admit(data))
        message = await self.publishing(session, handshake_of(session), parts=self.parts(channel), message=data)
        how = message if isinstance(message, Publish) else Publish(message)
        return Outgoing(
            # A handler that returns nothing had nothing to change.
            data=self.payload.admit(data) if how.message is None else self.payload.encode(how.message),
            tags=None if how.tags is None else dict(how.tags),
            idempotency_key=how.idempotency_key,
            version=how.version,
            version_epoch=how.version_epoch,
            skip_history=how.skip_history,
        )

    async def may_read(self, session: Session, channel: str) -> None:
        """Let a client that is not subscribed ask: where anyone may subscribe, anyone may look."""
        if self.is_guarded:
            raise PermissionDenied

    async def left(self, session: Session, channel: str, code: int, reason: str) -> None:
        """Tell the handler that a subscription has ended."""
        if self.leaving is not None:
            supplied = {"code": code, "reason": reason}
            await self.leaving(session, handshake_of(session), parts=self.parts(channel), supplied=supplied)


def handshake_of(session: Session) -> Handshake:
    """Give what was kept of a session's opening request."""
    handshake = session.handshake
    assert isinstance(handshake, Handshake), "the router gives every session a handshake"  # noqa: S101
    return handshake


def encoded(value: Any) -> bytes:
    """Write what a handler gave beside its answer; None is nothing."""
    return b"" if value is None else _ANY.encode(value)


def carried(session: Session, value: Any) -> bytes:
    """Write what a handler gives to one client alone: bytes go as they are, if its codec has room for them.

    Raises:
        Disconnect: they are no JSON, and the client speaks nothing else (3506).
    """
    if not isinstance(value, bytes):
        return encoded(value)
    try:
        return value and one_line(value)
    except ValueError:
        if session.outbox.encoding.codec.carries(value):
            return value
        raise Disconnect(codes.CLOSED_INAPPROPRIATE_PROTOCOL) from None


def allowance(session: Session, allowed: Allow) -> Admission:
    """Give leave to be in a channel as the app says, whatever a token says."""
    return Admission(
        info=encoded(allowed.info),
        data=carried(session, allowed.data),
        expires_at=allowed.expires_at,
        override=allowed.override,
    )


def renewal(answer: Any, handler: Handler, otherwise: str) -> Renewal | None:
    """Read what a handler of on_refresh returned.

    Raises:
        UsageError: it is no new expiry.
    """
    if answer is None:
        return None
    if isinstance(answer, int | float | datetime) and not isinstance(answer, bool):
        return Renewal(expires_at=unix_seconds(answer, handler.where))
    raise UsageError(f"{handler.where} returned {answer!r}: it returns a new expiry, {otherwise}, or None to end it")


def _admission(session: Session, claims: SubscriptionClaims | None, allowed: Any, handler: Handler | None) -> Admission:
    """Put together what the token and the handler say; the handler has the last word."""
    if allowed is not None and not isinstance(allowed, Allow):
        where = handler.where if handler is not None else "on_subscribe"
        raise UsageError(f"{where} returned {allowed!r}: it returns None or Allow(…), or raises to refuse")
    info = claims.info if claims is not None else b""
    data = claims.data if claims is not None else b""
    expires_at = claims.expires_at if claims is not None else None
    client_refresh = expires_at is not None
    if allowed is not None:
        info = encoded(allowed.info) or info
        data = carried(session, allowed.data) or data
        if allowed.expires_at is not None:
            expires_at, client_refresh = allowed.expires_at, claims is not None
    override = claims.override if claims is not None else AS_DECLARED
    if allowed is not None and allowed.override != AS_DECLARED:
        override = allowed.override
    return Admission(info=info, data=data, expires_at=expires_at, client_refresh=client_refresh, override=override)
