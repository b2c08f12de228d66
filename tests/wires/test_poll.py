"""The wire of a poll by itself: what it keeps, and when there is an answer."""

from __future__ import annotations

import asyncio

from openline.protocol.messages import ConnectResult, Pub, Push, Reply, SubscribeResult, UnsubscribePush, raw
from openline.publication import Position
from openline.wires.poll import PollWire
from tests.wires.receivers import Recorder

WELCOME = SubscribeResult(positioned=True, recovered=True, was_recovering=True, epoch="E", offset=4)


def told(wire: PollWire, *replies: Reply) -> None:
    """Write messages in one chunk."""
    wire.write(wire.encoding.wrap([wire.encoding.codec.encode(reply) for reply in replies]))


def pub(offset: int, channel: str = "a") -> Reply:
    """Give a publication."""
    return Reply(push=Push(channel=channel, pub=Pub(data=raw(b"1"), offset=offset)))


async def test_nothing_new_is_no_answer_until_the_time_is_over() -> None:
    """Who stands where the channel stands waits; pings and what has no position change nothing."""
    wire = PollWire()
    told(wire, Reply(connect=ConnectResult(subs={"a": WELCOME})), Reply(), pub(0), pub(5, "other"))
    await wire.wait(0)
    assert (wire.found["a"].publications, wire.found["a"].position) == ([], Position("E", 4))
    assert wire.end is None
    waiting = asyncio.create_task(wire.wait(60))
    await asyncio.sleep(0)
    assert not waiting.done()
    told(wire, pub(5), pub(7))
    await waiting
    assert [each.offset for each in wire.found["a"].publications] == [5, 7]
    assert wire.found["a"].position == Position("E", 7)


async def test_what_came_with_the_answer_is_an_answer() -> None:
    """Publications, a channel that is not recovered, and one nobody asked to recover."""
    for result in (
        SubscribeResult(positioned=True, was_recovering=True, recovered=True, epoch="E", publications=[Pub(offset=9)]),
        SubscribeResult(positioned=True, was_recovering=True, epoch="E", offset=9),
        SubscribeResult(positioned=True, epoch="E", offset=9),
    ):
        wire = PollWire()
        told(wire, Reply(connect=ConnectResult(subs={"a": WELCOME, "b": result})))
        await wire.wait(60)
        assert wire.found["b"].position == Position("E", 9)
        expected = result.recovered if result.was_recovering else None
        assert wire.found["b"].recovered is expected


async def test_every_end_ends_the_waiting() -> None:
    """Of the session, of the channel, of the client."""
    wire = PollWire()
    wire.close(3001, "shutdown", deadline_seconds=1)
    wire.close(3000, "connection closed", deadline_seconds=1)
    await wire.wait(60)
    assert wire.end == (3001, "shutdown")

    wire = PollWire()
    told(wire, Reply(connect=ConnectResult(subs={"a": WELCOME})))
    told(wire, Reply(push=Push(channel="a", unsubscribe=UnsubscribePush(code=2000, reason="x"))))
    await wire.wait(60)

    wire, recorder = PollWire(), Recorder()
    wire.belong(recorder.open(wire))
    wire.gone()
    wire.gone()
    await wire.wait(60)
    assert [recorder.next() for _ in range(2)] == [("opened",), ("closed", 1006, "")]


async def test_there_is_nothing_to_hold_back() -> None:
    """It has no line of its own."""
    wire = PollWire()
    wire.pause_reading()
    wire.resume_reading()
    assert (wire.ping(), wire.unsent_bytes(), wire.direct) == (False, 0, None)
