"""This process in the cluster: its life, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from openline.brokers.base import Broker
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable, HubNotStarted, PayloadTooBig
from openline.node import FAILURE_SECONDS, Node
from openline.options import ChannelOptions, Heartbeat, Limits
from openline.presence.base import Presence
from openline.presence.memory import MemoryPresence
from openline.publication import Arrival, ClientInfo
from openline.testing import VirtualClock
from openline.topic import Topic
from tests.engine import KEPT, PLAIN, Engine, running, send
from tests.network import Network, NetworkBroker
from tests.remote_broker import RemoteBroker
from tests.remote_presence import RemotePresence


async def test_stopping_closes_every_session_with_3001() -> None:
    """A node that stops says so to all, and keeps none."""
    async with running(PLAIN) as engine:
        wires = [engine.client("a")[0] for _ in range(3)]
        node = engine.node
    assert [wire.close_code for wire in wires] == [3001] * 3
    assert not node.sessions
    assert not node.started


async def test_nothing_is_left_of_one_who_went() -> None:
    """Session, user, topic and following go with the connection."""
    async with running(KEPT) as engine:
        _, session = engine.client("a", "b")
        assert engine.node.sessions_of("u") == (session,)
        session.closed(1006, "")
        assert not engine.node.sessions
        assert engine.node.sessions_of("u") == ()
        assert engine.node.topic("a") is None


async def test_publishing_before_the_start_is_an_error() -> None:
    """A publication that nobody could get is not accepted in silence."""
    node = Node(MemoryBroker(), MemoryPresence(), limits=Limits(), heartbeat=Heartbeat(), clock=VirtualClock())
    with pytest.raises(HubNotStarted, match="not running"):
        await node.publish("a", b"1", PLAIN)


async def test_a_payload_beyond_the_limit_is_refused() -> None:
    """The error names both numbers, and nothing is sent."""
    async with running(PLAIN, limits=Limits(message_bytes=10)) as engine:
        wire, _ = engine.client("a")
        with pytest.raises(PayloadTooBig, match="11 bytes exceeds the limit of 10"):
            await engine.node.publish("a", b"x" * 11, PLAIN)
        await engine.settle()
        assert wire.publications("a") == []


async def test_tags_count_for_the_limit() -> None:
    """They travel with the payload to everybody; the error says that it is them."""
    async with running(PLAIN, limits=Limits(message_bytes=30)) as engine:
        await engine.node.publish("a", b"x" * 10, PLAIN, tags={"a": "x" * 13})
        with pytest.raises(PayloadTooBig, match="payload of 10 bytes with tags of 21 bytes exceeds the limit of 30"):
            await engine.node.publish("a", b"x" * 10, PLAIN, tags={"a": "я" * 7})


async def test_a_task_that_fails_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """No task dies in silence, and none takes the node with it."""

    async def fail() -> None:
        raise RuntimeError("as the test wants")

    async with running(PLAIN) as engine:
        engine.node.spawn(fail())
        await engine.settle()
        wire, _ = engine.client("a")
        await engine.publish("a", 1)
        await engine.settle()
        assert wire.publications("a") == [1]
    assert "as the test wants" in caplog.text


async def test_a_stop_takes_no_longer_than_its_bound(caplog: pytest.LogCaptureFixture) -> None:
    """What runs is cancelled then, and what it would begin meanwhile is not begun."""
    ended: list[str] = []

    async def later() -> None:
        ended.append("later")

    async def stubborn(engine: Engine) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            engine.node.spawn(later())
            ended.append("stubborn")

    async with running(PLAIN, limits=Limits(close_seconds=0.05)) as engine:
        engine.node.spawn(stubborn(engine))
        await engine.settle()
    assert ended == ["stubborn"]
    assert "has not ended in time" in caplog.text
    assert "does not begin" in caplog.text


async def test_a_start_that_fails_half_way_is_undone() -> None:
    """A broker that was started is stopped when presence could not be."""
    broker = MemoryBroker()

    with pytest.raises(BrokerUnavailable, match="as the test wants"):
        async with running(PLAIN, broker=broker, presence=RemotePresence(starts=False)):
            pass
    with pytest.raises(BrokerUnavailable, match="not started"):
        await broker.publish("a", b"1", history=None)


async def test_a_wire_that_fails_at_the_stop_harms_nobody_else() -> None:
    """Every session is closed, and presence and broker are stopped."""

    def fail() -> None:
        raise OSError("as the test wants")

    async with running(PLAIN) as engine:
        wires = [engine.client("a")[0] for _ in range(3)]
        wires[0].on_write = fail
    assert [wire.close_code for wire in wires] == [3001] * 3


async def test_a_node_runs_again_after_a_loop_that_was_killed() -> None:
    """What the old loop left behind is gone with it."""
    async with running(PLAIN) as engine:
        node = engine.node
        engine.client("a")
        node._topics["ghost"] = Topic("ghost", PLAIN)
    async with node.running():
        assert not node.sessions
        assert node.topic("ghost") is None


def test_a_session_whose_loop_was_killed_is_sent_nothing() -> None:
    """The app may have kept it: its descriptor was closed with the loop, and its number may be another connection's."""
    killed = asyncio.new_event_loop()
    opening = running(PLAIN)
    engine = killed.run_until_complete(opening.__aenter__())
    wire, session = engine.client("a")
    killed.run_until_complete(engine.settle())
    written = len(wire.chunks)
    killed.close()
    with pytest.raises(HubNotStarted, match="event loop was closed"):
        session.send("too late")
    with pytest.raises(HubNotStarted, match="event loop was closed"):
        session.disconnect()

    async def again() -> None:
        async with engine.node.running():
            assert not session.send("too late")
            session.disconnect()

    asyncio.run(again())
    assert len(wire.chunks) == written
    assert wire.close_code is None


# --- the start and the stop of a node among others --------------------------------------------------------------------


def node_on(broker: Broker, presence: Presence | None = None, limits: Limits | None = None) -> Node:
    """Make a node that stands on a broker."""
    presence = MemoryPresence() if presence is None else presence
    return Node(broker, presence, limits=limits or Limits(), heartbeat=Heartbeat(), clock=VirtualClock())


async def test_a_broker_that_cannot_be_reached_fails_the_start_and_leaves_nothing() -> None:
    """With its own message. The same node starts when the broker is there."""
    network = Network(VirtualClock().wall)
    node = node_on(network.broker())
    with network.outage():
        with pytest.raises(BrokerUnavailable, match="the store does not answer"):
            async with node.running():
                pytest.fail("it runs")
        assert not node.started
        assert list(node.problems) == ["the hub is not running"]
        assert (node.timers._ticks, node.places._expected, network.brokers) == ({}, set(), [])
    async with node.running():
        assert not node.problems


async def test_a_presence_that_fails_at_the_start_stops_the_broker() -> None:
    """And no other node has heard of this one, or waits for it."""
    network = Network(VirtualClock().wall)
    other, failing = node_on(network.broker()), node_on(network.broker(), RemotePresence(starts=False))
    async with other.running():
        with pytest.raises(BrokerUnavailable, match="as the test wants"):
            async with failing.running():
                pytest.fail("it runs")
        assert [broker.node for broker in network.brokers] == [other.id]
        assert len(other.cluster.nodes) == 1
        assert failing.broker.problem == "the broker is not started"


async def test_a_network_that_takes_no_hello_fails_the_start() -> None:
    """A node nobody knows of would be reached by no order. Broker and presence are stopped."""

    class Silent(NetworkBroker):
        async def tell(self, word: bytes, node: str = "") -> None:
            raise BrokerUnavailable("nobody listens")

    network = Network(VirtualClock().wall)
    node = node_on(Silent(network))
    with pytest.raises(BrokerUnavailable, match="nobody listens"):
        async with node.running():
            pytest.fail("it runs")
    assert network.brokers == []
    assert node.presence.problem


async def test_problems_are_those_of_now() -> None:
    """Before the start, while the broker or presence is away, and when all is well."""
    network, presence = Network(VirtualClock().wall), RemotePresence()
    node = node_on(network.broker(), presence)
    assert list(node.problems) == ["the hub is not running"]
    async with node.running():
        assert not node.problems
        with network.outage():
            presence.away = True
            assert list(node.problems) == ["the store does not answer", "the test has taken presence away"]
            presence.away = False
            assert list(node.problems) == ["the store does not answer"]
        assert not node.problems
    assert list(node.problems) == ["the hub is not running"]


async def test_a_stop_says_goodbye_to_the_other_nodes() -> None:
    """Nobody waits for its lease to run out; and nothing of it is said after that."""
    network = Network(VirtualClock().wall)
    staying, going = node_on(network.broker()), node_on(network.broker())
    async with staying.running():
        async with going.running():
            both = (staying.cluster, going.cluster)
            await asyncio.wait_for(_until(lambda: all(len(cluster.nodes) == 2 for cluster in both)), 5)
            network.told.clear()
        await asyncio.wait_for(_until(lambda: len(staying.cluster.nodes) == 1), 5)
        assert [msgspec.msgpack.decode(word)["type"] for word, _ in network.told] == ["bye"]


async def test_a_stop_while_the_broker_is_away_is_a_stop(caplog: pytest.LogCaptureFixture) -> None:
    """The others find out by themselves; nothing is said of tasks that were not begun."""
    network = Network(VirtualClock().wall)
    node = node_on(network.broker())
    async with node.running():
        network.is_away = True
    assert not node.started
    assert caplog.messages == []


async def test_a_node_has_another_name_each_time_it_runs() -> None:
    """What is on its way to the one before is not for it."""
    node = node_on(Network(VirtualClock().wall).broker())
    names = set()
    for _ in range(2):
        async with node.running():
            names.add(node.id)
            assert node.id.isalnum()
    assert len(names) == 2


async def test_what_presence_finds_out_is_announced() -> None:
    """A node that died said nothing of its clients' leaving: presence does, through the node."""
    presence = RemotePresence()
    options = ChannelOptions(presence=True, join_leave=True)
    async with running(options, broker=Network(VirtualClock().wall).broker(), presence=presence) as engine:
        wire, session = engine.client()
        await engine.settle()
        send(session, id=5, subscribe={"channel": "a", "join_leave": True})
        await engine.settle()
        presence.announce("a", Arrival(ClientInfo("ann", "gone"), joined=False))
        await engine.settle()
        pushes = [message.get("push", {}) for message in wire.messages()]
        assert [push["leave"]["info"]["client"] for push in pushes if "leave" in push] == ["gone"]


async def _until(holds: Callable[[], bool]) -> None:
    """Let the event loop go round until something holds."""
    while not holds():  # noqa: ASYNC110  # nobody tells
        await asyncio.sleep(0)


async def test_a_publication_that_failed_is_a_problem_until_one_succeeds() -> None:
    """Or for ten seconds: a server that is full, or lacks its replicas, answers everything else."""
    broker, clock = RemoteBroker(MemoryBroker()), VirtualClock()
    async with running(KEPT, broker=broker, clock=clock) as engine:
        for seconds in (0, FAILURE_SECONDS + 1):
            broker.away = True
            with pytest.raises(BrokerUnavailable):
                await engine.publish("a", 1)
            assert any("publishing failed" in problem for problem in engine.node.problems)
            broker.away = False
            await clock.advance(seconds)
            if not seconds:
                await engine.publish("a", 1)
            assert not any("publishing failed" in problem for problem in engine.node.problems)
