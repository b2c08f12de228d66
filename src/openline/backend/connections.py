"""The connections to a back end: each kept for the next request, the newest first.

Invariants of this file:

1. A connection is kept only if its answer was read to the end, and not a byte came after it. One byte that nobody asked
   for ends it: what stands there would be taken for the next answer, which is another user's.
2. What is held of an answer is bounded, however fast it comes.

What no client of HTTP/1.1 can tell is a second answer that comes after the next request went out.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, cast, final

import h11
import httpx2

#: Shorter than servers keep an idle connection: one that is closed as it is used again costs a request.
IDLE_SECONDS: Final = 3.0
#: The largest head of an answer.
_HEAD_BYTES: Final = 65_536
#: So much is taken from the network before any of it is read.
_HELD_BYTES: Final = 65_536
#: Seconds until the next address of a name is tried beside the one before.
_NEXT_ADDRESS_SECONDS: Final = 0.25


class Unconnected(Exception):
    """There is no connection; the message says why."""


class Broken(Exception):
    """A connection broke, or what came over it is no HTTP; the message repeats nothing of it."""


class Unsendable(Exception):
    """A header of a request can be none."""


class Head(NamedTuple):
    """The head of an answer; the names of its headers are in lower case."""

    status: int
    headers: list[tuple[bytes, bytes]]


class Server(NamedTuple):
    """Whom a connection leads to."""

    host: str
    port: int
    is_secure: bool


@final
class Connection(asyncio.Protocol):
    """One connection: a request, its answer, and then the next."""

    def __init__(self) -> None:
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._is_asked = self._is_ended = False
        self._held_bytes = 0

    # --- for the loop ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer; what nobody asked for ends the connection."""
        if not self._is_asked:
            self.abort()
            return
        self._parser.receive_data(data)
        self._held_bytes += len(data)
        if self._held_bytes > _HELD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> None:
        """Hear that nothing more will come."""
        self._end()

    def connection_lost(self, error: Exception | None) -> None:
        """Hear that the connection is gone."""
        if error is None:
            self._end()
        self._is_ended = True
        self._lost.set()
        self._arrived.set()

    def _end(self) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._parser.receive_data(b"")
            self._arrived.set()

    # --- for who lends it -----------------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """Tell whether it still stands, and nothing has come that nobody asked for."""
        if self._is_ended or self._transport is None or self._transport.is_closing():
            return False
        return not _is_readable(self._transport.get_extra_info("socket").fileno())

    def rest(self) -> bool:
        """Make ready for the next request; say whether there may be one."""
        self._is_asked = False
        done = self._parser.our_state is h11.DONE and self._parser.their_state is h11.DONE
        if self._is_ended or not done or self._parser.trailing_data != (b"", False):
            return False
        self._parser.start_next_cycle()
        return True

    def abort(self) -> None:
        """Close it at once."""
        self._is_ended = True
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        """Wait until it is gone."""
        await self._lost.wait()

    # --- for who asks ---------------------------------------------------------------------------------------------

    async def post(self, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> Head:
        """Send a request; give the head of its answer.

        Raises:
            Broken: there is none.
            Unsendable: nothing was sent.
        """
        assert self._transport is not None, "it is lent once it stands"  # noqa: S101
        length = (b"content-length", b"%d" % len(body))
        try:
            request = h11.Request(method=b"POST", target=target, headers=[*headers, length])
            events = (request, h11.Data(body), h11.EndOfMessage())
            parts = [self._parser.send(event) or b"" for event in events]
        except h11.LocalProtocolError:
            raise Unsendable from None
        self._is_asked = True
        self._transport.write(b"".join(parts))
        while not isinstance(event := await self._event(), h11.Response):
            pass  # what a server may say before its answer
        return Head(event.status_code, list(event.headers))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body of the answer, part by part.

        Raises:
            Broken: it is cut off.
        """
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async def _event(self) -> Any:
        while True:
            try:
                event = self._parser.next_event()
            except h11.RemoteProtocolError:
                reason = "the connection broke" if self._is_ended else "it answered what is no HTTP"
                raise Broken(reason) from None
            if isinstance(event, h11.ConnectionClosed):
                raise Broken("the connection broke")
            if event is not h11.NEED_DATA:
                return event
            if self._is_ended:
                raise Broken("the connection broke")
            self._arrived.clear()
            self._held_bytes = 0
            if self._transport is not None and not self._transport.is_reading():
                self._transport.resume_reading()
            await self._arrived.wait()


@final
class Connections:
    """Connections to any number of servers.

    Args:
        limit: in use at once; past it, whoever asks for one waits for its turn.
    """

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)
        self._context = httpx2.create_ssl_context()
        self._context.set_alpn_protocols(["http/1.1"])
        self._is_closed = False
        #: By server; each with when it was used last, the newest at the end.
        self._idle: dict[Server, deque[tuple[float, Connection]]] = {}

    @asynccontextmanager
    async def lend(self, server: Server) -> AsyncIterator[Connection]:
        """Lend a connection for one request.

        Raises:
            Unconnected: there is none to be had.
        """
        async with self._places:
            idle = self._idle.setdefault(server, deque())
            connection = _newest(idle) or await self._open(server)
            try:
                yield connection
            finally:
                if connection.rest() and not self._is_closed:
                    idle.append((time.monotonic(), connection))
                else:
                    connection.abort()
            while idle and idle[0][0] < time.monotonic() - IDLE_SECONDS:
                idle.popleft()[1].abort()

    async def _open(self, server: Server) -> Connection:
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {}
        if isinstance(loop, asyncio.BaseEventLoop):  # uvloop tries one address after the other
            options["happy_eyeballs_delay"] = _NEXT_ADDRESS_SECONDS
        context = self._context if server.is_secure else None
        try:
            _, connection = await loop.create_connection(Connection, server.host, server.port, ssl=context, **options)
        except (OSError, UnicodeError) as error:
            raise Unconnected(str(error) or type(error).__name__) from None
        return connection

    async def close(self) -> None:
        """Close those that nobody uses, and each that is used once it is not."""
        self._is_closed = True
        for idle in self._idle.values():
            while idle:
                connection = idle.pop()[1]
                connection.abort()
                await connection.closed()


def _newest(idle: deque[tuple[float, Connection]]) -> Connection | None:
    """Take the newest connection that may be used again; what is found not to be is closed."""
    while idle:
        used, connection = idle.pop()
        if used >= time.monotonic() - IDLE_SECONDS and connection.is_quiet():
            return connection
        connection.abort()
    return None


def _is_readable(descriptor: int) -> bool:
    """Tell whether the network holds something that was not taken yet, or the end."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
