"""How topics are brought to where their streams stand; gaps that nothing shows are in test_healing_doubts.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from openline import healing
from openline.application import Admission, Welcome
from openline.commands import Commands
from openline.options import ChannelOptions, History
from openline.protocol.messages import ConnectRequest
from openline.publication import Position, Publication
from openline.session import Session
from tests.engine import KEPT, Engine, OpenApplication, RecordingWire, running, send
from tests.watched_broker import WatchedBroker, subscribe, unsubscribes

#: Both subscribers with positions and without.
ASKED = ChannelOptions(history=History(), recovery="asked")


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a broker that is away again in the next turn."""
    monkeypatch.setattr(healing, "RETRY_SECONDS", 0)


# --- a gap that shows -------------------------------------------------------------------------------------------------


async def test_a_lost_message_is_healed_before_anything_newer() -> None:
    """A message that the broker failed to carry comes from history, in its place, and nobody notices."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"2"
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == [1, 2, 3]
        assert engine.node.counters.gaps_healed == 1


async def test_healing_against_live() -> None:
    """What is published while a gap is being healed waits for it, and comes once."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()

        async def meanwhile() -> None:
            broker.before_history = broker.after_history = lambda: asyncio.sleep(0)
            await engine.publish("a", 4, 5)

        broker.lose = lambda message: isinstance(message, Publication) and message.data in (b"1", b"2")
        broker.after_history = meanwhile
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == [1, 2, 3, 4, 5]


async def test_one_joins_while_a_gap_is_healed() -> None:
    """A newcomer during healing gets everything after its reply, and nothing twice."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        early, _ = engine.client("a")
        late, session = engine.client()
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"1"
        await engine.publish("a", 1)
        await engine.publish("a", 2)
        send(session, id=5, subscribe={"channel": "a", "recover": True})
        await engine.settle()
        await engine.publish("a", 3)
        await engine.settle()
        reply = next(message for message in late.messages() if message.get("id") == 5)
        got = [p["data"] for p in reply["subscribe"].get("publications", ())] + late.publications("a")
        assert got == [1, 2, 3]
        assert early.publications("a") == [1, 2, 3]


async def test_a_gap_that_history_lost_is_told() -> None:
    """Subscribers of a topic that missed what is gone are told 2500, and counted."""
    broker = WatchedBroker()
    options = ChannelOptions(history=History(size=1, seconds=300))
    async with running(options, broker=broker) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data in (b"1", b"2")
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert wire.publications("a") == []
        assert wire.messages()[-1]["push"]["unsubscribe"]["code"] == 2500
        assert session.channels == frozenset()
        assert engine.node.counters.gaps_lost == 1
        assert engine.node.topic("a") is None


async def test_healing_waits_for_a_broker_that_is_away() -> None:
    """While the broker is away subscribers stay; the gap is healed when it is back."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"1"
        await engine.publish("a", 1, 2)
        broker.away = True
        await engine.settle()
        assert wire.publications("a") == []
        broker.away = False
        await engine.settle()
        assert wire.publications("a") == [1, 2]


async def test_healing_goes_on_whatever_went_wrong_with_reading() -> None:
    """A reading that fails for a reason nobody thought of leaves no topic silent for good."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        wire, _ = engine.client("a")
        await engine.settle()

        async def fail() -> None:
            broker.before_history = lambda: asyncio.sleep(0)
            raise ConnectionResetError("as the test wants")

        broker.before_history = fail
        broker.lose = lambda message: isinstance(message, Publication) and message.data == b"1"
        await engine.publish("a", 1, 2)
        await engine.settle()
        assert wire.publications("a") == [1, 2]


async def test_an_outage_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """However many channels are asked about again and again: each failure is counted, and one is said."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        engine.client(*(f"a{number}" for number in range(20)))
        await engine.settle()
        broker.away = True
        broker.doubt([f"a{number}" for number in range(20)])
        await engine.settle()
        broker.away = False
        await engine.settle()
        assert engine.node.counters.histories_failed > 20
    assert sum("history cannot be read" in message for message in caplog.messages) == 1


# --- a stream that lost something -------------------------------------------------------------------------------------


async def told(engine: Engine, broker: WatchedBroker, lose: Callable[[], Awaitable[None]]) -> None:
    """Have two clients in a channel, one by the server's will, and see that both are told once it is doubted."""
    wire, _ = engine.client("a")
    put, session = engine.client()
    await engine.settle()
    await session.subscribe("a")
    await engine.publish("a", 1, 2)
    await engine.settle()
    await lose()
    broker.doubt(["a"])
    await engine.settle()
    assert unsubscribes(wire) == [2500]
    assert put.close_code == 3010
    assert engine.node.counters.gaps_lost == 1
    assert engine.node.topic("a") is None


async def test_a_stream_that_lost_its_end_is_told() -> None:
    """Its top lies below where subscribers stand: what comes next would be taken for what they have."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:

        async def lose() -> None:
            topic = engine.node.topic("a")
            assert topic is not None
            assert topic.position is not None
            broker.top = Position(topic.position.epoch, 1)

        await told(engine, broker, lose)


async def test_a_stream_that_began_anew_is_told() -> None:
    """Another epoch, however far it has come."""
    broker = WatchedBroker()
    async with running(KEPT, broker=broker) as engine:
        await told(engine, broker, broker.begin_anew)


async def test_what_history_no_longer_holds_is_told() -> None:
    """The channel keeps one, and two were lost."""
    broker = WatchedBroker()
    async with running(ChannelOptions(history=History(size=1)), broker=broker) as engine:

        async def lose() -> None:
            broker.lose = lambda message: True
            await engine.publish("a", 3, 4)

        await told(engine, broker, lose)


async def test_a_reading_of_before_a_new_epoch_tells_nobody_a_second_time() -> None:
    """A comparison that was overtaken by a healed gap looks again: those who came since stand where the stream is."""
    broker = WatchedBroker()
    async with running(ASKED, broker=broker) as engine:
        engine.client("a")  # without positions: the topic lives on
        first, positioned = engine.client()
        second, newcomer = engine.client()
        await engine.settle()
        subscribe(positioned, positioned=True)
        await engine.publish("a", 1)
        await engine.settle()

        async def overtake() -> None:
            await broker.begin_anew()
            await engine.publish("a", 1)
            await engine.settle()
            subscribe(newcomer, positioned=True)
            await engine.settle()

        broker.once_read(overtake)
        broker.doubt(["a"])
        for _ in range(4):
            await engine.settle()
        await engine.publish("a", 2)
        await engine.settle()
        assert unsubscribes(first) == [2500]
        assert unsubscribes(second) == []
        assert second.publications("a") == [2]
        assert engine.node.counters.gaps_lost == 1


# --- a stream that began anew while somebody joined -------------------------------------------------------------------


async def begun_anew(engine: Engine, broker: WatchedBroker) -> None:
    """Lose the stream, and have the topic stand in the new one."""
    await broker.begin_anew()
    await engine.publish("a", 1, 2)
    await engine.settle()


async def test_who_read_before_a_new_epoch_is_told() -> None:
    """A reply covered what is no more, as the topic was past it when it was given: the client comes again."""
    broker = WatchedBroker()
    async with running(ASKED, broker=broker) as engine:
        plain, _ = engine.client("a")  # without positions: the topic lives on
        wire, session = engine.client()
        await engine.settle()
        await engine.publish("a", *range(1, 8))
        broker.once_read(lambda: begun_anew(engine, broker))
        subscribe(session, recoverable=True)
        for _ in range(2):
            await engine.settle()
        assert unsubscribes(wire) == [2500]
        subscribe(session, recoverable=True)
        await engine.settle()
        await engine.publish("a", 3)
        await engine.settle()
        assert wire.publications("a") == [3]
        assert unsubscribes(plain) == []


class TwoChannels(OpenApplication):
    """An app that puts everybody into two channels."""

    async def welcome(self, session: Session, request: ConnectRequest) -> Welcome:
        """Put them into both."""
        return Welcome(user="u", channels={"a": Admission(), "b": Admission()})


async def test_who_connected_while_one_of_its_streams_began_anew_is_told() -> None:
    """The first of two channels was read, the server lost it, the second was read: the client is closed with 3010."""
    broker = WatchedBroker()
    async with running(ASKED, broker=broker) as engine:
        plain, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", *range(1, 8))

        async def lose() -> None:
            if broker.reads[-1] == "b":
                await begun_anew(engine, broker)

        broker.before_history = lose
        wire = RecordingWire()
        session = Commands(engine.node, TwoChannels(ASKED)).open(wire)
        assert isinstance(session, Session)
        send(session, id=1, connect={"subs": {channel: {"recoverable": True} for channel in "ab"}})
        for _ in range(2):
            await engine.settle()
        assert broker.reads[:2] == ["a", "b"]
        assert wire.messages()[0]["connect"]["subs"]["a"]["offset"] == 7
        assert wire.close_code == 3010
        assert unsubscribes(plain) == []
