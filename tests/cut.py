"""A TCP proxy that breaks the line on purpose: between a client and a server, or between a node and its engine.

It knows no protocol above TCP. Three ways a line goes bad: a cut is the end of TCP with nothing said in the protocol
above it, as when a cable is pulled and the system notices; a swallowed line stays open and nothing arrives any more, as
when a firewall has forgotten it; a held one is a jam, and what was sent arrives once it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, final

_CHUNK_BYTES: Final = 65_536


@final
class Cutter:
    """A proxy to one port of this machine. Make it with `cutter`.

    Attributes:
        port: where it listens.
        refused: set when a connection was refused since the last cut.
        swallowed: set when bytes were thrown away since the last `swallow`.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.refused = asyncio.Event()
        self.swallowed = asyncio.Event()
        self._target = target
        self._line: Literal["whole", "refusing", "swallowing"] = "whole"
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[_Connection] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def connections(self) -> int:
        """How many connections go through it now, those whose bytes are swallowed included."""
        return len(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._line == "refusing":
            writer.transport.abort()
            self.refused.set()
            return
        connection = _Connection(self, writer, lost=self._line == "swallowing")
        self._connections.add(connection)
        self._idle.clear()
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            connection.writers.add(back)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(connection.carry(reader, back))
                directions.create_task(connection.carry(there, writer))
        except OSError:  # nobody listens there
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)
            if not self._connections:
                self._idle.set()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        self._line = "refusing"
        self.refused.clear()
        self.drop()

    def drop(self) -> None:
        """Break every connection, and let new ones through."""
        for connection in self._connections:
            connection.abort()
        self._flowing.set()

    def swallow(self) -> None:
        """Throw away what either side sends from now on, close nothing, and do the same to new connections.

        After `mend` new connections are whole; those of before stay open and silent for good.
        """
        self._line = "swallowing"
        self.swallowed.clear()
        for connection in self._connections:
            connection.lost = True

    def hold(self) -> None:
        """Keep back what either side sends, on new connections too; `mend` lets all of it arrive, in its order."""
        self._flowing.clear()

    def turn_to(self, target: int) -> None:
        """Let new connections go to another port; those there are stay."""
        self._target = target

    def mend(self) -> None:
        """Let connections through again, and let go of what was held."""
        self._line = "whole"
        self._flowing.set()


@final
class _Connection:
    """One connection through the proxy; `lost` once its bytes are thrown away."""

    def __init__(self, proxy: Cutter, writer: asyncio.StreamWriter, *, lost: bool) -> None:
        self.lost = lost
        self.writers = {writer}
        self._proxy = proxy

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await source.read(_CHUNK_BYTES):
                await self._proxy._flowing.wait()
                if self.lost:
                    self._proxy.swallowed.set()
                elif target.is_closing():
                    break
                else:
                    target.write(chunk)
                    await target.drain()
        if not self.lost:  # that one side ended does not get through either
            target.close()


@asynccontextmanager
async def cutter(target: int) -> AsyncIterator[Cutter]:
    """Run a proxy to a port until the block ends."""
    proxy = Cutter(target)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        try:
            yield proxy
        finally:
            proxy.cut()
            await proxy._idle.wait()
