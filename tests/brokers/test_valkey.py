"""ValkeyBroker beyond the contract: what it costs the server, what names become, and what is never done twice."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import resources

import pytest

from openline.brokers.valkey import ValkeyBroker
from openline.errors import BrokerUnavailable, DeclarationError
from openline.options import History
from openline.publication import Message, Position, Publication
from openline.valkey import listener
from openline.valkey.address import ValkeyAddress
from tests.engines.process import wait_until
from tests.engines.valkey import ValkeyCluster, ValkeyServer

HISTORY = History(size=100, seconds=300)


class Node:
    """A recipient that keeps what it is given."""

    def __init__(self) -> None:
        self.arrived: list[tuple[str, Message]] = []
        self.doubted: list[str] = []
        self.words: list[bytes] = []
        self.news = asyncio.Event()

    def deliver(self, channel: str, message: Message) -> None:
        """Keep it."""
        self.arrived.append((channel, message))
        self.news.set()

    def doubt(self, channels: Iterable[str]) -> None:
        """Keep them."""
        self.doubted += channels
        self.news.set()

    def hear(self, word: bytes) -> None:
        """Keep it."""
        self.words.append(word)
        self.news.set()

    async def data(self, count: int) -> list[bytes]:
        """Wait for so many publications, and give their data."""
        async with asyncio.timeout(5):
            while len(self.arrived) < count:
                self.news.clear()
                await self.news.wait()
        return [message.data for _, message in self.arrived if isinstance(message, Publication)]

    async def said(self, count: int) -> list[bytes]:
        """Wait for so many words, and give them."""
        async with asyncio.timeout(5):
            while len(self.words) < count:
                self.news.clear()
                await self.news.wait()
        return self.words

    async def doubts(self) -> None:
        """Wait until a channel is doubted."""
        async with asyncio.timeout(10):
            while not self.doubted:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def running(url: str, node: Node | None = None) -> AsyncIterator[ValkeyBroker]:
    """Start a broker, and stop it in the end."""
    broker = ValkeyBroker(ValkeyAddress.parse(url))
    await broker.start(secrets.token_hex(4), node)
    try:
        yield broker
    finally:
        await broker.stop()


def fresh() -> str:
    """Make a name nobody has used."""
    return f"room:{secrets.token_hex(8)}"


def calls(server: ValkeyServer) -> dict[str, int]:
    """Count what the server has been asked to do, within scripts too."""
    statistics = server.call("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in statistics.items()}


# --- what it costs ------------------------------------------------------------------------------------------------


async def test_a_publication_is_one_round_trip_and_six_steps() -> None:
    """Once a stream is under way, a publication costs the server one script with six calls, and no more."""
    with ValkeyServer() as server:
        async with running(server.url) as broker:
            for _ in range(2):
                await broker.publish("room", b"1", history=HISTORY)
            server.call("CONFIG", "RESETSTAT")
            for _ in range(10):
                await broker.publish("room", b"1", history=HISTORY)
        counted = calls(server)
    steps = ("evalsha", "time", "info", "hmget", "hset", "xadd", "publish")
    assert {name: counted.get(name) for name in steps} == dict.fromkeys(steps, 10) | {"info": counted["info"]}
    assert counted["info"] in (10, 11)  # ours is one of them
    assert not {"pexpire", "expire", "xtrim", "xrange", "eval", "get"} & set(counted)


async def test_what_is_not_kept_is_published_and_nothing_else() -> None:
    """Without history and key there is no script."""
    with ValkeyServer() as server:
        async with running(server.url) as broker:
            server.call("CONFIG", "RESETSTAT")
            assert await broker.publish("room", b"1", history=None) == Position.NONE
        counted = calls(server)
        assert counted["publish"] == 1
        assert not {"eval", "evalsha", "xadd"} & set(counted)
        assert server.call("DBSIZE") == 0


async def test_one_who_only_publishes_has_one_connection_and_no_subscription(valkey: ValkeyServer) -> None:
    """With no recipient there is nobody to listen for."""
    broker = ValkeyBroker(ValkeyAddress.parse(valkey.url))
    name = secrets.token_hex(8)
    await broker.start(name, None)
    try:
        assert valkey.call("CLIENT", "LIST").decode().count(name) == 1
        with pytest.raises(BrokerUnavailable, match="follows nothing"):
            await broker.follow("room")
    finally:
        await broker.stop()


async def test_a_stream_ends_by_itself(valkey: ValkeyServer) -> None:
    """What is kept has a time to live, a little above what was asked; one only asked about is kept shortly."""
    published, asked = fresh(), fresh()
    history = History(size=10, seconds=100, meta_seconds=1_000)
    async with running(valkey.url) as broker:
        await broker.publish(published, b"1", history=history, idempotency_key="k")
        await broker.history(asked, history=history, limit=0)
        assert 100 <= valkey.call("TTL", f"openline:s:{{{published}}}") <= 130
        assert 1_000 <= valkey.call("TTL", f"openline:m:{{{published}}}") <= 1_030
        assert 90 <= valkey.call("TTL", f"openline:m:{{{asked}}}") <= 100
        assert 290 <= valkey.call("TTL", f"openline:i:{len(published)}:{{{published}}}:k") <= 300


async def test_memory_is_bounded_by_age_where_nobody_reads(valkey: ValkeyServer) -> None:
    """What has aged goes with what is published later, without a reader."""
    channel, history = fresh(), History(size=1_000, seconds=0.2)
    async with running(valkey.url) as broker:
        for _ in range(100):
            await broker.publish(channel, b"old", history=history)
        await asyncio.sleep(0.3)
        await broker.publish(channel, b"new", history=history)
        assert valkey.call("XLEN", f"openline:s:{{{channel}}}") <= 2


# --- never twice --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "a key"])
async def test_frozen_past_the_timeout_there_is_one_entry(key: str) -> None:
    """A publication whose answer does not come is not repeated, save under a key: then it is, and stands there once."""
    with ValkeyServer() as server:
        async with running(f"{server.url}?timeout=1") as broker:
            await broker.publish("room", b"before", history=HISTORY)
            server.freeze()
            with pytest.raises(BrokerUnavailable):
                await broker.publish("room", b"frozen", history=HISTORY, idempotency_key=key)
            server.thaw()
            if key:
                await broker.publish("room", b"frozen", history=HISTORY, idempotency_key=key)
            await broker.publish("room", b"after", history=HISTORY)
            page = await broker.history("room", history=HISTORY)
    assert [publication.data for publication in page.publications] == [b"before", b"frozen", b"after"]


async def test_under_a_key_it_is_repeated_within_its_time() -> None:
    """A server that was away for less than the deadline costs a publication with a key nothing but time."""
    with ValkeyServer() as server:
        node = Node()
        async with running(f"{server.url}?timeout=3", node) as broker:
            await broker.follow("room")
            server.freeze()
            publishing = asyncio.create_task(broker.publish("room", b"1", history=HISTORY, idempotency_key="k"))
            await asyncio.to_thread(wait_until, lambda: bool(broker.problem), "it gave the connection up")
            server.thaw()
            assert (await publishing).offset == 1
            page = await broker.history("room", history=HISTORY)
    assert [publication.data for publication in page.publications] == [b"1"]


async def test_what_waits_too_long_is_never_sent() -> None:
    """A server that stands still is not fed: of what was called while it did, it gets no more than fits on its line."""
    with ValkeyServer() as server:
        async with running(f"{server.url}?timeout=0.5") as broker:
            server.freeze()
            body = b"x" * 100_000
            calls_ = [broker.publish(f"room:{number}", body, history=HISTORY) for number in range(500)]
            outcomes = await asyncio.gather(*calls_, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {BrokerUnavailable}
            server.thaw()
            await broker.publish("room", b"1", history=HISTORY)
            assert server.call("DBSIZE") <= 2 * 60 + 2


# --- who follows --------------------------------------------------------------------------------------------------


async def test_who_comes_back_at_once_costs_no_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel that is followed again soon is subscribed still; it hears nothing from before, all from then on."""
    monkeypatch.setattr(listener, "LINGER_SECONDS", 60)  # "soon" on a machine however busy
    with ValkeyServer() as server:
        node = Node()
        async with running(server.url, node) as broker, running(server.url) as other:
            await broker.follow("room")
            before = calls(server)["subscribe"]
            for number in range(20):
                await broker.unfollow("room")
                await other.publish("room", b"too late", history=None)
                await broker.follow("room")
                await other.publish("room", b"%d" % number, history=None)
                await node.data(number + 1)  # what is on its way is not heard either once it is left again
            assert await node.data(20) == [b"%d" % number for number in range(20)]
            assert calls(server)["subscribe"] == before
            assert "unsubscribe" not in calls(server)


async def test_what_is_left_is_let_go_of(valkey: ValkeyServer) -> None:
    """A few moments after the last one left, the server is not asked for the channel any more."""
    channel = fresh()
    topic = f"openline:p:{{{channel}}}"
    async with running(valkey.url, Node()) as broker:
        await broker.follow(channel)
        assert valkey.call("PUBSUB", "NUMSUB", topic) == [topic.encode(), 1]
        await broker.unfollow(channel)
        let_go = lambda: valkey.call("PUBSUB", "NUMSUB", topic)[1] == 0  # noqa: E731
        await asyncio.to_thread(wait_until, let_go, "the channel is let go of")


async def test_many_follows_of_one_turn_are_one_command() -> None:
    """A thousand channels entered at once cost one SUBSCRIBE."""
    with ValkeyServer() as server:
        async with running(server.url, Node()) as broker:
            before = calls(server)["subscribe"]
            await asyncio.gather(*(broker.follow(f"room:{number}") for number in range(1_000)))
            assert calls(server)["subscribe"] - before == 1


async def test_a_node_on_a_cluster_listens_only_where_it_follows(valkey_cluster: ValkeyCluster) -> None:
    """A connection for subscriptions is there for the masters it needs; each channel is at its own."""
    node = Node()
    async with running(valkey_cluster.url, node) as broker:
        channels = [fresh() for _ in range(30)]
        await asyncio.gather(*map(broker.follow, channels))
        for channel in channels:
            await broker.publish(channel, channel.encode(), history=HISTORY)
        assert sorted(await node.data(30)) == sorted(channel.encode() for channel in channels)


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channel", ["}", "}x", "{}", "{", "%", "%7Dx", "a{b}c", "room:1", "é☃"])
async def test_everything_of_a_channel_is_in_one_slot(valkey_cluster: ValkeyCluster, channel: str) -> None:
    """Whatever a channel is called, one script may touch all that belongs to it."""
    channel += secrets.token_hex(4)
    async with running(valkey_cluster.url, Node()) as broker:
        await broker.follow(channel)
        position = await broker.publish(channel, b"1", history=HISTORY, idempotency_key="a}{b:")
        assert (await broker.history(channel, history=HISTORY)).top == position


async def test_names_that_look_alike_stay_apart(valkey: ValkeyServer) -> None:
    """What is escaped never meets a name that is written so by itself; nor does a key that holds a name's end."""
    prefix = secrets.token_hex(4)
    async with running(f"{valkey.url}?prefix={prefix}") as broker:
        for channel in ("}x", "%7Dx", "%257Dx"):
            page = await broker.history(channel, history=HISTORY)
            assert page.top.offset == 0
            await broker.publish(channel, channel.encode(), history=HISTORY)
        await broker.publish("a", b"1", history=HISTORY, idempotency_key="b}:c")
        assert (await broker.publish("a}:b", b"2", history=HISTORY, idempotency_key="c")).offset == 1
        assert [one.data for one in (await broker.history("a}:b", history=HISTORY)).publications] == [b"2"]


async def test_databases_and_prefixes_do_not_hear_each_other(valkey: ValkeyServer) -> None:
    """Two apps on one server stay apart, in pub/sub too, which knows no databases."""
    nodes = [Node(), Node(), Node()]
    urls = (f"{valkey.url}/1", f"{valkey.url}/2", f"{valkey.url}/1?prefix=other")
    async with (
        running(urls[0], nodes[0]) as one,
        running(urls[1], nodes[1]) as two,
        running(urls[2], nodes[2]) as three,
    ):
        for broker in (one, two, three):
            await broker.follow("room")
        for _ in range(2):  # what was another's would be between the two
            for number, broker in enumerate((one, two, three)):
                await broker.publish("room", b"%d" % number, history=HISTORY)
                await broker.tell(b"%d" % number)
        for number, node in enumerate(nodes):
            assert await node.data(2) == [b"%d" % number] * 2
            assert await node.said(2) == [b"%d" % number] * 2


# --- the rest -----------------------------------------------------------------------------------------------------


async def test_what_others_put_into_a_channel_is_left_out(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A message no node sent is logged, and those after it arrive."""
    channel, node = fresh(), Node()
    async with running(valkey.url, node) as broker:
        await broker.follow(channel)
        for rubbish in ("", "?", "+", "+e 1 0\n", "-\xff", "j"):
            valkey.call("PUBLISH", f"openline:p:{{{channel}}}", rubbish)
        await broker.publish(channel, b"1", history=None)
        assert await node.data(1) == [b"1"]
    assert caplog.text.count("left out") == 6


async def test_versions_beyond_what_lua_counts_are_compared(valkey: ValkeyServer) -> None:
    """Versions are whole numbers of any length: nanoseconds since 1970 are told apart."""
    channel, version = fresh(), 1_790_000_000_000_000_001
    async with running(valkey.url) as broker:
        await broker.publish(channel, b"1", history=HISTORY, version=version)
        assert (await broker.publish(channel, b"2", history=HISTORY, version=version + 1)).offset == 2
        assert (await broker.publish(channel, b"old", history=HISTORY, version=version)).offset == 2


async def test_it_can_be_started_again(valkey: ValkeyServer) -> None:
    """After a stop, a start begins anew, with what it follows forgotten."""
    node, channel = Node(), fresh()
    broker = ValkeyBroker(ValkeyAddress.parse(valkey.url))
    for number in range(2):
        await broker.start("n", node)
        await broker.follow(channel)
        await broker.publish(channel, b"%d" % number, history=HISTORY)
        assert await node.data(number + 1) == [b"0", b"1"][: number + 1]
        await broker.stop()
        assert "not started" in broker.problem


def test_its_scripts_are_packed_with_it() -> None:
    """The scripts are found beside the module, wherever it is installed."""
    names = {entry.name for entry in resources.files("openline.brokers").iterdir()}
    assert {f"valkey_{name}.lua" for name in ("stream", "ageing", "publish", "history", "carry")} <= names


def test_it_shows_no_secret() -> None:
    """Neither user nor password is in what it prints."""
    broker = ValkeyBroker(ValkeyAddress.parse("valkey://me:s3cret@host/2?timeout=3"))
    assert repr(broker) == "ValkeyBroker(valkey://host:6379/2)"


def test_a_key_has_to_be_remembered() -> None:
    """A lifetime that is none is refused by name."""
    with pytest.raises(DeclarationError, match="idempotency_seconds"):
        ValkeyBroker(ValkeyAddress.parse("valkey://host"), idempotency_seconds=0)


async def test_a_frozen_server_does_not_hold_up_the_stop() -> None:
    """Stopping waits for no server; calls under way end."""
    with ValkeyServer() as server:
        broker = ValkeyBroker(ValkeyAddress.parse(server.url))
        await broker.start("n", Node())
        server.freeze()
        publishing = asyncio.create_task(broker.publish("room", b"1", history=HISTORY))
        following = asyncio.create_task(broker.follow("room"))
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await broker.stop()
        for task in (publishing, following):
            with pytest.raises(BrokerUnavailable):
                await task
