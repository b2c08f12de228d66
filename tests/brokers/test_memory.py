"""MemoryBroker: the contract of every broker, a plain model beside it, and what only this one promises."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openline.brokers.base import Broker, Page
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable, DeclarationError
from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position, Publication
from openline.testing.brokers import BROKER_CHECKS, BrokerCheck, BrokerNodes, check_broker
from tests.brokers.plain import KEY_SECONDS, PlainBroker, PlainStore

Result = TypeVar("Result")

HISTORY = History(size=3, seconds=10, meta_seconds=60)


class Wall:
    """A wall clock that a test sets."""

    def __init__(self, seconds: float = 1_700_000_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        """Give the time that is set."""
        return self.seconds


class Heard:
    """A started broker, its clock, and what it delivered."""

    def __init__(self, **options: Any) -> None:
        self.wall = Wall()
        self.broker = MemoryBroker(self.wall, **options)
        self.messages: list[tuple[str, Message]] = []
        done(self.broker.start("node", self))

    def deliver(self, channel: str, message: Message) -> None:
        """Note what arrives."""
        self.messages.append((channel, message))

    def doubt(self, channels: Iterable[str]) -> None:
        """Nothing is ever in doubt."""
        raise AssertionError(f"{channels} are in doubt")

    def hear(self, word: bytes) -> None:
        """Nothing is told in these tests."""
        raise AssertionError(f"{word!r} was told")

    def publish(
        self, channel: str = "a", data: bytes = b"1", history: History | None = HISTORY, key: str = ""
    ) -> Position:
        """Publish, and give the position."""
        return done(self.broker.publish(channel, data, history=history, idempotency_key=key))

    def read(self, channel: str = "a", history: History = HISTORY) -> Page:
        """Give all that is kept."""
        return done(self.broker.history(channel, history=history))


def done(call: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that does not suspend."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    raise AssertionError(f"{call} suspended")


@asynccontextmanager
async def one_node() -> AsyncIterator[BrokerNodes]:
    """Give a memory broker to the contract suite, with a clock that stands still."""
    wall = Wall()

    async def advance(seconds: float) -> None:
        wall.seconds += seconds

    broker: Broker = MemoryBroker(wall, idempotency_seconds=20)
    yield BrokerNodes(brokers=[broker], advance=advance, idempotency_seconds=20)


@pytest.mark.parametrize("check", BROKER_CHECKS, ids=str)
async def test_contract(check: BrokerCheck) -> None:
    """The memory broker keeps every guarantee of a broker."""
    await check(one_node)


async def test_contract_at_once() -> None:
    """`check_broker` runs every check in one call."""
    await check_broker(one_node)


# --- the same as a plain model, whatever the order of things ---------------------------------------------------------


class ModelNode(PlainBroker):
    """A node of the model that hears at once."""

    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.messages: list[tuple[str, Message]] = []

    def send(self, channel: str, message: Message) -> None:
        """Note what arrives, at once."""
        self.messages.append((channel, message))


HISTORIES = {
    "a": HISTORY,
    "b": History(size=1, seconds=4, meta_seconds=4),
    "c": History(size=100, seconds=50),
    "d": HISTORY,
}
CHANNELS = st.sampled_from(sorted(HISTORIES))
MAYBE_KEYS = st.sampled_from(["", "", "k", "l"])
QUARTERS = st.integers(0, 300).map(lambda quarters: quarters / 4)


class AsTheModel(RuleBasedStateMachine):
    """Whatever is asked, the memory broker answers and delivers what the plain one does.

    Epochs are compared by when they came up. The model's clock only counts what passes; the broker's is set back too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard(idempotency_seconds=KEY_SECONDS)
        self.age = 0.0
        self.store = PlainStore(lambda: self.age)
        self.node = ModelNode(self.store)
        self.epochs: dict[str, str] = {"": ""}

    def same(self, position: Position) -> Position:
        """Say a position of the broker in the model's epochs."""
        return Position(self.epochs.setdefault(position.epoch, f"epoch{len(self.epochs)}"), position.offset)

    def same_message(self, message: Message) -> Message:
        """Say a message of the broker in the model's epochs, without its time."""
        if isinstance(message, Arrival):
            return message
        epoch = self.same(Position(message.epoch, message.offset)).epoch
        return Publication(message.data, message.offset, message.previous, epoch, message.info, message.tags)

    @staticmethod
    def undated(message: Message) -> Message:
        """Say a message of the model without its time."""
        if isinstance(message, Arrival):
            return message
        return Publication(message.data, message.offset, message.previous, message.epoch, message.info, message.tags)

    @rule(
        channel=CHANNELS,
        kept=st.booleans(),
        key=MAYBE_KEYS,
        version=st.integers(0, 3),
        version_epoch=st.sampled_from(["", "x"]),
        tagged=st.booleans(),
    )
    def publish(self, channel: str, kept: bool, key: str, version: int, version_epoch: str, tagged: bool) -> None:
        """Publish in every way there is."""
        history = HISTORIES[channel] if kept else None
        info, tags = (ClientInfo("u", "c"), {"t": "1"}) if tagged else (None, None)
        given = done(
            self.heard.broker.publish(
                channel,
                b"x",
                history=history,
                info=info,
                tags=tags,
                idempotency_key=key,
                version=version,
                version_epoch=version_epoch,
            )
        )
        publication = Publication(b"x", info=info, tags=tags)
        expected = self.store.publish(self.node, channel, publication, history, key, version, version_epoch)
        assert self.same(given) == expected

    @rule(
        channel=CHANNELS,
        since=st.integers(0, 12) | st.none(),
        limit=st.integers(-1, 5),
        reverse=st.booleans(),
    )
    def read(self, channel: str, since: int | None, limit: int, reverse: bool) -> None:
        """Read in every way there is."""
        history = HISTORIES[channel]
        after = None if since is None else Position("any", since)
        page = done(self.heard.broker.history(channel, history=history, since=after, limit=limit, reverse=reverse))
        stream = self.store.stream(channel, history)
        assert self.same(page.top) == self.store.top(stream)
        expected = self.store.page([one for _, one in stream.kept], after, limit, reverse)
        assert [self.same_message(one) for one in page.publications] == [self.undated(one) for one in expected]

    @rule(channel=CHANNELS)
    def forget(self, channel: str) -> None:
        """Drop what a channel keeps."""
        done(self.heard.broker.forget(channel))
        self.store.forget(channel)

    @rule(channel=CHANNELS)
    def follow(self, channel: str) -> None:
        """Begin to receive a channel."""
        done(self.heard.broker.follow(channel))
        stream = self.store.streams.get(channel)
        if stream is not None and self.store.is_forgotten(channel, stream):
            del self.store.streams[channel]
        elif stream is not None and channel not in self.node.followed:
            stream.used = self.age
        self.node.followed.add(channel)

    @rule(channel=CHANNELS)
    def unfollow(self, channel: str) -> None:
        """Stop receiving a channel."""
        done(self.heard.broker.unfollow(channel))
        if channel in self.node.followed:
            self.node.followed.discard(channel)
            self.store.unfollowed(channel)

    @rule(channel=CHANNELS, joined=st.booleans())
    def announce(self, channel: str, joined: bool) -> None:
        """Carry a join or leave."""
        arrival = Arrival(ClientInfo("u", "c"), joined)
        done(self.heard.broker.announce(channel, arrival))
        self.store.carry(channel, arrival)

    @rule(seconds=QUARTERS)
    def let_time_pass(self, seconds: float) -> None:
        """Move both clocks on."""
        self.heard.wall.seconds += seconds
        self.age += seconds

    @rule(seconds=QUARTERS)
    def set_the_clock_back(self, seconds: float) -> None:
        """Set the wall clock back; ages do not notice, if the broker saw it before and after."""
        done(self.heard.broker.publish("other", b"", history=None))
        self.heard.wall.seconds -= seconds
        done(self.heard.broker.publish("other", b"", history=None))

    @invariant()
    def heard_the_same(self) -> None:
        """Compare what was delivered since the last step."""
        heard = [(channel, self.same_message(message)) for channel, message in self.heard.messages]
        assert heard == [(channel, self.undated(message)) for channel, message in self.node.messages]
        self.heard.messages.clear()
        self.node.messages.clear()


TestAsTheModel = AsTheModel.TestCase
TestAsTheModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# --- what only this broker promises ----------------------------------------------------------------------------------


def test_offsets_count_by_one_from_one() -> None:
    """The first publication stands at 1 after nothing, each next one above, and the epoch is eight letters."""
    heard = Heard()
    positions = [heard.publish() for _ in range(5)]
    assert [position.offset for position in positions] == [1, 2, 3, 4, 5]
    assert re.fullmatch("[A-Za-z]{8}", positions[0].epoch)
    assert [(one.previous, one.offset) for one in heard.read().publications] == [(2, 3), (3, 4), (4, 5)]


def test_epochs_differ() -> None:
    """A thousand streams have a thousand epochs."""
    heard = Heard()
    assert len({heard.publish(f"channel-{number}").epoch for number in range(1000)}) == 1000


async def test_delivers_before_publish_returns() -> None:
    """Who publishes finds the publication delivered, and in history, when the position is returned."""
    heard = Heard()
    await heard.broker.follow("a")
    position = await heard.broker.publish("a", b"1", history=HISTORY)
    ((channel, message),) = heard.messages
    assert channel == "a"
    assert isinstance(message, Publication)
    assert Position(message.epoch, message.offset) == position
    assert heard.read().publications == [message]


async def test_publishing_while_delivering() -> None:
    """A publication made from inside a delivery comes after the one that is being delivered."""
    heard = Heard()

    def deliver(channel: str, message: Message) -> None:
        heard.messages.append((channel, message))
        if len(heard.messages) == 1:
            heard.publish(data=b"2")

    heard.deliver = deliver  # type: ignore[method-assign]
    await heard.broker.follow("a")
    heard.publish(data=b"1")
    assert [one.data for one in heard.read().publications] == [b"1", b"2"]
    assert [message.data for _, message in heard.messages if isinstance(message, Publication)] == [b"1", b"2"]


def test_time_is_the_wall_clock() -> None:
    """A kept publication carries the unix time at which it was taken, even if the clock was set back in between."""
    heard = Heard()
    heard.publish()
    heard.wall.seconds -= 3600
    heard.publish()
    heard.wall.seconds += 0.5
    heard.publish()
    assert [one.time for one in heard.read().publications] == [1_700_000_000.0, 1_699_996_400.0, 1_699_996_400.5]


def test_positions_hold_when_the_clock_is_set_back() -> None:
    """Neither epoch nor offsets repeat, and what is kept is kept for its time, not for the jump on top."""
    heard = Heard()
    first = heard.publish(key="k")
    heard.wall.seconds -= 1_000_000
    assert heard.publish(key="k") == first
    assert heard.publish() == Position(first.epoch, 2)
    heard.wall.seconds += HISTORY.seconds + 1
    assert heard.read() == Page([], Position(first.epoch, 2))
    heard.wall.seconds += HISTORY.meta_seconds + 1
    assert heard.publish().epoch != first.epoch


def test_idle_streams_do_not_pile_up() -> None:
    """Streams nobody uses any more lose their publications and then go, a few with each publish elsewhere."""
    heard = Heard()
    for number in range(500):
        heard.publish(f"idle-{number}")
    assert repr(heard.broker) == "MemoryBroker(streams=500, publications=500, keys=0)"
    heard.wall.seconds += HISTORY.seconds + 1
    for _ in range(500):
        heard.publish("busy")
    assert repr(heard.broker) == "MemoryBroker(streams=501, publications=3, keys=0)"
    heard.wall.seconds += HISTORY.meta_seconds
    for _ in range(500):
        heard.publish("busy")
    assert repr(heard.broker) == "MemoryBroker(streams=1, publications=3, keys=0)"


def test_streams_that_are_only_read_do_not_pile_up() -> None:
    """Asking for the history of ever new channels, as a hostile client might, leaves nothing for good."""
    heard = Heard()
    for number in range(5000):
        heard.read(f"channel-{number}")
        heard.wall.seconds += 1
    assert repr(heard.broker) == f"MemoryBroker(streams={HISTORY.seconds + 1:.0f}, publications=0, keys=0)"


def test_a_stream_that_wakes_up_is_swept_again() -> None:
    """Used, idle, used and idle again: the second time its publications go as well."""
    heard = Heard()
    lasting = History(size=3, seconds=10, meta_seconds=1_000_000)
    for _ in range(3):
        heard.publish("sleeper", history=lasting)
        heard.wall.seconds += 11
        heard.publish("busy", history=None)
        assert repr(heard.broker) == "MemoryBroker(streams=1, publications=0, keys=0)"


def test_keys_do_not_pile_up() -> None:
    """Keys go when their time is over, and the oldest before that if there are too many."""
    heard = Heard(idempotency_seconds=5, idempotency_keys=100)
    for number in range(150):
        heard.publish(key=f"key-{number}")
    assert repr(heard.broker) == "MemoryBroker(streams=1, publications=3, keys=100)"
    assert heard.publish(key="key-149").offset == 150
    assert heard.publish(key="key-0").offset == 151
    heard.wall.seconds += 6
    for _ in range(100):
        heard.publish()
    assert repr(heard.broker) == "MemoryBroker(streams=1, publications=3, keys=0)"


def test_a_key_used_again_after_its_time_lives_anew() -> None:
    """The old use, when it is swept, does not take the new one along."""
    heard = Heard(idempotency_seconds=5)
    heard.publish(key="other")
    heard.publish(key="another")
    heard.publish(key="k")
    heard.wall.seconds += 6
    anew = heard.publish(key="k")
    for _ in range(10):
        heard.publish()
    assert heard.publish(key="k") == anew


def test_the_tags_of_a_publication_are_its_own() -> None:
    """What the publisher does with its dictionary afterwards changes nothing that was published."""
    heard = Heard()
    tags = {"a": "1"}
    done(heard.broker.publish("a", b"1", history=HISTORY, tags=tags))
    tags["a"] = "2"
    assert heard.read().publications[0].tags == {"a": "1"}


async def test_starts_again_with_nothing() -> None:
    """After `stop` and `start`, nothing is left of before: no stream, no key, no interest."""
    heard = Heard()
    await heard.broker.follow("a")
    before = heard.publish(key="k")
    await heard.broker.stop()
    await heard.broker.start("node", heard)
    heard.messages.clear()
    after = heard.publish(key="k")
    assert after.offset == 1
    assert after.epoch != before.epoch
    assert heard.messages == []


async def test_refuses_before_it_is_started() -> None:
    """What cannot be carried yet is refused loudly; only taking back needs no start."""
    broker = MemoryBroker()
    await broker.unfollow("a")
    for call in (
        broker.publish("a", b"1", history=None),
        broker.history("a", history=HISTORY),
        broker.follow("a"),
        broker.forget("a"),
        broker.announce("a", Arrival(ClientInfo("u", "c"), joined=True)),
        broker.tell(b"word"),
    ):
        with pytest.raises(BrokerUnavailable, match="not started"):
            await call


@pytest.mark.parametrize(
    ("option", "value"),
    [("idempotency_seconds", 0), ("idempotency_seconds", float("nan")), ("idempotency_keys", 0)],
)
def test_refuses_options_that_make_no_sense(option: str, value: float) -> None:
    """The error names the option."""
    with pytest.raises(DeclarationError, match=option):
        MemoryBroker(**{option: value})  # type: ignore[arg-type]  # the option is a parameter of the test


async def test_streams_that_were_only_asked_about_are_soon_forgotten() -> None:
    """Clients may make up any number of names: what nothing was published in costs nothing for long."""
    now = [0.0]
    broker = MemoryBroker(now=lambda: now[0])
    await broker.start("node", None)
    history = History(seconds=10)
    for number in range(100):
        await broker.history(f"made-up-{number}", history=history)
    now[0] = 11.0
    for _ in range(100):
        await broker.history("one", history=history)
    assert len(broker._streams) == 1


async def test_a_stream_that_is_followed_is_never_forgotten() -> None:
    """However quiet a room is, its subscribers stand in the stream they subscribed to."""
    now = [0.0]
    broker = MemoryBroker(now=lambda: now[0])
    await broker.start("node", None)
    history = History(seconds=10, meta_seconds=20)
    await broker.follow("quiet")
    epoch = (await broker.history("quiet", history=history)).top.epoch
    now[0] = 1000.0
    await broker.history("other", history=history)
    assert (await broker.history("quiet", history=history)).top.epoch == epoch
    await broker.unfollow("quiet")
    now[0] = 2000.0
    assert (await broker.history("quiet", history=history)).top.epoch != epoch


async def test_streams_are_bounded_in_number() -> None:
    """Past the bound the one unused for longest goes; a stream that is followed stays."""
    now = [0.0]
    broker = MemoryBroker(now=lambda: now[0], streams=10)
    await broker.start("node", None)
    history = History(seconds=1000)
    await broker.follow("followed")
    epoch = (await broker.history("followed", history=history)).top.epoch
    for number in range(200):
        now[0] += 1
        await broker.publish(f"name-{number}", b"1", history=history)
    assert len(broker._streams) <= 11
    assert (await broker.history("followed", history=history)).top.epoch == epoch
    assert len((await broker.history("name-199", history=history)).publications) == 1
    with pytest.raises(DeclarationError, match="streams is 0"):
        MemoryBroker(streams=0)
