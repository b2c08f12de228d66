"""Following a channel from within the app: everything, once, in order, at any pace, or an error that says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openline import following, healing
from openline.errors import BrokerUnavailable, FellBehind, HubNotStarted, UnrecoverablePosition
from openline.following import Following
from openline.options import ChannelOptions, History, Limits
from openline.protocol.packed import PACKED, PackedCodec
from openline.publication import Message, Position, Publication
from tests.engine import KEPT, PLAIN, Engine, running
from tests.watched_broker import WatchedBroker

Publications = AsyncGenerator[Publication, None]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a broker that is away again in the next turn."""
    monkeypatch.setattr(healing, "RETRY_SECONDS", 0)
    monkeypatch.setattr(following, "RETRY_SECONDS", 0)


class Watch:
    """Who is to be told that the server ends."""

    def __init__(self) -> None:
        self.watched: list[Following] = []

    def watch(self, following: Following) -> None:
        """Note them."""
        self.watched.append(following)

    def forget(self, following: Following) -> None:
        """Forget them."""
        self.watched.clear()


@asynccontextmanager
async def followed(engine: Engine, watch: Watch | None = None) -> AsyncIterator[Following]:
    """Let there be followers of an engine."""
    watch = Watch() if watch is None else watch
    made = Following(engine.node, watch=watch.watch, forget=watch.forget)
    async with made.running():
        yield made


async def begun(engine: Engine, publications: Publications) -> asyncio.Task[Publication]:
    """Have a follower take its first step, and wait for what comes."""
    first = asyncio.ensure_future(anext(publications))
    await engine.settle()
    return first


async def data(publications: Publications, count: int) -> list[Any]:
    """Give the data of the next publications."""
    async with asyncio.timeout(5):
        return [json.loads((await anext(publications)).data) for _ in range(count)]


# --- where it begins ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [PLAIN, KEPT], ids=["plain", "kept"])
async def test_from_now_on(options: ChannelOptions) -> None:
    """Without a position it gives what is published after its first step, with all that is known of it."""
    async with running(options) as engine, followed(engine) as made:
        await engine.publish("a", 1)
        publications = made.follow("a", options, None)
        first = await begun(engine, publications)
        await engine.publish("a", 2, 3)
        publication = await first
        assert publication.data == b"2"
        assert publication.offset == (2 if options.history else 0)
        assert bool(publication.epoch) is bool(publication.time) is bool(options.history)
        assert await data(publications, 1) == [3]
        await publications.aclose()


async def test_from_a_position_on() -> None:
    """History comes first, in parts where it is much, and what arrives meanwhile follows it."""
    limits = Limits(recovery_publications=3)
    async with running(KEPT, limits=limits) as engine, followed(engine) as made:
        await engine.publish("a", *range(1, 11))
        top = (await engine.node.broker.history("a", history=History(), limit=0)).top
        publications = made.follow("a", KEPT, Position(top.epoch, 4))
        assert await data(publications, 4) == [5, 6, 7, 8]
        await engine.publish("a", 11, 12)
        assert await data(publications, 4) == [9, 10, 11, 12]
        await publications.aclose()


@pytest.mark.parametrize("since", [Position("made up", 3), Position("", 1)], ids=["another epoch", "trimmed"])
async def test_from_where_nobody_can_go_on(since: Position) -> None:
    """What history does not hold is an error, and nothing is passed over."""
    options = ChannelOptions(history=History(size=2))
    async with running(options) as engine, followed(engine) as made:
        await engine.publish("a", *range(1, 6))
        with pytest.raises(UnrecoverablePosition):
            await anext(made.follow("a", options, since))
        assert engine.node.topic("a") is None
        assert len(made) == 0


# --- its pace -------------------------------------------------------------------------------------------------------


async def test_one_that_does_not_keep_up_goes_on_from_history() -> None:
    """More waits than its outbox takes: the rest is read when it gets there, and it is live again after that."""
    limits = Limits(outbox_bytes=1_000)
    async with running(KEPT, limits=limits) as engine, followed(engine) as made:
        publications = made.follow("a", KEPT, None)
        first = await begun(engine, publications)
        for number in range(1, 81):
            await engine.publish("a", {"number": number, "padding": "x" * 50})
            await engine.settle()
        assert engine.node.topic("a") is None, "it was let go of"
        got = [json.loads((await first).data), *await data(publications, 79)]
        assert [each["number"] for each in got] == list(range(1, 81))
        last = await begun(engine, publications)
        await engine.publish("a", 81)
        assert (await last).data == b"81"
        assert engine.node.counters.slow_clients == 0
        await publications.aclose()


async def test_one_that_does_not_keep_up_and_there_is_no_history() -> None:
    """It is given what had room, and then told."""
    async with running(PLAIN, limits=Limits(outbox_bytes=1_000)) as engine, followed(engine) as made:
        publications = made.follow("a", PLAIN, None)
        first = await begun(engine, publications)
        for _ in range(3):
            await engine.publish("a", "x" * 600)
            await engine.settle()
        await first
        await anext(publications)
        with pytest.raises(FellBehind, match="1000 bytes"):
            await anext(publications)
        assert engine.node.topic("a") is None


@pytest.mark.parametrize("slow", ["drop_oldest", "latest_only"])
async def test_one_that_does_not_keep_up_where_publications_replace_each_other(slow: Any) -> None:
    """As the channel declares: something is dropped and counted, the newest comes, nobody is told off."""
    options = ChannelOptions(slow=slow)
    limits = Limits(outbox_bytes=100_000)
    async with running(options, limits=limits) as engine, followed(engine) as made:
        publications = made.follow("a", options, None)
        first = await begun(engine, publications)
        for number in range(200):
            await engine.publish("a", {"number": number, "padding": "x" * 1_000})
            await engine.settle()
        await first
        got: list[int] = []
        while not got or got[-1] != 199:
            got.append(json.loads((await anext(publications)).data)["number"])
            await engine.settle()
        assert got == sorted(set(got))
        assert engine.node.counters.publications_dropped == 199 - len(got)
        await publications.aclose()


async def test_encoded_once_for_all_followers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many follow a channel."""
    packed: list[Message] = []
    pack = PACKED.pack

    def note(codec: PackedCodec, message: Message) -> bytes:
        packed.append(message)
        return pack(message)

    monkeypatch.setattr(PackedCodec, "pack", note)
    async with running(PLAIN) as engine, followed(engine) as made:
        all_of_them = [made.follow("a", PLAIN, None) for _ in range(5)]
        first = [await begun(engine, each) for each in all_of_them]
        await engine.publish("a", 1)
        assert [(await each).data for each in first] == [b"1"] * 5
        assert len(packed) == 1
        for each in all_of_them:
            await each.aclose()


async def test_nothing_is_read_while_it_keeps_up() -> None:
    """One reading of history where it begins, and no more, whatever comes and however long nothing does."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine, followed(engine) as made:
        publications = made.follow("a", KEPT, None)
        first = await begun(engine, publications)
        for number in range(5):
            await engine.publish("a", number)
            await engine.settle()
        assert (await first).data == b"0"
        assert await data(publications, 4) == [1, 2, 3, 4]
        assert broker.reads == ["a"]
        await publications.aclose()


# --- what it is not ---------------------------------------------------------------------------------------------------


async def test_it_is_nobodys_client() -> None:
    """It is no session, is in no presence, and takes no place."""
    options = ChannelOptions(presence=True, join_leave=True, history=History())
    async with running(options, limits=Limits(connections=1)) as engine, followed(engine) as made:
        publications = made.follow("a", options, None)
        first = await begun(engine, publications)
        assert engine.node.sessions == {}
        assert await engine.node.presence.members("a") == {}
        wire, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        assert (await first).data == b"1", "that somebody came is not told to it"
        await engine.settle()
        assert wire.publications("a") == [1]
        await publications.aclose()


# --- its end ----------------------------------------------------------------------------------------------------------


async def test_closing_leaves_nothing_behind() -> None:
    """Closed, cancelled or let go of: it is in no topic, and the server need not tell it anything."""
    watch = Watch()
    async with running(KEPT) as engine, followed(engine, watch) as made:
        closed = made.follow("a", KEPT, None)
        first = await begun(engine, closed)
        await engine.publish("a", 1)
        await first
        assert watch.watched == [made]
        await closed.aclose()
        assert watch.watched == []

        cancelled = await begun(engine, made.follow("b", KEPT, None))
        cancelled.cancel()

        forgotten: Publications | None = made.follow("c", KEPT, None)
        assert forgotten is not None
        first = await begun(engine, forgotten)
        await engine.publish("c", 1)
        await first
        del first
        forgotten = None
        await engine.settle()
        assert [engine.node.topic(channel) for channel in "abc"] == [None, None, None]
        assert len(made) == 0


async def test_it_ends_when_the_hub_stops() -> None:
    """The loop ends as one that has seen everything; nothing more can be begun."""
    got: list[bytes] = []
    async with running(KEPT) as engine, asyncio.timeout(5):
        async with followed(engine) as made, asyncio.TaskGroup() as tasks:

            async def follow() -> None:
                got.extend([publication.data async for publication in made.follow("a", KEPT, None)])

            task = tasks.create_task(follow())
            await engine.settle()
            await engine.publish("a", 1)
            await engine.settle()
            made.server_ends()
            await task
        assert engine.node.topic("a") is None
    assert got == [b"1"]
    with pytest.raises(HubNotStarted):
        await anext(made.follow("a", KEPT, None))


# --- trouble ----------------------------------------------------------------------------------------------------------


async def test_a_broker_that_is_away_when_it_begins() -> None:
    """Its caller is told: nothing was followed yet."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine, followed(engine) as made:
        broker.away = True
        with pytest.raises(BrokerUnavailable):
            await anext(made.follow("a", KEPT, None))
        broker.away = False
        await engine.settle()
        assert engine.node.topic("a") is None


async def test_a_broker_that_is_away_later() -> None:
    """It waits, and goes on from where it stood."""
    broker = WatchedBroker()
    limits = Limits(recovery_publications=2)
    async with running(KEPT, broker=broker, limits=limits) as engine, followed(engine) as made:
        await engine.publish("a", 1, 2, 3)
        publications = made.follow("a", KEPT, Position("", 0))
        assert await data(publications, 2) == [1, 2]
        broker.away = True
        third = await begun(engine, publications)
        assert not third.done()
        broker.away = False
        assert (await third).data == b"3"
        broker.loses(b"4")
        waiting = await begun(engine, publications)
        await engine.publish("a", 4, 5)
        assert (await waiting).data == b"4", "a gap is healed for it as for any subscriber"
        assert await data(publications, 1) == [5]
        await publications.aclose()


async def test_a_stream_that_began_anew_is_told() -> None:
    """What it stands on is gone: that is an error, after all that came before it."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine, followed(engine) as made:
        publications = made.follow("a", KEPT, None)
        first = await begun(engine, publications)
        await engine.publish("a", 1, 2)
        await first
        await engine.settle()
        await broker.begin_anew()
        await engine.publish("a", 1)
        await engine.settle()
        assert await data(publications, 1) == [2]
        with pytest.raises(UnrecoverablePosition):
            await anext(publications)


async def test_a_gap_that_is_given_up_while_it_reads() -> None:
    """What it read is of before, and nothing of the tail is left: it reads again, and is told."""
    broker = WatchedBroker()
    options = ChannelOptions(history=History(size=2))
    async with running(options, broker=broker) as engine, followed(engine) as made:
        engine.client("a")
        await engine.settle()
        await engine.publish("a", 1, 2)
        await engine.settle()

        async def meanwhile() -> None:
            broker.loses(b"3", b"4")
            await engine.publish("a", 3, 4, 5, 6)
            await engine.settle()

        broker.once_read(meanwhile)
        with pytest.raises(UnrecoverablePosition):
            await anext(made.follow("a", options, Position("", 0)))
