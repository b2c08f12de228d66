"""ValkeyBroker keeps the contract of every broker: on Valkey, on Redis and on a cluster, and when these fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from openline.brokers.base import Broker
from openline.brokers.valkey import ValkeyBroker
from openline.testing.brokers import BROKER_CHECKS, BrokerCheck, BrokerNodes
from openline.valkey.address import ValkeyAddress
from tests.cut import cutter
from tests.engines.valkey import ValkeyCluster, ValkeyServer

#: Ages in the checks: as short as they can be told from a few milliseconds of a busy machine.
AGE_SECONDS = 0.3

Factory = Callable[[], AbstractAsyncContextManager[BrokerNodes]]


def brokers(*urls: str, idempotency_seconds: float = 300) -> list[Broker]:
    """Make a broker for each URL."""
    return [ValkeyBroker(ValkeyAddress.parse(url), idempotency_seconds=idempotency_seconds) for url in urls]


def split(*, needs: bool) -> list[BrokerCheck]:
    """Give the checks that need a server of their own to fail, or the others."""
    failing = ("outage", "cut", "lose")
    return [check for check in BROKER_CHECKS if (check.needs in failing) is needs]


@pytest.fixture(params=["valkey", "redis", "valkey_cluster"])
def shared(request: pytest.FixtureRequest) -> Factory:
    """Nodes on servers that all tests share."""
    server: ValkeyServer | ValkeyCluster = request.getfixturevalue(request.param)

    @asynccontextmanager
    async def nodes() -> AsyncIterator[BrokerNodes]:
        yield BrokerNodes(brokers=brokers(server.url, server.url, server.url), age_seconds=AGE_SECONDS)

    return nodes


@pytest.mark.parametrize("check", split(needs=False), ids=str)
async def test_contract(check: BrokerCheck, shared: Factory) -> None:
    """Every guarantee that shared servers can be asked for."""
    await check(shared)


async def test_keys_are_forgotten_in_time(valkey: ValkeyServer) -> None:
    """What is said of idempotency keys and their time, on a broker that remembers them shortly."""

    @asynccontextmanager
    async def nodes() -> AsyncIterator[BrokerNodes]:
        made = brokers(valkey.url, valkey.url, idempotency_seconds=AGE_SECONDS * 2)
        yield BrokerNodes(brokers=made, idempotency_seconds=AGE_SECONDS * 2)

    (check,) = [check for check in BROKER_CHECKS if check.needs == "idempotency_seconds"]
    await check(nodes)


@asynccontextmanager
async def lonely_nodes() -> AsyncIterator[BrokerNodes]:
    """Nodes on a master of their own with a replica, that can be cut off from it, and made to lose what it had."""
    with ValkeyServer() as master, ValkeyServer(replica_of=master) as replica:
        async with cutter(master.port) as first, cutter(master.port) as second:
            lines = (first, second)
            made = brokers(*(f"valkey://127.0.0.1:{line.port}?timeout=1" for line in lines))

            @asynccontextmanager
            async def cut(broker: Broker) -> AsyncIterator[None]:
                line = lines[made.index(broker)]
                line.cut()
                try:
                    yield
                finally:
                    line.mend()

            @asynccontextmanager
            async def outage() -> AsyncIterator[None]:
                master.freeze()
                try:
                    yield
                finally:
                    master.thaw()

            # From here on what is written is on the master alone.
            replica.freeze()
            master.drop_replicas()

            async def lose(channel: str) -> None:
                await asyncio.to_thread(_promote, master, replica)
                for line in lines:
                    line.turn_to(replica.port)
                    line.drop()

            yield BrokerNodes(
                brokers=made, age_seconds=AGE_SECONDS, deadline_seconds=4, outage=outage, cut=cut, lose=lose
            )


def _promote(master: ValkeyServer, replica: ValkeyServer) -> None:
    master.kill()
    replica.thaw()
    replica.call("REPLICAOF", "NO", "ONE")


@pytest.mark.parametrize("check", split(needs=True), ids=str)
async def test_contract_while_the_server_fails(check: BrokerCheck) -> None:
    """What has to hold when connections, nodes and the server fail."""
    await check(lonely_nodes)
