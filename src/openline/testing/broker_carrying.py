"""Checks of a broker: what is carried arrives whole, in order, where it is wanted, and once."""

from __future__ import annotations

import asyncio
from typing import Final

from openline.options import History
from openline.publication import Arrival, ClientInfo, Publication
from openline.testing.broker_stage import KEPT, BrokerCheck, Node, Stage, broker_check, data_of, expect_heard
from openline.testing.contract import expect

_KINDS: Final = (KEPT, None)  #: with history and without

_PAYLOADS: Final = (
    b'{"text":"two\\nlines"}',
    "\u00e9\u2603\U0001f600".encode(),
    bytes(range(256)),
    b"\r\n \x00",
    b"x" * 60_000,
)
_INFO: Final = ClientInfo("us\u00e9r", "client-1", b'{"name":"A"}', b"\x00\xff")
_TAGS: Final = {"kind": "a b", "\u00e9": "\u2603"}

#: Endings of channel names that some store or other takes for a pattern, a path or a shard.
_SUFFIXES: Final = (
    *("", ".", ".a", ".>", ".*", "*", ">", "?", "{a}", "{b}", "[a-z]", "\\a", "/", "/a", ":", ":a", "#1,2", "$"),
    *('"', "'", "`", "%20", "&", ";", "A", "a", "=", "~", "!", "|", "+", "@", "^"),
)


@broker_check("publish")
async def what_is_published_arrives_whole(stage: Stage) -> None:
    """Data, info and tags reach every node as they were given, whatever bytes they are."""
    for history in _KINDS:
        channel = await stage.followed()
        for payload in _PAYLOADS:
            tags = dict(_TAGS)
            await stage.first.publish(channel, payload, history, info=_INFO, tags=tags)
            tags["kind"] = "changed by the caller afterwards"
            await stage.first.publish(channel, b'"plain"', history)
            for node in stage.nodes:
                full, plain = await node.wait(channel, b'"plain"')
                expect(isinstance(full, Publication) and full.data == payload, f"{payload[:20]!r} arrived as {full}")
                expect(isinstance(full, Publication) and full.info == _INFO, f"{_INFO} arrived as {full.info}")
                expect(isinstance(full, Publication) and full.tags == _TAGS, f"{_TAGS} did not arrive so")
                expect(
                    isinstance(plain, Publication) and plain.info is None and not plain.tags,
                    f"info or tags that nobody gave: {plain}",
                )


@broker_check("publish")
async def every_name_is_a_channel_of_its_own(stage: Stage) -> None:
    """No character of a name has a meaning to the store, and 255 of them fit."""
    prefix = stage.channel()
    channels = [prefix + suffix for suffix in (*_SUFFIXES, "x" * (255 - len(prefix)))]
    for history in _KINDS:
        for followed in (channels[::2], channels[1::2]):
            for channel in followed:
                await stage.last.follow(channel)
            for channel in channels:
                await stage.first.publish(channel, channel.encode(), history)
            for channel in followed:
                # What came while only other channels were followed is among this as well.
                heard = data_of(await stage.heard_by(stage.last, channel, history))
                expect(heard == [channel.encode()], f"channel {channel!r} heard {heard}")
                await stage.last.unfollow(channel)
    for channel in channels:
        expect(not stage.last.unread(channel), f"channel {channel!r} is heard, but not followed")
        kept = data_of((await stage.last.history(channel, limit=1)).publications)
        expect(kept == [channel.encode()], f"the oldest that channel {channel!r} keeps is {kept}")


@broker_check("announce")
async def joins_and_leaves_reach_those_who_follow(stage: Stage) -> None:
    """An arrival is carried whole to the nodes that follow the channel, and is not kept."""
    channel = stage.channel()
    join, leave = Arrival(_INFO, joined=True), Arrival(ClientInfo("", "client-2"), joined=False)
    await stage.first.announce(channel, leave)
    await stage.flush(stage.first)
    for node in stage.nodes:
        await node.follow(channel)
    await stage.first.announce(channel, join)
    await stage.first.announce(channel, leave)
    for number, node in enumerate(stage.nodes):
        heard = await node.wait(channel, arrivals=2)
        expect(heard == [join, leave], f"node {number} heard {heard} of {[join, leave]}")
    page = await stage.first.history(channel)
    expect(not page.publications and page.top.offset == 0, f"an arrival is kept: {page}")


@broker_check("1 order")
async def one_publisher_is_heard_in_its_order(stage: Stage) -> None:
    """What one caller publishes, one after the other, arrives everywhere in that order."""
    for history in _KINDS:
        channel = await stage.followed()
        sent = [b"%d" % number for number in range(40)]
        for data in sent:
            await stage.first.publish(channel, data, history)
        for number, node in enumerate(stage.nodes):
            expect_heard(number, await node.wait(channel, sent[-1]), sent)


@broker_check("1 order")
async def many_publishers_are_heard_in_one_order(stage: Stage) -> None:
    """However many publish at once, every node hears each in its own order, and what is kept in that of the offsets."""

    async def publish_all(node: Node, sent: list[bytes], history: History | None) -> None:
        for data in sent:
            await node.publish(channel, data, history)

    numbers = range(3 * len(stage.nodes))
    publishers = [[b"%d-%02d" % (number, count) for count in range(15)] for number in numbers]
    for history in _KINDS:
        channel = await stage.followed()
        await asyncio.gather(
            *(publish_all(stage.nodes[number % len(stage.nodes)], publishers[number], history) for number in numbers)
        )
        for index, node in enumerate(stage.nodes):
            heard = await stage.heard_by(node, channel, history)
            for sent in publishers:
                own = [data for data in data_of(heard) if data in sent]
                expect(own == sent, f"node {index} heard {own} of a publisher that sent {sent}")
            offsets = [message.offset for message in heard if isinstance(message, Publication)]
            expect(history is None or offsets == sorted(offsets), f"node {index} heard the offsets {offsets}")


@broker_check("4 interest")
async def follow_returns_when_it_holds(stage: Stage) -> None:
    """Whatever is published once `follow` has returned arrives, from whichever node."""
    for round_ in range(10):
        for publisher in stage.nodes:
            for follower in stage.nodes:
                channel, data = stage.channel(), b"%d" % round_
                await follower.follow(channel)
                await publisher.publish(channel, data, _KINDS[round_ % 2])
                await follower.wait(channel, data)


@broker_check("4 interest")
async def nothing_arrives_that_is_not_followed(stage: Stage) -> None:
    """A node hears nothing from before it followed a channel nor from after it stopped, whoever else follows it."""
    for history in _KINDS:
        channel = stage.channel()
        for number, follower in enumerate(stage.nodes):
            await _publish_from_all(stage, channel, b'"too early"', history)
            await follower.follow(channel)
            expect_heard(number, await stage.heard_by(follower, channel, history), [])
            await follower.unfollow(channel)
            await _publish_from_all(stage, channel, b'"too late"', history)
            await follower.follow(channel)
            expect_heard(number, await stage.heard_by(follower, channel, history), [])


@broker_check("4 interest")
async def following_twice_is_following_once(stage: Stage) -> None:
    """Interest is not counted: all is heard once, and one `unfollow` ends it; a needless one is no error."""
    channel = stage.channel()
    await stage.first.unfollow(channel)
    await stage.first.follow(channel)
    await stage.first.follow(channel)
    await stage.last.publish(channel, b"1")
    expect_heard(0, await stage.heard_by(stage.first, channel), [b"1"])
    await stage.first.unfollow(channel)
    await stage.last.publish(channel, b"2")
    await stage.first.unfollow(channel)
    await stage.first.follow(channel)
    expect_heard(0, await stage.heard_by(stage.first, channel), [])


@broker_check("4 interest")
async def nodes_follow_each_for_themselves(stage: Stage) -> None:
    """One node's `unfollow` changes nothing for the others."""
    channel = await stage.followed()
    sent = [b"%d" % number for number in range(len(stage.nodes) - 1)]
    for node, data in zip(stage.nodes, sent, strict=False):
        await node.unfollow(channel)
        await node.publish(channel, data)
    expect_heard(len(sent), await stage.heard_by(stage.last, channel), sent)


@broker_check("5 at most once")
async def nothing_arrives_twice(stage: Stage) -> None:
    """A publication is heard once by each node that follows."""
    for history in _KINDS:
        channel = await stage.followed()
        sent = [b"%d" % number for number in range(10)]
        for number, data in enumerate(sent):
            await stage.nodes[number % len(stage.nodes)].publish(channel, data, history)
        for number, node in enumerate(stage.nodes):
            heard = data_of(await stage.heard_by(node, channel, history))
            expect(sorted(heard) == sorted(sent), f"node {number} was to hear {sent} and heard {heard}")
        for number, node in enumerate(stage.nodes):
            expect_heard(number, await stage.heard_by(node, channel, history), [])


@broker_check("stop")
async def stop_may_be_called_twice_and_is_silent(stage: Stage) -> None:
    """A node that was stopped hears nothing more; the others go on; stopping again is no error."""
    channel = await stage.followed()
    await stage.heard_by(stage.first, channel)
    await stage.first.stop()
    await stage.first.stop()
    others = stage.nodes[1:]
    for node in others:
        await node.publish(channel, b"2")
    for number, node in enumerate(others, start=1):
        expect_heard(number, await stage.heard_by(node, channel), [b"2"] * len(others))
    expect(not stage.first.unread(channel), "a stopped node goes on hearing")


async def _publish_from_all(stage: Stage, channel: str, data: bytes, history: History | None) -> None:
    for node in stage.nodes:
        await node.publish(channel, data, history)
        await stage.flush(node)


CARRYING_CHECKS: Final[tuple[BrokerCheck, ...]] = (
    what_is_published_arrives_whole,
    every_name_is_a_channel_of_its_own,
    joins_and_leaves_reach_those_who_follow,
    one_publisher_is_heard_in_its_order,
    many_publishers_are_heard_in_one_order,
    follow_returns_when_it_holds,
    nothing_arrives_that_is_not_followed,
    following_twice_is_following_once,
    nodes_follow_each_for_themselves,
    nothing_arrives_twice,
    stop_may_be_called_twice_and_is_silent,
)
