"""The network the tests of several nodes stand on is a broker like any other: it keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from openline.brokers.base import Broker
from openline.testing import BROKER_CHECKS
from openline.testing.brokers import BrokerCheck, BrokerNodes
from tests.network import Network, NetworkBroker


def make(nodes: int) -> AbstractAsyncContextManager[BrokerNodes]:
    """Make a network of so many nodes, with everything that can happen to it."""

    @asynccontextmanager
    async def made() -> AsyncIterator[BrokerNodes]:
        moment = [1000.0]
        network = Network(lambda: moment[0], idempotency_seconds=10)

        async def advance(seconds: float) -> None:
            moment[0] += seconds

        async def lose(channel: str) -> None:
            await network.lose_everything()

        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            with network.outage():
                yield

        @asynccontextmanager
        async def cut(broker: Broker) -> AsyncIterator[None]:
            assert isinstance(broker, NetworkBroker)
            with broker.cut():
                yield

        yield BrokerNodes(
            brokers=[network.broker() for _ in range(nodes)],
            advance=advance,
            idempotency_seconds=10,
            lose=lose,
            outage=outage,
            cut=cut,
        )

    return made()


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("check", BROKER_CHECKS, ids=str)
async def test_the_network_keeps_the_contract(check: BrokerCheck, nodes: int) -> None:
    """Whatever the tests of several nodes find is then not the network's fault."""
    await check(lambda: make(nodes))
