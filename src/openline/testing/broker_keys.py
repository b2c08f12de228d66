"""Checks of a broker: what is published a second time, and what is out of date."""

from __future__ import annotations

import asyncio
from typing import Final

from openline.publication import Position
from openline.testing.broker_stage import KEPT, BrokerCheck, Stage, broker_check, data_of, expect_heard
from openline.testing.contract import expect


@broker_check("6 idempotency")
async def a_repeated_key_gives_the_first_position(stage: Stage) -> None:
    """Whichever node asks again, whatever came since: nothing is published, the first position is given."""
    channel = await stage.followed()
    first = await stage.first.publish(channel, b"1", key="k")
    other = await stage.first.publish(channel, b"2", key="l")
    await stage.first.publish(channel, b"3")
    for node in stage.nodes:
        again = await node.publish(channel, b"not again", key="k")
        expect(again == first, f"the first was at {first}, the repeat at {again}")
        again = await node.publish(channel, b"not again", key="l")
        expect(again == other, f"another key was at {other}, its repeat at {again}")
    for number, node in enumerate(stage.nodes):
        expect_heard(number, await stage.heard_by(node, channel), [b"1", b"2", b"3"])
    kept = data_of((await stage.first.history(channel, limit=4)).publications)
    expect(b"not again" not in kept, f"a repeat is kept: {kept}")


@broker_check("6 idempotency")
async def a_key_belongs_to_one_channel(stage: Stage) -> None:
    """The same key in another channel is another key; no key at all is never a repeat."""
    channels = [await stage.followed() for _ in range(2)]
    for channel in channels:
        await stage.first.publish(channel, b"1", key="k")
        await stage.first.publish(channel, b"2")
        await stage.first.publish(channel, b"2")
    for channel in channels:
        for number, node in enumerate(stage.nodes):
            expect_heard(number, await stage.heard_by(node, channel), [b"1", b"2", b"2"])


@broker_check("6 idempotency")
async def a_key_is_published_once_however_many_try(stage: Stage) -> None:
    """Of many publishing one key at the same moment, one does, and all are given its position."""
    channel = await stage.followed()
    attempts = [node.publish(channel, b"1", key="k") for node in stage.nodes for _ in range(5)]
    positions = await asyncio.gather(*attempts)
    expect(len(set(positions)) == 1, f"one key was given the positions {positions}")
    for number, node in enumerate(stage.nodes):
        expect_heard(number, await stage.heard_by(node, channel), [b"1"])


@broker_check("6 idempotency")
async def keys_work_without_history(stage: Stage) -> None:
    """What is not kept is not carried twice either; its position is none, the first time and again."""
    channel = await stage.followed()
    for node in [stage.first, *stage.nodes]:
        position = await node.publish(channel, b"1", None, key="k")
        expect(position == Position.NONE, f"a publication that is not kept was given {position}")
    for number, node in enumerate(stage.nodes):
        expect_heard(number, await stage.heard_by(node, channel, None), [b"1"])


@broker_check("6 idempotency", needs="idempotency_seconds")
async def a_key_is_forgotten_after_its_time(stage: Stage) -> None:
    """For its lifetime a key is remembered, repeats do not prolong it, and after it the key is like new."""
    lifetime = stage.setup.idempotency_seconds or 0.0
    channel = await stage.followed()
    first = await stage.first.publish(channel, b"1", key="k")
    await stage.setup.advance(lifetime * 0.6)
    again = await stage.last.publish(channel, b"not again", key="k")
    expect(again == first, f"before its time was over, a repeat of {first} was given {again}")
    await stage.setup.advance(lifetime * 0.6)
    anew = await stage.last.publish(channel, b"2", key="k")
    expect(anew != first, f"after its time was over, the key is still remembered: {anew}")
    repeated = await stage.first.publish(channel, b"not again", key="k")
    expect(repeated == anew, f"used anew at {anew}, the key was given {repeated} on its repeat")
    for number, node in enumerate(stage.nodes):
        expect_heard(number, await stage.heard_by(node, channel), [b"1", b"2"])


@broker_check("version")
async def an_old_version_is_not_published(stage: Stage) -> None:
    """A version not above the last seen is neither carried nor kept, and is given the top; 0 is not looked at."""
    channel = await stage.followed()
    await stage.first.publish(channel, b"1", version=5)
    top = await stage.first.publish(channel, b"2")
    for node in stage.nodes:
        for version in (5, 4, 1):
            position = await node.publish(channel, b"old", version=version)
            expect(position == top, f"version {version} after 5 was given {position}, the top being {top}")
    await stage.last.publish(channel, b"3", version=6)
    await stage.first.publish(channel, b"old", version=6)
    for number, node in enumerate(stage.nodes):
        expect_heard(number, await stage.heard_by(node, channel), [b"1", b"2", b"3"])
    kept = data_of((await stage.first.history(channel, limit=3)).publications)
    expect(kept == [b"1", b"2", b"3"], f"the oldest kept are {kept}")


@broker_check("version")
async def versions_of_different_epochs_are_not_compared(stage: Stage) -> None:
    """A version is held against the last one seen, if that is of the same epoch."""
    channel = await stage.followed()
    await stage.first.publish(channel, b"1", version=5, version_epoch="a")
    await stage.last.publish(channel, b"old", version=5, version_epoch="a")
    await stage.last.publish(channel, b"2", version=1, version_epoch="b")
    await stage.first.publish(channel, b"old", version=1, version_epoch="b")
    await stage.first.publish(channel, b"3", version=1, version_epoch="a")
    for number, node in enumerate(stage.nodes):
        expect_heard(number, await stage.heard_by(node, channel), [b"1", b"2", b"3"])


@broker_check("version")
async def versions_of_different_channels_are_not_compared(stage: Stage) -> None:
    """Each channel has its own last version, which outlives the publications it came with."""
    for _ in range(2):
        channel = await stage.followed()
        await stage.first.publish(channel, b"1", version=5)
        await stage.first.forget(channel)
        await stage.last.publish(channel, b"old", version=5)
        for number, node in enumerate(stage.nodes):
            expect_heard(number, await stage.heard_by(node, channel), [b"1"])


@broker_check("version")
async def many_versions_at_once_never_go_back(stage: Stage) -> None:
    """Published at the same moment, in whatever order they are taken, versions are heard upwards, and the newest is."""
    channel = await stage.followed()
    versions = [3, 1, 9, 2, 8, 4, 7, 5, 6]
    attempts = [node.publish(channel, b"%d" % version, version=version) for version in versions for node in stage.nodes]
    await asyncio.gather(*attempts)
    for number, node in enumerate(stage.nodes):
        heard = data_of(await stage.heard_by(node, channel, KEPT))
        expect(heard == sorted(set(heard)) and heard[-1:] == [b"9"], f"node {number} heard the versions {heard}")


KEY_CHECKS: Final[tuple[BrokerCheck, ...]] = (
    a_repeated_key_gives_the_first_position,
    a_key_belongs_to_one_channel,
    a_key_is_published_once_however_many_try,
    keys_work_without_history,
    a_key_is_forgotten_after_its_time,
    an_old_version_is_not_published,
    versions_of_different_epochs_are_not_compared,
    versions_of_different_channels_are_not_compared,
    many_versions_at_once_never_go_back,
)
