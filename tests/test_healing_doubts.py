"""Gaps that nothing shows: the newest of a channel is lost, and the topic is compared with its stream."""

from __future__ import annotations

import asyncio
import logging

import pytest

from openline import healing
from openline.healing import COMPARED_AT_ONCE
from openline.options import Heartbeat, Limits
from openline.testing import VirtualClock
from tests.engine import KEPT, PLAIN, running
from tests.watched_broker import WatchedBroker, subscribe, unsubscribes

#: No client here answers a ping: none comes.
SILENT = Heartbeat(ping_seconds=1_000_000)


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a broker that is away again in the next turn."""
    monkeypatch.setattr(healing, "RETRY_SECONDS", 0)


# --- the newest is lost: nothing shows it -----------------------------------------------------------------------------


async def test_the_newest_message_is_healed_when_its_channel_is_doubted() -> None:
    """Nothing was published after it that would have shown the gap. It comes once, however often it is doubted."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.loses(b"2", b"3")
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == [1]

        broker.doubt(["a", "a"])
        broker.doubt(["a"])
        await engine.settle()
        broker.doubt(["a"])
        await engine.publish("a", 4)
        await engine.settle()
        assert wire.publications("a") == [1, 2, 3, 4]
        assert (engine.node.counters.gaps_healed, engine.node.counters.gaps_lost) == (1, 0)


async def test_a_doubt_about_nothing_that_stands_anywhere_reads_nothing() -> None:
    """Channels nobody is in, and channels without history."""
    broker = WatchedBroker()
    async with running(PLAIN, broker=broker) as engine:
        engine.client("plain")
        await engine.settle()
        broker.doubt(["plain", "nobody is here"])
        await engine.settle()
        assert broker.reads == []


async def test_one_who_leaves_while_the_channel_is_compared_leaves_nothing() -> None:
    """The topic is gone by the time the stream was read; the next one is not touched by what was read for it."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        broker.loses(b"1")
        await engine.publish("a", 1)

        async def leave() -> None:
            session.closed(1006, "")

        broker.once_read(leave)
        broker.doubt(["a"])
        await engine.settle()
        assert wire.publications("a") == []
        assert engine.node.topic("a") is None
        assert engine.node.counters.gaps_healed == 0


async def test_a_doubt_while_a_gap_is_healed_is_not_forgotten() -> None:
    """What healing reads may be of before the cut: it is compared once more, after."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.loses(b"1", b"3")

        async def cut() -> None:
            await engine.publish("a", 3)
            broker.doubt(["a"])
            await engine.settle()

        broker.once_read(cut)
        await engine.publish("a", 1, 2)
        for _ in range(4):
            await engine.settle()
        assert wire.publications("a") == [1, 2, 3]


async def test_a_gap_that_shows_while_the_channel_is_compared_does_not_end_the_doubt() -> None:
    """The comparison leaves it to who heals; what is lost behind his reading is found all the same."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.loses(b"1", b"3")
        await engine.publish("a", 1)

        async def gap() -> None:
            broker.once_read(lose_the_newest)
            await engine.publish("a", 2)
            for _ in range(2):
                await engine.settle()

        async def lose_the_newest() -> None:
            await engine.publish("a", 3)
            broker.doubt(["a"])
            await engine.settle()

        broker.once_read(gap)
        broker.doubt(["a"])
        for _ in range(6):
            await engine.settle()
        assert wire.publications("a") == [1, 2, 3]


async def test_a_doubt_while_the_broker_is_away_is_kept_until_it_answers() -> None:
    """Subscribers stay, and wait."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        broker.loses(b"1")
        await engine.publish("a", 1)
        broker.away = True
        broker.doubt(["a"])
        await engine.settle()
        assert wire.publications("a") == []
        assert session.channels == {"a"}
        broker.away = False
        await engine.settle()
        assert wire.publications("a") == [1]
        assert unsubscribes(wire) == []


# --- what arrives while a channel is compared -------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before_history", "after_history", "later"])
@pytest.mark.parametrize("newer", [False, True], ids=["alone", "with a newer one"])
async def test_what_was_doubted_arrives_after_all(moment: str, newer: bool) -> None:
    """Before it is read, between the reading and its reader, or after it was healed: it comes once."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.holding = True
        await engine.publish("a", 1, 2)

        async def arrive() -> None:
            broker.before_history = broker.after_history = lambda: asyncio.sleep(0)
            broker.holding = False
            broker.release()
            if newer:
                await engine.publish("a", 3)

        if moment != "later":
            setattr(broker, moment, arrive)
        broker.doubt(["a"])
        await engine.settle()
        if moment == "later":
            await arrive()
        await engine.settle()
        assert wire.publications("a") == ([1, 2, 3] if newer else [1, 2])
        assert engine.node.counters.gaps_lost == 0


async def test_what_arrives_between_the_reading_and_its_reader_follows_what_was_missing() -> None:
    """It shows the gap itself; whoever is first, nothing comes twice."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.loses(b"2")
        await engine.publish("a", 1, 2)

        async def meanwhile() -> None:
            await engine.publish("a", 3, 4)

        broker.once_read(meanwhile)
        broker.doubt(["a"])
        await engine.settle()
        assert wire.publications("a") == [1, 2, 3, 4]


async def test_one_who_joins_while_the_channel_is_compared_gets_each_once() -> None:
    """The newcomer's reply covers what the others are missing still."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        early, _ = engine.client("a")
        late, session = engine.client()
        await engine.settle()
        broker.loses(b"2")
        await engine.publish("a", 1, 2)

        async def join() -> None:
            subscribe(session, recover=True)
            await engine.settle()

        broker.once_read(join)
        broker.doubt(["a"])
        await engine.settle()
        await engine.publish("a", 3)
        await engine.settle()
        reply = next(message for message in late.messages() if message.get("id") == 9)["subscribe"]
        assert [publication["data"] for publication in reply["publications"]] == [1, 2]
        assert late.publications("a") == [3]
        assert early.publications("a") == [1, 2, 3]


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_many_channels_are_read_a_few_at_a_time() -> None:
    """After a reconnect everything is in doubt; each is read once, and all are healed."""
    broker = WatchedBroker()
    channels = [f"a{number}" for number in range(3 * COMPARED_AT_ONCE + 5)]
    async with running(KEPT, broker=broker, limits=Limits(channels=1000)) as engine:
        wire, _ = engine.client(*channels)
        for _ in range(10):
            await engine.settle()
        broker.reads.clear()
        broker.most_at_once = 0
        broker.lose = lambda message: True
        for channel in channels:
            await engine.publish(channel, 1)
        broker.lose = lambda message: False
        broker.doubt(channels)
        for _ in range(10):
            await engine.settle()
        assert broker.reads == channels
        assert broker.most_at_once == COMPARED_AT_ONCE
        assert [wire.publications(channel) for channel in channels] == [[1]] * len(channels)
        assert engine.node.counters.positions_compared == len(channels)


async def test_a_channel_that_cannot_be_read_holds_up_no_other() -> None:
    """It is tried again behind them, and healed when it can be."""
    broker = WatchedBroker()
    channels = [f"a{number}" for number in range(2 * COMPARED_AT_ONCE)]
    async with running(KEPT, broker=broker, limits=Limits(channels=1000)) as engine:
        wire, _ = engine.client(*channels)
        for _ in range(10):
            await engine.settle()
        broker.lose = lambda message: True
        for channel in channels:
            await engine.publish(channel, 1)
        broker.lose = lambda message: False
        broker.unreadable = {"a0"}
        broker.doubt(channels)
        for _ in range(10):
            await engine.settle()
        assert [wire.publications(channel) for channel in channels] == [[], *[[1]] * (len(channels) - 1)]
        broker.unreadable.clear()
        await engine.settle()
        assert wire.publications("a0") == [1]


async def test_a_node_that_is_stopped_in_mid_comparison_compares_again_when_it_runs_again() -> None:
    """What was under way is gone with the run before."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker, limits=Limits(close_seconds=0.01)) as engine:
        engine.client("a")
        await engine.settle()
        broker.before_history = asyncio.Event().wait
        broker.doubt(["a"])
        await engine.settle()
    broker.before_history = lambda: asyncio.sleep(0)
    async with engine.node.running():
        wire, _ = engine.client("a")
        await engine.settle()
        broker.loses(b"1")
        await engine.publish("a", 1)
        broker.doubt(["a"])
        await engine.settle()
        assert wire.publications("a") == [1]


def test_a_node_whose_loop_was_killed_in_mid_comparison_compares_again() -> None:
    """Nothing of the old loop ever ends."""
    broker = WatchedBroker()
    killed = asyncio.new_event_loop()
    opening = running(KEPT, broker=broker)
    engine = killed.run_until_complete(opening.__aenter__())
    engine.client("a")
    killed.run_until_complete(engine.settle())
    broker.before_history = asyncio.Event().wait
    broker.doubt(["a"])
    killed.run_until_complete(engine.settle())
    left = asyncio.all_tasks(killed)
    killed.close()

    async def again() -> None:
        broker.before_history = lambda: asyncio.sleep(0)
        async with engine.node.running():
            wire, _ = engine.client("a")
            await engine.settle()
            broker.loses(b"1")
            await engine.publish("a", 1)
            broker.doubt(["a"])
            await engine.settle()
            assert wire.publications("a") == [1]

    asyncio.run(again())
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # that they never end is what is tried here


# --- looking now and then ---------------------------------------------------------------------------------------------


async def test_a_message_lost_without_a_cut_is_found_within_two_intervals() -> None:
    """Nobody noticed, nothing was published after it, and nothing was doubted."""
    clock, broker = VirtualClock(), WatchedBroker()
    limits = Limits(position_check_seconds=15)
    async with running(KEPT, broker=broker, clock=clock, limits=limits, heartbeat=SILENT) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        await clock.advance(7)
        broker.loses(b"1")
        await engine.publish("a", 1)
        await clock.advance(30.5)
        await engine.settle()
        assert wire.publications("a") == [1]


async def test_a_topic_that_moves_is_not_compared() -> None:
    """Each arrival shows by itself that nothing is missing before it."""
    clock, broker = VirtualClock(), WatchedBroker()
    limits = Limits(position_check_seconds=10)
    async with running(KEPT, broker=broker, clock=clock, limits=limits, heartbeat=SILENT) as engine:
        engine.client("idle", "busy")
        await engine.settle()
        await engine.publish("idle", 1)
        await clock.advance(10)
        broker.reads.clear()
        for number in range(30):
            await engine.publish("busy", number)
            await clock.advance(1)
            await engine.settle()
        assert set(broker.reads) == {"idle"}
        assert 2 <= len(broker.reads) <= 3
        assert engine.node.counters.positions_compared == len(broker.reads)
        assert engine.node.counters.gaps_healed == 0


async def test_nothing_is_looked_at_where_nothing_can_be_lost() -> None:
    """In one process an idle hub has no timer at all; on a network it has."""
    clock = VirtualClock()
    async with running(KEPT, clock=clock) as engine:
        assert clock.waiting == 0
        _, session = engine.client("a")
        session.closed(1006, "")
        await clock.advance(1)
        assert clock.waiting == 0
    async with running(KEPT, clock=clock, broker=WatchedBroker()):
        assert clock.waiting == 1
    assert clock.waiting == 0


async def test_a_comparison_that_finds_nothing_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is the ordinary case."""
    caplog.set_level(logging.DEBUG, "openline")
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        caplog.clear()
        broker.doubt(["a"])
        await engine.settle()
        assert engine.node.counters.positions_compared == 1
        assert wire.publications("a") == [1]
    assert not [message for message in caplog.messages if "a" in message.split()]
