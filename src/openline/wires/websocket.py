"""The plain wire: a WebSocket on any ASGI server.

Invariants of this file:

1. Nobody waits for `send` but the one task that writes; `write` only queues.
2. Both tasks are children of the route's call: it returns when the conversation is over, and not before.
3. From `close` on a timer runs that gives up on a client that reads nothing. What the server then does with the socket
   is the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from openline.framing import SEPARATE, Encoding, unpacked
from openline.outbox import Receiver, Wire
from openline.wires.fast import NOBODY
from openline.wires.message import is_utf8
from openline.wires.unsent import Unsent

_LONGEST_REASON: Final = 123


async def serve(
    websocket: WebSocket,
    open_receiver: Callable[[Wire], Receiver],
    *,
    encoding: Encoding,
    subprotocol: str | None,
    message_bytes: int,
    close_seconds: float = 5.0,
) -> None:
    """Accept a WebSocket and hold it, inside the route's call, until the conversation is over.

    Args:
        websocket: one whose handshake waits for its answer.
        open_receiver: makes the receiver of the wire; called once, before anything is received. Its `closed` is called
            once, however this call ends.
        encoding: what the chunks will be made with: whole messages, or separate frames.
        subprotocol: named in the answer; one the client offered.
        message_bytes: the largest message taken; past it the socket is closed with 1009. The server reads it whole.
        close_seconds: for a close that the wire begins, on a message that cannot be taken.
    """
    await websocket.accept(subprotocol)
    wire = PlainWire(websocket, encoding, message_bytes, close_seconds)
    await wire.run(open_receiver)


class PlainWire:
    """A `Wire` on the `send` and `receive` of ASGI."""

    __slots__ = (
        "_close_seconds",
        "_end",
        "_message_bytes",
        "_reading",
        "_receiver",
        "_tasks",
        "_timer",
        "_unsent",
        "_websocket",
        "encoding",
        "is_open",
    )

    name = "websocket"
    direct = None

    def __init__(self, websocket: WebSocket, encoding: Encoding, message_bytes: int, close_seconds: float) -> None:
        self.encoding = encoding
        #: Messages pass. It turns false with the first sign of an end.
        self.is_open = True
        self._websocket = websocket
        self._message_bytes = message_bytes
        self._close_seconds = close_seconds
        self._receiver: Receiver = NOBODY
        #: Code and reason of whoever began the close.
        self._end: tuple[int, str] | None = None
        self._unsent = Unsent()
        #: Set while the receiver takes messages.
        self._reading = asyncio.Event()
        self._reading.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, open_receiver: Callable[[Wire], Receiver]) -> None:
        """Hold the accepted socket until the conversation is over."""
        self._receiver = open_receiver(self)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks.append(tasks.create_task(self._read(), name="openline.wire.read"))
                self._tasks.append(tasks.create_task(self._send_queued(), name="openline.wire.write"))
        finally:
            self.is_open = False
            if self._timer is not None:
                self._timer.cancel()
            receiver, self._receiver = self._receiver, NOBODY
            receiver.closed(*(self._end or (1006, "")))

    # --- for the outbox and the session ---------------------------------------------------------------------------

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Queue these chunks; nothing after `close`."""
        if self.is_open:
            self._unsent.offer(self._receiver, chunk, more)

    def unsent_bytes(self) -> int:
        """How much is queued, or with a server that has not said it is done with it."""
        return self._unsent.size_bytes

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Close after what is queued and wait for the server to say it is over; give up at the deadline. Idempotent."""
        if self.is_open:
            self._end = (code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore"))
            self._stop(deadline_seconds)

    def ping(self) -> bool:
        """Say that there is none: ASGI leaves pings to the server."""
        return False

    def pause_reading(self) -> None:
        """Give out no more messages for now: the server holds the client back."""
        if self.is_open:
            self._reading.clear()

    def resume_reading(self) -> None:
        """Give out messages again, at the earliest after the current callback."""
        self._reading.set()

    # --- the two tasks --------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            while not self._reading.is_set():
                await self._reading.wait()
            if self.is_open:
                self._take(message)
        if self._end is None:
            self._end = (message.get("code") or 1005, message.get("reason") or "")
        self._give_up()

    def _take(self, message: Mapping[str, Any]) -> None:
        text = message.get("text")
        payload: bytes = message["bytes"] if text is None else text.encode()
        if len(payload) > self._message_bytes:
            self._receiver.too_large()
            self.close(1009, "message too big", deadline_seconds=self._close_seconds)
        elif text is None and not self.encoding.codec.binary and not is_utf8(payload):
            self.close(1007, "invalid UTF-8", deadline_seconds=self._close_seconds)
        else:
            self._receiver.receive(payload)

    async def _send_queued(self) -> None:
        """Send what is queued as it comes, then the close."""
        try:
            while self.is_open or self._unsent:
                await self._unsent.changed.wait()
                self._unsent.changed.clear()
                while self._unsent:
                    await self._send_some()
            if self._end is not None:
                await self._websocket.close(*self._end)
        except (OSError, WebSocketDisconnect, RuntimeError):
            # The client is gone. The reader learns with which code, if the server says so in time.
            self._unsent.drop()
            self._stop(self._close_seconds)

    async def _send_some(self) -> None:
        if self.encoding.framing is SEPARATE:
            await self._send_apart(self._unsent.take())
            return
        chunks = self._unsent.take_some()
        await self._send(self.encoding.codec.join(chunks))
        self._unsent.sent(self._receiver, sum(map(len, chunks)))

    async def _send_apart(self, chunk: bytes) -> None:
        """Send the messages of a chunk one by one: the frames they are in the server makes again."""
        for message in unpacked(chunk):
            await self._send(message)
        self._unsent.sent(self._receiver, len(chunk))

    async def _send(self, message: bytes) -> None:
        if self.encoding.codec.binary:
            await self._websocket.send_bytes(message)
        else:
            await self._websocket.send_text(message.decode())

    # --- the end --------------------------------------------------------------------------------------------------

    def _stop(self, seconds: float) -> None:
        """Nothing more is given out or taken; after these seconds nothing more is waited for."""
        self.is_open = False
        self._unsent.changed.set()
        self._reading.set()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        self.is_open = False
        for task in self._tasks:
            task.cancel()
