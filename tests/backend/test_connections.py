"""Connections to a back end: kept, bounded, and let go of."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from openline.backend import connections
from openline.backend.caller import Caller, Unanswered
from openline.backend.connections import Connections
from openline.backend.journal import Journal
from tests.backend.test_caller import Broken, broken


def caller(concurrency: int = 4) -> Caller:
    """Give a caller of so many connections."""
    journal = Journal(("rpc",))
    return Caller(journal, secret=None, timeout_seconds=5, retries=0, concurrency=concurrency, answer_bytes=1000)


async def ask(caller: Caller, server: Broken) -> None:
    """Make one request."""
    await caller.ask("rpc", server.url, b"{}", (), repeatable=False)


async def test_one_after_the_other_uses_one_connection_of_each_server() -> None:
    """However many servers there are, and in whatever order they are asked."""
    asking = caller()
    async with asking.running(), broken() as one, broken() as other:
        for _ in range(5):
            await ask(asking, one)
            await ask(asking, other)
        assert (one.connections, other.connections) == (1, 1)


async def test_at_once_there_are_as_many_as_the_limit_and_they_are_used_again() -> None:
    """Who comes later waits for one of them."""
    asking = caller(concurrency=3)
    async with asking.running(), broken() as server:
        for _ in range(3):
            await asyncio.gather(*(ask(asking, server) for _ in range(10)))
        assert server.connections == 3


async def test_a_connection_that_broke_is_replaced() -> None:
    """Its place is not lost."""
    asking = caller(concurrency=1)
    async with asking.running(), broken(b"") as server:
        with pytest.raises(Unanswered):
            await ask(asking, server)
        for _ in range(3):
            await ask(asking, server)
        assert server.connections == 2


async def test_a_request_that_is_cancelled_gives_its_place_back() -> None:
    """As one whose time is over is."""
    never = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    asking = caller(concurrency=1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asking.running())
        silent = await stack.enter_async_context(await asyncio.start_server(stall, "127.0.0.1", 0))
        server = await stack.enter_async_context(broken())
        stack.callback(never.set)
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asking.ask("rpc", url, b"{}", (), repeatable=False), 0.05)
        await ask(asking, server)


async def test_those_that_nobody_needs_any_more_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd's connections go once it is gone: the oldest with each request that comes after."""
    monkeypatch.setattr(connections, "IDLE_SECONDS", -1)
    pool = Connections(4)
    async with pool.lend("http://127.0.0.1:1"), pool.lend("http://127.0.0.1:1"):
        pass
    assert not pool._idle["http://127.0.0.1:1"]
    await pool.close()
