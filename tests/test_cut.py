"""The proxy that breaks lines on purpose breaks them as it says, and no other way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.cut import Cutter, cutter
from tests.engines.ports import HeldPort

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[Cutter]:
    """A proxy to a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            while chunk := await reader.read(1_024):
                writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, cutter(server.sockets[0].getsockname()[1]) as made:
        yield made


@asynccontextmanager
async def line(proxy: Cutter) -> AsyncIterator[Line]:
    """A client's connection through the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def echoed(through: Line, said: bytes) -> bytes:
    """Say something and give as many bytes of what comes back."""
    reader, writer = through
    writer.write(said)
    return await reader.readexactly(len(said))


async def ended(through: Line) -> bool:
    """Wait for the end of a connection; whether nothing came before it."""
    try:
        return await through[0].read() == b""
    except ConnectionResetError:
        return True


async def test_a_whole_line_carries_both_ways(proxy: Cutter) -> None:
    """Nobody notices a proxy that does nothing."""
    async with line(proxy) as one:
        assert await echoed(one, b"hello") == b"hello"
        assert proxy.connections == 1


async def test_a_cut_ends_every_connection_and_refuses_new_ones(proxy: Cutter) -> None:
    """Until it is mended."""
    async with line(proxy) as one:
        assert await echoed(one, b"hello") == b"hello"
        proxy.cut()
        assert await ended(one)
    async with line(proxy) as two:
        assert await ended(two)
        assert proxy.refused.is_set()
    proxy.mend()
    async with line(proxy) as three:
        assert await echoed(three, b"again") == b"again"


async def test_a_drop_lets_new_connections_through(proxy: Cutter) -> None:
    """Only those that were there end."""
    async with line(proxy) as one:
        assert await echoed(one, b"hello") == b"hello"
        proxy.drop()
        assert await ended(one)
    async with line(proxy) as two:
        assert await echoed(two, b"again") == b"again"


async def test_a_swallowed_line_stays_open_and_silent(proxy: Cutter) -> None:
    """For good: mending helps only those who connect anew, and a connection made meanwhile is silent too."""
    async with line(proxy) as one:
        assert await echoed(one, b"hello") == b"hello"
        proxy.swallow()
        one[1].write(b"lost")
        await proxy.swallowed.wait()
        async with line(proxy) as two:
            proxy.swallowed.clear()
            two[1].write(b"lost")
            await proxy.swallowed.wait()
            proxy.mend()
            async with line(proxy) as three:
                assert await echoed(three, b"again") == b"again"
            proxy.swallowed.clear()
            one[1].write(b"lost")
            await proxy.swallowed.wait()
            assert not one[0].at_eof()
            assert not two[0].at_eof()


async def test_what_was_held_arrives_when_it_is_mended(proxy: Cutter) -> None:
    """In its order and whole, on connections made meanwhile too."""
    async with line(proxy) as one, line(proxy) as two:
        assert await echoed(one, b"hello") == b"hello"
        proxy.hold()
        one[1].write(b"first ")
        await one[1].drain()
        one[1].write(b"second")
        two[1].write(b"third")
        proxy.mend()
        assert await one[0].readexactly(12) == b"first second"
        assert await two[0].readexactly(5) == b"third"


async def test_a_cut_ends_what_is_held(proxy: Cutter) -> None:
    """A jam keeps nobody from noticing that the cable is gone."""
    async with line(proxy) as one:
        assert await echoed(one, b"hello") == b"hello"
        proxy.hold()
        one[1].write(b"kept back")
        proxy.cut()
        assert await ended(one)


async def test_a_server_that_is_gone_ends_the_connection(proxy: Cutter) -> None:
    """As it would without a proxy."""
    nobody = HeldPort()
    proxy.turn_to(nobody.number)
    try:
        async with line(proxy) as one:
            assert await ended(one)
    finally:
        nobody.close()
