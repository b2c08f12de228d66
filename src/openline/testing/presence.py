"""`check_presence`: the guarantees of `openline.presence.base`, checked against any presence.

Write a factory and give it to every check, as tests of their own so that a failure names the guarantee:

    @asynccontextmanager
    async def nodes() -> AsyncIterator[PresenceNodes]:
        async with my_server() as address:
            yield PresenceNodes(presences=[MyPresence(address), MyPresence(address)])

    @pytest.mark.parametrize("check", PRESENCE_CHECKS, ids=str)
    async def test_my_presence_keeps_the_contract(check):
        await check(nodes)

or run them all at once with ``await check_presence(nodes)``. Two presences on one store check what one cannot: give
two wherever there can be more than one node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from openline.errors import BrokerUnavailable
from openline.presence.base import Presence, PresenceStats
from openline.publication import ClientInfo
from openline.testing.contract import ContractBroken, expect
from openline.testing.presence_leases import LEASE_CHECKS
from openline.testing.presence_stage import (
    ANNA,
    ANNA_AGAIN,
    BEN,
    NOBODY,
    NOBODY_ELSE,
    PresenceCheck,
    PresenceNodes,
    Stage,
    presence_check,
)

__all__ = ["PRESENCE_CHECKS", "PresenceCheck", "PresenceNodes", "check_presence"]


@presence_check("1 seen")
async def sessions_are_seen_whole_on_every_node(stage: Stage) -> None:
    """Whichever node added them, all see the same, with all that is known of each."""
    channel = stage.channel()
    await stage.expect_seen(channel)
    await stage.add(stage.first, channel, ANNA, NOBODY)
    await stage.expect_seen(channel, ANNA, NOBODY)
    await stage.add(stage.last, channel, BEN)
    await stage.expect_seen(channel, ANNA, NOBODY, BEN)


@presence_check("1 seen")
async def channels_do_not_mix(stage: Stage) -> None:
    """A session is seen in the channels it was added to, whatever their names look like."""
    channels = [stage.channel(suffix) for suffix in ("", ".*", ">", "*", "{a}", "?", "#1", ":a", '"', "x" * 200)]
    for channel in channels:
        await stage.add(stage.first, channel, ClientInfo(channel, "session"), ClientInfo(channel, channel))
    await stage.do(stage.first.remove(channels[0], "session"))
    await stage.expect_seen(channels[0], ClientInfo(channels[0], channels[0]))
    for channel in channels[1:]:
        await stage.expect_seen(channel, ClientInfo(channel, "session"), ClientInfo(channel, channel))


@presence_check("1 seen")
async def many_at_once_are_all_seen(stage: Stage) -> None:
    """Sessions that come and go at the same moment, on all nodes, are counted rightly in the end."""
    channel = stage.channel()
    infos = [ClientInfo(f"user-{number % 7}", f"session-{number}") for number in range(40)]
    homes = [stage.nodes[number % len(stage.nodes)] for number in range(len(infos))]
    pairs = list(zip(homes, infos, strict=True))
    await asyncio.gather(*(stage.add(node, channel, info) for node, info in pairs))
    await stage.expect_seen(channel, *infos)
    await asyncio.gather(*(stage.do(node.remove(channel, info.client)) for node, info in pairs[::2]))
    await stage.expect_seen(channel, *infos[1::2])


@presence_check("1 seen")
async def users_are_counted_once(stage: Stage) -> None:
    """Three tabs are three sessions of one user, who counts until the last is gone; all the anonymous count as one."""
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA, NOBODY)
    await stage.add(stage.last, channel, ANNA_AGAIN, NOBODY_ELSE)
    stats = await stage.do(stage.first.stats(channel))
    expect(stats == PresenceStats(clients=4, users=2), f"two tabs of one user and two anonymous count as {stats}")
    await stage.do(stage.first.remove(channel, ANNA.client))
    await stage.expect_seen(channel, NOBODY, ANNA_AGAIN, NOBODY_ELSE)
    await stage.do(stage.last.remove(channel, ANNA_AGAIN.client))
    await stage.expect_seen(channel, NOBODY, NOBODY_ELSE)


@presence_check("1 seen")
async def who_was_removed_is_gone(stage: Stage) -> None:
    """Removed on the node that added it, a session is seen by none; the others stay; it may come again."""
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA, BEN)
    await stage.do(stage.first.remove(channel, BEN.client))
    await stage.expect_seen(channel, ANNA)
    await stage.do(stage.first.remove(channel, ANNA.client))
    await stage.expect_seen(channel)
    await stage.add(stage.first, channel, BEN)
    await stage.expect_seen(channel, BEN)


@presence_check("2 adding again")
async def adding_again_replaces(stage: Stage) -> None:
    """The latest that was said of a session counts, and it is still one session, of one user."""
    channel = stage.channel()
    changed = ClientInfo("carla", ANNA.client, b'{"new":true}', b"x")
    await stage.add(stage.first, channel, ANNA, BEN, ANNA)
    await stage.expect_seen(channel, ANNA, BEN)
    await stage.add(stage.first, channel, changed)
    await stage.expect_seen(channel, changed, BEN)
    await stage.do(stage.first.remove(channel, ANNA.client))
    await stage.expect_seen(channel, BEN)


@presence_check("3 removing")
async def removing_what_is_not_there_is_no_error(stage: Stage) -> None:
    """Neither in a channel nobody is in, nor beside others, nor twice."""
    channel = stage.channel()
    await stage.do(stage.first.remove(channel, ANNA.client))
    await stage.add(stage.first, channel, BEN, ANNA)
    await stage.do(stage.first.remove(channel, "another session"))
    for _ in range(2):
        await stage.do(stage.first.remove(channel, ANNA.client))
    await stage.expect_seen(channel, BEN)


@presence_check("4 loud failure", started=False)
async def a_presence_that_is_not_started_refuses(stage: Stage) -> None:
    """Everything but `stop` and `remove` raises `BrokerUnavailable`; the problem is told until it is started."""
    await stage.do(stage.first.remove(stage.channel(), ANNA.client))
    await stage.do(stage.first.stop())
    await _expect_refusals(stage, [stage.first])
    expect(bool(stage.first.problem), "not started, the presence says there is no problem")
    await stage.start()
    await _expect_no_problem(stage, stage.nodes)


@presence_check("4 loud failure")
async def a_stopped_presence_refuses(stage: Stage) -> None:
    """What can no longer be done or known raises `BrokerUnavailable`; a session that leaves late does not."""
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA)
    await stage.do(stage.first.stop())
    await _expect_refusals(stage, [stage.first])
    await stage.do(stage.first.remove(channel, ANNA.client))
    expect(bool(stage.first.problem), "stopped, the presence says there is no problem")
    await _expect_no_problem(stage, stage.nodes[1:])


@presence_check("4 loud failure", needs="outage")
async def an_outage_is_told(stage: Stage) -> None:
    """While the store does not answer, calls raise `BrokerUnavailable` and the problem is told; both end with it."""
    if stage.setup.outage is None:
        return
    channel = stage.channel()
    await _expect_no_problem(stage, stage.nodes)
    async with stage.setup.outage():
        await _expect_refusals(stage, stage.nodes)
        for node in stage.nodes:
            await _expect_problem(stage, node)
    await _expect_no_problem(stage, stage.nodes)
    await stage.add(stage.first, channel, ANNA)
    await stage.expect_seen(channel, ANNA)


@presence_check("4 loud failure", needs="outage")
async def an_outage_changes_nobody(stage: Stage) -> None:
    """After it, those who are there are seen, and who was removed during it is not, whether or not that raised."""
    if stage.setup.outage is None:
        return
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA, NOBODY)
    await stage.add(stage.last, channel, BEN)
    async with stage.setup.outage():
        await stage.try_to_remove(stage.first, channel, NOBODY.client)
    await _expect_no_problem(stage, stage.nodes)
    if stage.setup.node_lease_seconds is not None:
        await stage.expect_seen_in_time(channel, ANNA, BEN)
    await stage.expect_seen(channel, ANNA, BEN)


@presence_check("4 loud failure", needs="pause")
async def only_who_is_cut_off_fails(stage: Stage) -> None:
    """Its calls raise `BrokerUnavailable` and its problem is told; the other nodes notice nothing."""
    if stage.setup.pause is None:
        return
    channel = stage.channel()
    others = stage.nodes[1:]
    async with stage.setup.pause(stage.first):
        await _expect_refusals(stage, [stage.first])
        await _expect_problem(stage, stage.first)
        for node in others:
            await stage.add(node, channel, BEN)
            members = await stage.do(node.members(channel))
            expect(members == {BEN.client: BEN}, f"beside one that is cut off, a node sees {members}")
            expect(not node.problem, f"a node that is not cut off has a problem: {node.problem}")
    await _expect_no_problem(stage, stage.nodes)


@presence_check("stop")
async def stop_removes_the_sessions_of_its_node(stage: Stage) -> None:
    """They are gone for the others at once, whose own stay; nothing is announced; stopping again is no error."""
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA, announced=True)
    others = stage.nodes[1:]
    stay = [ClientInfo("u", f"session-of-{number}") for number in range(len(others))]
    for node, info in zip(others, stay, strict=True):
        await stage.add(node, channel, info, announced=True)
    await stage.do(stage.first.stop())
    await stage.do(stage.first.stop())
    stage.nodes = others
    await stage.expect_seen(channel, *stay)
    if stage.setup.node_lease_seconds is not None:
        await stage.setup.advance(stage.lease * 1.2)
        await stage.expect_seen(channel, *stay)
    expect(not stage.announced, f"one node was stopped, and announced were {stage.announced}")


async def _expect_refusals(stage: Stage, nodes: Iterable[Presence]) -> None:
    """Break off unless every kind of call raises `BrokerUnavailable` in time, all made at once."""
    channel = stage.channel()
    refusals = [
        _expect_refusal(stage, name, work) for node in nodes for name, work in _calls(stage, node, channel).items()
    ]
    for outcome in await asyncio.gather(*refusals, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _calls(stage: Stage, node: Presence, channel: str) -> dict[str, Coroutine[Any, Any, object]]:
    """Give every kind of call that needs the store, by its name, ready to be awaited."""
    return {
        "add": stage.do(node.add(channel, BEN)),
        "members": stage.do(node.members(channel)),
        "stats": stage.do(node.stats(channel)),
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


async def _expect_problem(stage: Stage, node: Presence) -> None:
    told = await stage.becomes(lambda: bool(node.problem))
    expect(told, f"cut off for {stage.setup.arrival_seconds} s, a node says there is no problem")


async def _expect_no_problem(stage: Stage, nodes: Iterable[Presence]) -> None:
    for node in nodes:
        await stage.becomes(lambda: not node.problem)  # noqa: B023  # asked before the next one's turn
        expect(not node.problem, f"all works, and a node says: {node.problem}")


#: Every check, each of which runs alone: ``await check(make)``.
PRESENCE_CHECKS: Final[tuple[PresenceCheck, ...]] = (
    sessions_are_seen_whole_on_every_node,
    channels_do_not_mix,
    many_at_once_are_all_seen,
    users_are_counted_once,
    who_was_removed_is_gone,
    adding_again_replaces,
    removing_what_is_not_there_is_no_error,
    a_presence_that_is_not_started_refuses,
    a_stopped_presence_refuses,
    an_outage_is_told,
    an_outage_changes_nobody,
    only_who_is_cut_off_fails,
    stop_removes_the_sessions_of_its_node,
    *LEASE_CHECKS,
)


async def check_presence(make: Callable[[], AbstractAsyncContextManager[PresenceNodes]]) -> None:
    """Check every guarantee, one after the other, each on nodes of its own.

    What the set-up gives no hook for (`PresenceNodes.crash`, `forget`, `pause`, `outage`) is not checked.

    Args:
        make: the factory: makes an async context manager that yields nodes nobody used before.
    Raises:
        ContractBroken: the first guarantee that is not kept; its message begins with its number and name.
    """
    for check in PRESENCE_CHECKS:
        await check(make)
