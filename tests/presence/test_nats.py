"""NatsPresence: what only this one promises."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

import nats as nats_py
import pytest

from openline.errors import BrokerUnavailable, DeclarationError
from openline.jetstream.address import NatsAddress
from openline.jetstream.roster import Session, Word
from openline.presence.base import PresenceStats
from openline.presence.nats import NatsPresence
from openline.publication import Arrival, ClientInfo
from tests.cut import cutter
from tests.engines.nats import NatsServer

ANNA = ClientInfo("anna", "session-1")


class Told:
    """What a presence announced, and when that is so much."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[str, Arrival]] = []
        self.news = asyncio.Event()

    def __call__(self, channel: str, arrival: Arrival) -> None:
        """Note an announcement."""
        self.arrivals.append((channel, arrival))
        self.news.set()


def presence_at(port: int, prefix: str) -> NatsPresence:
    """Make a presence that looks often."""
    return NatsPresence(NatsAddress.parse(f"nats://127.0.0.1:{port}?timeout=1&prefix={prefix}"), look_seconds=0.1)


async def test_a_full_channel_is_read_whole(nats: NatsServer) -> None:
    """More sessions than one request gives."""
    presence = presence_at(nats.port, f"test-{secrets.token_hex(6)}")
    await presence.start("one", Told())
    infos = {f"session-{number}": ClientInfo(f"user-{number % 10}", f"session-{number}") for number in range(2_300)}
    try:
        entering = list(infos.values())
        for first in range(0, len(entering), 100):
            await asyncio.gather(*(presence.add("full", info) for info in entering[first : first + 100]))
        assert await presence.members("full") == infos
        assert await presence.stats("full") == PresenceStats(2_300, 10)
    finally:
        await presence.stop()


async def test_a_node_that_returns_waits_for_its_leaves(nats: NatsServer) -> None:
    """Clients hear that somebody left and then that they are there, never the other way round."""
    prefix = f"test-{secrets.token_hex(6)}"
    told = Told()
    async with cutter(nats.port) as line:
        cut_off, witness = presence_at(line.port, prefix), presence_at(nats.port, prefix)
        await cut_off.start("one", told)
        await witness.start("two", told)
        await cut_off.add("a", ANNA, announced=True)
        line.cut()
        async with asyncio.timeout(10):
            await told.news.wait()
        told.news.clear()
        line.mend()
        async with asyncio.timeout(10):
            await told.news.wait()
        assert told.arrivals == [("a", Arrival(ANNA, joined=False)), ("a", Arrival(ANNA, joined=True))]
        assert await witness.members("a") == {ANNA.client: ANNA}
        await cut_off.stop()
        await witness.stop()


async def test_a_server_that_stood_still_kills_nobody() -> None:
    """Time in which nobody could renew anything is not held against anybody, longer than a lease as it may be."""
    told = Told()
    with NatsServer() as server:
        nodes = [presence_at(server.port, "p") for _ in range(3)]
        for number, node in enumerate(nodes):
            await node.start(f"n{number}", told)
            await node.add("a", ClientInfo("", f"session-{number}"), announced=True)
        for stood_still in (0.25, 0.5, 0.8, 1.5):
            server.freeze()
            await asyncio.sleep(stood_still)
            server.thaw()
            await asyncio.sleep(0.6)  # some looks, at which somebody could be missed
        assert len(await nodes[0].members("a")) == len(nodes)
        assert told.arrivals == []
        for node in nodes:
            await node.stop()


async def test_who_comes_back_while_others_are_taken_out_stays() -> None:
    """What could not be entered is taken out once the server answers, and not who was entered again by then."""
    everyone = [ClientInfo("", f"session-{number}") for number in range(100)]
    with NatsServer() as server:
        presence = NatsPresence(NatsAddress.parse(f"nats://127.0.0.1:{server.port}?timeout=0.5"))
        await presence.start("one", Told())
        server.freeze()
        failed = await asyncio.gather(*(presence.add("a", info) for info in everyone), return_exceptions=True)
        assert {type(error) for error in failed} == {BrokerUnavailable}
        server.thaw()

        async def enter(info: ClientInfo) -> None:
            for _ in range(40):
                with suppress(BrokerUnavailable):
                    await presence.add("a", info)
                    break
                await asyncio.sleep(0.05)

        presence._look_now()
        for info in reversed(everyone):  # they are taken out from the first on
            await enter(info)
        async with asyncio.timeout(10):
            while presence._unremoved:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.05)
        assert await presence.members("a") == {info.client: info for info in everyone}
        await presence.stop()


class Order:
    """In which order a presence renews its lease and writes sessions."""

    def __init__(self, presence: NatsPresence, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths = [0]  # of what was written between two renewals
        roster = presence._roster
        say, enter, take_out = roster.say, roster.enter, roster.take_out

        async def noted_say(home: str, said: Word, after: int) -> int:
            self.lengths.append(0)
            return await say(home, said, after)

        async def noted_enter(home: str, session: Session) -> None:
            self.lengths[-1] += 1
            await enter(home, session)

        async def noted_take_out(home: str, channel: str, client: str) -> None:
            self.lengths[-1] += 1
            await take_out(home, channel, client)

        monkeypatch.setattr(roster, "say", noted_say)
        monkeypatch.setattr(roster, "enter", noted_enter)
        monkeypatch.setattr(roster, "take_out", noted_take_out)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what nothing tells."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_lease_is_renewed_while_many_are_taken_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many left while the server was away, the node is not taken for dead over it; the log has one line."""
    caplog.set_level("INFO", "openline")
    everyone = [ClientInfo("", f"session-{number}") for number in range(600)]
    with NatsServer() as server:
        presence = NatsPresence(NatsAddress.parse(f"nats://127.0.0.1:{server.port}?timeout=0.5"))
        await presence.start("one", Told())
        for info in everyone:
            await presence.add("a", info)
        server.freeze()
        await asyncio.gather(*(presence.remove("a", info.client) for info in everyone))
        assert len(presence._unremoved) == len(everyone)
        order = Order(presence, monkeypatch)
        server.thaw()
        presence._look_now()
        await until(lambda: not presence._unremoved)
        assert max(order.lengths) <= 256 < sum(order.lengths)
        assert await presence.members("a") == {}
        await presence.stop()
    assert sum("taken out" in record.message for record in caplog.records) == 1


async def test_the_lease_is_renewed_while_many_are_entered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are when the store forgot them."""
    everyone = [ClientInfo("", f"session-{number}") for number in range(600)]
    with NatsServer() as server:
        presence = presence_at(server.port, "forgotten")
        await presence.start("one", Told())
        for info in everyone:
            await presence.add("a", info)
        order = Order(presence, monkeypatch)
        operator = await nats_py.connect(server.url)
        await operator.jetstream().delete_stream("forgotten-presence")
        await operator.close()
        await until(lambda: presence._moves == 1 and presence._again is None)
        assert max(order.lengths) <= 256 < sum(order.lengths)
        assert await presence.members("a") == {info.client: info for info in everyone}
        await presence.stop()


async def test_without_jetstream_it_does_not_start() -> None:
    """What is wrong says what to start the server with, and nothing is left behind."""
    with NatsServer(jetstream=False) as server:
        presence = presence_at(server.port, "p")
        tasks = asyncio.all_tasks()
        with pytest.raises(BrokerUnavailable, match="-js"):
            await presence.start("one", Told())
        assert asyncio.all_tasks() == tasks


async def test_stopping_beside_a_frozen_server_ends() -> None:
    """It is left to the others to see that this node is gone."""
    with NatsServer() as server:
        presence = presence_at(server.port, "p")
        await presence.start("one", Told())
        server.freeze()
        async with asyncio.timeout(4):
            await presence.stop()
        server.thaw()


def test_a_lease_may_not_outlast_its_limit() -> None:
    """A node that died is to be gone within ten seconds."""
    with pytest.raises(DeclarationError, match="look_seconds"):
        NatsPresence(NatsAddress.parse("nats://localhost"), look_seconds=5)
