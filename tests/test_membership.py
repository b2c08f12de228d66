"""Entering and leaving a channel, with a broker that waits: each race has its test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openline import codes
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable
from openline.options import ChannelOptions, History
from openline.publication import Arrival, Publication
from tests.engine import KEPT, Engine, RecordingWire, running, send
from tests.remote_broker import RemoteBroker
from tests.remote_presence import RemotePresence

PRESENT = ChannelOptions(history=History(size=100, seconds=300), presence=True, join_leave=True)

#: What a client is answered while the broker is away: it tries again by itself.
REFUSED_FOR_NOW = {"code": 100, "message": "internal server error", "temporary": True}


def remote() -> RemoteBroker:
    """A broker on a network."""
    return RemoteBroker(MemoryBroker())


def reply(wire: RecordingWire, identifier: int) -> dict[str, Any]:
    """Give the reply to a command."""
    return next(message for message in wire.messages() if message.get("id") == identifier)


async def test_published_while_history_is_read_is_in_the_reply() -> None:
    """What arrives between the reading and going live is in the reply, and not pushed again."""
    broker = remote()
    async with running(KEPT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()
        await engine.publish("a", 1)

        async def meanwhile() -> None:
            broker.after_history = lambda: asyncio.sleep(0)
            await engine.publish("a", 2)

        broker.after_history = meanwhile
        send(session, id=5, subscribe={"channel": "a", "recover": True})
        await engine.settle()
        await engine.publish("a", 3)
        await engine.settle()
        recovered = [publication["data"] for publication in reply(wire, 5)["subscribe"]["publications"]]
        assert recovered == [1, 2]
        assert wire.publications("a") == [3]


async def test_a_reply_that_covers_what_is_still_on_its_way() -> None:
    """History may know of more than has arrived: the late arrivals are dropped for the newcomer, not for the others."""
    broker = remote()
    async with running(KEPT, broker=broker) as engine:
        early, _ = engine.client("a")
        await engine.settle()
        broker.holding = True
        await engine.publish("a", 1, 2)
        late, session = engine.client()
        await engine.settle()
        send(session, id=5, subscribe={"channel": "a", "recover": True})
        await engine.settle()
        broker.holding = False
        broker.release()
        await engine.publish("a", 3)
        await engine.settle()
        assert [p["data"] for p in reply(late, 5)["subscribe"]["publications"]] == [1, 2]
        assert late.publications("a") == [3]
        assert early.publications("a") == [1, 2, 3]


async def test_without_recovery_the_position_covers_the_tail() -> None:
    """A plain subscribe starts where the stream stands when the reply is made, not when history was read."""
    broker = remote()
    async with running(KEPT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            broker.after_history = lambda: asyncio.sleep(0)
            await engine.publish("a", 1)

        broker.after_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        assert reply(wire, 5)["subscribe"]["offset"] == 1
        assert wire.publications("a") == []


async def test_a_client_that_goes_while_it_joins_leaves_nothing() -> None:
    """No topic, no presence and no following stays behind a connection that was lost half-way."""
    broker = remote()
    async with running(PRESENT, broker=broker) as engine:
        _, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            session.closed(1006, "")

        broker.before_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        assert await engine.node.presence.members("a") == {}
        assert engine.node.topic("a") is None
        assert not engine.node.sessions


async def test_a_broker_that_is_away_refuses_a_subscribe_for_now() -> None:
    """100: the client stays connected, keeps its other channels and tries again; nothing half-done stays."""
    broker = remote()
    async with running(PRESENT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            broker.before_history = lambda: asyncio.sleep(0)
            broker.away = True
            await broker.publish("b", b"1", history=None)

        broker.before_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        assert wire.messages()[-1] == {"id": 5, "error": REFUSED_FOR_NOW}
        assert wire.close_code is None
        assert engine.node.topic("a") is None
        assert await engine.node.presence.members("a") == {}


async def test_whoever_hears_of_a_join_finds_it_in_presence() -> None:
    """Presence comes before the announcement, and goes before the farewell."""
    async with running(PRESENT, broker=remote()) as engine:
        watcher, watching = engine.client()
        await engine.settle()
        send(watching, id=5, subscribe={"channel": "a", "join_leave": True})
        await engine.settle()
        seen: list[int] = []
        watcher.on_write = lambda: seen.append(_members(engine))
        _, other = engine.client("a")
        await engine.settle()
        other.closed(1006, "")
        await engine.settle()
        kinds = [next(iter(m["push"].keys() - {"channel"})) for m in watcher.messages() if "push" in m]
        assert kinds == ["join", "join", "leave"]
        assert seen[-2:] == [2, 1]


def _members(engine: Engine) -> int:
    work = engine.node.presence.members("a")
    try:
        work.send(None)
    except StopIteration as done:
        return len(done.value)
    raise AssertionError("memory presence waited")


async def test_leaving_and_coming_back_while_the_broker_is_slow() -> None:
    """A late unfollow does not undo the follow of one who came meanwhile."""
    async with running(KEPT, broker=remote()) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        session.receive(b'{"id":8,"unsubscribe":{"channel":"a"}}\n{"id":9,"subscribe":{"channel":"a"}}')
        await engine.settle()
        await engine.publish("a", 1)
        await engine.settle()
        assert wire.publications("a") == [1]


async def test_two_join_at_once() -> None:
    """Joins of two sessions into a new topic interleave, and both get all that comes after."""
    async with running(KEPT, broker=remote()) as engine:
        wires = [engine.client("a")[0] for _ in range(5)]
        await engine.settle()
        await engine.publish("a", 1)
        await engine.settle()
        assert [wire.publications("a") for wire in wires] == [[1]] * 5


async def test_subscribing_twice_at_once_is_refused_once() -> None:
    """While one subscribe is under way a second one, by the server, is an error; the first goes on."""
    async with running(KEPT, broker=remote()) as engine:
        wire, session = engine.client()
        await engine.settle()
        session.receive(b'{"id":8,"subscribe":{"channel":"a"}}\n{"id":9,"subscribe":{"channel":"a"}}')
        await engine.settle()
        assert "subscribe" in reply(wire, 8)
        assert reply(wire, 9)["error"]["code"] == 105
        assert session.channels == {"a"}


async def test_a_newcomer_of_a_new_epoch_shows_the_others_that_their_stream_is_lost() -> None:
    """Whoever joins learns first that a stream began anew; those who stood in the old one are told at once."""
    broker = remote()
    async with running(KEPT, broker=broker) as engine:
        early, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        await engine.settle()
        broker.inner = MemoryBroker()
        await broker.inner.start(broker.node, broker)
        late, session = engine.client()
        await engine.settle()
        await broker.inner.follow("a")
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        await engine.publish("a", 2)
        await engine.settle()
        assert early.messages()[-1]["push"]["unsubscribe"]["code"] == 2500
        assert late.publications("a") == [2]


async def test_an_announcement_that_fails_is_no_second_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The subscription stands and was answered; that nobody heard of it is logged."""
    broker = remote()
    async with running(PRESENT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            broker.away = True

        broker.after_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        broker.away = False
        assert [message for message in wire.messages() if message.get("id") == 5] == [reply(wire, 5)]
        assert "subscribe" in reply(wire, 5)
        assert session.channels == {"a"}
    assert "taken the broker away" in caplog.text


async def test_one_who_comes_right_back_is_in_presence() -> None:
    """A slow "remove" of the old subscription does not undo the "add" of the new one."""
    presence = RemotePresence()
    async with running(PRESENT, broker=remote(), presence=presence) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        presence.removing.clear()
        subscription = session.subscription("a")
        assert subscription is not None
        session.lose(subscription, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        await engine.settle()
        send(session, id=9, subscribe={"channel": "a"})
        await engine.settle()
        presence.removing.set()
        await engine.settle()
        assert "subscribe" in reply(wire, 9)
        assert set(await presence.members("a")) == {session.id}


async def test_a_leave_does_not_overtake_its_join() -> None:
    """One that goes while its coming is being announced is announced first, then taken leave of."""
    broker = remote()
    gate = asyncio.Event()
    announce = broker.announce

    async def slow(channel: str, arrival: Arrival) -> None:
        if arrival.joined:
            await gate.wait()
        await announce(channel, arrival)

    async with running(PRESENT, broker=broker) as engine:
        watcher, watching = engine.client()
        await engine.settle()
        send(watching, id=5, subscribe={"channel": "a", "join_leave": True})
        await engine.settle()
        broker.announce = slow  # type: ignore[method-assign]  # only the order is slow
        _, other = engine.client("a")
        await engine.settle()
        other.closed(1006, "")
        await engine.settle()
        gate.set()
        await engine.settle()
        kinds = [next(iter(m["push"].keys() - {"channel"})) for m in watcher.messages() if "push" in m]
        assert kinds == ["join", "join", "leave"]


async def test_a_join_that_the_server_calls_off_comes_to_nothing() -> None:
    """Taking somebody out of a channel it is on its way into is not lost between the two."""
    broker = remote()
    async with running(PRESENT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            await session.unsubscribe("a")

        broker.before_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        assert reply(wire, 5)["error"] == {"code": 103, "message": "unsubscribed by the server"}
        assert session.channels == frozenset()
        assert await engine.node.presence.members("a") == {}
        assert engine.node.topic("a") is None


async def test_what_was_read_before_a_gap_was_given_up_is_not_believed() -> None:
    """The topic went on without a tail meanwhile: the newcomer is sent away to come again, not left with a hole."""
    broker = remote()
    options = ChannelOptions(history=History(size=1, seconds=300))
    async with running(options, broker=broker) as engine:
        _, _ = engine.client("a")
        late, session = engine.client()
        await engine.settle()
        await engine.publish("a", 1)
        await engine.settle()

        async def meanwhile() -> None:
            broker.after_history = lambda: asyncio.sleep(0)
            broker.lose = lambda message: isinstance(message, Publication) and message.data in (b"2", b"3")
            await engine.publish("a", 2, 3, 4)
            await engine.settle()

        broker.after_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        await engine.settle()
        assert late.close_code == 3010


async def test_presence_that_is_away_leaves_no_topic_behind() -> None:
    """Giving a join up never fails half-way: what could not be undone is logged."""
    presence, broker = RemotePresence(), remote()
    async with running(PRESENT, broker=broker, presence=presence) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            presence.away = True
            raise BrokerUnavailable("the test has taken the broker away")

        broker.before_history = meanwhile
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        assert wire.messages()[-1] == {"id": 5, "error": REFUSED_FOR_NOW}
        assert engine.node.topic("a") is None
        presence.away = False


async def test_a_session_taken_out_and_put_back_at_once_is_in_presence() -> None:
    """What counts is the order of the decisions, not which task runs first."""
    presence = RemotePresence()
    async with running(PRESENT, broker=remote(), presence=presence) as engine:
        engine.client("a")
        _, session = engine.client("a")
        await engine.settle()
        subscription = session.subscription("a")
        assert subscription is not None
        session.lose(subscription, codes.UNSUBSCRIBED_BY_SERVER)
        await session.subscribe("a")
        await engine.settle()
        assert session.id in await presence.members("a")


async def test_a_driver_that_fails_ends_the_connection_and_leaves_nothing() -> None:
    """An error that no broker should raise is 3004 all the same, with its traceback in the log."""
    broker = remote()
    async with running(PRESENT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def fail() -> None:
            raise ConnectionResetError("as the test wants")

        broker.before_history = fail
        send(session, id=5, subscribe={"channel": "a"})
        await engine.settle()
        assert wire.close_code == 3004
        assert engine.node.topic("a") is None
        assert await engine.node.presence.members("a") == {}


async def test_a_leave_is_announced_though_presence_is_away() -> None:
    """One failure does not hide the other half."""
    presence = RemotePresence()
    async with running(PRESENT, broker=remote(), presence=presence) as engine:
        watcher, watching = engine.client()
        await engine.settle()
        send(watching, id=5, subscribe={"channel": "a", "join_leave": True})
        _, other = engine.client("a")
        await engine.settle()
        presence.away = True
        other.closed(1006, "")
        await engine.settle()
        assert "leave" in watcher.messages()[-1]["push"]
        presence.away = False


async def test_a_broker_that_is_away_is_said_to_who_subscribes_a_session() -> None:
    """A route that puts a session into a channel hears of it as what it is; the session stays."""
    broker = remote()
    async with running(PRESENT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()
        broker.away = True
        with pytest.raises(BrokerUnavailable):
            await session.subscribe("a")
        broker.away = False
        assert wire.close_code is None
        assert session.channels == frozenset()
