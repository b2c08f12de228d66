"""NatsBroker: what only this one promises, and what becomes of it when its server loses something."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import nats as nats_py
import pytest

from openline.brokers.nats import NatsBroker
from openline.errors import BrokerUnavailable, PayloadTooBig
from openline.jetstream.address import NatsAddress
from openline.options import History, Limits
from openline.publication import Message, Position, Publication
from openline.recovery import Wish, decide
from tests.engines.nats import NatsServer

KEPT = History(size=100, seconds=3600, meta_seconds=7200)


class Ear:
    """A recipient that notes what it is given, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.doubted: set[str] = set()
        self._news = asyncio.Event()

    def deliver(self, channel: str, message: Message) -> None:
        """Note what arrived."""
        self.heard.append(message)
        self._news.set()

    def doubt(self, channels: Iterable[str]) -> None:
        """Note what is in doubt."""
        self.doubted.update(channels)
        self._news.set()

    def hear(self, word: bytes) -> None:
        """Take no notice of words."""

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something that was given makes a condition hold."""
        async with asyncio.timeout(10):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def publications(self, count: int) -> list[Publication]:
        """Wait for so many publications, and give them."""
        await self.until(lambda: len(self.heard) >= count)
        return [message for message in self.heard if isinstance(message, Publication)]


@asynccontextmanager
async def broker_of(
    server: NatsServer, ear: Ear | None = None, *, prefix: str = "", options: str = "", key_seconds: float = 300
) -> AsyncIterator[NatsBroker]:
    """Run a broker on names nobody used before, unless a prefix is given."""
    prefix = prefix or f"test-{secrets.token_hex(6)}"
    address = NatsAddress.parse(f"{server.url}?timeout=2&prefix={prefix}{options}")
    broker = NatsBroker(address, idempotency_seconds=key_seconds)
    await broker.start("node", ear)
    try:
        yield broker
    finally:
        await broker.stop()


async def until_well(broker: NatsBroker) -> None:
    """Wait until a broker has no problem any more; nobody is told of that."""
    async with asyncio.timeout(10):
        while broker.problem:  # noqa: ASYNC110  # there is no event: a problem is only there to be read
            await asyncio.sleep(0.01)


async def until_lost(broker: NatsBroker) -> None:
    """Wait until a broker has noticed that its server is gone."""
    async with asyncio.timeout(10):
        while not broker.problem:  # noqa: ASYNC110  # the same
            await asyncio.sleep(0.01)


async def publish_numbers(broker: NatsBroker, channel: str, count: int, history: History = KEPT) -> list[Position]:
    """Publish as many, one after the other."""
    return [await broker.publish(channel, b"%d" % number, history=history) for number in range(count)]


# --- what a server loses ------------------------------------------------------------------------------------------


async def test_a_publication_that_timed_out_is_kept_once() -> None:
    """It was sent before the server froze in the middle of it, and nobody sends it again."""
    with NatsServer() as server:
        async with broker_of(server, options="&storage=memory") as broker:
            await broker.publish("a", b"before", history=KEPT)
            server.freeze()
            with pytest.raises(BrokerUnavailable):
                await broker.publish("a", b"frozen", history=KEPT)
            server.thaw()
            await until_well(broker)
            await broker.publish("a", b"after", history=KEPT)
            page = await broker.history("a", history=KEPT)
    assert [one.data for one in page.publications] == [b"before", b"frozen", b"after"]


async def test_what_is_published_while_the_server_is_away_does_not_leave_later() -> None:
    """It raises in its time, and no buffer lets it go once the server is back."""
    with NatsServer() as server:
        async with broker_of(server) as broker:
            await broker.publish("a", b"before", history=KEPT)
            server.stop()
            for history in (KEPT, None):
                with pytest.raises(BrokerUnavailable):
                    await broker.publish("a", b"lost", history=history)
            server.start()
            await until_well(broker)
            page = await broker.history("a", history=KEPT)
    assert [one.data for one in page.publications] == [b"before"]


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_positions_go_on_after_a_restart(end: str) -> None:
    """With its store nothing is lost: the channel is doubted, and the next publication names the last."""
    ear = Ear()
    with NatsServer() as server:
        async with broker_of(server, ear) as broker:
            await broker.follow("a")
            last = (await publish_numbers(broker, "a", 3))[-1]
            getattr(server, end)()
            await until_lost(broker)
            server.start()
            await ear.until(lambda: ear.doubted == {"a"})
            following = await broker.publish("a", b"3", history=KEPT)
            page = await broker.history("a", history=KEPT, since=last)
            heard = await ear.publications(4)
    assert following.epoch == last.epoch
    assert [(one.data, one.previous) for one in page.publications] == [(b"3", last.offset)]
    assert [one.data for one in heard] == [b"0", b"1", b"2", b"3"]


async def test_a_key_outlives_a_restart() -> None:
    """Who does not know whether it was published asks again once the server is back."""
    with NatsServer() as server:
        async with broker_of(server) as broker:
            first = await broker.publish("a", b"1", history=KEPT, idempotency_key="k")
            server.stop()
            await until_lost(broker)
            server.start()
            assert await broker.publish("a", b"again", history=KEPT, idempotency_key="k") == first


async def test_a_lost_store_is_a_new_epoch() -> None:
    """Its sequences begin at one again, and nobody takes them for those of before."""
    ear = Ear()
    with NatsServer() as server:
        async with broker_of(server, ear) as broker:
            await broker.follow("a")
            last = (await publish_numbers(broker, "a", 3))[-1]
            server.kill()
            shutil.rmtree(server.folder / "jetstream")
            server.start()
            await ear.until(lambda: ear.doubted == {"a"})
            top = (await broker.history("a", history=KEPT)).top
    assert top.epoch not in ("", last.epoch)
    assert top.offset == 0


async def test_a_store_that_lost_its_tail_is_a_new_epoch() -> None:
    """A server that comes back as it was a while ago would give the same offsets to others."""
    with NatsServer() as server:
        async with broker_of(server) as broker:
            before = await publish_numbers(broker, "a", 3)
            server.stop()
            await until_lost(broker)
            shutil.copytree(server.folder / "jetstream", server.folder / "older")
            server.start()
            before += await publish_numbers(broker, "a", 3)
            server.kill()
            shutil.rmtree(server.folder / "jetstream")
            (server.folder / "older").rename(server.folder / "jetstream")
            await until_lost(broker)
            server.start()
            after = await publish_numbers(broker, "a", 3)
    assert len({position.epoch for position in before}) == 1
    assert not {position.epoch for position in before} & {position.epoch for position in after}


async def test_another_node_finds_the_tail_gone_by_what_stands_there() -> None:
    """Somebody who did not know what was lost published already, and the sequences are as high as before."""
    with NatsServer() as server:
        prefix = "shared"
        async with broker_of(server, prefix=prefix) as broker:
            await broker.publish("a", b"0", history=KEPT)
            server.stop()
            await until_lost(broker)
            shutil.copytree(server.folder / "jetstream", server.folder / "older")
            server.start()
            known = (await publish_numbers(broker, "a", 2))[-1]
            server.kill()
            await until_lost(broker)
            shutil.rmtree(server.folder / "jetstream")
            (server.folder / "older").rename(server.folder / "jetstream")
            # Somewhere else, where the broker is not looking yet, the server is back and is used.
            with NatsServer(store=server.folder / "jetstream") as elsewhere:
                async with broker_of(elsewhere, prefix=prefix) as stranger:
                    await publish_numbers(stranger, "b", 5)
            server.start()
            await until_well(broker)
            top = (await broker.history("a", history=KEPT)).top
    assert top.epoch != known.epoch


@pytest.mark.parametrize("what", ["purge", "delete"])
async def test_a_stream_that_somebody_emptied_is_a_new_epoch(what: str) -> None:
    """By hand and under way, without a connection being lost: what was in it is gone, and that is told."""
    ear = Ear()
    with NatsServer() as server:
        async with broker_of(server, ear, prefix="emptied") as broker:
            await broker.follow("a")
            last = (await publish_numbers(broker, "a", 3))[-1]
            operator = await nats_py.connect(server.url)
            management = operator.jetstream()
            name = (await management.streams_info())[0].config.name
            assert name is not None
            await (management.purge_stream(name) if what == "purge" else management.delete_stream(name))
            await operator.close()
            page = await broker.history("a", history=KEPT)
            assert page.top.epoch not in ("", last.epoch)
            assert page.publications == []
            anew = await broker.publish("a", b"anew", history=KEPT)
            heard = (await ear.publications(4))[-1]
    assert (anew.epoch, heard.epoch) == (page.top.epoch, page.top.epoch)
    assert (heard.offset, heard.previous) == (anew.offset, 0)


# --- what is forgotten for its age --------------------------------------------------------------------------------


async def test_who_stood_before_the_first_publication_is_told_that_it_was_forgotten(nats: NatsServer) -> None:
    """Else a client that came too early, and comes back too late, would miss everything in silence."""
    history = History(size=10, seconds=0.2, meta_seconds=0.5)
    ear = Ear()
    async with broker_of(nats, ear, key_seconds=0.5) as broker:
        await broker.follow("a")
        unborn = (await broker.history("a", history=history)).top
        await broker.publish("a", b"missed", history=history)
        async with asyncio.timeout(10):
            while (await broker.history("a", history=history, limit=0)).top.offset < 3:  # noqa: ASYNC110
                # Reading is using: it is to be left alone for longer than it is known.
                await asyncio.sleep(1.2)
        page = await broker.history("a", history=history, since=unborn)
        assert page.top.epoch == unborn.epoch
        assert not decide(Wish("stream", recoverable=True, asked=unborn), page, [], Limits()).whole
        anew = await broker.publish("a", b"anew", history=history)
        page = await broker.history("a", history=history, since=unborn)
        assert [one.data for one in page.publications] == [b"anew"]
        assert page.top == anew
        assert not decide(Wish("stream", recoverable=True, asked=unborn), page, [], Limits()).whole
        assert [one.data for one in await ear.publications(2)] == [b"missed", b"anew"]


async def test_a_channel_that_is_only_read_goes_on_where_it_stood(nats: NatsServer) -> None:
    """Whoever follows it, and whoever reads later, sees the last publication as the predecessor of the next."""
    history = History(size=10, seconds=0.2, meta_seconds=1)
    ear = Ear()
    async with broker_of(nats, ear, key_seconds=0.5) as broker:
        await broker.follow("a")
        last = await broker.publish("a", b"1", history=history)
        for _ in range(4):
            await asyncio.sleep(0.6)
            assert (await broker.history("a", history=history)).top == last
        anew = await broker.publish("a", b"2", history=history)
        page = await broker.history("a", history=history, since=last)
        heard = await ear.publications(2)
    assert anew.epoch == last.epoch
    assert [(one.data, one.previous) for one in page.publications] == [(b"2", last.offset)]
    assert heard[1] == page.publications[0]


# --- reading ------------------------------------------------------------------------------------------------------


async def test_a_long_stream_is_read_in_pages(nats: NatsServer) -> None:
    """More than one request's worth of messages, in which others stand between: in order, whole, cut where asked."""
    count = 2_300
    history = History(size=count - 100, seconds=3600)
    async with broker_of(nats) as broker:
        channels = ["a", "b"] * count
        tasks = [broker.publish(channel, b"%d" % number, history=history) for number, channel in enumerate(channels)]
        await asyncio.gather(*tasks)
        page = await broker.history("a", history=history)
        offsets = [one.offset for one in page.publications]
        assert len(offsets) == count - 100
        assert offsets == sorted(offsets)
        assert [one.previous for one in page.publications[1:]] == offsets[:-1]
        assert page.top.offset == offsets[-1]
        some = await broker.history("a", history=history, limit=1_200, since=Position("", offsets[10]))
        assert [one.offset for one in some.publications] == offsets[11:1_211]
        assert some.top == page.top
        first = await broker.history("a", history=history, limit=3)
        assert first.publications == page.publications[:3]
        newest = await broker.history("a", history=history, limit=2, reverse=True)
        assert newest.publications == page.publications[:-3:-1]


async def test_what_was_forgotten_stays_forgotten_when_more_comes(nats: NatsServer) -> None:
    """The newest of what was forgotten is still in the store, where it shows nobody but its offset."""
    async with broker_of(nats) as broker, broker_of(nats, prefix=broker._prefix) as other:
        last = (await publish_numbers(broker, "a", 3))[-1]
        await other.forget("a")
        await broker.publish("a", b"new", history=KEPT)
        for reader in (broker, other):
            page = await reader.history("a", history=KEPT)
            assert [(one.data, one.previous) for one in page.publications] == [(b"new", last.offset)]
            page = await reader.history("a", history=KEPT, reverse=True, limit=5)
            assert [one.data for one in page.publications] == [b"new"]


async def test_a_version_is_remembered_below_what_has_none(nats: NatsServer) -> None:
    """However much was published without one since, and whether or not its own publication is still there."""
    history = History(size=3, seconds=3600)
    async with broker_of(nats) as broker:
        await broker.publish("a", b"five", history=history, version=5)
        for number in range(12):
            top = await broker.publish("a", b"%d" % number, history=history)
            assert await broker.publish("a", b"old", history=history, version=4) == top
        page = await broker.history("a", history=history)
        assert [one.data for one in page.publications] == [b"9", b"10", b"11"]


async def test_a_repeated_key_of_an_old_version_gives_the_first_position(nats: NatsServer) -> None:
    """It is a repeat before it is out of date."""
    async with broker_of(nats) as broker:
        first = await broker.publish("a", b"1", history=KEPT, version=1, idempotency_key="one")
        await broker.publish("a", b"2", history=KEPT, version=2)
        assert await broker.publish("a", b"1", history=KEPT, version=1, idempotency_key="one") == first


# --- what is refused ------------------------------------------------------------------------------------------------


async def test_what_is_too_large_is_not_sent(nats: NatsServer) -> None:
    """The server would end the connection; here only the caller hears of it."""
    async with broker_of(nats) as broker:
        for history in (KEPT, None):
            with pytest.raises(PayloadTooBig, match="1048576"):
                await broker.publish("a", b"x" * 1_048_576, history=history, tags={"a": "b"})
            await broker.publish("a", b"x" * 1_000_000, history=history)


async def test_what_is_too_much_beside_the_data_is_not_kept(nats: NatsServer) -> None:
    """JetStream takes 64 KiB of headers, and carries more: who asks is told that it is no outage."""
    tags = {"long": "x" * 70_000}
    ear = Ear()
    async with broker_of(nats, ear) as broker:
        await broker.follow("a")
        for history, key in ((KEPT, ""), (None, "once")):
            with pytest.raises(PayloadTooBig, match="65535"):
                await broker.publish("a", b"1", history=history, tags=tags, idempotency_key=key)
        await broker.publish("a", b"1", history=None, tags=tags)
        assert await ear.publications(1) == [Publication(b"1", tags=tags)]
