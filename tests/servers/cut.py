"""A TCP proxy that breaks the line on purpose: it stands between a client and a server and knows neither's protocol.

A cut is the end of TCP with nothing said in WebSocket, as when a cable is pulled and the system notices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, final

_CHUNK_BYTES: Final = 65_536


@final
class Cutter:
    """A proxy to one port of this machine. Make it with `cutter`.

    Attributes:
        port: where it listens.
        refused: set when a connection was refused since the last cut.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.refused = asyncio.Event()
        self._target = target
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            self.refused.set()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_carry(reader, back))
                directions.create_task(_carry(there, writer))
        finally:
            self._writers -= {writer, back}
            writer.transport.abort()
            back.transport.abort()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        self._refusing = True
        self.refused.clear()
        for writer in self._writers:
            writer.transport.abort()

    def turn_to(self, target: int) -> None:
        """Let new connections go to another port; those there are stay."""
        self._target = target

    def mend(self) -> None:
        """Let connections through again."""
        self._refusing = False


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(_CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
    target.close()


@asynccontextmanager
async def cutter(target: int) -> AsyncIterator[Cutter]:
    """Run a proxy to a port until the block ends."""
    proxy = Cutter(target)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        async with server:
            yield proxy
            proxy.cut()
    finally:
        server.close()
