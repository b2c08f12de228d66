"""The listener: what is followed is heard, through losses and moves, and nothing else is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import redis

from openline.errors import BrokerUnavailable
from openline.valkey.address import ValkeyAddress
from openline.valkey.client import Valkey
from openline.valkey.listener import Listener
from tests.cut import cutter
from tests.engines.process import wait_until
from tests.engines.valkey import ValkeyCluster, ValkeyServer


class Follower:
    """A listener at work, and what it was told."""

    def __init__(self, client: Valkey) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.missed: list[str] = []
        self.news = asyncio.Event()
        self.client = client
        self.listener = Listener(client.fleet, self._hear, self._miss)

    def _hear(self, name: str, payload: bytes) -> None:
        self.heard.append((name, payload))
        self.news.set()

    def _miss(self, names: Sequence[str]) -> None:
        self.missed += names
        self.news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something heard or missed makes this hold."""
        async with asyncio.timeout(10):
            while not holds():
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def follower(url: str) -> AsyncIterator[Follower]:
    """Start a client with a listener, and stop both in the end."""
    client = Valkey(ValkeyAddress.parse(url))
    made = Follower(client)
    await client.start()
    try:
        yield made
    finally:
        made.listener.stop()
        await client.stop()


async def test_exactly_what_was_open_is_missed() -> None:
    """After a loss: not what was left before, nor what was left meanwhile, nor what is new; and each once."""
    with ValkeyServer() as server:
        async with cutter(server.port) as line, follower(f"valkey://127.0.0.1:{line.port}?timeout=5") as made:
            for topic in ("a", "b", "before", "meanwhile"):
                await made.listener.follow(topic.encode(), topic)
            made.listener.unfollow(b"before")
            line.cut()
            await line.refused.wait()
            made.listener.unfollow(b"meanwhile")
            new = asyncio.create_task(made.listener.follow(b"new", "new"))
            await asyncio.sleep(0)
            line.mend()
            await new
            await made.until(lambda: len(made.missed) >= 2)
            for topic in ("a", "b", "new", "before", "meanwhile"):
                await made.client.call("PUBLISH", topic, "1")
            await made.until(lambda: len(made.heard) == 3)
            assert sorted(name for name, _ in made.heard) == ["a", "b", "new"]
            assert sorted(made.missed) == ["a", "b"]


async def test_a_silent_loss_is_noticed() -> None:
    """A line that a firewall has forgotten says nothing, and is found out without anything being published."""
    with ValkeyServer() as server:
        async with cutter(server.port) as line, follower(f"valkey://127.0.0.1:{line.port}?timeout=0.5") as made:
            await made.listener.follow(b"a", "a")
            line.swallow()
            await line.swallowed.wait()
            line.mend()
            await made.until(lambda: bool(made.missed))
            assert made.missed == ["a"]


def refuses(server: ValkeyServer) -> bool:
    """Tell whether a server refuses whatever it is asked, as a script takes too long."""
    try:
        server.call("PING")
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


@asynccontextmanager
async def busy(server: ValkeyServer) -> AsyncIterator[None]:
    """Have a server carry out a script that does not end, until the block ends."""
    script = asyncio.create_task(asyncio.to_thread(server.call, "EVAL", "while true do end", 0))
    try:
        await asyncio.to_thread(wait_until, lambda: refuses(server), "the server is busy")
        yield
    finally:
        server.call("SCRIPT", "KILL")
        with pytest.raises(redis.ResponseError, match="killed"):
            await script


async def test_a_server_that_was_busy_is_heard_again() -> None:
    """What it refused meanwhile leaves no channel deaf: those there were are missed, and new ones are followed."""
    with ValkeyServer(options=("busy-reply-threshold 10",)) as server:
        # So patient that no silence is what brings it back.
        async with follower(f"{server.url}?timeout=30") as made:
            await made.listener.follow(b"before", "before")
            async with busy(server):
                during = asyncio.create_task(made.listener.follow(b"during", "during"))
                for _ in range(5):  # it is sent
                    await asyncio.sleep(0)
                assert await asyncio.to_thread(refuses, server)  # so is what came before
            async with asyncio.timeout(10):
                await during
                await made.listener.follow(b"after", "after")
            await made.until(lambda: made.missed == ["before"])
            for topic in ("before", "during", "after"):
                await made.client.call("PUBLISH", topic, "1")
            await made.until(lambda: len(made.heard) == 3)


async def test_a_follow_that_fails_leaves_nothing() -> None:
    """Within its time it says so; once the server is back the channel is not subscribed to."""
    with ValkeyServer() as server:
        async with cutter(server.port) as line, follower(f"valkey://127.0.0.1:{line.port}?timeout=0.5") as made:
            await made.listener.follow(b"kept", "kept")
            line.cut()
            with pytest.raises(BrokerUnavailable):
                await made.listener.follow(b"failed", "failed")
            with pytest.raises(BrokerUnavailable):
                await made.listener.follow(b"kept", "kept")
            line.mend()
            await made.until(lambda: made.missed == ["kept"])
            assert server.call("PUBSUB", "CHANNELS") == [b"kept"]


async def test_a_follow_that_is_cancelled_leaves_nothing() -> None:
    """Whoever gives up waiting does not follow; another who waits for the same does."""
    with ValkeyServer() as server:
        async with follower(server.url) as made:
            both, gone = (asyncio.create_task(made.listener.follow(b"both", "both")) for _ in range(2))
            alone = asyncio.create_task(made.listener.follow(b"alone", "alone"))
            await asyncio.sleep(0)
            gone.cancel()
            alone.cancel()
            await both
            for topic in ("alone", "both"):
                await made.client.call("PUBLISH", topic, "1")
            await made.until(lambda: bool(made.heard))
            assert made.heard == [("both", b"1")]


async def test_what_the_server_forbids_is_told() -> None:
    """A user without the right to a channel hears why, and not after a timeout."""
    with ValkeyServer(password="p") as server:
        server.call("ACL", "SETUSER", "me", "on", ">mine", "~*", "+@all", "resetchannels", "&allowed")
        async with follower(f"valkey://me:mine@127.0.0.1:{server.port}?timeout=30") as made:
            await made.listener.follow(b"allowed", "allowed")
            async with asyncio.timeout(5):
                with pytest.raises(BrokerUnavailable, match="NOPERM"):
                    await made.listener.follow(b"forbidden", "forbidden")


async def test_a_channel_moves_with_its_slot() -> None:
    """A cluster's own channel is followed to its new master; in between something may have been missed."""
    with ValkeyCluster(masters=2, replicas=0) as cluster:
        async with follower(cluster.url) as made:
            topic = b"{moving}"
            await made.listener.follow(topic, "moving", sharded=True)
            old = cluster.master_of(topic)
            new = next(server for server in cluster.servers if server is not old)
            slot = old.call("CLUSTER", "KEYSLOT", topic)
            identities = {server: server.call("CLUSTER", "MYID") for server in (old, new)}
            new.call("CLUSTER", "SETSLOT", slot, "IMPORTING", identities[old])
            old.call("CLUSTER", "SETSLOT", slot, "MIGRATING", identities[new])
            for server in (new, old):
                server.call("CLUSTER", "SETSLOT", slot, "NODE", identities[new])
            await made.until(lambda: made.missed == ["moving"])
            await made.client.call("SPUBLISH", topic, "1", routed_by=topic)
            await made.until(lambda: made.heard == [("moving", b"1")])


async def test_a_cluster_hears_its_own_channels_and_the_common_ones(valkey_cluster: ValkeyCluster) -> None:
    """Sharded channels at their masters, common ones wherever they are published."""
    common = secrets.token_hex(8).encode()
    async with follower(valkey_cluster.url) as made:
        await made.listener.follow(common, "common")
        for shard in made.client.shards:
            await made.client.call("PUBLISH", common, str(shard), on=shard)
        await made.until(lambda: len(made.heard) == 3)
        assert {name for name, _ in made.heard} == {"common"}


async def test_a_master_nobody_follows_at_is_let_go_of(valkey_cluster: ValkeyCluster) -> None:
    """A connection for subscriptions stays only where something is followed."""
    topic = b"{%s}" % secrets.token_hex(8).encode()
    server = valkey_cluster.master_of(topic)
    name = secrets.token_hex(8)
    client = Valkey(ValkeyAddress.parse(valkey_cluster.url), name=name)
    made = Follower(client)
    await client.start()
    await made.listener.follow(topic, "a", sharded=True)
    assert server.call("CLIENT", "LIST").count(f"{name}-ear".encode()) == 1
    made.listener.unfollow(topic)
    gone = f"{name}-ear".encode()
    await asyncio.to_thread(wait_until, lambda: gone not in server.call("CLIENT", "LIST"), "the ear is gone")
    await client.stop()
