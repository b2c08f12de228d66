"""NatsBroker on a cluster of three NATS servers, each stream kept by all of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest

from openline.brokers.nats import NatsBroker
from openline.errors import BrokerUnavailable
from openline.jetstream.address import NatsAddress
from openline.options import History
from openline.publication import Position
from openline.testing.broker_stage import Node, data_of
from openline.testing.brokers import BROKER_CHECKS, BrokerCheck, BrokerNodes
from tests.engines.nats import NatsServer
from tests.engines.ports import HeldPort

KEPT = History(size=1000, seconds=3600)

#: Those in which the nodes, each at a server of its own, have to agree. Those that publish without history right after
#: following are not among them: of that a server may hear a moment after `follow` has returned, as its text says.
CHECKS = {
    "a_key_is_published_once_however_many_try",
    "many_versions_at_once_never_go_back",
    "no_position_is_given_twice_however_many_publish",
    "a_page_and_its_top_are_of_one_moment",
    "a_stream_is_born_when_it_is_first_read",
    "forget_drops_the_publications_only",
    "many_tellers_are_each_heard_in_their_order",
}


@pytest.fixture(scope="module")
def servers() -> Iterator[list[NatsServer]]:
    """Three servers that know each other; they lead streams a few seconds after they were started."""
    with ExitStack() as stack:
        ports = [HeldPort() for _ in range(3)]
        for port in ports:
            stack.callback(port.close)
        routes = ", ".join(f'"nats://127.0.0.1:{port.number}"' for port in ports)
        members = [
            NatsServer(options=[f'cluster {{ name: c, host: "127.0.0.1", port: {port.number}, routes: [{routes}] }}'])
            for port in ports
        ]
        for server in members:
            stack.callback(server.close)
            server.start()
        yield members


def broker_at(server: NatsServer, prefix: str) -> NatsBroker:
    """Make a broker whose first server is this one; it learns of the others."""
    address = NatsAddress.parse(f"{server.url}?timeout=4&replicas=3&prefix={prefix}")
    return NatsBroker(address, idempotency_seconds=1)


async def publish_in_time(broker: NatsBroker, data: bytes) -> Position:
    """Publish once somebody leads the stream: after a start, and after a server was lost, that takes seconds."""
    async with asyncio.timeout(25):
        while True:
            try:
                return await broker.publish("a", data, history=KEPT, idempotency_key=data.decode())
            except BrokerUnavailable:
                await asyncio.sleep(0.1)


@asynccontextmanager
async def running(servers: list[NatsServer]) -> AsyncIterator[list[NatsBroker]]:
    """Run a broker at each server, once they keep streams."""
    prefix = f"test-{secrets.token_hex(6)}"
    async with AsyncExitStack() as stack:
        brokers = [broker_at(server, prefix) for server in servers]
        for broker in brokers:
            await start_in_time(broker)
            stack.push_async_callback(broker.stop)
        await publish_in_time(brokers[0], b"first")
        yield brokers


async def start_in_time(broker: NatsBroker) -> None:
    """Start a broker once its server has found the others."""
    async with asyncio.timeout(25):
        while True:
            try:
                await broker.start("node", None)
            except BrokerUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


@pytest.mark.parametrize("check", [check for check in BROKER_CHECKS if check.name in CHECKS], ids=str)
async def test_the_contract_holds_between_servers(check: BrokerCheck, servers: list[NatsServer]) -> None:
    """Each node talks to another server than the others do."""
    async with running(servers):
        pass

    @asynccontextmanager
    async def nodes() -> AsyncIterator[BrokerNodes]:
        prefix = f"check-{secrets.token_hex(6)}"
        yield BrokerNodes(brokers=[broker_at(server, prefix) for server in servers], idempotency_seconds=1)

    await check(nodes)


async def test_what_is_kept_is_heard_at_every_server(servers: list[NatsServer]) -> None:
    """From the moment `follow` returned, whole, in the order of the offsets, whoever publishes."""
    async with running(servers), AsyncExitStack() as stack:
        prefix = f"test-{secrets.token_hex(6)}"
        nodes = [Node(broker_at(server, prefix), f"n{number}", 20) for number, server in enumerate(servers)]
        for node in nodes:
            await node.start()
            stack.push_async_callback(node.stop)
        for node in nodes:
            await node.follow("a")
        for number in range(30):
            await nodes[number % 3].publish("a", b"%d" % number, KEPT)
        for node in nodes:
            heard = await node.wait("a", b"29")
            assert data_of(heard) == [b"%d" % number for number in range(30)]


async def test_nothing_is_lost_when_a_server_is(servers: list[NatsServer]) -> None:
    """Whichever it is: what was confirmed is there, in one chain and one epoch, and the next one follows."""
    async with running(servers) as brokers:
        given = [await publish_in_time(broker, b"%d" % number) for number, broker in enumerate(brokers)]
        servers[0].kill()
        given += [await publish_in_time(broker, b"later %d" % number) for number, broker in enumerate(brokers)]
        servers[0].start()
        page = await brokers[1].history("a", history=KEPT)

    offsets = [one.offset for one in page.publications]
    assert {position.epoch for position in given} == {page.top.epoch}
    assert offsets[1:] == [position.offset for position in given]
    assert [one.previous for one in page.publications[1:]] == offsets[:-1]
