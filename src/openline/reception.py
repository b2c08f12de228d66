"""Who comes in and what they may ask outside every channel: what the engine asks of the app, put to its handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from openline import codes
from openline.admission import Accept
from openline.application import Admission, Renewal, Welcome
from openline.codes import DisconnectCode
from openline.errors import (
    DeclarationError,
    Disconnect,
    MethodNotFound,
    NotAvailable,
    Refusal,
    TokenExpired,
    UnknownChannel,
    UsageError,
)
from openline.handlers import Handler
from openline.names import is_name
from openline.payload import Payload
from openline.protocol.messages import (
    ConnectRequest,
    PublishRequest,
    Request,
    RpcRequest,
    SendRequest,
    SubscribeRequest,
    UnsubscribeRequest,
)
from openline.refusals import refusal
from openline.rules import ChannelRules, allowance, carried, encoded, handshake_of, renewal
from openline.session import Session
from openline.tokens import JWT

_ANY: Final = Payload(None)

#: Channel names whose rules are remembered; past it the memory starts anew. Clients make names up: a longer one than
#: this is looked up each time.
_REMEMBERED: Final = 10_000
_REMEMBERED_LENGTH: Final = 255


@final
class Reception:
    """The app behind the engine: an `Application` of channels and handlers."""

    __slots__ = (
        "_found",
        "_name_length",
        "_now",
        "_patterns",
        "_results",
        "auth",
        "connecting",
        "disconnecting",
        "messaging",
        "procedures",
        "refreshing",
    )

    def __init__(self, auth: JWT | None, *, name_length: int, now: Callable[[], float]) -> None:
        self.auth = auth
        self._name_length = name_length
        self._now = now
        self.connecting: Handler | None = None
        self.disconnecting: Handler | None = None
        self.messaging: Handler | None = None
        self.refreshing: Handler | None = None
        #: By the method; the one of "" answers those that have none of their own.
        self.procedures: dict[str, Handler] = {}
        self._results: dict[str, Payload] = {}
        self._patterns: list[ChannelRules] = []
        self._found: dict[str, ChannelRules | None] = {}

    # --- channels -------------------------------------------------------------------------------------------------

    def declare(self, rules: ChannelRules) -> None:
        """Take up the rules of one more pattern; a fixed name goes before every pattern, else the earlier wins.

        Raises:
            DeclarationError: the pattern was declared before.
        """
        if any(rules.pattern.shape == known.pattern.shape for known in self._patterns):
            raise DeclarationError(f"channel {rules.pattern.text!r} is declared twice")
        self._patterns.append(rules)
        self._patterns.sort(key=lambda known: not known.pattern.fixed)
        self._found.clear()

    def rules(self, channel: str) -> ChannelRules | None:
        """Find what was declared for a channel."""
        if len(channel) > self._name_length:
            return None  # and not remembered: a client makes names up as long as it likes
        try:
            return self._found[channel]
        except KeyError:
            pass
        found = next((rules for rules in self._patterns if rules.pattern.match(channel) is not None), None)
        if len(channel) <= _REMEMBERED_LENGTH:
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[channel] = found
        return found

    def declared(self, channel: str) -> ChannelRules:
        """Give what was declared for a channel that the app names.

        Raises:
            UnknownChannel: no declared pattern matches.
        """
        rules = self.rules(channel) if is_name(channel) else None
        if rules is None:
            raise UnknownChannel(f"no declared channel matches {channel!r}")
        return rules

    def declare_procedure(self, method: str, procedure: Handler) -> None:
        """Take up a remote procedure; what it returns is written as its return annotation says."""
        self.procedures[method] = procedure
        self._results[method] = Payload(procedure.returns)

    # --- what waits -----------------------------------------------------------------------------------------------

    def waits(self, request: Request) -> bool:
        """Tell whether a handler has to be asked."""
        if isinstance(request, PublishRequest):
            rules = self.rules(request.channel)
            return rules is not None and rules.publishing is not None
        if isinstance(request, SubscribeRequest):
            rules = self.rules(request.channel)
            return rules is not None and rules.subscribing is not None
        if isinstance(request, UnsubscribeRequest):
            rules = self.rules(request.channel)
            return rules is not None and rules.leaving is not None
        if isinstance(request, ConnectRequest):
            return self.connecting is not None
        if isinstance(request, RpcRequest):
            return request.method in self.procedures or "" in self.procedures
        return isinstance(request, SendRequest) and self.messaging is not None

    @property
    def hears_disconnects(self) -> bool:
        """Whether a handler waits for connections that end."""
        return self.disconnecting is not None

    @property
    def reads_handshake(self) -> bool:
        """Whether a handler reads the headers, cookies or query of the opening request."""
        handlers = [self.connecting, self.disconnecting, self.messaging, self.refreshing, *self.procedures.values()]
        for rules in self._patterns:
            handlers += rules.handlers
        return any(handler is not None and handler.reads_handshake for handler in handlers)

    # --- connections ----------------------------------------------------------------------------------------------

    async def welcome(self, session: Session, request: ConnectRequest) -> Welcome:
        """Let a client connect: by its token where the hub has `auth`, and by the handler."""
        welcome = Welcome() if self.auth is None else self._verified(self.auth, request.token)
        if self.connecting is None:
            return welcome
        session.user, session.encoded_info, session.encoded_meta = welcome.user, welcome.info, welcome.meta
        answer = await self.connecting(
            session,
            handshake_of(session),
            message=bytes(request.data),
            supplied={
                "token": request.token,
                "name": request.name,
                "version": request.version,
                "headers": dict(request.headers),
                "channels": list(request.subs),
            },
        )
        if answer is None:
            return welcome
        if isinstance(answer, str):
            answer = Accept(user=answer)
        if not isinstance(answer, Accept):
            where = self.connecting.where
            raise UsageError(f"{where} returned {answer!r}: it returns None, a user id, or Accept(…)")
        return _merged(session, welcome, answer)

    def _verified(self, auth: JWT, token: str) -> Welcome:
        if not token:
            if not auth.anonymous:
                raise Disconnect(codes.CLOSED_BAD_REQUEST)
            return Welcome()
        claims = auth.verify(token, now=self._now())
        channels = dict.fromkeys(claims.channels, Admission())
        for name, said in claims.subs.items():
            channels[name] = Admission(info=said.info, data=said.data, override=said.override)
        return Welcome(
            user=claims.user,
            info=claims.info,
            meta=claims.meta,
            channels=channels,
            expires_at=claims.expires_at,
            client_refresh=claims.expires_at is not None,
        )

    async def refresh(self, session: Session, token: str) -> float | None:
        """Let a client stay connected, by a new token of the same user."""
        if self.auth is None:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        try:
            claims = self.auth.verify(token, now=self._now())
        except TokenExpired as error:
            raise Disconnect(codes.CLOSED_CONNECTION_EXPIRED) from error
        if claims.user != session.user:
            raise Disconnect(codes.CLOSED_INVALID_TOKEN)
        return claims.expires_at

    @property
    def renews(self) -> bool:
        """Whether a handler is asked about connections that run out."""
        return self.refreshing is not None

    async def renew(self, session: Session) -> Renewal | None:
        """Let a client stay connected, as the handler says."""
        if self.refreshing is None:
            return None
        answer = await self.refreshing(session, handshake_of(session))
        if isinstance(answer, Accept) and not (answer.channels or answer.subscriptions or answer.data is not None):
            if answer.user not in ("", session.user):
                raise UsageError(f"{self.refreshing.where} returned user {answer.user!r}: a connection keeps its user")
            return Renewal(expires_at=answer.expires_at, info=encoded(answer.info), meta=encoded(answer.meta))
        return renewal(answer, self.refreshing, "Accept(…) of an expiry, info and meta")

    async def disconnected(self, session: Session, code: DisconnectCode) -> None:
        """Tell the handler that a connection has ended."""
        if self.disconnecting is not None:
            supplied = {"code": code.number, "reason": code.reason}
            await self.disconnecting(session, handshake_of(session), supplied=supplied)

    # --- messages -------------------------------------------------------------------------------------------------

    async def call(self, session: Session, method: str, data: bytes) -> bytes:
        """Run a remote procedure."""
        declared = method if method in self.procedures else ""
        procedure = self.procedures.get(declared)
        if procedure is None:
            raise MethodNotFound if self.procedures else NotAvailable
        result = await procedure(session, handshake_of(session), message=data, supplied={"method": method})
        written = self._results[declared].encode(result)
        return carried(session, written) if self._results[declared].raw else written

    async def message(self, session: Session, data: bytes) -> None:
        """Give the handler a message outside every channel."""
        if self.messaging is None:
            raise Disconnect(codes.CLOSED_NOT_AVAILABLE)
        await self.messaging(session, handshake_of(session), message=data)

    def encode(self, value: Any) -> bytes:
        """Encode a payload of the app."""
        return _ANY.encode(value)

    def refusal(self, error: Exception) -> Refusal | Disconnect | None:
        """Say what the client is told of an exception."""
        return refusal(error)


def _merged(session: Session, welcome: Welcome, answer: Accept) -> Welcome:
    """Put together what the token and the handler say; the handler has the last word."""
    expires_at, client_refresh = welcome.expires_at, welcome.client_refresh
    if answer.expires_at is not None:
        expires_at, client_refresh = answer.expires_at, client_refresh and answer.expires_at == expires_at
    return Welcome(
        user=answer.user or welcome.user,
        info=encoded(answer.info) or welcome.info,
        meta=encoded(answer.meta) or welcome.meta,
        data=carried(session, answer.data),
        channels=welcome.channels
        | dict.fromkeys(answer.channels, Admission())
        | {channel: allowance(session, allowed) for channel, allowed in answer.subscriptions.items()},
        expires_at=expires_at,
        client_refresh=client_refresh,
    )
