"""Checks of a broker: what nodes tell each other, and a broker that nobody listens to."""

from __future__ import annotations

import asyncio
from typing import Final

from openline.testing.broker_stage import BrokerCheck, Node, Stage, broker_check, data_of
from openline.testing.contract import expect

_WORDS: Final = (b'{"a":"b"}', bytes(range(256)), b"\r\n \x00\r\n", b"x" * 60_000)
#: What begins so is no word but the end of one.
_MARK: Final = b"that is all from "


async def _words_heard_by(stage: Stage, node: Node) -> list[bytes]:
    """Give the words a node heard, now that all that were told before must have come."""
    tellers = [teller for teller in stage.nodes if teller.running]
    marks = [_MARK + teller.name.encode() for teller in tellers]
    for teller, mark in zip(tellers, marks, strict=True):
        await teller.tell(mark, node.name)
    all_there = await node.comes(lambda: set(node.words).issuperset(marks))
    heard = [word for word in node.words if not word.startswith(_MARK)]
    node.words.clear()
    problem = f"{node.name} did not hear {marks} in {stage.setup.arrival_seconds} s; what it heard: {_short(heard)}"
    expect(all_there, problem)
    return heard


def _of(teller: Node, words: list[bytes]) -> list[bytes]:
    return [word for word in words if word.startswith(teller.name.encode() + b":")]


def _short(words: list[bytes]) -> list[bytes]:
    return [word if len(word) <= 60 else word[:60] + b"..." for word in words]


@broker_check("8 words")
async def a_word_reaches_the_nodes_it_is_for(stage: Stage) -> None:
    """A named one alone, or every one, the teller too; whatever bytes it is of, once, in the teller's order."""
    expected: dict[str, list[bytes]] = {hearer.name: [] for hearer in stage.nodes}
    for word in _WORDS:
        for teller in stage.nodes:
            for hearer in stage.nodes:
                named = teller.name.encode() + b":to " + hearer.name.encode() + word
                await teller.tell(named, hearer.name)
                expected[hearer.name].append(named)
            await teller.tell(teller.name.encode() + b":to all" + word)
            for words in expected.values():
                words.append(teller.name.encode() + b":to all" + word)
    for hearer in stage.nodes:
        heard = await _words_heard_by(stage, hearer)
        for teller in stage.nodes:
            own, told = _of(teller, heard), _of(teller, expected[hearer.name])
            expect(own == told, f"{hearer.name} was told {_short(told)} by {teller.name} and heard {_short(own)}")
        expect(len(heard) == len(expected[hearer.name]), f"{hearer.name} heard what nobody told: {_short(heard)}")
        expect(not await _words_heard_by(stage, hearer), f"{hearer.name} heard a word again")


@broker_check("8 words")
async def many_tellers_are_each_heard_in_their_order(stage: Stage) -> None:
    """However many tell at once, to one or to all, each node hears each of them in order and once."""
    count = 30
    hearer = stage.last

    async def tell_all(teller: Node) -> None:
        for number in range(count):
            word = teller.name.encode() + b":%d" % number
            await teller.tell(word, hearer.name if number % 2 else "")

    await asyncio.gather(*(tell_all(teller) for teller in stage.nodes))
    for node in stage.nodes:
        heard = await _words_heard_by(stage, node)
        for teller in stage.nodes:
            step = 1 if node is hearer else 2
            told = [teller.name.encode() + b":%d" % number for number in range(0, count, step)]
            own = _of(teller, heard)
            expect(own == told, f"{node.name} was told {told} by {teller.name} and heard {own}")


@broker_check("8 words")
async def a_word_to_nobody_is_no_error(stage: Stage) -> None:
    """A node that is gone, or never was, is told in vain; nobody else hears it."""
    for name in ("nobody", stage.first.name + "0", stage.first.name[:-1]):
        await stage.first.tell(b"is anybody there?", name)
    for node in stage.nodes:
        heard = await _words_heard_by(stage, node)
        expect(not heard, f"{node.name} heard what another was told: {heard}")


@broker_check("8 words")
async def a_stopped_node_hears_no_word(stage: Stage) -> None:
    """Once `stop` has returned nothing is heard; the others go on, and telling the stopped one is no error."""
    await _words_heard_by(stage, stage.first)
    await stage.first.stop()
    others = stage.nodes[1:]
    for teller in others:
        await teller.tell(b"to all")
        await teller.tell(b"to the stopped one", stage.first.name)
    for node in others:
        heard = await _words_heard_by(stage, node)
        expect(heard == [b"to all"] * len(others), f"beside a stopped node, {node.name} heard {heard}")
    expect(not stage.first.words, f"a stopped node heard {stage.first.words}")


@broker_check("start", started=False)
async def without_a_recipient_a_broker_publishes_reads_and_tells(stage: Stage) -> None:
    """Nobody has to listen: what is published and told from there reaches the others, and history can be read."""
    others = stage.nodes[:-1]
    for node in others:
        await node.start()
    await stage.last.start(deaf=True)
    channel = stage.channel()
    for node in others:
        await node.follow(channel)
    await stage.last.publish(channel, b"kept")
    await stage.last.publish(channel, b"carried", None)
    await stage.last.tell(b"a word")
    for node in others:
        heard = data_of(await node.wait(channel, b"kept", b"carried"))
        expect(sorted(heard) == [b"carried", b"kept"], f"{node.name} heard {heard}")
        words = await _words_heard_by(stage, node)
        expect(words == [b"a word"], f"{node.name} was told a word from there and heard {words}")
    kept = data_of((await stage.last.history(channel)).publications)
    expect(kept == [b"kept"], f"read without a recipient, the channel keeps {kept}")
    expect(not stage.last.broker.problem, f"without a recipient there is a problem: {stage.last.broker.problem}")


WORD_CHECKS: Final[tuple[BrokerCheck, ...]] = (
    a_word_reaches_the_nodes_it_is_for,
    many_tellers_are_each_heard_in_their_order,
    a_word_to_nobody_is_no_error,
    a_stopped_node_hears_no_word,
    without_a_recipient_a_broker_publishes_reads_and_tells,
)
