"""The first promise, as a property: each publication once and in order, or the subscriber is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openline import catching_up, healing
from openline.brokers.memory import MemoryBroker
from openline.options import ChannelOptions, Heartbeat, History, Limits
from openline.publication import Message, Publication
from openline.session import Session
from openline.testing import VirtualClock
from tests.engine import PLAIN, Engine, RecordingWire, running
from tests.remote_broker import RemoteBroker

OPTIONS = ChannelOptions(history=History(size=8, seconds=60))
#: No follower here answers a ping: none comes.
SILENT = Heartbeat(ping_seconds=1_000_000)
LIMITS = Limits(outbox_bytes=2_000, recovery_publications=6)


class Follower:
    """A client as the SDKs are: it keeps its position, comes back with it, and believes what it is told.

    It fails the test when it is given anything but the successor of what it has.

    Attributes:
        options: what is declared for the channel.
        wishes: what it asks for as it subscribes.
    """

    options: ClassVar[ChannelOptions] = OPTIONS
    wishes: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def message(number: int) -> tuple[object, dict[str, str] | None]:
        """Give what is published, and its tags."""
        return number, None

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.epoch = ""
        self.offset = 0
        self.knows_position = False
        self.times_told = 0
        self.missed_nothing_since = 0
        self.wire = RecordingWire()
        self.session: Session | None = None
        self._read = 0
        self._subscribes = 1
        self._is_refused = False

    def come(self) -> None:
        """Open a new connection and subscribe, recovering where there is something to recover from."""
        self.wire = RecordingWire()
        self._read = 0
        self._is_refused = False
        session = self._engine.commands.open(self.wire)
        assert isinstance(session, Session)
        self.session = session
        session.receive(b'{"id":1,"connect":{}}')
        self._subscribe()

    def _subscribe(self) -> None:
        assert self.session is not None
        self._subscribes += 1
        request: dict[str, Any] = {"channel": "a", **self.wishes}
        if self.knows_position:
            request |= {"recover": True, "epoch": self.epoch, "offset": self.offset}
        self.session.receive(json.dumps({"id": self._subscribes, "subscribe": request}).encode())

    def look(self) -> None:
        """Read what has come; come back where the connection or subscription has ended."""
        if self.wire.keeps_unread and self.wire.close_code is None:
            return
        messages = self.wire.messages()
        unread, self._read = messages[self._read :], len(messages)
        for message in unread:
            self._take(message)
        if self.wire.close_code is not None:
            assert self.wire.close_code in (3008, 3010, 3004), self.wire.close_code
            self.come()
        elif self._is_refused:
            self._is_refused = False
            self._subscribe()

    def _take(self, message: dict[str, Any]) -> None:
        push = message.get("push", {})
        if "pub" in push:
            self._advance(push["pub"])
        elif "unsubscribe" in push:
            assert push["unsubscribe"]["code"] == 2500
            self._subscribe()
        elif "subscribe" in message:
            self._subscribed(message["subscribe"])
        elif "error" in message:
            # The broker is away: the client stays connected, and tries again by itself.
            assert message["error"]["code"] == 100
            assert message["error"]["temporary"]
            self._is_refused = True

    def _subscribed(self, result: dict[str, Any]) -> None:
        if result.get("recovered"):
            self._recovered(result.get("offset", 0))
            for publication in result.get("publications", ()):
                self._advance(publication)
            assert result["epoch"] == self.epoch
            return
        assert "publications" not in result
        if result.get("was_recovering"):
            self.times_told += 1
        self.epoch, self.offset, self.knows_position = result["epoch"], result.get("offset", 0), True
        self.missed_nothing_since = self.offset

    def _recovered(self, offset: int) -> None:
        assert offset == self.offset, "a recovery walks on from where the client stood"

    def has_all_of(self, published: int) -> bool:
        """Tell whether nothing is missing of so many."""
        return self.offset == published

    def _advance(self, publication: dict[str, Any]) -> None:
        assert publication["offset"] == self.offset + 1, f"has {self.offset}, was given {publication['offset']}"
        assert publication["data"] == publication["offset"], "the data is of another publication"
        self.offset = publication["offset"]


class World:
    """A node, some followers, and everything that can go wrong."""

    def __init__(
        self, engine: Engine, broker: RemoteBroker | None, followers: int, kind: type[Follower] = Follower
    ) -> None:
        self.engine = engine
        self.broker = broker
        self.kind = kind
        self.followers = [kind(engine) for _ in range(followers)]
        self.published = 0

    async def act(self, step: tuple[str, int]) -> None:
        """Do one step; most of them leave the loop standing, so that steps meet in one turn."""
        kind, number = step
        follower = self.followers[number % len(self.followers)]
        if kind == "publish":
            await self.publish(1 + number % 3)
        elif kind == "cut" and follower.session is not None:
            follower.session.closed(1006, "")
            follower.look()
            follower.come()
        elif kind == "stop reading":
            follower.wire.keeps_unread = True
        elif kind == "read":
            follower.wire.keeps_unread = False
            follower.wire.unread_bytes = 0
            follower.look()
        elif kind == "flood":
            await self.publish(10)
        elif kind == "expire":
            await self.engine.clock.advance(70)
        elif kind == "go round":
            await go_round(number)
        elif kind == "aside" and not (self.broker is not None and self.broker.away):
            await self.engine.node.publish("a", aside(number), PLAIN)
        elif kind == "overtake":
            # What is not kept goes other ways than what is, and may come before it.
            self.engine.node.deliver("a", Publication(aside(number)))
        elif self.broker is not None:
            self.trouble(self.broker, kind, number)

    async def publish(self, count: int) -> None:
        """Publish from here, or from another node while this one is cut off."""
        for _ in range(count):
            self.published += 1
            value, tags = self.kind.message(self.published)
            data = json.dumps(value, ensure_ascii=False).encode()
            if self.broker is not None and self.broker.away:
                await self.broker.inner.publish("a", data, history=OPTIONS.history, tags=tags)
            else:
                await self.engine.node.publish("a", data, OPTIONS, tags=tags)

    def trouble(self, broker: RemoteBroker, kind: str, number: int) -> None:
        """What only a network does."""
        if kind == "lose":
            left = [1 + number % 3]

            def lose(message: Message) -> bool:
                left[0] -= 1
                return isinstance(message, Publication) and left[0] >= 0

            broker.lose = lose
        elif kind == "hold":
            broker.holding = True
        elif kind == "release":
            broker.release(1 + number)
            if not broker.held:
                broker.holding = False
        elif kind == "cut off":
            # What is on its way is gone, and so is what is published from now on.
            broker.away = True
            broker.held.clear()
            broker.lose = lambda message: True
        elif kind == "back" and broker.away:
            broker.away = False
            broker.lose = lambda message: False
        elif kind == "doubt" and not broker.away:
            broker.doubt(["a"])
        elif kind == "slow":
            # From now on what is read takes so long on its way here, and is old by then.
            broker.after_history = lambda: go_round(3 * number)

    async def rest(self) -> None:
        """Everything heals: all that is held arrives, and everybody reads.

        What was lost for good shows when the channel is doubted: there need be no newer one.
        """
        if self.broker is not None:
            self.broker.away = False
            self.broker.lose = lambda message: False
            self.broker.holding = False
            self.broker.release()
            self.broker.doubt(["a"])
            self.broker.after_history = lambda: go_round(0)
        for _ in range(6):
            for follower in self.followers:
                follower.wire.keeps_unread = False
                follower.wire.unread_bytes = 0
                follower.look()
            await self.engine.settle()
        for follower in self.followers:
            follower.look()
            assert follower.has_all_of(self.published), "somebody is behind and was not told"
        await self.publish(1)
        for _ in range(4):
            await self.engine.settle()
            for follower in self.followers:
                follower.look()


def aside(number: int) -> bytes:
    """Give a payload without a place in the stream."""
    return json.dumps(f"aside {'и' * number}, {number}").encode()


async def go_round(times: int) -> None:
    """Let the event loop go round."""
    for _ in range(times):
        await asyncio.sleep(0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["publish"] * 4
            + ["cut", "stop reading", "read", "flood", "expire", "lose", "hold", "release"]
            + ["cut off", "back", "back", "doubt", "slow"]
            + ["go round"] * 3
        ),
        st.integers(0, 7),
    ),
    max_size=40,
)


async def live(
    steps: list[tuple[str, int]], *, remote: bool, kind: type[Follower] = Follower, limits: Limits = LIMITS
) -> None:
    """Play the steps and see where everybody stands."""
    clock = VirtualClock()
    memory = MemoryBroker(now=clock.wall)
    network = RemoteBroker(memory) if remote else None
    running_engine = running(kind.options, broker=network or memory, clock=clock, limits=limits, heartbeat=SILENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(healing, "RETRY_SECONDS", 0)
        patch.setattr(catching_up, "RETRY_SECONDS", 0)
        async with running_engine as engine:
            await play(World(engine, network, followers=3, kind=kind), steps)


async def play(world: World, steps: list[tuple[str, int]]) -> None:
    """Play the steps in a world."""
    for follower in world.followers:
        follower.come()
    for step in steps:
        await world.act(step)
    await world.rest()
    for follower in world.followers:
        assert follower.has_all_of(world.published), "somebody is behind and was not told"


@pytest.mark.parametrize("remote", [False, True], ids=["memory", "network"])
@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_each_publication_once_in_order_or_told(remote: bool, steps: list[tuple[str, int]]) -> None:
    """Whatever interleaving of publish, drop, cut, expiry and slow reading: no gap, no repeat, nobody left behind."""
    asyncio.run(live(steps, remote=remote))


def test_the_property_can_fail() -> None:
    """A follower that is given the wrong publication says so: the property above is not empty."""

    async def misplaced() -> None:
        async with running(OPTIONS) as engine:
            follower = Follower(engine)
            follower.come()
            await engine.settle()
            follower.look()
            follower.wire.chunks.append(b'{"push":{"channel":"a","pub":{"data":2,"offset":2}}}')
            follower.look()

    with pytest.raises(AssertionError, match="has 0, was given 2"):
        asyncio.run(misplaced())
