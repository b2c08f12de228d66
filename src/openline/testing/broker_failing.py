"""Checks of a broker: what it says when something fails, and that nothing it missed is passed over in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final

from openline.errors import BrokerUnavailable
from openline.publication import Arrival, ClientInfo, Position
from openline.testing.broker_stage import (
    BrokerCheck,
    Node,
    Stage,
    broker_check,
    data_of,
    expect_chain,
    expect_heard,
)
from openline.testing.contract import ContractBroken, expect

_JOIN: Final = Arrival(ClientInfo("u", "c"), joined=True)


@broker_check("7 loud failure", started=False)
async def a_broker_that_is_not_started_refuses(stage: Stage) -> None:
    """Everything but `stop` and `unfollow` raises `BrokerUnavailable`; the problem is told until it is started."""
    await stage.first.unfollow(stage.channel())
    await stage.first.stop()
    await _expect_refusals(stage, [stage.first])
    expect(bool(stage.first.broker.problem), "not started, the broker says there is no problem")
    for node in stage.nodes:
        await node.start()
    await _expect_no_problem(stage, stage.nodes)


@broker_check("7 loud failure")
async def a_stopped_broker_refuses(stage: Stage) -> None:
    """What can no longer be done raises `BrokerUnavailable`, in place of being lost, and the problem is told."""
    channel = stage.channel()
    await stage.first.follow(channel)
    await stage.first.stop()
    await _expect_refusals(stage, [stage.first])
    await stage.first.unfollow(channel)  # a session that closes late does this
    expect(bool(stage.first.broker.problem), "stopped, the broker says there is no problem")
    await _expect_no_problem(stage, stage.nodes[1:])


@broker_check("7 loud failure", needs="outage")
async def an_outage_is_told_and_ends(stage: Stage) -> None:
    """While the store does not answer, calls raise `BrokerUnavailable`; after it, all works again by itself."""
    cut_off = stage.setup.outage
    if cut_off is None:
        return
    channel = await stage.followed()
    before = await stage.first.publish(channel, b'"before"')
    async with cut_off():
        await _expect_refusals(stage, stage.nodes)
    for number, node in enumerate(stage.nodes):
        await _publish_until_heard(stage, node, channel, b'"after %d"' % number)
    after = await stage.first.publish(channel, b'"last"')
    expect(after != before, f"{before} was given before the outage and after it")
    expect(after.epoch != before.epoch or after.offset > before.offset, f"{after} does not come after {before}")


@broker_check("7 loud failure", needs="outage")
async def a_problem_is_told_while_it_lasts(stage: Stage) -> None:
    """Before an outage there is none, during it there is one on every node, and after it none, unasked."""
    cut_off = stage.setup.outage
    if cut_off is None:
        return
    channel = await stage.followed()
    await _expect_no_problem(stage, stage.nodes)
    async with cut_off():
        await _try_to_publish(stage, [channel])
        for node in stage.nodes:
            await _expect_problem(stage, node)
    await _expect_no_problem(stage, stage.nodes)


@broker_check("7 loud failure", needs="cut")
async def only_who_is_cut_off_fails(stage: Stage) -> None:
    """Its calls raise `BrokerUnavailable` and its problem is told; the other nodes notice nothing."""
    if stage.setup.cut is None:
        return
    channel = await stage.followed()
    others = stage.nodes[1:]
    async with stage.setup.cut(stage.first.broker):
        await _expect_refusals(stage, [stage.first])
        await _expect_problem(stage, stage.first)
        for number, node in enumerate(others):
            await node.publish(channel, b"%d" % number)
        sent = [b"%d" % number for number in range(len(others))]
        for number, node in enumerate(others, start=1):
            expect_heard(number, await node.wait(channel, *sent), sent)
            expect(not node.broker.problem, f"node {number} is not cut off, and has a problem: {node.broker.problem}")
    await _expect_no_problem(stage, stage.nodes)


@broker_check("7 loud failure", needs="cut")
async def a_follow_that_failed_leaves_nothing_behind(stage: Stage) -> None:
    """Nothing arrives of a channel whose `follow` raised, also once the store is back; following it then works."""
    if stage.setup.cut is None:
        return
    followed, failed = await stage.followed(), stage.channel()
    stage.first.doubted.clear()
    async with stage.setup.cut(stage.first.broker):
        await _expect_refusal(stage, "follow", stage.first.follow(failed))
    await _expect_doubt(stage, stage.first, [followed])
    await stage.last.publish(failed, b'"nobody is there"')
    await stage.first.follow(failed)
    await stage.last.publish(failed, b'"now somebody is"')
    expect_heard(0, await stage.heard_by(stage.first, failed), [b'"now somebody is"'])


@broker_check("5 doubt", needs="cut")
async def who_was_cut_off_doubts_what_it_follows(stage: Stage) -> None:
    """All of it, and nothing else, once it is followed again; history then tells what was missed."""
    if stage.setup.cut is None:
        return
    others = stage.nodes[1:]
    channels = [await stage.followed() for _ in range(3)]
    left_before, left_meanwhile = await stage.followed(), await stage.followed()
    known: dict[str, Position] = {}
    for channel in channels:
        known[channel] = await stage.last.publish(channel, b'"before"')
        await stage.first.wait(channel, b'"before"')
    await stage.first.unfollow(left_before)
    stage.first.doubted.clear()
    async with stage.setup.cut(stage.first.broker):
        await stage.first.unfollow(left_meanwhile)
        for channel in (*channels, left_before, left_meanwhile):
            for number, node in enumerate(others):
                await node.publish(channel, b"missed %d" % number)
    await _expect_doubt(stage, stage.first, channels)
    missed = [b"missed %d" % number for number in range(len(others))]
    for channel in channels:
        await stage.last.publish(channel, b'"after"')
        heard = data_of(await stage.first.wait(channel, b'"after"'))
        expect(len(heard) == len(set(heard)), f"what it heard came twice: {heard}")
        page = await stage.first.history(channel, since=known[channel])
        read = data_of(page.publications)
        expect(read == [*missed, b'"after"'], f"since {known[channel]} were sent {missed} and one more, read is {read}")
        expect_chain(page.publications, whole=False)
        first = page.publications[0]
        expect(first.previous == known[channel].offset, f"the first after {known[channel]} names {first.previous}")
    for channel in (left_before, left_meanwhile):
        await stage.first.follow(channel)
        expect_heard(0, await stage.heard_by(stage.first, channel), [])


@broker_check("5 doubt", needs="outage")
async def what_an_outage_hid_is_doubted(stage: Stage) -> None:
    """What is published as soon as the store is back is heard by every node, or its channel is doubted.

    No more than that is asked: where the store only stood still, and no connection was lost, nothing was missed.
    """
    cut_off = stage.setup.outage
    if cut_off is None:
        return
    channels = [await stage.followed() for _ in range(3)]
    unfollowed = await stage.followed()
    for node in stage.nodes:
        await node.unfollow(unfollowed)
        node.doubted.clear()
    async with cut_off():
        await _try_to_publish(stage, channels)
    for channel in channels:
        await _publish_once_back(stage, stage.first, channel, b'"after"')
    for number, node in enumerate(stage.nodes):
        for channel in channels:
            known = await node.hears_or_doubts(channel, b'"after"')
            expect(known, f"node {number} neither heard what came right after the outage nor doubts the channel")
            node.doubted.discard(channel)  # whoever doubted follows again, and hears the next
            await stage.first.publish(channel, b"last %d" % number)
            known = await node.hears_or_doubts(channel, b"last %d" % number)
            expect(known, f"once it was back, node {number} neither heard what came nor doubts the channel")
        expect(unfollowed not in node.doubted, f"node {number} doubts what it does not follow")


async def _expect_doubt(stage: Stage, node: Node, channels: Iterable[str]) -> None:
    """Break off unless exactly these channels come to be doubted."""
    expected = set(channels)
    await node.comes(lambda: node.doubted.issuperset(expected))
    missing, needless = expected - node.doubted, node.doubted - expected
    expect(not missing, f"{stage.setup.arrival_seconds} s after it was cut off, a node does not doubt {missing}")
    expect(not needless, f"a node doubts what it does not follow: {needless}")


async def _expect_problem(stage: Stage, node: Node) -> None:
    told = await stage.becomes(lambda: bool(node.broker.problem))
    expect(told, f"cut off for {stage.setup.arrival_seconds} s, a node says there is no problem")


async def _expect_no_problem(stage: Stage, nodes: Iterable[Node]) -> None:
    for broker in [node.broker for node in nodes]:
        await stage.becomes(lambda: not broker.problem)  # noqa: B023  # asked before the next one's turn
        expect(not broker.problem, f"all works, and a node says: {broker.problem}")


async def _expect_refusals(stage: Stage, nodes: Iterable[Node]) -> None:
    """Break off unless every kind of call raises `BrokerUnavailable` in time, all made at once."""
    refusals = [
        _expect_refusal(stage, name, work) for node in nodes for name, work in _calls(node, stage.channel()).items()
    ]
    for outcome in await asyncio.gather(*refusals, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _calls(node: Node, channel: str) -> dict[str, Coroutine[Any, Any, object]]:
    """Give every kind of call that needs the store, by its name, ready to be awaited."""
    return {
        "publish": node.publish(channel, b'"lost?"'),
        "publish without history": node.publish(channel, b'"lost?"', None),
        "announce": node.announce(channel, _JOIN),
        "history": node.history(channel),
        "forget": node.forget(channel),
        "follow": node.follow(channel),
        "tell": node.tell(b"lost?"),
    }


async def _expect_refusal(stage: Stage, name: str, work: Coroutine[Any, Any, object]) -> None:
    limit = stage.setup.deadline_seconds
    try:
        async with asyncio.timeout(limit):
            result = await work
    except BrokerUnavailable:
        return
    except TimeoutError:
        raise ContractBroken(f"{name} did not give up in {limit} s") from None
    raise ContractBroken(f"{name} gave {result} in place of BrokerUnavailable")


async def _try_to_publish(stage: Stage, channels: Iterable[str]) -> None:
    """Publish from every node in every channel, all at once; what comes of it does not matter, if it comes in time."""
    attempts = [node.publish(channel, b'"lost?"') for node in stage.nodes for channel in channels]
    limit = stage.setup.deadline_seconds
    try:
        async with asyncio.timeout(limit):
            outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    except TimeoutError:
        raise ContractBroken(f"publish neither gave a position nor gave up in {limit} s") from None
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, BrokerUnavailable):
            raise outcome


async def _publish_once_back(stage: Stage, node: Node, channel: str, data: bytes) -> None:
    """Publish as soon as the store takes it, once."""
    error: BrokerUnavailable | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(stage.setup.arrival_seconds):
            while True:
                try:
                    await node.publish(channel, data, key=data.decode())
                    return
                except BrokerUnavailable as refusal:
                    error = refusal
                    await asyncio.sleep(0.01)
    raise ContractBroken(f"{stage.setup.arrival_seconds} s after the outage publish still raises {error!r}")


async def _publish_until_heard(stage: Stage, node: Node, channel: str, data: bytes) -> None:
    """Publish from a node until it hears it: what connects anew may still miss the first."""
    problem = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(stage.setup.arrival_seconds):
            while True:
                try:
                    await node.publish(channel, data)
                except BrokerUnavailable as error:
                    problem = f"still raises {error!r}"
                    await asyncio.sleep(0.01)
                    continue
                if await node.hears(channel, data, seconds=0.1):
                    return
                problem = "publishes, but does not hear it"
    expect(kept=False, problem=f"{stage.setup.arrival_seconds} s after the outage a node {problem}")


FAILING_CHECKS: Final[tuple[BrokerCheck, ...]] = (
    a_broker_that_is_not_started_refuses,
    a_stopped_broker_refuses,
    an_outage_is_told_and_ends,
    a_problem_is_told_while_it_lasts,
    only_who_is_cut_off_fails,
    a_follow_that_failed_leaves_nothing_behind,
    who_was_cut_off_doubts_what_it_follows,
    what_an_outage_hid_is_doubted,
)
