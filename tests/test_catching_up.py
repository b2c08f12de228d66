"""A recovery that does not fit in one reply: the rest comes part by part, in order, once, or the client is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openline import catching_up
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable
from openline.options import ChannelOptions, History, Limits
from openline.publication import Publication
from openline.session import Session
from openline.testing import VirtualClock
from tests.engine import KEPT, Engine, RecordingWire, running, send
from tests.remote_broker import RemoteBroker

#: Three at a time, and room for a few of them.
LIMITS = Limits(recovery_publications=3, outbox_bytes=4_000)


def remote(clock: VirtualClock | None = None) -> RemoteBroker:
    """Make a broker that waits."""
    return RemoteBroker(MemoryBroker() if clock is None else MemoryBroker(now=clock.wall))


async def come_back(engine: Engine, offset: int) -> tuple[RecordingWire, Session]:
    """Have a client come back that knows what was published up to an offset."""
    top = (await engine.node.broker.history("a", history=KEPT.history or History(), limit=0)).top
    wire, session = engine.client()
    send(session, id=5, subscribe={"channel": "a", "recover": True, "epoch": top.epoch, "offset": offset})
    return wire, session


def brought(wire: RecordingWire) -> list[Any]:
    """Give the data of all a client was sent, in the reply and after it."""
    replies = [message["subscribe"] for message in wire.messages() if "subscribe" in message]
    first = [publication["data"] for reply in replies for publication in reply.get("publications", [])]
    return first + wire.publications("a")


@pytest.mark.parametrize("kind", ["immediate", "remote"])
async def test_all_that_was_missed_comes_in_order(kind: str) -> None:
    """And what is published meanwhile comes behind it, once."""
    async with running(KEPT, broker=remote() if kind == "remote" else None, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 21))
        wire, _ = await come_back(engine, 2)
        await engine.publish("a", 21)
        await engine.settle()
        await engine.publish("a", 22)
        await engine.settle()
        assert brought(wire) == list(range(3, 23))
        assert engine.node.counters.recoveries == 1


async def test_what_is_published_between_any_two_steps_comes_once() -> None:
    """Whether it falls before a reading, into it or after it."""
    broker = remote()
    async with running(KEPT, broker=broker, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 11))
        published = 10

        async def publish() -> None:
            nonlocal published
            if published < 19:
                published += 1
                await broker.inner.publish("a", b"%d" % published, history=KEPT.history)

        broker.before_history = broker.after_history = publish
        wire, _ = await come_back(engine, 0)
        await engine.settle()
        await engine.publish("a", 20)
        await engine.settle()
        assert brought(wire) == list(range(1, 21))


async def test_it_goes_at_the_pace_of_the_client() -> None:
    """No more waits for it than an outbox holds, and it is not closed for what it missed."""
    async with running(KEPT, broker=remote(), limits=LIMITS) as engine:
        await engine.publish("a", *("x" * 500 for _ in range(40)))
        wire = RecordingWire()
        wire.keeps_unread = True
        _, session = engine.client(wire=wire)
        await engine.settle()
        wire.on_write = lambda: session.pause() if wire.unread_bytes > 1_000 else None
        top = (await engine.node.broker.history("a", history=History(), limit=0)).top
        send(session, id=5, subscribe={"channel": "a", "recover": True, "epoch": top.epoch, "offset": 0})
        for _ in range(40):
            await engine.settle()
            assert session.outbox.waiting_bytes() <= LIMITS.outbox_bytes
            wire.unread_bytes = 0
            session.resume()
        await engine.settle()
        assert len(brought(wire)) == 40
        assert wire.close_code is None


async def test_tags_count_for_what_is_too_much_for_one_reply() -> None:
    """However small the data: nobody is closed for what came with it, and comes back to the same."""
    limits = Limits(outbox_bytes=20_000)
    async with running(KEPT, broker=remote(), limits=limits) as engine:
        for _ in range(10):
            await engine.node.publish("a", b"1", KEPT, tags={"long": "x" * 4_000})
        wire = RecordingWire()
        wire.keeps_unread = True
        session = engine.commands.open(wire)
        assert isinstance(session, Session)
        wire.on_write = session.pause
        send(session, id=1, connect={})
        send(session, id=2, subscribe={"channel": "a", "recover": True, "epoch": "", "offset": 0})
        for _ in range(20):
            await engine.settle()
            assert session.outbox.waiting_bytes() <= limits.outbox_bytes
            wire.unread_bytes = 0
            session.resume()
        assert wire.close_code is None
        assert len(brought(wire)) == 10


async def test_what_history_loses_meanwhile_is_told() -> None:
    """2500, and with what the client has then it is not recovered: nothing is passed over."""
    broker = remote()
    async with running(ChannelOptions(history=History(size=10)), broker=broker, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 11))
        wire, _ = await come_back(engine, 0)
        readings = 0

        async def flood() -> None:
            nonlocal readings
            readings += 1
            if readings == 2:
                for number in range(100, 120):
                    await broker.inner.publish("a", b"%d" % number, history=engine.options.history)

        broker.before_history = flood
        await engine.settle()
        ends = [m["push"]["unsubscribe"]["code"] for m in wire.messages() if "unsubscribe" in m.get("push", {})]
        assert ends == [2500]
        assert brought(wire) == list(range(1, 4))
        assert engine.node.counters.recoveries_failed == 1
        assert engine.node.topic("a") is None


async def test_who_leaves_meanwhile_gets_no_more() -> None:
    """Its unsubscribe is answered in turn, and nothing follows the answer."""
    broker = remote()
    async with running(KEPT, broker=broker, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 31))
        wire, session = await come_back(engine, 0)
        send(session, id=6, unsubscribe={"channel": "a"})
        await engine.settle()
        assert wire.messages()[-1] == {"id": 6, "unsubscribe": {}}
        assert brought(wire) == list(range(1, len(brought(wire)) + 1))
        assert engine.node.topic("a") is None


async def test_who_goes_meanwhile_leaves_nothing() -> None:
    """The step that was under way comes to nothing."""
    broker = remote()
    async with running(KEPT, broker=broker, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 31))
        _, session = await come_back(engine, 0)
        await engine.settle()

        async def gone() -> None:
            session.closed(1006, "")

        _, session = await come_back(engine, 0)
        broker.after_history = gone
        await engine.settle()
        assert session.id not in engine.node.sessions
        assert session.id not in [one.id for one in engine.node.sessions.values()]


async def test_while_the_broker_is_away_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client stays, and gets the rest once it is back."""
    monkeypatch.setattr(catching_up, "RETRY_SECONDS", 0)
    broker = remote()
    async with running(KEPT, broker=broker, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 11))
        wire, _ = await come_back(engine, 0)
        readings = 0

        async def fail() -> None:
            nonlocal readings
            readings += 1
            if 2 <= readings <= 4:
                broker.away = True
                try:
                    await broker._travel()
                finally:
                    broker.away = False

        broker.before_history = fail
        await engine.settle()
        await engine.settle()
        assert brought(wire) == list(range(1, 11))
        assert readings > 4


async def test_a_step_of_before_it_left_does_nothing_once_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who left and came back while a step was to be tried again is live: that step would bring what it gets anyway."""
    monkeypatch.setattr(catching_up, "RETRY_SECONDS", 0)
    broker = remote()
    async with running(KEPT, broker=broker, limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 11))
        wire, session = await come_back(engine, 0)
        readings = 0

        async def leave_and_return() -> None:
            nonlocal readings
            readings += 1
            if readings == 2:  # the first step
                send(session, id=6, unsubscribe={"channel": "a"})
                send(session, id=7, subscribe={"channel": "a"})
                raise BrokerUnavailable("as the test wants")
            if readings == 4:  # the step tried again, behind the reading for the second subscribe
                await engine.publish("a", 11)
                await engine.settle()

        broker.before_history = leave_and_return
        for _ in range(2):
            await engine.settle()
        await engine.publish("a", 12)
        await engine.settle()
        assert wire.publications("a") == [12]
        assert brought(wire) == [1, 2, 3, 12]
        assert readings == 3


async def test_who_was_made_live_meanwhile_is_not_brought_it_again() -> None:
    """A topic that gives up a gap may go on right where a client stands that catches up: what that just read is void.

    What the topic goes by was read before what the client read, and came later.
    """
    broker = remote()
    answered = asyncio.Event()
    async with running(ChannelOptions(history=History(size=10)), broker=broker, limits=LIMITS) as engine:
        lost, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        broker.lose = lambda message: isinstance(message, Publication) and message.offset < 21
        readings = 0

        async def answer() -> None:
            nonlocal readings
            readings += 1
            if readings == 1:  # of the topic, that misses more than history holds
                await answered.wait()
            if readings == 3:  # the client's first step, which has read 22 to 24
                answered.set()
                await engine.settle()

        broker.after_history = answer
        await engine.publish("a", *range(2, 22))
        await engine.settle()
        await engine.publish("a", *range(22, 26))
        wire, _ = await come_back(engine, 18)
        await engine.settle()
        await engine.settle()
        assert lost.messages()[-1]["push"]["unsubscribe"]["code"] == 2500
        assert brought(wire) == list(range(19, 26))


async def test_its_other_commands_are_answered_in_between() -> None:
    """A long recovery holds up nothing for long."""
    async with running(KEPT, broker=remote(), limits=LIMITS) as engine:
        await engine.publish("a", *range(1, 31))
        wire, session = await come_back(engine, 0)
        send(session, id=6, history={"channel": "a"})
        await engine.settle()
        kinds = ["history" if "history" in message else "pub" for message in wire.messages() if message.get("id") != 5]
        assert "pub" in kinds[kinds.index("history") :]
        assert brought(wire) == list(range(1, 31))
