"""This process in the cluster: healing, life and what is left behind."""

from __future__ import annotations

import asyncio

import pytest

from openline import node as node_module
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable, HubNotStarted, PayloadTooBig
from openline.options import ChannelOptions, Heartbeat, History, Limits
from openline.presence.memory import MemoryPresence
from openline.publication import Publication
from openline.testing import VirtualClock
from openline.topic import Topic
from tests.engine import KEPT, PLAIN, Engine, running, send
from tests.remote_broker import RemoteBroker
from tests.remote_presence import RemotePresence


async def test_a_lost_message_is_healed_before_anything_newer() -> None:
    """A message that the broker failed to carry comes from history, in its place, and nobody notices."""
    broker = RemoteBroker(MemoryBroker())
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"2"
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == [1, 2, 3]
        assert engine.node.counters.gaps_healed == 1


async def test_healing_against_live() -> None:
    """What is published while a gap is being healed waits for it, and comes once."""
    broker = RemoteBroker(MemoryBroker())
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()

        async def meanwhile() -> None:
            broker.before_history = broker.after_history = lambda: asyncio.sleep(0)
            await engine.publish("a", 4, 5)

        broker.lose = lambda message: isinstance(message, Publication) and message.data in (b"1", b"2")
        broker.after_history = meanwhile
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == [1, 2, 3, 4, 5]


async def test_one_joins_while_a_gap_is_healed() -> None:
    """A newcomer during healing gets everything after its reply, and nothing twice."""
    broker = RemoteBroker(MemoryBroker())
    async with running(KEPT, broker=broker) as engine:
        early, _ = engine.client("a")
        late, session = engine.client()
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"1"
        await engine.publish("a", 1)
        await engine.publish("a", 2)
        send(session, id=5, subscribe={"channel": "a", "recover": True})
        await engine.settle()
        await engine.publish("a", 3)
        await engine.settle()
        reply = next(message for message in late.messages() if message.get("id") == 5)
        got = [p["data"] for p in reply["subscribe"].get("publications", ())] + late.publications("a")
        assert got == [1, 2, 3]
        assert early.publications("a") == [1, 2, 3]


async def test_a_gap_that_history_lost_is_told() -> None:
    """Subscribers of a topic that missed what is gone are told 2500, and counted."""
    broker = RemoteBroker(MemoryBroker())
    options = ChannelOptions(history=History(size=1, seconds=300))
    async with running(options, broker=broker) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data in (b"1", b"2")
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == []
        assert wire.messages()[-1]["push"]["unsubscribe"]["code"] == 2500
        assert session.channels == frozenset()
        assert engine.node.counters.gaps_lost == 1
        assert engine.node.topic("a") is None


async def test_healing_waits_for_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the broker is away subscribers stay; the gap is healed when it is back."""
    monkeypatch.setattr(node_module, "HEAL_RETRY_SECONDS", 0)
    broker = RemoteBroker(MemoryBroker())
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"1"
        await engine.publish("a", 1, 2)
        broker.away = True
        await engine.settle()
        assert wire.publications("a") == []
        broker.away = False
        await engine.settle()
        assert wire.publications("a") == [1, 2]


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
    node = node_module.Node(
        MemoryBroker(), MemoryPresence(), limits=Limits(), heartbeat=Heartbeat(), clock=VirtualClock()
    )
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


async def test_healing_goes_on_whatever_went_wrong_with_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that fails for a reason nobody thought of leaves no topic silent for good."""
    monkeypatch.setattr(node_module, "HEAL_RETRY_SECONDS", 0)
    broker = RemoteBroker(MemoryBroker())
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()

        async def fail() -> None:
            broker.before_history = lambda: asyncio.sleep(0)
            raise ConnectionResetError("as the test wants")

        broker.before_history = fail
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"1"
        await engine.publish("a", 1, 2)
        await engine.settle()
        assert wire.publications("a") == [1, 2]


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
