"""A WebSocket held by an app's own route, through ASGI: what the fast wire does for everything that is not a hub.

Invariants of this file:

1. At most `_UNREAD_MESSAGES` messages wait for the app, and `_UNREAD_BYTES` save for the last of them; then reading
   stops until the app has taken them all.
2. `send` waits while the client does not read; when it returns or raises, nothing of the message is left behind.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final, final

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from openline.framing import whole_frame
from openline.wires.connection import Connection

Event = dict[str, Any]

_UNREAD_MESSAGES: Final = 32
_UNREAD_BYTES: Final = 65_536
_ping_numbers: Final = itertools.count(1)


@final
class Conversation(Connection):
    """The open socket of an ordinary route.

    Args:
        transport: an open one.
        connections: where the server counts its connections.
        events: where the app's `receive` takes from.
        config: uvicorn's, for the sizes and the keepalive.
        deflate: what was agreed on about compression.
        close_seconds: how long any close may take.
    """

    __slots__ = ("_awaited_pong", "_config", "_deflate", "_events", "_keepalive", "_unread_bytes", "_writable")

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: set[Any],
        *,
        events: asyncio.Queue[Event],
        config: Config,
        deflate: PerMessageDeflate | None,
        close_seconds: float,
    ) -> None:
        super().__init__(transport, connections, message_bytes=config.ws_max_size, close_seconds=close_seconds)
        self._deflate = deflate
        self._config = config
        self._events = events
        self._unread_bytes = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._awaited_pong: bytes | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._wait_to_ping()

    # --- what the app does ----------------------------------------------------------------------------------------

    async def send(self, message: str | bytes) -> None:
        """Send one message; wait first while the client is behind with reading.

        Raises:
            ClientDisconnected: the client is gone.
        """
        while self._is_full and self.is_open:
            await self._writable.wait()
        if not self.is_open:
            raise ClientDisconnected
        binary = not isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else bytes(message)
        if self._deflate is not None:
            frame = Frame(Opcode.BINARY if binary else Opcode.TEXT, payload)
            self._transport.write(frame.serialize(mask=False, extensions=[self._deflate]))
        else:
            self._transport.write(whole_frame(payload, binary=binary))

    def end(self, code: int, reason: str = "") -> None:
        """Close, and tell the app at once that there is nothing more to receive."""
        self.close(code, reason, deadline_seconds=self._close_seconds)
        self._tell_end()

    def taken(self) -> None:
        """The app took an event off the queue."""
        if self._events.empty():
            self._unread_bytes = 0
            self.resume_reading()

    def _extensions(self) -> list[Extension]:
        return [] if self._deflate is None else [self._deflate]

    # --- what the client does -------------------------------------------------------------------------------------

    def _take(self, payload: bytes, *, binary: bool) -> None:
        event: Event = {"type": "websocket.receive"}
        if binary:
            event["bytes"] = payload
        else:
            try:
                event["text"] = payload.decode()
            except UnicodeDecodeError:
                self.end(1007, "invalid UTF-8")
                return
        self._events.put_nowait(event)
        self._unread_bytes += len(payload)
        if self._unread_bytes > _UNREAD_BYTES or self._events.qsize() >= _UNREAD_MESSAGES:
            self.pause_reading()

    def _fail(self, parser: ServerProtocol) -> None:
        """Say what was wrong, once the app has had its chance to answer what was right before it."""
        if self._events.empty() or not self.is_open:
            super()._fail(parser)
        else:
            self.pause_reading()
            self._keep_unread(b"")
            self._set_deadline(self._close_seconds)

    def _ended(self, code: int, reason: str) -> None:
        self._stop_keepalive()
        self._writable.set()
        self._events.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})

    def pause_writing(self) -> None:
        """The transport's buffer is full: `send` waits."""
        super().pause_writing()
        self._writable.clear()

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        super().resume_writing()
        self._writable.set()

    def shutdown(self) -> None:
        """The server is about to end."""
        self.end(1012)

    # --- keepalive ------------------------------------------------------------------------------------------------

    def _wait_to_ping(self) -> None:
        if self._config.ws_ping_interval:
            loop = asyncio.get_running_loop()
            self._keepalive = loop.call_later(self._config.ws_ping_interval, self._ping)

    def _ping(self) -> None:
        if self._config.ws_ping_timeout is None:
            self._wait_to_ping()
            if self._is_full:
                return  # a client that reads nothing would only collect pings
        else:
            loop = asyncio.get_running_loop()
            self._keepalive = loop.call_later(self._config.ws_ping_timeout, self._no_pong)
        payload = b"%d" % next(_ping_numbers)
        self._awaited_pong = payload
        self._transport.write(bytes((0x89, len(payload))) + payload)

    def _ponged(self, payload: bytes) -> None:
        if payload == self._awaited_pong:
            self._awaited_pong = None
            self._stop_keepalive()
            self._wait_to_ping()

    def _no_pong(self) -> None:
        if self._is_paused:
            # The app is behind with reading, so the pong may be here unread: not the client's fault.
            self._wait_to_ping()
        else:
            self.end(1011, "keepalive ping timeout")

    def _stop_keepalive(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None
