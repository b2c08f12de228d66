"""The nodes of a cluster: who is there, and orders that reach everybody or say whom they did not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import cluster as module
from openline.brokers.memory import MemoryBroker
from openline.cluster import GONE_SECONDS, HELLO_SECONDS, Cluster, NodeInfo
from openline.counters import Counters
from openline.errors import BrokerUnavailable
from openline.notices import Notices
from openline.testing import VirtualClock
from tests.town import Member, says, settle, town


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for answers only for a moment."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.02)


# --- frames -----------------------------------------------------------------------------------------------------------


async def test_a_frame_reaches_the_one_node_it_is_for() -> None:
    """In the order in which it was told, and nobody else."""
    async with town("a", "b", "c") as (it, members):
        heard: list[tuple[str, str, bytes]] = []

        def listener(name: str) -> Callable[[str, bytes], None]:
            return lambda secret, frame: heard.append((name, secret, frame))

        for member in members:
            member.cluster.take_frame = listener(member.name)
        for number in range(5):
            await members[0].cluster.forward("b", "secret", b"%d" % number)
        await settle()
        assert heard == [("b", "secret", b"%d" % number) for number in range(5)]
        assert {node for word, node in it.network.told if b"secret" in word} == {"b"}


async def test_a_node_without_such_sessions_takes_frames_and_does_nothing() -> None:
    """They are no error of anybody's."""
    async with town("a", "b") as (_, (first, second)):
        await first.cluster.forward("b", "secret", b"{}")
        await settle()
        assert second.counters.words_unreadable == 0


async def test_a_new_node_waits_for_those_it_does_not_know() -> None:
    """Until their hello is here; what does not come is not known to be gone, and what left is."""
    async with town("a", "b") as (it, (_, second)):
        third = Member(it, "c")
        third.late = []
        await third.start()
        await settle()
        asked = [asyncio.create_task(third.cluster.find(name)) for name in ("a", "b")]
        await settle()
        assert not any(task.done() for task in asked)
        await second.stop()
        await settle()
        third.release()
        assert [await task for task in asked] == [True, False]
        await it.clock.advance(2 * HELLO_SECONDS + 1)
        assert await third.cluster.find("d") is False


async def test_a_new_node_does_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hello may be lost: then nothing is known of a node, until it would have said another. Its own end waits not."""
    monkeypatch.setattr(module, "MEETING_SECONDS", 0.01)
    async with town("a") as (_, (first,)):
        assert await first.cluster.find("d") is None
        monkeypatch.setattr(module, "MEETING_SECONDS", 60)
        asked = asyncio.create_task(first.cluster.find("d"))
        await settle()
        await first.stop()
        assert await asked is None


async def test_a_node_that_died_is_known_until_it_was_not_heard_for_long() -> None:
    """One that leaves, and one that never was, are not known; nor is a node one of its own others."""
    async with town("a", "b", "c") as (it, (first, second, third)):
        assert [first.cluster.knows(name) for name in ("a", "b", "c", "d", "")] == [False, True, True, False, False]
        await second.stop()
        await settle()
        assert not first.cluster.knows("b")
        third.die()
        assert first.cluster.knows("c")
        await it.clock.advance(GONE_SECONDS + HELLO_SECONDS + 1)
        assert not first.cluster.knows("c")


# --- who is there -----------------------------------------------------------------------------------------------------


async def test_a_newcomer_and_the_others_know_each_other_at_once() -> None:
    """Nobody waits for the next hello."""
    async with town("a", "b", "c") as (_, members):
        assert [member.knows for member in members] == [["a", "b", "c"], ["b", "a", "c"], ["c", "a", "b"]]


async def test_a_newcomer_whose_hello_is_lost_is_known_with_the_next() -> None:
    """And knows the others as soon."""
    async with town("a", "b") as (it, members):
        late = Member(it, "c")
        late.broker.mute = says("hello")
        await late.start()
        await settle()
        assert late.knows == ["c"]
        late.broker.mute = lambda word: False
        await it.clock.advance(HELLO_SECONDS + 0.5)
        await settle()
        assert [sorted(member.knows) for member in (*members, late)] == [["a", "b", "c"]] * 3
        late.timers.stop()


async def test_hellos_say_what_has_changed() -> None:
    """What a node has is known to the others after some seconds."""
    async with town("a", "b") as (it, (first, second)):
        second.orders += [b"1", b"2", b"3"]
        await it.clock.advance(HELLO_SECONDS + 0.5)
        await settle()
        assert [node.clients for node in first.cluster.nodes] == [0, 3]


async def test_one_that_is_not_heard_any_more_is_gone() -> None:
    """After nine seconds, not before; whoever says hello stays."""
    async with town("a", "b", "c") as (it, (first, second, third)):
        third.die()
        await it.clock.advance(GONE_SECONDS - 1)
        assert first.knows == ["a", "b", "c"]
        await it.clock.advance(HELLO_SECONDS + 2)
        assert first.knows == ["a", "b"]
        assert second.knows == ["b", "a"]


async def test_one_that_leaves_says_so() -> None:
    """It is gone at once, and a hello of its that was under way brings it back for nobody."""
    async with town("a", "b") as (_, (first, second)):
        await second.stop()
        await settle()
        assert first.knows == ["a"]


async def test_one_that_was_away_for_long_is_back_with_its_next_hello() -> None:
    """The others took it for gone; it does not hear even itself, and knows that this says nothing of the others."""
    async with town("a", "b") as (it, (first, second)):
        with second.broker.cut():
            await it.clock.advance(GONE_SECONDS + 3)
            assert (first.knows, second.knows) == (["a"], ["b", "a"])
        await it.clock.advance(HELLO_SECONDS + 0.5)
        await settle()
        assert (first.knows, second.knows) == (["a", "b"], ["b", "a"])


async def test_an_outage_makes_nobody_forget_the_others() -> None:
    """An order right after it still waits for all of them."""
    async with town("a", "b") as (it, (first, second)):
        with first.broker.cut(), second.broker.cut():
            await it.clock.advance(GONE_SECONDS * 5)
        await it.clock.advance(0.1)
        assert (first.knows, second.knows) == (["a", "b"], ["b", "a"])
        second.die()
        await it.clock.advance(GONE_SECONDS + 2 * HELLO_SECONDS)
        assert first.knows == ["a"]


async def test_leaving_a_network_that_does_not_answer_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The others find out by themselves. Whatever goes wrong, the stop goes on."""
    caplog.set_level("INFO", "openline")

    async def fail(word: bytes, node: str = "") -> None:
        raise OSError("as the test wants")

    async with town("a", "b") as (_, (first, second)):
        with first.broker.cut():
            await first.stop()
        second.broker.tell = fail  # type: ignore[method-assign]  # an error of a driver's own
        await second.stop()
    assert sum("were not told that this one ends" in message for message in caplog.messages) == 2


async def test_joining_a_network_that_does_not_answer_is_an_error() -> None:
    """A node nobody knows of would be reached by no order."""
    async with town() as (it, _):
        member = Member(it, "a")
        await member.broker.start("a", member)
        with member.broker.cut(), pytest.raises(BrokerUnavailable):
            await member.cluster.join("a")


async def test_one_that_begins_anew_is_another_node() -> None:
    """What was known of the others, and asked of them, is of before."""
    async with town("a", "b") as (_, (first, second)):
        await second.stop()
        await second.broker.stop()
        second.name = "b2"
        await second.start()
        await settle()
        assert first.knows == ["a", "b2"]
        assert second.knows == ["b2", "a"]
        assert await second.cluster.order(b"dig") == [b"b2 did dig", b"a did dig"]


# --- orders -----------------------------------------------------------------------------------------------------------


async def test_an_order_reaches_everybody_once_and_every_report_comes_back() -> None:
    """The giver's own first; its own order, which it hears like everybody, it carries out once."""
    async with town("a", "b", "c") as (_, members):
        reports = await members[0].cluster.order(b"dig")
        assert reports[0] == b"a did dig"
        assert sorted(reports) == [b"a did dig", b"b did dig", b"c did dig"]
        assert [member.orders for member in members] == [[b"dig"]] * 3


async def test_orders_given_at_the_same_time_do_not_mix() -> None:
    """Many of several givers, each with its own reports."""
    async with town("a", "b", "c") as (_, members):
        orders = [(member, b"%d" % number) for number in range(30) for member in members]
        answers = await asyncio.gather(*(member.cluster.order(order) for member, order in orders))
        for (member, order), reports in zip(orders, answers, strict=True):
            assert reports[0] == f"{member.name} did {order.decode()}".encode()
            assert sorted(reports) == [f"{name} did {order.decode()}".encode() for name in "abc"]
        assert all(len(member.orders) == len(orders) and not member.cluster._asked for member in members)


async def test_in_one_process_an_order_is_a_call() -> None:
    """No word is said, and nothing waits."""
    counters, clock = Counters(), VirtualClock()
    alone = Cluster(MemoryBroker(), counters, Notices(counters, clock), clock, spawn=_no_task, describe=_unknown)

    async def dig(order: bytes) -> bytes:
        return b"did " + order

    alone.carry_out = dig
    assert await alone.order(b"dig") == [b"did dig"]
    await alone.leave()


def _no_task(work: Coroutine[Any, Any, None]) -> None:
    raise AssertionError("a task where none is needed")


def _unknown() -> NodeInfo:
    return NodeInfo(id="", process="", version="", started_at=0, clients=0, users=0, channels=0, subscriptions=0)


@pytest.mark.usefixtures("_impatient")
async def test_a_node_that_does_not_answer_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """And counted. The others have done it, and the next order has nothing to do with this one."""
    async with town("a", "b", "c") as (_, (first, second, third)):
        third.broker.mute = says("answer")
        with pytest.raises(BrokerUnavailable, match=r"did not answer in 0\.02 s: host:c \(c\)$"):
            await first.cluster.order(b"dig")
        assert (first.orders, second.orders, third.orders) == ([b"dig"], [b"dig"], [b"dig"])
        assert first.counters.words_unanswered == 1
        assert any("host:c (c)" in message for message in caplog.messages)
        third.broker.mute = lambda word: False
        assert len(await first.cluster.order(b"again")) == 3
        assert not first.cluster._asked


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("hanging", ["a", "b"])
async def test_one_that_hangs_with_an_order_is_named(hanging: str) -> None:
    """Be it the giver itself. It does not stop obeying: what is ordered meanwhile is done."""
    async with town("a", "b") as (_, members):
        slow = next(member for member in members if member.name == hanging)
        slow.gate.clear()
        with pytest.raises(BrokerUnavailable, match="this one" if hanging == "a" else "host:b"):
            await members[0].cluster.order(b"dig")
        slow.gate.set()
        assert len(await members[0].cluster.order(b"again")) == 2
        assert slow.orders == [b"dig", b"again"]


@pytest.mark.usefixtures("_impatient")
async def test_a_late_answer_is_ignored_and_so_is_one_that_comes_twice() -> None:
    """Each node's report counts once, for the order it belongs to."""
    async with town("a", "b", "c") as (_, (first, second, third)):
        first.late = []
        with pytest.raises(BrokerUnavailable):
            await first.cluster.order(b"dig")
        words = first.late
        first.late = None
        third.gate.clear()
        giving = asyncio.create_task(first.cluster.order(b"again"))
        await settle()
        for word in words * 2:
            first.hear(word)
        for word, node in tuple(it for it in first.broker.network.told if says("answer")(it[0])):
            assert node == "a"
            first.hear(word)
        assert not giving.done()
        third.gate.set()
        assert sorted(await giving) == [b"a did again", b"b did again", b"c did again"]
        assert second.orders == [b"dig", b"again"]


async def test_whoever_leaves_while_it_is_waited_for_holds_nobody_up() -> None:
    """The order is done with those that are there."""
    async with town("a", "b", "c") as (_, (first, second, third)):
        third.gate.clear()
        giving = asyncio.create_task(first.cluster.order(b"dig"))
        await settle()
        assert not giving.done()
        await third.stop()
        assert sorted(await giving) == [b"a did dig", b"b did dig"]
        assert second.orders == [b"dig"]


async def test_whoever_dies_while_it_is_waited_for_holds_nobody_up() -> None:
    """As soon as it is known to be gone."""
    async with town("a", "b") as (it, (first, second)):
        second.die()
        giving = asyncio.create_task(first.cluster.order(b"dig"))
        await settle()
        assert not giving.done()
        await it.clock.advance(GONE_SECONDS + HELLO_SECONDS + 1)
        assert await giving == [b"a did dig"]


async def test_the_giver_does_its_part_also_where_the_others_cannot_be_told() -> None:
    """Whoever is to be disconnected is, as far as that goes, and the error says that it is not everywhere."""
    async with town("a", "b") as (_, (first, second)):
        with first.broker.cut(), pytest.raises(BrokerUnavailable, match="does not answer"):
            await first.cluster.order(b"dig")
        await settle()
        assert (first.orders, second.orders) == ([b"dig"], [])
        assert not first.cluster._asked


async def test_an_order_that_is_given_up_leaves_nothing() -> None:
    """It is carried out all the same, by its giver too; nobody waits for the answers."""
    async with town("a", "b") as (_, (first, second)):
        first.gate.clear()
        second.gate.clear()
        giving = asyncio.create_task(first.cluster.order(b"dig"))
        await settle()
        giving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving
        assert not first.cluster._asked
        first.gate.set()
        second.gate.set()
        await settle()
        assert (first.orders, second.orders) == ([b"dig"], [b"dig"])


@pytest.mark.usefixtures("_impatient")
async def test_an_order_that_a_new_beginning_overtakes_ends_as_one_unanswered() -> None:
    """Its giver is told, and not by an error of the library's own."""
    async with town("a", "b") as (_, (first, second)):
        second.gate.clear()
        giving = asyncio.create_task(first.cluster.order(b"dig"))
        await settle()
        await first.cluster.join("a")
        with pytest.raises(BrokerUnavailable, match="did not answer"):
            await giving


async def test_who_is_not_among_the_others_gives_no_orders() -> None:
    """Before it has come, and after it has left: nobody would answer."""
    async with town("a", "b") as (it, (first, second)):
        with pytest.raises(BrokerUnavailable, match="not among the others"):
            await Member(it, "c").cluster.order(b"dig")
        await first.stop()
        with pytest.raises(BrokerUnavailable, match="not among the others"):
            await first.cluster.order(b"dig")
        await second.cluster.order(b"dig")
        assert first.orders == []


async def test_without_anybody_who_carries_out_an_order_is_refused() -> None:
    """A cluster alone knows nodes; what an order means others know."""
    counters, clock = Counters(), VirtualClock()
    alone = Cluster(MemoryBroker(), counters, Notices(counters, clock), clock, spawn=_no_task, describe=_unknown)
    with pytest.raises(BrokerUnavailable, match="carries out no orders"):
        await alone.order(b"dig")


# --- words that are none ----------------------------------------------------------------------------------------------


def deaf() -> tuple[Cluster, Counters]:
    """Give a cluster that is to hear things, and begins nothing for it."""
    counters, clock = Counters(), VirtualClock()
    hearing = Cluster(
        MemoryBroker(),
        counters,
        Notices(counters, clock),
        clock,
        spawn=lambda work: work.close(),
        describe=_unknown,
    )
    hearing._id = "a"
    return hearing, counters


@pytest.mark.parametrize(
    "word",
    [
        b"",
        b"hello",
        msgspec.msgpack.encode({"type": "dance"}),
        msgspec.msgpack.encode({"type": "bye", "node": 7}),
        b"\x82\xa4type\xa3bye\xa4node\xa2\xff\xfe",
        b"\x83\xa4type\xa3bye\xa4node\xa1b\xa1x" + b"\x91" * 100_000,
    ],
    ids=["empty", "no msgpack", "another version's", "of another type", "no text", "too deep"],
)
def test_a_word_that_cannot_be_read_is_counted_and_said_once(word: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """In a rolling upgrade there may be many of them."""
    hearing, counters = deaf()
    for _ in range(3):
        hearing.hear(word)
    assert counters.words_unreadable == 3
    assert [message for message in caplog.messages if "cannot be read" in message] == caplog.messages[:1]
    assert len(hearing.nodes) == 1


def test_a_word_with_more_in_it_is_read() -> None:
    """A later version may say more."""
    hearing, counters = deaf()
    node = {**msgspec.to_builtins(_unknown()), "id": "b", "mood": "good"}
    hearing.hear(msgspec.msgpack.encode({"type": "hello", "node": node, "song": [1]}))
    assert [node.id for node in hearing.nodes] == ["", "b"]
    assert counters.words_unreadable == 0


@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.integers(-(2**63), 2**63), st.lists).map(msgspec.msgpack.encode)
)
def test_hearing_never_raises(word: bytes) -> None:
    """Whatever it is, the broker that brings it goes on."""
    hearing, _ = deaf()
    hearing.hear(word)
