"""NatsPresence: the contract of every presence, on a real server that is stopped, frozen, emptied and cut off."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from openline.jetstream.address import NatsAddress
from openline.presence.base import Presence
from openline.presence.nats import NatsPresence
from openline.testing.presence import PRESENCE_CHECKS, PresenceCheck, PresenceNodes
from tests.cut import cutter
from tests.engines.nats import NatsServer

LOOK_SECONDS = 0.25


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    """A server that the tests of this file may do anything to."""
    with NatsServer() as server:
        yield server


@asynccontextmanager
async def nodes(server: NatsServer, *, frozen: bool = False) -> AsyncIterator[PresenceNodes]:
    """Yield three presences on names nobody used before, each on a line of its own to the server."""
    prefix = f"check-{secrets.token_hex(6)}"
    async with AsyncExitStack() as stack:
        lines = {}
        for _ in range(3):
            line = await stack.enter_async_context(cutter(server.port))
            address = NatsAddress.parse(f"nats://127.0.0.1:{line.port}?timeout=2&prefix={prefix}")
            presence = NatsPresence(address, look_seconds=LOOK_SECONDS)
            stack.push_async_callback(presence.stop)
            lines[id(presence)] = (presence, line)

        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            (server.freeze if frozen else server.stop)()
            try:
                yield
            finally:
                await asyncio.to_thread(server.thaw if frozen else server.start)

        @asynccontextmanager
        async def pause(presence: Presence) -> AsyncIterator[None]:
            line = lines[id(presence)][1]
            line.cut()
            try:
                yield
            finally:
                line.mend()

        async def crash(presence: Presence) -> None:
            lines[id(presence)][1].cut()

        async def forget() -> None:
            server.kill()
            await asyncio.to_thread(server.start)

        yield PresenceNodes(
            presences=[presence for presence, _ in lines.values()],
            node_lease_seconds=LOOK_SECONDS * 12,
            outage=outage,
            pause=pause,
            crash=crash,
            forget=forget,
        )


@pytest.mark.parametrize("check", PRESENCE_CHECKS, ids=str)
async def test_the_presence_keeps_the_contract(check: PresenceCheck, server: NatsServer) -> None:
    """Each guarantee, on three nodes; an outage is a server that is gone."""
    await check(lambda: nodes(server))


@pytest.mark.parametrize("check", [check for check in PRESENCE_CHECKS if check.needs == "outage"], ids=str)
async def test_it_keeps_it_with_a_frozen_server(check: PresenceCheck, server: NatsServer) -> None:
    """An outage may also be a server that takes everything and answers nothing."""
    await check(lambda: nodes(server, frozen=True))
