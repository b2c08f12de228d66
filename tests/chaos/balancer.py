"""What clients and publishers connect to: a TCP balancer that leads each connection to the next node that lives.

No sticky sessions: who comes back is led to whichever node is next. It knows no protocol above TCP, buffers little, and
stops reading from a side while the other does not take more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast, final

_CONNECT_SECONDS: Final = 2


@final
class Balancer:
    """A balancer over ports of this machine. Make it with `balancer`.

    Attributes:
        port: where it listens.
        closed: whether it refuses everybody, as while the way to the nodes is down.
    """

    def __init__(self, ports: Callable[[], Sequence[int]]) -> None:
        self.port = 0
        self.closed = False
        self._ports = ports
        self._next = 0
        self._sides: set[_Side] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def drop(self) -> None:
        """Break every connection."""
        for side in tuple(self._sides):
            side.abort()

    def _accept(self) -> asyncio.Protocol:
        side = _Side(self)
        side.on_made = lambda: self._begin(side)
        return side

    def _begin(self, side: _Side) -> None:
        if self.closed:
            side.abort()
            return
        task = asyncio.get_running_loop().create_task(self._lead(side))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _lead(self, side: _Side) -> None:
        """Lead a connection to the next port that takes it."""
        ports = self._ports()
        loop = asyncio.get_running_loop()
        for _ in ports:
            self._next += 1
            port = ports[self._next % len(ports)]
            other = _Side(self)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await loop.create_connection(other.itself, "127.0.0.1", port)
            except (OSError, TimeoutError):
                continue
            if other.gone:  # a node that ends takes connections that nobody will serve
                continue
            if self.closed or side.gone:
                other.abort()
                break
            side.join(other)
            return
        side.abort()


@final
class _Side(asyncio.Protocol):
    """One of the two ends of a connection through the balancer."""

    def __init__(self, balancer: Balancer) -> None:
        self.peer: _Side | None = None
        self.gone = False
        self.on_made: Callable[[], None] | None = None
        self._balancer = balancer
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def itself(self) -> _Side:
        return self

    def join(self, other: _Side) -> None:
        self.peer, other.peer = other, self
        for side in (self, other):
            early, side._early = side._early, []
            for data in early:
                side.data_received(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._balancer._sides.add(self)
        self._balancer._empty.clear()
        if self.on_made is not None:
            self.on_made()

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)  # a request or a handshake: whoever connects waits for the answer to it
        elif self.peer._transport is not None:
            self.peer._transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self._balancer._sides.discard(self)
        if not self._balancer._sides:
            self._balancer._empty.set()
        if self.peer is not None and self.peer._transport is not None:
            if error is None:
                self.peer._transport.close()
            else:
                self.peer.abort()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None:
            self.peer.resume_reading()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


@asynccontextmanager
async def balancer(ports: Callable[[], Sequence[int]]) -> AsyncIterator[Balancer]:
    """Run a balancer until the block ends.

    Args:
        ports: of the nodes, living or not.
    """
    made = Balancer(ports)
    server = await asyncio.get_running_loop().create_server(made._accept, "127.0.0.1", 0, backlog=1024)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield made
        finally:
            made.closed = True
            made.drop()
            if made._tasks:
                await asyncio.wait(made._tasks, timeout=_CONNECT_SECONDS)
            made.drop()
            await made._empty.wait()
