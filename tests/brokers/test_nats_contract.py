"""NatsBroker: the contract of every broker, on a real server that is stopped, frozen, emptied and cut off."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from openline.brokers.base import Broker
from openline.brokers.nats import NatsBroker
from openline.jetstream.address import NatsAddress
from openline.testing.brokers import BROKER_CHECKS, BrokerCheck, BrokerNodes
from tests.cut import Cutter, cutter
from tests.engines.nats import NatsServer

KEY_SECONDS = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    """A server that the tests of this file may do anything to."""
    with NatsServer() as server:
        yield server


def address_of(port: int, prefix: str) -> NatsAddress:
    """Say where a server is, for a broker that gives up soon."""
    return NatsAddress.parse(f"nats://127.0.0.1:{port}?timeout=2&prefix={prefix}")


@asynccontextmanager
async def nodes(server: NatsServer, *, frozen: bool = False) -> AsyncIterator[BrokerNodes]:
    """Yield three brokers on names nobody used before, each on a line of its own to the server."""
    prefix = f"check-{secrets.token_hex(6)}"
    async with AsyncExitStack() as stack:
        lines = {}
        for _ in range(3):
            line = await stack.enter_async_context(cutter(server.port))
            broker = NatsBroker(address_of(line.port, prefix), idempotency_seconds=KEY_SECONDS)
            lines[id(broker)] = (broker, line)

        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            (server.freeze if frozen else server.stop)()
            try:
                yield
            finally:
                await asyncio.to_thread(server.thaw if frozen else server.start)

        @asynccontextmanager
        async def cut(broker: Broker) -> AsyncIterator[None]:
            line: Cutter = lines[id(broker)][1]
            line.cut()
            try:
                yield
            finally:
                line.mend()

        async def lose(channel: str) -> None:
            server.kill()
            shutil.rmtree(server.folder / "jetstream")
            await asyncio.to_thread(server.start)

        yield BrokerNodes(
            brokers=[broker for broker, _ in lines.values()],
            idempotency_seconds=KEY_SECONDS,
            outage=outage,
            cut=cut,
            lose=lose,
        )


@pytest.mark.parametrize("check", BROKER_CHECKS, ids=str)
async def test_the_broker_keeps_the_contract(check: BrokerCheck, server: NatsServer) -> None:
    """Each guarantee, on three nodes; an outage is a server that is gone."""
    await check(lambda: nodes(server))


@pytest.mark.parametrize("check", [check for check in BROKER_CHECKS if check.needs == "outage"], ids=str)
async def test_it_keeps_it_with_a_frozen_server(check: BrokerCheck, server: NatsServer) -> None:
    """An outage may also be a server that takes everything and answers nothing."""
    await check(lambda: nodes(server, frozen=True))
