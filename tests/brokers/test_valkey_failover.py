"""What becomes of positions when servers crash, come back, or are replaced by one that knows less."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from openline.brokers.base import Page
from openline.brokers.valkey import ValkeyBroker
from openline.errors import BrokerUnavailable
from openline.options import Limits
from openline.publication import Position
from openline.recovery import Wish, decide
from tests.brokers.test_valkey import HISTORY, Node, running
from tests.cut import Cutter, cutter
from tests.engines.process import wait_until
from tests.engines.valkey import Sentinels, ValkeyCluster, ValkeyServer

#: The least by which offsets jump.
JUMP = 2**32


class Pair(NamedTuple):
    """A master and its replica, behind an address that leads to the master of the moment."""

    master: ValkeyServer
    replica: ValkeyServer
    line: Cutter
    url: str

    async def part(self) -> None:
        """Break the link: from here on what is written is on the master alone."""
        await asyncio.to_thread(_part, self.master, self.replica)

    async def fail_over(self) -> None:
        """Let the master die, and the replica take its place."""
        await asyncio.to_thread(_promote, self.master, self.replica)
        self.line.turn_to(self.replica.port)
        self.line.drop()


def _part(master: ValkeyServer, replica: ValkeyServer) -> None:
    wait_until(lambda: _offset(master) == _offset(replica), "the replica has everything")
    replica.freeze()
    master.drop_replicas()


def _promote(master: ValkeyServer, replica: ValkeyServer) -> None:
    master.kill()
    replica.thaw()
    replica.call("REPLICAOF", "NO", "ONE")


def _offset(server: ValkeyServer) -> int:
    return int(server.call("INFO", "replication")["master_repl_offset"])


def _uptime(server: ValkeyServer) -> int:
    return int(server.call("INFO", "server")["uptime_in_seconds"])


@asynccontextmanager
async def pair(*, aof: bool = True) -> AsyncIterator[Pair]:
    """Run a master and a replica."""
    with ValkeyServer(aof=aof) as master, ValkeyServer(aof=aof, replica_of=master) as replica:
        async with cutter(master.port) as line:
            yield Pair(master, replica, line, f"valkey://127.0.0.1:{line.port}?timeout=2")


async def publish(broker: ValkeyBroker, count: int, *, channel: str = "room") -> list[Position]:
    """Publish so many."""
    return [await broker.publish(channel, b"%d" % number, history=HISTORY) for number in range(count)]


async def page_since(broker: ValkeyBroker, position: Position) -> Page:
    """Read what recovery reads."""
    return await broker.history("room", history=HISTORY, since=position)


async def recovers(broker: ValkeyBroker, position: Position) -> bool:
    """Tell whether a subscriber that stands there is given all it missed."""
    return decide(Wish("stream", True, position), await page_since(broker, position), (), Limits()).whole


async def retried(broker: ValkeyBroker, data: bytes) -> Position:
    """Publish under a key until it is out."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await broker.publish("room", data, history=HISTORY, idempotency_key=data.decode())
            except BrokerUnavailable:
                continue


# --- a replica that lacks the newest ------------------------------------------------------------------------------


async def test_a_replica_without_the_newest_begins_a_new_epoch() -> None:
    """Offsets that were given are not given again: promoted without 6, 7 and 8, a server tells everyone."""
    async with pair() as servers, running(servers.url) as broker:
        before = await publish(broker, 5)
        await servers.part()
        before += await publish(broker, 3)
        await servers.fail_over()
        after = await retried(broker, b"first")
        assert after.epoch != before[0].epoch
        assert not any([await recovers(broker, position) for position in before])
        page = await broker.history("room", history=HISTORY)
        assert [one.data for one in page.publications] == [b"first"]


async def test_a_reader_sees_the_new_epoch_before_anything_is_published() -> None:
    """Who recovers right after the failover is not told that 5 is the newest there ever was."""
    async with pair() as servers, running(servers.url) as broker:
        before = await publish(broker, 5)
        await servers.part()
        await publish(broker, 3)
        await servers.fail_over()
        assert not await recovers(broker, before[-1])
        assert (await retried(broker, b"1")).offset == 1


async def test_what_a_replica_has_to_confirm_is_refused_while_none_does() -> None:
    """With replicas=1 a publication the replica does not get is not acknowledged; with it back, all goes on."""
    async with pair() as servers, running(f"{servers.url}&replicas=1") as broker:
        await publish(broker, 1)
        await servers.part()
        with pytest.raises(BrokerUnavailable, match="0 of 1 replicas"):
            await broker.publish("room", b"lost", history=HISTORY)
        servers.replica.thaw()
        assert (await retried(broker, b"kept")).offset == 3


@pytest.mark.parametrize("again", [{"idempotency_key": "k"}, {"version": 5}, {"version": 4}])
async def test_what_is_not_published_again_waits_for_replicas_too(again: dict[str, Any]) -> None:
    """Another node's repeat under a key, or of a version, is acknowledged only once a replica has the first."""
    first = {"version": 5} if "version" in again else again
    async with (
        pair() as servers,
        running(f"{servers.url}&replicas=1") as one,
        running(f"{servers.url}&replicas=1") as two,
    ):
        await publish(one, 1)
        # It stays connected, and has confirmed all that was before: only what it lacks may not be taken for there.
        servers.replica.freeze()
        with pytest.raises(BrokerUnavailable):
            await one.publish("room", b"1", history=HISTORY, **first)
        with pytest.raises(BrokerUnavailable):
            await two.publish("room", b"1", history=HISTORY, **again)
        servers.replica.thaw()
        assert (await two.publish("room", b"1", history=HISTORY, **again)).offset == 2
        assert servers.replica.call("XLEN", "openline:s:{room}") == 2


@pytest.mark.parametrize("aof", [True, False])
async def test_what_a_replica_confirmed_outlives_a_failover(*, aof: bool) -> None:
    """With replicas=1 everything acknowledged is there after a failover: who stands at it goes on, others do not."""
    async with pair(aof=aof) as servers, running(f"{servers.url}&replicas=1") as broker:
        if not aof:  # then it is the age of the process that tells a promotion from a restart
            await asyncio.to_thread(wait_until, lambda: _uptime(servers.replica) >= 3, "the replica is no newcomer")
        confirmed = await publish(broker, 5)
        await servers.part()
        with pytest.raises(BrokerUnavailable):
            await broker.publish("room", b"6 for some", history=HISTORY)
        lost = Position(confirmed[-1].epoch, 6)
        await servers.fail_over()
        assert await recovers(broker, confirmed[-1])
        assert not await recovers(broker, lost)
        servers.replica.call("CONFIG", "SET", "appendonly", "no")
        async with running(servers.url) as alone:  # there is no replica left that could confirm
            after = await alone.publish("room", b"after", history=HISTORY)
            assert after.epoch == confirmed[-1].epoch
            assert after.offset > 5 + JUMP
            assert all([await recovers(alone, position) for position in confirmed])
            assert not await recovers(alone, lost)
            newest = (await page_since(alone, confirmed[-1])).publications
            assert [(one.offset, one.previous) for one in newest] == [(after.offset, 5)]
            assert (await alone.publish("room", b"next", history=HISTORY)).offset == after.offset + 1


async def test_there_and_back_again_never_repeats_an_offset() -> None:
    """A master that was demoted and is promoted again is another writer than before."""
    async with pair() as servers, running(servers.url) as broker:
        before = await publish(broker, 3)
        replica, master = servers.replica, servers.master
        await asyncio.to_thread(_swap, master, replica)
        servers.line.turn_to(replica.port)
        servers.line.drop()
        between = await retried(broker, b"b")
        await asyncio.to_thread(_swap, replica, master)
        servers.line.turn_to(master.port)
        servers.line.drop()
        after = await retried(broker, b"c")
        assert len({before[0].epoch, between.epoch, after.epoch}) == 3


def _swap(master: ValkeyServer, replica: ValkeyServer) -> None:
    replica.call("REPLICAOF", "NO", "ONE")
    master.call("REPLICAOF", "127.0.0.1", replica.port)
    wait_until(master.in_step, "the old master is a copy of the new one")


async def test_a_connection_that_outlives_a_demotion_notices() -> None:
    """The writer is looked at with each write: also where no connection was lost in between."""
    async with pair() as servers, running(servers.url) as broker:
        before = await publish(broker, 3)
        await asyncio.to_thread(_swap, servers.master, servers.replica)
        with pytest.raises(BrokerUnavailable, match="READONLY"):
            await broker.publish("room", b"refused", history=HISTORY)
        await asyncio.to_thread(_swap, servers.replica, servers.master)
        assert (await broker.publish("room", b"1", history=HISTORY)).epoch != before[0].epoch


async def test_a_first_replica_changes_nothing() -> None:
    """A server that gets its first replica gives itself a new name; it lost nothing, and its streams go on."""
    with ValkeyServer() as master:
        async with running(master.url) as broker:
            before = await publish(broker, 3)
            with ValkeyServer(replica_of=master):
                after = await broker.publish("room", b"3", history=HISTORY)
                assert after.epoch == before[0].epoch
                assert after.offset > before[-1].offset
                assert all([await recovers(broker, position) for position in before])


# --- a server that comes back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["valkey", "redis"])
async def test_after_a_crash_with_its_file_a_stream_goes_on(program: str) -> None:
    """Killed and restarted with its append-only file, a server goes on in the same epoch, above all it ever gave."""
    with ValkeyServer("redis" if program == "redis" else "valkey", aof=True) as server:
        node = Node()
        async with running(server.url, node) as broker:
            await broker.follow("room")
            before = await publish(broker, 5)
            for crash in (1, 2):
                server.kill()
                await asyncio.to_thread(server.start)
                assert await recovers(broker, before[-1])
                before.append(await retried(broker, b"after %d" % crash))
            assert {position.epoch for position in before} == {before[0].epoch}
            first, second, third = (position.offset for position in before[4:])
            assert (first, second > first + JUMP, third > second + JUMP) == (5, True, True)
            assert all([await recovers(broker, position) for position in before])
            assert not await recovers(broker, Position(before[0].epoch, 6))
            await node.doubts()
            assert set(node.doubted) == {"room"}


async def test_after_a_crash_without_a_file_a_new_epoch_begins() -> None:
    """A server that forgot everything does not go on as if nothing had been."""
    with ValkeyServer() as server:
        async with running(server.url) as broker:
            before = await publish(broker, 5)
            server.kill()
            await asyncio.to_thread(server.start)
            assert not await recovers(broker, before[-1])
            after = await broker.publish("room", b"1", history=HISTORY)
            assert after.epoch != before[0].epoch
            assert after.offset == 1


async def test_an_old_snapshot_is_not_believed() -> None:
    """A server that comes back with what it had a while ago begins a new epoch, whatever it was told to wait for."""
    with ValkeyServer() as master, ValkeyServer(replica_of=master):
        async with running(f"{master.url}?replicas=1") as broker:
            before = await publish(broker, 5)
            master.call("SAVE")
            before += await publish(broker, 3)
            master.kill()
            await asyncio.to_thread(master.start)
            assert not any([await recovers(broker, position) for position in before])


# --- under sentinels, and in a cluster ----------------------------------------------------------------------------


async def test_sentinels_say_who_the_master_is_now() -> None:
    """A failover is followed without a restart: publications and subscriptions go to the new master."""
    with (
        ValkeyServer(aof=True) as master,
        ValkeyServer(aof=True, replica_of=master) as replica,
        Sentinels(master) as sentinels,
    ):
        node = Node()
        async with running(f"{sentinels.url}?timeout=10&replicas=1", node) as broker:
            await broker.follow("room")
            before = await publish(broker, 3)
            await asyncio.to_thread(sentinels.servers[0].kill)
            await asyncio.to_thread(master.kill)
            await asyncio.to_thread(replica.wait_until_promoted)
            assert await recovers(broker, before[-1])
            await asyncio.to_thread(master.start)  # comes back, and becomes the replica
            await retried(broker, b"after")
            await node.doubts()
            assert {position.epoch for position in before} == {(await page_since(broker, before[0])).top.epoch}
            assert set(node.doubted) == {"room"}


async def test_a_cluster_fails_over_without_losing_what_was_confirmed() -> None:
    """A master dies: what was acknowledged is there, nobody loses the channel, the other masters notice nothing."""
    with ValkeyCluster(aof=True) as cluster:
        node = Node()
        async with running(f"{cluster.url}?timeout=10&replicas=1", node) as broker:
            await broker.follow("room")
            before = await publish(broker, 3)
            master = cluster.master_of("{room}")
            await asyncio.to_thread(master.kill)
            assert await recovers(broker, before[-1])
            await asyncio.to_thread(master.start)
            after = await retried(broker, b"after")
            assert after.epoch == before[0].epoch
            assert after.offset > JUMP
            await node.doubts()
            assert set(node.doubted) == {"room"}
