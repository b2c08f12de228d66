"""Checks of a broker: positions, and what history keeps, shows and forgets."""

from __future__ import annotations

import asyncio
from itertools import zip_longest
from typing import Final

from openline.options import History
from openline.publication import ClientInfo, Position, Publication
from openline.testing.broker_stage import (
    KEPT,
    BrokerCheck,
    Node,
    Stage,
    broker_check,
    data_of,
    describe,
    expect_chain,
)
from openline.testing.contract import expect


async def _publish_numbers(node: Node, channel: str, count: int, history: History = KEPT) -> list[Position]:
    return [await node.publish(channel, b"%d" % number, history) for number in range(count)]


@broker_check("2 positions")
async def positions_increase_and_name_their_predecessor(stage: Stage) -> None:
    """Within one epoch each publication stands above all before it; what arrives and what is kept say the same."""
    channel = await stage.followed()
    positions = [await stage.nodes[number % len(stage.nodes)].publish(channel, b"%d" % number) for number in range(10)]
    expect(bool(positions[0].epoch), "a publication with history was given no epoch")
    expect(positions[0].offset >= 1, f"the first publication was given {positions[0]}: offsets begin above 0")
    expect(len({position.epoch for position in positions}) == 1, f"the epoch changed without a cause: {positions}")
    offsets = [position.offset for position in positions]
    expect(offsets == sorted(set(offsets)), f"published one after the other, these were given the offsets {offsets}")
    kept = (await stage.last.history(channel)).publications
    expect_chain(kept, whole=True)
    expect([Position(one.epoch, one.offset) for one in kept] == positions, f"given {positions}, kept {kept}")
    for node in stage.nodes:
        arrived = await node.wait(channel, b"9")
        expect(
            arrived == kept, f"arrived: {[describe(one) for one in arrived]}, kept: {[describe(one) for one in kept]}"
        )


@broker_check("2 positions")
async def no_position_is_given_twice_however_many_publish(stage: Stage) -> None:
    """Publishing at the same moment, from one node or several, gives as many positions, in one chain."""
    channel = stage.channel()
    attempts = [node.publish(channel, b"%d" % number) for number in range(20) for node in stage.nodes]
    positions = await asyncio.gather(*attempts)
    expect(len(set(positions)) == len(positions), f"a position was given twice: {positions}")
    kept = (await stage.first.history(channel)).publications
    expect_chain(kept, whole=True)
    expect({Position(one.epoch, one.offset) for one in kept} == set(positions), f"given {positions}, kept {kept}")


@broker_check("2 positions")
async def streams_do_not_mix(stage: Stage) -> None:
    """Each channel is a stream of its own: the first publication has no predecessor, whatever other channels hold."""
    channels = [stage.channel() for _ in range(3)]
    for number in range(5):
        for channel in channels:
            await stage.first.publish(channel, b"%d" % number)
    for channel in channels:
        expect_chain((await stage.last.history(channel)).publications, whole=True)


@broker_check("2 positions")
async def a_publication_that_is_not_kept_has_no_position(stage: Stage) -> None:
    """Without history there is no position, no time and nothing to read; the stream beside it does not move."""
    channel = await stage.followed()
    kept = await stage.first.publish(channel, b"kept")
    position = await stage.first.publish(channel, b"carried", None)
    expect(position == Position.NONE, f"a publication that is not kept was given {position}")
    for node in stage.nodes:
        for message in await node.wait(channel, b"kept", b"carried"):
            if message != Publication(b"carried"):
                expect(isinstance(message, Publication) and message.offset == kept.offset, f"there arrived {message}")
    page = await stage.last.history(channel)
    expect(data_of(page.publications) == [b"kept"] and page.top == kept, f"history gives {page}, the top being {kept}")


@broker_check("2 positions")
async def positions_go_on_when_nothing_is_kept_any_more(stage: Stage) -> None:
    """After everything has aged away, the next publication still stands above, and names, the last."""
    age = stage.setup.age_seconds
    history = History(size=5, seconds=age, meta_seconds=3600)
    channel = stage.channel()
    last = (await _publish_numbers(stage.first, channel, 7, history))[-1]
    await stage.setup.advance(2 * age)
    page = await stage.last.history(channel, history)
    expect(not page.publications, f"kept for {age} s, these are {2 * age} s old: {data_of(page.publications)}")
    expect(page.top == last, f"with nothing kept any more the stream stands at {page.top}, not at {last}")
    await _expect_to_follow(stage, channel, last, history)


@broker_check("2 positions", needs="lose")
async def what_was_lost_is_not_given_again(stage: Stage) -> None:
    """After the store lost some of a stream or all, no position comes a second time: else a client would skip it."""
    channel = stage.channel()
    before = await _publish_numbers(stage.first, channel, 5)
    if stage.setup.lose is not None:
        await stage.setup.lose(channel)
    after = await _publish_numbers(stage.last, channel, 5)
    expect(not set(before) & set(after), f"given before the loss: {before}, and after it: {after}")
    for position in after:
        older = [given.offset for given in before if given.epoch == position.epoch]
        expect(not older or position.offset > max(older), f"{position} does not stand above {before}")
    kept = (await stage.last.history(channel)).publications
    expect_chain(kept, whole=kept[0].epoch != before[0].epoch)
    same_epoch = kept[0].epoch == before[0].epoch
    expect(not same_epoch or len(kept) == 10, f"something is missing, yet the epoch is the same: {data_of(kept)}")


@broker_check("3 atomic")
async def history_holds_exactly_what_was_carried(stage: Stage) -> None:
    """Every node reads the publications it heard: each of them, whole, in the same order, and no other."""
    channel = await stage.followed()
    info = ClientInfo("u", "c", b'{"n":1}', b"\x00\xff")
    attempts = [
        node.publish(channel, bytes([number]), info=info if number % 2 else None, tags={"n": str(number)})
        for number in range(15)
        for node in stage.nodes
    ]
    await asyncio.gather(*attempts)
    for number, node in enumerate(stage.nodes):
        heard = await stage.heard_by(node, channel)
        kept = (await node.history(channel, limit=len(attempts))).publications
        expect(len(heard) == len(attempts), f"{len(attempts)} were published, node {number} heard {len(heard)}")
        for one, other in zip_longest(heard, kept):
            expect(one == other, f"node {number} heard {one} and reads {other}")
        expect(all(publication.time > 0 for publication in kept), "a kept publication has to carry its time")


@broker_check("3 atomic")
async def a_page_and_its_top_are_of_one_moment(stage: Stage) -> None:
    """Read while others publish, the newest of a page is its top."""
    channel = stage.channel()

    async def read(node: Node) -> None:
        for _ in range(20):
            page = await node.history(channel)
            newest = page.publications[-1].offset if page.publications else 0
            expect(page.top.offset == newest, f"the top is {page.top}, the newest shown {newest}")

    await asyncio.gather(*(work for node in stage.nodes for work in (_publish_numbers(node, channel, 20), read(node))))


@broker_check("history")
async def pages_are_cut_where_they_were_asked(stage: Stage) -> None:
    """Every mix of `since`, `limit` and `reverse` gives what a plain list would, and always the top."""
    channel = stage.channel()
    size = 5
    history = History(size=size, seconds=3600)
    positions = await _publish_numbers(stage.first, channel, 8, history)
    every = (await stage.last.history(channel, history)).publications
    expect(
        data_of(every) == [b"3", b"4", b"5", b"6", b"7"], f"of 8 publications with size 5, {data_of(every)} are kept"
    )
    epoch, top = positions[-1].epoch, positions[-1]
    asked = [0, *(position.offset for position in positions), top.offset + 1, top.offset + 1000]
    sinces = [None, *(Position(name, offset) for offset in asked for name in (epoch, "", "another"))]
    for since in sinces:
        for limit in (-1, 0, 1, 2, size - 1, size, size + 1, 1000):
            for reverse in (False, True):
                page = await stage.last.history(channel, history, since=since, limit=limit, reverse=reverse)
                expected = expected_page(every, since, limit, reverse=reverse)
                question = f"since={since} limit={limit} reverse={reverse}"
                expect(page.top == top, f"{question} gives the top {page.top}, which is {top}")
                shown = [one.offset for one in page.publications]
                expect(
                    page.publications == expected,
                    f"{question} gives the offsets {shown} in place of {[one.offset for one in expected]}",
                )


def expected_page(kept: list[Publication], since: Position | None, limit: int, *, reverse: bool) -> list[Publication]:
    """Say what a page has to hold, given all that is kept, oldest first."""
    if reverse:
        wanted = [one for one in reversed(kept) if since is None or one.offset < since.offset]
    else:
        wanted = [one for one in kept if since is None or one.offset > since.offset]
    return wanted if limit < 0 else wanted[:limit]


@broker_check("history")
async def the_size_bounds_what_is_kept(stage: Stage) -> None:
    """Of a stream the newest `size` publications are there, from every node."""
    for size in (1, 3):
        channel = stage.channel()
        history = History(size=size, seconds=3600)
        for count in range(5):
            node = stage.nodes[count % len(stage.nodes)]
            await node.publish(channel, b"%d" % count, history)
            expected = [b"%d" % number for number in range(max(0, count + 1 - size), count + 1)]
            kept = data_of((await stage.last.history(channel, history)).publications)
            expect(kept == expected, f"with size {size} there are {kept}, not {expected}")


@broker_check("history")
async def each_publication_ages_by_itself(stage: Stage) -> None:
    """A newer publication does not prolong the life of an older one."""
    age = stage.setup.age_seconds
    history = History(size=10, seconds=2 * age)
    channel = stage.channel()
    await stage.first.publish(channel, b"older", history)
    await stage.setup.advance(1.4 * age)
    younger = await stage.last.publish(channel, b"younger", history)
    await stage.setup.advance(1.2 * age)
    for node in stage.nodes:
        page = await node.history(channel, history)
        expect(
            data_of(page.publications) == [b"younger"],
            f"kept for {2 * age} s at ages of {2.6 * age} and {1.2 * age} s: {data_of(page.publications)}",
        )
        expect(page.top == younger, f"the top is {page.top}, not {younger}")


@broker_check("history")
async def a_stream_is_born_when_it_is_first_read(stage: Stage) -> None:
    """Reading what is not there gives it an epoch, one for all who ask, which its first publication then has."""
    channel = stage.channel()
    pages = await asyncio.gather(*(node.history(channel) for node in stage.nodes for _ in range(3)))
    epochs = {page.top.epoch for page in pages}
    expect(len(epochs) == 1 and "" not in epochs, f"before the first publication these epochs were given: {epochs}")
    expect(not any(page.publications for page in pages), "a stream nobody published in holds something")
    expect({page.top.offset for page in pages} == {0}, "a stream nobody published in stands above 0")
    first = await stage.first.publish(channel, b"1")
    expect({first.epoch} == epochs, f"born with the epochs {epochs}, its first publication was given {first}")


@broker_check("history")
async def an_unused_stream_is_forgotten(stage: Stage) -> None:
    """Reading keeps a stream known; one that nobody uses for `meta_seconds` begins anew.

    Either with another epoch, or above all that was and after an offset nobody stood at: so everyone who knew the
    stream, from before its first publication too, is told that something is gone.
    """
    age = stage.setup.age_seconds
    history = History(size=10, seconds=age, meta_seconds=2 * age)
    channel = stage.channel()
    unborn = (await stage.first.history(channel, history)).top
    given = [unborn, *await _publish_numbers(stage.first, channel, 3, history)]
    last = given[-1]
    for _ in range(2):
        await stage.setup.advance(1.3 * age)
        top = (await stage.last.history(channel, history)).top
        expect(top == last, f"used {1.3 * age} s ago and known for {2 * age} s, the stream at {last} stands at {top}")
    await stage.setup.advance(3 * age)
    anew = await stage.last.publish(channel, b"anew", history)
    above = anew.epoch != last.epoch or anew.offset > last.offset
    expect(above, f"unused for {3 * age} s and known for {2 * age} s, the stream at {last} begins anew at {anew}")
    page = await stage.first.history(channel, history)
    expect(data_of(page.publications) == [b"anew"] and page.top == anew, f"born anew at {anew}, it shows {page}")
    expect_chain(page.publications, whole=anew.epoch != last.epoch)
    predecessor = Position(anew.epoch, page.publications[0].previous)
    expect(predecessor not in given, f"born anew at {anew} it names {predecessor}, where somebody may stand")


@broker_check("forget")
async def forget_drops_the_publications_only(stage: Stage) -> None:
    """Nothing is kept any more, from no node's view; epoch and top stay, and the next one names the last."""
    channel = stage.channel()
    await stage.first.forget(channel)  # one that is not there is no error
    last = (await _publish_numbers(stage.first, channel, 3))[-1]
    await stage.last.forget(channel)
    for node in stage.nodes:
        page = await node.history(channel)
        expect(not page.publications, f"after `forget` these are kept: {data_of(page.publications)}")
        expect(page.top == last, f"after `forget` the stream stands at {page.top}, not at {last}")
    await _expect_to_follow(stage, channel, last, KEPT)


async def _expect_to_follow(stage: Stage, channel: str, last: Position, history: History) -> None:
    """Publish in an emptied stream; break off unless this comes after, and names, what was last."""
    following = await stage.last.publish(channel, b"next", history)
    expect(following.epoch == last.epoch, f"after {last} the epoch changed: {following}")
    expect(following.offset > last.offset, f"after {last} was given {following}")
    kept = (await stage.first.history(channel, history)).publications
    expect(data_of(kept) == [b"next"], f"kept is {data_of(kept)}")
    expect(kept[0].previous == last.offset, f"{describe(kept[0])}: its predecessor is {last.offset}")


STREAM_CHECKS: Final[tuple[BrokerCheck, ...]] = (
    positions_increase_and_name_their_predecessor,
    no_position_is_given_twice_however_many_publish,
    streams_do_not_mix,
    a_publication_that_is_not_kept_has_no_position,
    positions_go_on_when_nothing_is_kept_any_more,
    what_was_lost_is_not_given_again,
    history_holds_exactly_what_was_carried,
    a_page_and_its_top_are_of_one_moment,
    pages_are_cut_where_they_were_asked,
    the_size_bounds_what_is_kept,
    each_publication_ages_by_itself,
    an_unused_stream_is_forgotten,
    a_stream_is_born_when_it_is_first_read,
    forget_drops_the_publications_only,
)
