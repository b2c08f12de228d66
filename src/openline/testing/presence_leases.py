"""Checks of a presence: nodes that die, come back, are cut off or forgotten, and what is announced of it."""

from __future__ import annotations

from typing import Final

from openline.publication import Arrival, ClientInfo
from openline.testing.contract import expect
from openline.testing.presence_stage import (
    ANNA,
    ANNA_AGAIN,
    BEN,
    NOBODY,
    NOBODY_ELSE,
    PresenceCheck,
    Stage,
    presence_check,
)


@presence_check("1 seen", needs="crash")
async def a_node_that_died_takes_its_sessions_along(stage: Stage) -> None:
    """Once its lease is over, the sessions of a node that is gone are gone; those of the others stay."""
    if stage.setup.crash is None or len(stage.nodes) < 2:
        return
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA)
    await stage.add(stage.last, channel, BEN)
    await stage.setup.crash(stage.first)
    stage.nodes = stage.nodes[1:]
    await stage.expect_seen_in_time(channel, BEN)
    await stage.setup.advance(stage.lease * 1.2)
    await stage.expect_seen(channel, BEN)


@presence_check("1 seen", needs="node_lease_seconds")
async def who_is_removed_does_not_come_back(stage: Stage) -> None:
    """While its node lives, a session is seen, and not any more once it was removed, whatever is renewed meanwhile."""
    channel = stage.channel()
    infos = [ClientInfo(f"user-{number % 3}", f"session-{number}") for number in range(12)]
    await stage.add(stage.first, channel, *infos, announced=True)
    await stage.expect_seen(channel, *infos)
    for number, info in enumerate(infos):
        await stage.setup.advance(stage.lease / 10)
        await stage.expect_seen(channel, *infos[number:])
        await stage.do(stage.first.remove(channel, info.client))
    await stage.expect_seen(channel)
    await stage.setup.advance(stage.lease / 2)
    await stage.expect_seen(channel)
    expect(not stage.announced, f"nobody died, and announced were {stage.announced}")


@presence_check("5 announced", needs="crash")
async def the_leaves_of_a_dead_node_are_announced_once(stage: Stage) -> None:
    """By one of the others, whole, in each channel; not of sessions that were never announced or left before."""
    if stage.setup.crash is None or len(stage.nodes) < 2:
        return
    channels = [stage.channel(), stage.channel()]
    for channel in channels:
        await stage.add(stage.first, channel, ANNA, ANNA_AGAIN, announced=True)
        await stage.add(stage.first, channel, NOBODY)
        await stage.do(stage.first.remove(channel, ANNA_AGAIN.client))
        await stage.add(stage.last, channel, NOBODY_ELSE, announced=True)
    await stage.add(stage.first, channels[0], ClientInfo("old", BEN.client), BEN, announced=True)
    await stage.setup.crash(stage.first)
    stage.nodes = stage.nodes[1:]
    due = [(channel, Arrival(ANNA, joined=False)) for channel in channels]
    due.append((channels[0], Arrival(BEN, joined=False)))
    await stage.expect_announced(*due)
    for channel in channels:
        await stage.expect_seen_in_time(channel, NOBODY_ELSE)
    await stage.setup.advance(stage.lease / 2)
    await stage.expect_announced(*due)


@presence_check("5 announced", needs="pause")
async def a_node_that_was_taken_for_dead_comes_back(stage: Stage) -> None:
    """Cut off for longer than its lease, its sessions are gone and then there again; both are announced, once."""
    if stage.setup.pause is None or len(stage.nodes) < 2:
        return
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA, ANNA_AGAIN, announced=True)
    await stage.add(stage.first, channel, NOBODY)
    await stage.add(stage.last, channel, BEN, announced=True)
    everyone, others = stage.nodes, stage.nodes[1:]
    leaves = [(channel, Arrival(info, joined=False)) for info in (ANNA, ANNA_AGAIN)]
    async with stage.setup.pause(stage.first):
        stage.nodes = others
        await stage.expect_seen_in_time(channel, BEN)
        await stage.expect_announced(*leaves)
        await stage.try_to_remove(stage.first, channel, ANNA_AGAIN.client)  # it left while nobody could be told
    stage.nodes = everyone
    await stage.expect_seen_in_time(channel, ANNA, NOBODY, BEN)
    await stage.expect_announced(*leaves, (channel, Arrival(ANNA, joined=True)))
    await stage.setup.advance(stage.lease / 2)
    await stage.expect_seen(channel, ANNA, NOBODY, BEN)
    await stage.expect_announced(*leaves, (channel, Arrival(ANNA, joined=True)))


@presence_check("5 announced", needs="forget")
async def what_the_store_forgot_is_entered_again(stage: Stage) -> None:
    """By the nodes themselves; nothing is announced, as nobody was told that they had left."""
    if stage.setup.forget is None:
        return
    channel = stage.channel()
    await stage.add(stage.first, channel, ANNA, ANNA_AGAIN, announced=True)
    await stage.add(stage.first, channel, NOBODY)
    await stage.add(stage.last, channel, BEN, announced=True)
    await stage.setup.forget()
    await stage.do(stage.first.remove(channel, ANNA_AGAIN.client))
    await stage.expect_seen_in_time(channel, ANNA, NOBODY, BEN)
    await stage.setup.advance(stage.lease / 2)
    await stage.expect_seen(channel, ANNA, NOBODY, BEN)
    expect(not stage.announced, f"the store forgot everybody, and announced were {stage.announced}")


LEASE_CHECKS: Final[tuple[PresenceCheck, ...]] = (
    a_node_that_died_takes_its_sessions_along,
    who_is_removed_does_not_come_back,
    the_leaves_of_a_dead_node_are_announced_once,
    a_node_that_was_taken_for_dead_comes_back,
    what_the_store_forgot_is_entered_again,
)
