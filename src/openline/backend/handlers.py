"""The handlers that put each event to the back end, and what they make of its answers.

They ask for what they need by a signature made here: the parts of a channel's name differ from pattern to pattern.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, TypeVar, final

from starlette.requests import HTTPConnection

from openline import codes
from openline.admission import Accept, Allow, Publish
from openline.backend import answers
from openline.backend.asking import Asking, embedded
from openline.channel import Channel
from openline.errors import DeclarationError, Disconnect, InternalError
from openline.hub import Hub
from openline.names import Pattern
from openline.session import Session

Value = TypeVar("Value")

#: What can be put to a back end of the channels of a pattern.
CHANNEL_EVENTS: Final = ("subscribe", "publish", "sub_refresh", "unsubscribe")

#: Between the tries to have something refreshed while the back end is away: within the grace of 25 seconds.
_REFRESH_PAUSES: Final = (0.5, 1, *(2,) * 9)

#: The parameters of the handlers here that every event has.
_SESSION: Final = "session_"
_CONNECTION: Final = "connection_"
#: And those of some.
_TAKEN: Final = frozenset((_SESSION, _CONNECTION, "data", "message", "token", "code", "reason"))


@final
class HubHandlers:
    """The handlers of what happens outside every channel.

    Args:
        channels_of: gives what a user is subscribed to beside what the back end says.
    """

    def __init__(self, hub: Hub, asking: Asking, channels_of: Callable[[str], Sequence[str]] | None) -> None:
        self._hub = hub
        self._asking = asking
        self._channels_of = channels_of

    def hang(self) -> None:
        """Hang up those of the events that are put to the back end."""
        hub, asking = self._hub, self._asking
        if asking.concerns("connect"):
            connect = {"data": bytes, "token": str, "name": str, "version": str}
            connect |= {"headers": dict[str, str], "channels": list[str]}
            hub.on_connect(_asked_for(asking, self._connect, **connect))
        if asking.concerns("refresh"):
            hub.on_refresh(_asked_for(asking, self._refresh))
        if asking.concerns("rpc"):
            hub.rpc()(_asked_for(asking, self._rpc, returns=bytes, message=bytes, method=str))
        if asking.concerns("disconnect"):
            hub.on_disconnect(_asked_for(asking, self._disconnect, code=int, reason=str))

    async def _connect(
        self,
        session: Session,
        connection: HTTPConnection | None,
        data: bytes,
        headers: dict[str, str],
        **said: Any,
    ) -> Accept:
        self._asking.keep(session, headers)

        def understand(result: answers.Connected | None) -> Accept:
            if result is None and not session.user:
                raise Disconnect(codes.CLOSED_BAD_REQUEST)  # nobody says who it is
            return self._accept(session, result or answers.Connected())

        return await self._asking.ask("connect", session, embedded(data) | said, connection, understand)

    def _accept(self, session: Session, result: answers.Connected) -> Accept:
        user = result.user or session.user
        own = () if self._channels_of is None else self._channels_of(user)
        return Accept(
            user=user,
            info=answers.shown(result.info, result.b64info, "info"),
            data=answers.payload(result.data, result.b64data, "data"),
            meta=answers.shown(result.meta, None, "meta"),
            channels=(*own, *(result.channels or ())),
            subscriptions={
                channel: _allow(admitted or answers.Admitted()) for channel, admitted in (result.subs or {}).items()
            },
            expire_at=answers.moment(result.expire_at),
        )

    async def _refresh(self, session: Session, connection: HTTPConnection | None) -> Accept | None:
        def understand(result: answers.Refreshed | None) -> Accept | None:
            if result is None:
                raise answers.Malformed("it answered without a result")
            if result.expired:
                return None
            return Accept(
                expire_at=answers.moment(result.expire_at),
                info=answers.shown(result.info, result.b64info, "info"),
                meta=answers.shown(result.meta, None, "meta"),
            )

        return await _patiently(
            lambda: self._asking.ask("refresh", session, {}, connection, understand),
            lambda: session.id in self._hub.sessions,
        )

    async def _rpc(self, session: Session, connection: HTTPConnection | None, message: bytes, method: str) -> bytes:
        def understand(result: answers.Returned | None) -> bytes:
            return b"" if result is None else answers.payload(result.data, result.b64data, "data") or b""

        fields = embedded(message) | {"method": method}
        return await self._asking.ask("rpc", session, fields, connection, understand)

    async def _disconnect(self, session: Session, connection: HTTPConnection | None, code: int, reason: str) -> None:
        self._asking.tell("disconnect", session, {"code": code, "reason": reason}, connection)


@final
class ChannelHandlers:
    """The handlers of what happens in the channels of one pattern.

    Raises:
        DeclarationError: a placeholder has the name of what the handlers take beside it.
    """

    def __init__(self, channel: Channel[Any], asking: Asking) -> None:
        self._channel = channel
        self._asking = asking
        self._pattern = Pattern(channel.pattern)
        clash = sorted(_TAKEN.intersection(self._pattern.parts))
        if clash:
            raise DeclarationError(
                f"channel {channel.pattern!r}: where a back end is asked, a placeholder cannot be called {clash[0]!r}"
            )

    def hang(self, events: Collection[str]) -> None:
        """Hang up those of these events that are put to the back end."""
        channel = self._channel
        each: dict[str, tuple[Callable[..., Any], Callable[..., Any], dict[str, type]]] = {
            "subscribe": (channel.on_subscribe, self._subscribe, {"data": bytes, "token": str}),
            "publish": (channel.on_publish, self._publish, {"message": bytes}),
            "sub_refresh": (channel.on_refresh, self._refresh, {}),
            "unsubscribe": (channel.on_unsubscribe, self._unsubscribe, {"code": int, "reason": str}),
        }
        parts = dict.fromkeys(self._pattern.parts, str)
        for event, (declare, handle, takes) in each.items():
            if event in events and self._asking.concerns(event):
                declare(_asked_for(self._asking, handle, **takes, **parts))

    async def _subscribe(
        self, session: Session, connection: HTTPConnection | None, data: bytes, token: str, **parts: str
    ) -> Allow:
        def understand(result: answers.Admitted | None) -> Allow:
            return _allow(result or answers.Admitted())

        fields = {"channel": self._pattern.build(parts), "token": token} | embedded(data)
        return await self._asking.ask("subscribe", session, fields, connection, understand)

    async def _publish(
        self, session: Session, connection: HTTPConnection | None, message: bytes, **parts: str
    ) -> Publish:
        def understand(result: answers.Published | None) -> Publish:
            result = result or answers.Published()
            return Publish(
                answers.payload(result.data, result.b64data, "data"),
                tags=result.tags,
                idempotency_key=result.idempotency_key or "",
                version=result.version or 0,
                version_epoch=result.version_epoch or "",
                skip_history=bool(result.skip_history),
            )

        fields = {"channel": self._pattern.build(parts)} | embedded(message)
        return await self._asking.ask("publish", session, fields, connection, understand)

    async def _refresh(self, session: Session, connection: HTTPConnection | None, **parts: str) -> Allow | None:
        channel = self._pattern.build(parts)

        def understand(result: answers.Refreshed | None) -> Allow | None:
            if result is None:
                raise answers.Malformed("it answered without a result")
            if result.expired:
                return None
            info = answers.shown(result.info, result.b64info, "info")
            return Allow(expire_at=answers.moment(result.expire_at), info=info)

        return await _patiently(
            lambda: self._asking.ask("sub_refresh", session, {"channel": channel}, connection, understand),
            lambda: channel in session.channels,
        )

    async def _unsubscribe(
        self, session: Session, connection: HTTPConnection | None, code: int, reason: str, **parts: str
    ) -> None:
        fields = {"channel": self._pattern.build(parts), "code": code, "reason": reason}
        self._asking.tell("unsubscribe", session, fields, connection)


def _asked_for(
    asking: Asking, handle: Callable[..., Awaitable[Any]], *, returns: Any = inspect.Signature.empty, **takes: Any
) -> Callable[..., Awaitable[Any]]:
    """Give a handler that asks for these parameters, the session, and the opening request where it is needed."""

    async def handler(**given: Any) -> Any:
        return await handle(given.pop(_SESSION), given.pop(_CONNECTION, None), **given)

    takes = takes | {_SESSION: Session} | ({_CONNECTION: HTTPConnection} if asking.reads_handshake else {})
    handler.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what `inspect.signature` reads first
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in takes.items()],
        return_annotation=returns,
    )
    handler.__qualname__ = f"backend event{handle.__name__.replace('_', ' ')}"
    return handler


async def _patiently(ask: Callable[[], Awaitable[Value]], is_there: Callable[[], bool]) -> Value:
    """Ask again for a while where there was no answer: nobody waits for this one, and much would be cut for nothing."""
    for pause in _REFRESH_PAUSES:
        try:
            return await ask()
        except InternalError:
            if not is_there():
                raise
        await asyncio.sleep(pause)
    return await ask()


def _allow(admitted: answers.Admitted) -> Allow:
    override = admitted.override or answers.Overrides()
    return Allow(
        info=answers.shown(admitted.info, admitted.b64info, "info"),
        data=answers.payload(admitted.data, admitted.b64data, "data"),
        expire_at=answers.moment(admitted.expire_at),
        override=override.read(),
    )
