"""One master: its line is there again by itself whenever it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openline.valkey.address import ValkeyAddress
from openline.valkey.master import Master
from openline.valkey.words import pack
from tests.engines.valkey import ValkeyServer


@asynccontextmanager
async def kept(url: str) -> AsyncIterator[tuple[Master, asyncio.Event]]:
    """Keep a line to a server; the event is set with each change."""
    address, changed = ValkeyAddress.parse(url), asyncio.Event()
    master = Master(
        address.endpoints[0], address, None, name="master", replicas=0, changed=lambda connected: changed.set()
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(master.keep())
        yield master, changed
        master.leave()


def has_line(master: Master) -> bool:
    """Tell whether there is a line now."""
    return master.line is not None


async def test_a_lost_line_is_made_anew() -> None:
    """What is wrong is told meanwhile, and no more after."""
    with ValkeyServer() as server:
        async with asyncio.timeout(10), kept(server.url) as (master, changed):
            await changed.wait()
            first = master.line
            assert first is not None
            changed.clear()
            server.kill()
            await changed.wait()
            assert not has_line(master)
            assert str(server.port) in master.problem
            await asyncio.to_thread(server.start)
            while not has_line(master):
                changed.clear()
                await changed.wait()
            again = master.line
            assert again is not None
            assert again is not first
            assert not master.problem
            assert await again.call(pack(("PING",)), asyncio.get_running_loop().time() + 5) == b"PONG"


async def test_who_is_not_let_in_is_told_apart() -> None:
    """Trying again does not help there, and whoever starts need not wait."""
    with ValkeyServer(password="right") as server:
        async with asyncio.timeout(10), kept(server.url.replace("right", "wrong")) as (master, changed):
            await changed.wait()
            assert master.denied
            assert "does not let us in" in master.problem


async def test_leaving_ends_the_line(valkey: ValkeyServer) -> None:
    """A server that is no master any more is let go of at once."""
    async with asyncio.timeout(10), kept(valkey.url) as (master, changed):
        await changed.wait()
        line = master.line
        assert line is not None
    assert not line.usable
    assert master.line is None
