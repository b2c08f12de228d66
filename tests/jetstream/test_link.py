"""Link: the connection is made again, nothing is sent twice, and nobody waits longer than the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest

from openline.errors import BrokerUnavailable
from openline.jetstream.address import NatsAddress
from openline.jetstream.link import Asker, Link
from tests.cut import cutter
from tests.engines.nats import NatsServer


class Ends:
    """What a link told those who hold it."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.opened = 0
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.refusing = False
        self.news = asyncio.Event()
        self.restored = asyncio.Event()

    def receive(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        """Note a message; the data ``fail`` is a bug in whoever takes it."""
        if data == b"fail":
            raise RuntimeError("a bug")
        self.received.append((subject, data))
        self.news.set()

    async def look(self, asker: Asker) -> None:
        """Have a look at a new connection."""
        self.opened += 1
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.refusing:
            raise BrokerUnavailable("this server is not good enough")

    async def has(self, count: int) -> list[tuple[str, bytes]]:
        """Wait for so many messages."""
        async with asyncio.timeout(10):
            while len(self.received) < count:
                self.news.clear()
                await self.news.wait()
        return self.received


def link_to(port: int, ends: Ends, *, timeout: float = 2) -> Link:
    """Make a link."""
    address = NatsAddress.parse(f"nats://127.0.0.1:{port}?timeout={timeout}")
    return Link(address, "the test", receive=ends.receive, opened=ends.look, restored=ends.restored.set)


async def test_all_arrives_in_one_order_whatever_it_was_sent_to(nats: NatsServer) -> None:
    """Subjects have no queues of their own, between which the order would be lost."""
    ends = Ends()
    link = link_to(nats.port, ends)
    await link.start("test")
    async with link.within():
        for subject in ("a.1", "a.2"):
            await link.subscribe(subject)
        sent = [(f"a.{1 + number % 2}", b"%d" % number) for number in range(200)]
        await asyncio.gather(*(link.send(subject, data) for subject, data in sent))
    assert await ends.has(len(sent)) == sent
    await link.stop()


async def test_a_bug_in_taking_a_message_costs_that_message(nats: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    """The connection goes on reading; the log has it."""
    ends = Ends()
    link = link_to(nats.port, ends)
    await link.start("test")
    async with link.within():
        await link.subscribe("b")
        await link.send("b", b"fail")
        await link.send("b", b"2")
    assert await ends.has(1) == [("b", b"2")]
    assert "a bug" in caplog.text
    await link.stop()


async def test_a_lost_connection_is_made_again(nats: NatsServer) -> None:
    """What was subscribed is subscribed again; who sends meanwhile waits, and what they send arrives once."""
    ends = Ends()
    async with cutter(nats.port) as line:
        link = link_to(line.port, ends)
        await link.start("test")
        async with link.within():
            await link.subscribe("c")
        line.drop()
        await asyncio.wait_for(ends.restored.wait(), 10)
        async with link.within():
            await link.send("c", b"1")
        assert await ends.has(1) == [("c", b"1")]
        assert ends.opened == 2
        assert link.problem == ""
        await link.stop()


async def test_what_is_given_up_while_a_connection_is_made_is_not_received(nats: NatsServer) -> None:
    """It is subscribed on the one that is about to be used, and has to be given up there."""
    ends = Ends()
    async with cutter(nats.port) as line:
        link = link_to(line.port, ends)
        await link.start("test")
        async with link.within():
            await link.subscribe("given.up")
            await link.subscribe("kept")
        ends.meanwhile = lambda: link.unsubscribe("given.up")
        line.drop()
        await asyncio.wait_for(ends.restored.wait(), 10)
        async with link.within():
            await link.send("given.up", b"1")
            await link.send("kept", b"2")
        assert await ends.has(1) == [("kept", b"2")]
        await link.stop()


async def test_connections_that_end_at_once_are_made_less_and_less_often(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that lets everybody in and throws them out is not to be knocked at without a pause."""
    ends = Ends()
    pauses: list[int] = []

    def pause(attempt: int) -> float:
        pauses.append(attempt)
        return 0

    async with cutter(nats.port) as line:
        link = link_to(line.port, ends)
        monkeypatch.setattr(link, "_pause", pause)
        await link.start("test")
        for _ in range(5):
            ends.restored.clear()
            line.drop()
            await asyncio.wait_for(ends.restored.wait(), 10)
        assert [attempt for attempt in pauses if attempt] == [2, 3, 4, 5]
        await link.stop()


async def test_a_swallowed_line_is_left(nats: NatsServer) -> None:
    """A connection on which nothing comes any more is found out, and another is made."""
    ends = Ends()
    async with cutter(nats.port) as line:
        link = link_to(line.port, ends, timeout=0.5)
        await link.start("test")
        line.swallow()
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            async with link.within():
                await link.send("d", b"1")
        assert "does not answer" in link.problem
        line.mend()
        await asyncio.wait_for(ends.restored.wait(), 10)
        assert link.problem == ""
        await link.stop()


async def test_a_server_that_does_not_please_is_not_used(nats: NatsServer) -> None:
    """The look at a new connection comes before its use; until one pleases, calls fail in their time."""
    ends = Ends()
    async with cutter(nats.port) as line:
        link = link_to(line.port, ends, timeout=0.5)
        await link.start("test")
        ends.refusing = True
        line.drop()

        async def send_until_it_fails() -> None:
            async with link.within():
                while True:
                    await link.send("e", b"1")

        with pytest.raises(BrokerUnavailable):
            await send_until_it_fails()
        assert not ends.restored.is_set()
        ends.refusing = False
        await asyncio.wait_for(ends.restored.wait(), 10)
        await link.stop()


async def test_stopping_ends_what_waits(nats: NatsServer) -> None:
    """Nobody waits for a connection that will not come; a link that was stopped refuses, and starts again."""
    ends = Ends()
    async with cutter(nats.port) as line:
        link = link_to(line.port, ends, timeout=30)
        await link.start("test")
        line.swallow()

        async def send() -> None:
            async with link.within():
                await link.send("f", b"1")

        sending = asyncio.gather(send(), return_exceptions=True)
        await asyncio.wait_for(line.swallowed.wait(), 10)
        await link.stop()
        (outcome,) = await asyncio.wait_for(sending, 5)
        assert isinstance(outcome, BrokerUnavailable)
        with pytest.raises(BrokerUnavailable, match="stopped"):
            await send()
        line.mend()
        await link.start("test")
        await send()
        await link.stop()
