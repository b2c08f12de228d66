"""The fleet: the masters as they are known, and a line to each."""

from __future__ import annotations

import asyncio

import pytest

from openline.errors import BrokerUnavailable
from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.fleet import Fleet
from tests.engines.valkey import ValkeyCluster, ValkeyServer


def soon() -> float:
    """Give a deadline."""
    return asyncio.get_running_loop().time() + 10


async def test_a_stop_ends_a_start_that_waits() -> None:
    """Whoever starts is told at once, not at the deadline; nothing is left, and it can be started again."""
    with ValkeyServer() as server:
        server.freeze()
        fleet = Fleet(ValkeyAddress.parse(server.url), "fleet")
        before = asyncio.all_tasks()
        starting = asyncio.create_task(fleet.start(soon()))
        # A moment later it has nothing left to do but to wait for the server.
        for _ in range(20):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await fleet.stop()
            with pytest.raises(BrokerUnavailable, match="not started"):
                await starting
        assert not fleet.running
        assert asyncio.all_tasks() == before
        server.thaw()
        await fleet.start(soon())
        assert not fleet.problem
        await fleet.stop()


async def test_there_is_a_line_to_each_master(valkey_cluster: ValkeyCluster) -> None:
    """And none to anyone else; after the stop there is none at all."""
    fleet = Fleet(ValkeyAddress.parse(valkey_cluster.url), "fleet")
    await fleet.start(soon())
    await fleet.start(soon())
    assert not fleet.problem
    lines = {fleet.line(b"", on=master) for master in fleet.topology.masters}
    assert len(lines) == 3
    assert all(line is not None and line.usable for line in lines)
    assert fleet.line(b"", on=Endpoint("nobody", 1)) is None
    await fleet.stop()
    assert fleet.line(b"key") is None
    assert all(line is None or not line.usable for line in lines)


async def test_what_replicas_confirm_has_a_line_of_its_own(valkey: ValkeyServer) -> None:
    """Others need not wait behind it; without replicas in the address there is none."""
    fleet = Fleet(ValkeyAddress.parse(f"{valkey.url}?replicas=1"), "fleet")
    await fleet.start(soon())
    plain, confirming = fleet.line(b""), fleet.line(b"", confirming=True)
    assert plain is not None
    assert confirming is not None
    assert (plain.replicas, confirming.replicas) == (0, 1)
    await fleet.stop()


async def test_the_masters_of_a_cluster_change() -> None:
    """One dies and its replica takes its place: without a question from anyone there is a line to that."""
    with ValkeyCluster() as cluster:
        fleet = Fleet(ValkeyAddress.parse(cluster.url), "fleet")
        changed = asyncio.Event()
        await fleet.start(soon())
        fleet.watch(changed.set)
        master = cluster.master_of("key")
        replica = cluster.replica_of(master)
        await asyncio.to_thread(master.kill)
        async with asyncio.timeout(15):
            while fleet.topology.owner(b"key") != ("127.0.0.1", replica.port) or fleet.problem:
                changed.clear()
                await fleet.changes(soon())
        assert changed.is_set() or fleet.line(b"key") is not None
        await fleet.stop()


async def test_a_moved_slot_is_believed_at_once(valkey_cluster: ValkeyCluster) -> None:
    """What a server says of a slot holds until the cluster was asked."""
    fleet = Fleet(ValkeyAddress.parse(valkey_cluster.url), "fleet")
    await fleet.start(soon())
    other = next(master for master in fleet.topology.masters if master != fleet.topology.owner(b"123456789"))
    fleet.look(f"MOVED {0x31C3} {other}")
    assert fleet.topology.owner(b"123456789") == other
    await fleet.stop()


async def test_changes_are_waited_for_no_longer_than_asked() -> None:
    """Where nothing changes, whoever waits is told so."""
    fleet = Fleet(ValkeyAddress.parse("valkey://host"), "fleet")
    assert not await fleet.changes(asyncio.get_running_loop().time())
