"""The balancer leads each connection to the next node that lives, and carries what both sides say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from tests.chaos.balancer import Balancer, balancer
from tests.engines.ports import HeldPort

LARGE = b"x" * 4_000_000


@asynccontextmanager
async def named(name: bytes) -> AsyncIterator[int]:
    """Serve somebody who says its name and then gives back what it hears; give its port."""
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        with suppress(OSError):
            writer.write(name)
            while heard := await reader.read(65_536):
                writer.write(heard)
                await writer.drain()
        await end(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)


async def end(writer: asyncio.StreamWriter) -> None:
    """Close a connection, be it broken or not."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def ask(made: Balancer) -> bytes:
    """Connect, and give the name of who answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
    heard = await reader.readexactly(1)
    await end(writer)
    return heard


async def test_connections_go_to_the_nodes_in_turn_and_pass_over_the_dead() -> None:
    """A dead one costs nobody a connection."""
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(named(name)) for name in (b"a", b"b")]
        dead = HeldPort()
        stack.callback(dead.close)
        made = await stack.enter_async_context(balancer(lambda: (*ports, dead.number)))
        assert sorted([await ask(made) for _ in range(6)]) == [b"a"] * 3 + [b"b"] * 3


async def test_what_is_said_arrives_whole_in_both_directions() -> None:
    """Also what is said before the node has taken the connection, and more than a socket holds."""
    async with named(b"n") as port, balancer(lambda: (port,)) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(LARGE)
        assert await reader.readexactly(1 + len(LARGE)) == b"n" + LARGE
        await end(writer)


async def test_connections_are_dropped_and_refused_on_demand() -> None:
    """As when the way to the nodes is down; then new ones are let through."""
    async with named(b"n") as port, balancer(lambda: (port,)) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        assert await reader.readexactly(1) == b"n"
        made.closed = True
        made.drop()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        await end(writer)
        refused, writer = await asyncio.open_connection("127.0.0.1", made.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await refused.readexactly(1)
        await end(writer)
        made.closed = False
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        assert await reader.readexactly(1) == b"n"
        await end(writer)


async def test_where_no_node_lives_connections_are_closed() -> None:
    """Whoever connects comes back later."""
    dead = HeldPort()
    async with balancer(lambda: (dead.number,)) as made:
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        await end(writer)
    dead.close()
