"""The first promise for followers, as a property: each publication once and in order, or an error."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openline import following, healing
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable, UnrecoverablePosition
from openline.following import Following
from openline.options import ChannelOptions, History, Limits
from openline.publication import Message, Position, Publication
from openline.testing import VirtualClock
from tests.engine import Engine, running
from tests.remote_broker import RemoteBroker
from tests.test_following import followed

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["publish"] * 4
            + ["flood", "take", "take", "take all", "lose", "hold", "release", "cut off", "back", "doubt"]
            + ["expire", "slow", "go round", "go round"]
        ),
        st.integers(0, 7),
    ),
    max_size=40,
)
SMALL = ChannelOptions(history=History(size=8, seconds=60))


class Reader:
    """One who follows, and fails the test when given anything but the successor of what it has.

    Told that something cannot be had, it begins anew from now on.
    """

    def __init__(self, made: Following) -> None:
        self._made = made
        self._publications = made.follow("a", SMALL, Position("", 0))
        self._next: asyncio.Task[Publication] | None = None
        self.offset = 0
        self.is_new = False
        self.times_told = 0

    def ask(self) -> None:
        """Ask for the next."""
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._publications))

    def look(self) -> bool:
        """Take what has come; say whether something had."""
        task = self._next
        if task is None or not task.done():
            return False
        self._next = None
        try:
            publication = task.result()
        except (UnrecoverablePosition, BrokerUnavailable) as error:
            self.times_told += isinstance(error, UnrecoverablePosition)
            self.is_new = self.is_new or isinstance(error, UnrecoverablePosition)
            since = None if self.is_new else Position("", self.offset)
            self._publications = self._made.follow("a", SMALL, since)
            return True
        assert self.is_new or publication.offset == self.offset + 1, (self.offset, publication.offset)
        assert publication.data == b"%d" % publication.offset
        self.offset, self.is_new = publication.offset, False
        return True

    async def leave(self) -> None:
        """End."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await self._publications.aclose()


async def act(engine: Engine, broker: RemoteBroker, reader: Reader, kind: str, number: int) -> int:
    """Do one step; give how many publications it made."""
    match kind:
        case "publish":
            return 1 + number % 3
        case "flood":
            return 10
        case "take":
            reader.ask()
            reader.look()
        case "take all":
            for _ in range(4 * number):
                reader.ask()
                await asyncio.sleep(0)
                reader.look()
        case "expire":
            await engine.clock.advance(70)
        case "go round":
            await go_round(number)
        case _:
            trouble(broker, kind, number)
    return 0


def trouble(broker: RemoteBroker, kind: str, number: int) -> None:
    """What only a network does."""
    left = [1 + number % 3]

    def lose(message: Message) -> bool:
        left[0] -= 1
        return left[0] >= 0

    match kind:
        case "lose":
            broker.lose = lose
        case "hold":
            broker.holding = True
        case "release":
            broker.release(1 + number)
            broker.holding = bool(broker.held)
        case "cut off":
            broker.away = True
            broker.held.clear()
            broker.lose = lambda message: True
        case "back" if broker.away:
            broker.away = False
            broker.lose = lambda message: False
        case "doubt" if not broker.away:
            broker.doubt(["a"])
        case "slow":
            # From now on what is read takes so long on its way here, and is old by then.
            broker.after_history = lambda: go_round(3 * number)


async def go_round(times: int) -> None:
    """Let the event loop go round."""
    for _ in range(times):
        await asyncio.sleep(0)


async def live(steps: list[tuple[str, int]]) -> None:
    """Play the steps, let everything heal, and see where the follower stands."""
    clock = VirtualClock()
    broker = RemoteBroker(MemoryBroker(now=clock.wall))
    limits = Limits(outbox_bytes=600, recovery_publications=3)
    async with running(SMALL, broker=broker, clock=clock, limits=limits) as engine, followed(engine) as made:
        engine.client("a")  # so that the topic goes on while the follower is not in it
        reader, published = Reader(made), 0
        for kind, number in steps:
            for _ in range(await act(engine, broker, reader, kind, number)):
                published += 1
                publish = broker.inner.publish if broker.away else broker.publish
                await publish("a", b"%d" % published, history=SMALL.history)
        broker.away = broker.holding = False
        broker.lose = lambda message: False
        broker.after_history = lambda: go_round(0)
        broker.release()
        broker.doubt(["a"])
        await settle(engine, reader)
        if not reader.is_new:
            assert reader.offset == published, "it is behind and was not told"
        await engine.publish("a", published + 1)
        await settle(engine, reader)
        assert reader.offset == published + 1
        await reader.leave()
        await engine.settle()
        assert len(made) == 0
        topic = engine.node.topic("a")
        assert topic is None or len(topic.subscriptions) <= 1


async def settle(engine: Engine, reader: Reader) -> None:
    """Take all there is."""
    quiet = 0
    while quiet < 3:
        reader.ask()
        await engine.settle()
        quiet = 0 if reader.look() else quiet + 1


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_each_publication_once_in_order_or_an_error(steps: list[tuple[str, int]]) -> None:
    """Whatever publish, slow reading, gaps, trimmed history and a broker that is away do to each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(healing, "RETRY_SECONDS", 0)
        patch.setattr(following, "RETRY_SECONDS", 0)
        asyncio.run(live(steps))
