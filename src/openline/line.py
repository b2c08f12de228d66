"""Lines without a protocol, in an app's ordinary WebSocket routes: what `Hub.plain` gives.

Invariants of this file:

1. Everything that can be refused without a socket is refused before the handshake is answered.
2. However the route's block ends, its session has ended with it: nothing of it stays in a channel, in presence or
   among the places.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, Self, final

from fastapi import WebSocket, WebSocketDisconnect, WebSocketException
from fastapi.exceptions import HTTPException
from starlette.websockets import WebSocketState

from openline.application import Admission, Welcome
from openline.bare import BARE, bare
from openline.codes import DisconnectCode
from openline.errors import Disconnect, UsageError
from openline.mailbox import Mailbox
from openline.outbox import Receiver, Wire
from openline.publication import Position
from openline.reception import Reception
from openline.routes.door import Door, Refused
from openline.rules import encoded
from openline.session import Session
from openline.wires.bare import BarePlainWire, BareWire, GoneWire
from openline.wires.fast import DETACH

#: How the socket is closed behind a route that returned, and one that failed or was cancelled.
_DONE: Final = DisconnectCode(1000, "")
_FAILED: Final = DisconnectCode(1011, "internal error")


@final
class Line:
    """One client of an ordinary WebSocket route that is in channels of the hub; get it from `Hub.plain`.

    ``async for message in line`` gives what the client sends, one task at a time: text as ``str``, binary messages as
    ``bytes``. It ends when the client has left and its last message was given, and at once when the server ends the
    connection. While nobody asks, a bounded number of messages waits, and then the client is held back; so a route that
    only sends needs the loop as well, ``async for _ in line: pass``, to learn of the end.

    Attributes:
        session: the client as the rest of the hub sees it. Its transport is "plain".
    """

    __slots__ = ("_door", "_mailbox", "_reception", "session")

    def __init__(self, mailbox: Mailbox, door: Door, reception: Reception) -> None:
        self.session: Session = mailbox.session
        self._mailbox = mailbox
        self._door = door
        self._reception = reception

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._mailbox.next()
        if message is None:
            raise StopAsyncIteration
        return message

    def send(self, message: object) -> bool:
        """Send one message to this client. Never waits for the client, and may be called from any thread.

        Args:
            message: ``str`` goes out as that text and ``bytes`` as a binary message; all else that Pydantic can write
                as JSON text.
        Returns:
            False when the client is gone or just became too slow: then nothing was sent.
        """
        if not isinstance(message, str | bytes):
            message = self._reception.encode(message).decode()
        chunk = bare(message)
        return self._door.commands.in_loop(lambda: self.session.offer(chunk))

    async def publish(self, channel: str, message: Any) -> Position:
        """Publish as this client, so that subscribers see whom it comes from. No handler is asked.

        Args:
            channel: its full name.
            message: of the channel's type.
        Raises:
            UnknownChannel: no declared pattern matches.
            UsageError: the message is not of the declared type; nothing was sent.
            PayloadTooBig: nothing was sent.
            BrokerUnavailable: it may or may not be out.
        """
        rules = self._reception.declared(channel)
        data = rules.payload.encode(message)
        subscription = self.session.subscription(channel)
        info = self.session.client_info() if subscription is None else subscription.info
        return await self._door.commands.node.publish(channel, data, rules.options, info=info)

    async def subscribe(self, channel: str) -> None:
        """Put this client into one more channel. No handler is asked; the client is told nothing of it.

        Raises:
            Refusal: no pattern matches, it is in there already, or a limit is reached.
            BrokerUnavailable: nothing has changed.
        """
        await self.session.subscribe(channel)

    async def unsubscribe(self, channel: str) -> None:
        """Take this client out of a channel; not being in it is no error."""
        await self.session.unsubscribe(channel)

    def __repr__(self) -> str:
        return f"<Line of {self.session!r}>"


@final
class Lines:
    """Opens the plain lines of one hub."""

    __slots__ = ("_door", "_reception")

    def __init__(self, door: Door, reception: Reception) -> None:
        self._door = door
        self._reception = reception

    @asynccontextmanager
    async def open(
        self, websocket: WebSocket, channels: Iterable[str], user: str, info: Any, subprotocol: str | None
    ) -> AsyncIterator[Line]:
        """Accept a WebSocket and hold it around a block; see `Hub.plain`."""
        if websocket.application_state is not WebSocketState.CONNECTING:
            raise UsageError("hub.plain accepts the WebSocket itself: leave websocket.accept() out")
        for channel in (names := tuple(channels)):
            self._reception.declared(channel)
        welcome = Welcome(user=user, info=encoded(info), channels=dict.fromkeys(names, Admission()))
        mailbox, held = await self._accept(websocket, subprotocol)
        session, end = mailbox.session, _FAILED
        try:
            await self._let_in(session, welcome)
            yield Line(mailbox, self._door, self._reception)
            end = _DONE
        finally:
            session.end(end)
            if held:
                await mailbox.over.wait()  # the socket ends with the route's call; closing it has a deadline

    async def _let_in(self, session: Session, welcome: Welcome) -> None:
        """Put the client into its channels. One that is over the limits, or has left, is a line that has ended."""
        try:
            await self._door.commands.let_in(session, welcome)
        except Disconnect as error:
            session.end(error.code)

    async def _accept(self, websocket: WebSocket, subprotocol: str | None) -> tuple[Mailbox, bool]:
        """Answer the handshake; give the mailbox, and whether the socket is the route's."""
        door = self._door
        try:
            door.check(websocket)
            door.take_place(websocket)
        except Refused as refused:
            _refuse(websocket, refused)
        try:
            return await self._open(websocket, subprotocol)
        finally:
            door.leave_place(websocket)

    async def _open(self, websocket: WebSocket, subprotocol: str | None) -> tuple[Mailbox, bool]:
        commands = self._door.commands
        handshake = self._door.handshake(websocket)
        limits = commands.limits
        opened: list[Mailbox] = []

        def open_mailbox(wire: Wire) -> Receiver:
            session = commands.open(wire, handshake, native_heartbeat=True)
            opened.append(Mailbox(session, limits.waiting_commands))
            return opened[0]

        detach = websocket.scope.get("extensions", {}).get(DETACH)
        if detach is not None:
            detach(open_mailbox, BARE, subprotocol, limits.message_bytes, limits.close_seconds, kind=BareWire)
            if not opened:  # the client has left
                open_mailbox(GoneWire()).closed(1006, "")
            return opened[0], False
        if not await self._is_accepted(websocket, subprotocol):
            open_mailbox(GoneWire()).closed(1006, "")
            return opened[0], False
        wire = BarePlainWire(websocket, BARE, limits.message_bytes, limits.close_seconds)
        open_mailbox(wire)
        commands.spawn(wire.run(lambda _: opened[0]))
        return opened[0], True

    async def _is_accepted(self, websocket: WebSocket, subprotocol: str | None) -> bool:
        """Accept; say whether the client is still there, and the hub."""
        try:
            await websocket.accept(subprotocol)
            if self._door.commands.node.accepts:
                return True
            await websocket.close(1012)
        except (OSError, WebSocketDisconnect):
            pass  # as servers say that the client has left
        return False


def _refuse(websocket: WebSocket, refused: Refused) -> NoReturn:
    """Raise what FastAPI answers the handshake with: the status and cause, where the server can."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        raise HTTPException(refused.status, refused.cause) from None
    raise WebSocketException(1011, refused.cause[:120]) from None
