"""Connections to a back end: kept, bounded, and let go of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from openline.backend import connections
from openline.backend.caller import Caller, Unanswered
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
    asking = caller()
    async with asking.running(), broken() as server:
        await asyncio.gather(ask(asking, server), ask(asking, server))
        assert asking._connections is not None
        assert [len(idle) for idle in asking._connections._idle.values()] == [0]


SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nof-ann\n"


@asynccontextmanager
async def echoing(surplus: bytes, *, later: bool = False) -> AsyncIterator[tuple[str, list[int], asyncio.Event]]:
    """Run a server that answers with what it is sent, and says more behind its first answer.

    Args:
        later: not in one go with the answer, but once the event is set; it is cleared as that was said.
    """
    connections: list[int] = []
    says = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                more = b"" if sum(connections) else surplus
                connections[-1] += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                if later and more:
                    await says.wait()
                    says.clear()
                writer.write(more)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", connections, says


@pytest.mark.parametrize("surplus", [SURPLUS, b"\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
async def test_what_stands_behind_an_answer_is_nobodys(surplus: bytes) -> None:
    """The connection is not used again: the next answer would be the one of the user before."""
    asking = caller(concurrency=1)
    async with asking.running(), echoing(surplus) as (url, connections, _):
        for user in (b"ann", b"bob", b"carol"):
            assert await asking.ask("rpc", url, user, (), repeatable=False) == user
        assert connections == [1, 2]


@pytest.mark.parametrize("is_noticed", [True, False], ids=["taken by the loop", "still in the network"])
async def test_what_comes_while_nothing_is_asked_is_nobodys(is_noticed: bool) -> None:
    """Whether the event loop has seen it or not."""
    asking = caller(concurrency=1)
    async with asking.running(), echoing(SURPLUS, later=True) as (url, connections, says):
        assert await asking.ask("rpc", url, b"ann", (), repeatable=False) == b"ann"
        assert asking._connections is not None
        ((_, idle),) = next(iter(asking._connections._idle.values()))
        if not is_noticed:
            assert idle._transport is not None
            idle._transport.pause_reading()
        says.set()
        async with asyncio.timeout(5):
            if is_noticed:
                await idle.closed()
            while says.is_set() or idle.is_quiet():  # noqa: ASYNC110  # the network tells nobody
                await asyncio.sleep(0.005)
        assert await asking.ask("rpc", url, b"bob", (), repeatable=False) == b"bob"
        assert connections == [1, 1]


async def test_an_answer_in_chunks_keeps_its_connection_and_one_to_the_end_of_it_does_not() -> None:
    """Both are read whole."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nann\r\n0\r\n\r\n"
    unbounded = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbob"
    asking = caller(concurrency=1)
    async with asking.running(), broken(chunked, unbounded) as server:
        answers = [await asking.ask("rpc", server.url, b"{}", (), repeatable=False) for _ in range(3)]
        assert answers == [b"ann", b"bob", b'{"result":{}}']
        assert server.connections == 2


async def test_a_large_answer_is_taken_piece_by_piece() -> None:
    """No more of it is held than is read; all of it comes."""
    body = bytes(range(256)) * 16_384
    journal = Journal(("rpc",))
    asking = Caller(journal, secret=None, timeout_seconds=5, retries=0, concurrency=1, answer_bytes=len(body))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with asking.running(), broken(answer) as server:
        assert await asking.ask("rpc", server.url, b"{}", (), repeatable=False) == body
        await ask(asking, server)
        assert server.connections == 1
