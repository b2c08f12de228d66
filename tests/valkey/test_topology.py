"""Topology: who the masters are, asked of those who know."""

from __future__ import annotations

import pytest

from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.slots import SLOTS, slot_of
from openline.valkey.topology import UNKNOWN, Topology, look_up, moved_to
from openline.valkey.trouble import AccessDenied, Unsent
from tests.engines.valkey import Sentinels, ValkeyCluster, ValkeyServer


async def found(url: str) -> Topology:
    """Look up the masters of a URL."""
    return await look_up(ValkeyAddress.parse(url), None, (), seconds=1)


async def test_one_server_needs_no_question() -> None:
    """It is what the address says."""
    topology = await found("valkey://nobody:1")
    assert topology.masters == (Endpoint("nobody", 1),)
    assert topology.whole
    assert topology.owner(b"any") == Endpoint("nobody", 1)


async def test_a_cluster_says_who_has_what(valkey_cluster: ValkeyCluster) -> None:
    """Every key's owner is the server that has it."""
    topology = await found(valkey_cluster.url)
    assert len(topology.masters) == 3
    assert topology.whole
    for key in ("a", "b", "c", "{x}y"):
        assert topology.owner(key.encode()) == ("127.0.0.1", valkey_cluster.master_of(key).port)


async def test_servers_that_are_away_are_passed_over(valkey_cluster: ValkeyCluster) -> None:
    """One that answers is enough."""
    topology = await found(valkey_cluster.url.replace("://", "://127.0.0.1:1,"))
    assert topology.whole


async def test_a_slot_without_owner_is_seen() -> None:
    """A cluster that does not serve everything is not whole."""
    with ValkeyCluster(masters=2, replicas=0) as cluster:
        server = cluster.servers[0]
        server.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
        server.call("CLUSTER", "DELSLOTS", 0)
        topology = await found(f"valkey+cluster://127.0.0.1:{server.port}")
        assert not topology.whole
        assert topology.owners is not None
        assert topology.owners[0] == -1


async def test_a_server_that_is_no_cluster_is_told(valkey: ValkeyServer) -> None:
    """Its words say what is wrong with the address."""
    with pytest.raises(Unsent, match="cluster support disabled"):
        await found(f"valkey+cluster://127.0.0.1:{valkey.port}")


async def test_sentinels_know_the_master() -> None:
    """Whichever answers says where it is; a name that they do not know is told."""
    with ValkeyServer() as master, Sentinels(master, 1) as sentinels:
        assert (await found(sentinels.url)).masters == (("127.0.0.1", master.port),)
        assert (await found(sentinels.url.replace("://", "://127.0.0.1:1,"))).whole
        with pytest.raises(Unsent, match="knows no master 'other'"):
            await found(sentinels.url.replace("/main", "/other"))


async def test_who_is_not_let_in_does_not_ask_around() -> None:
    """A wrong password is wrong everywhere, and is told as such."""
    with ValkeyServer(password="right") as server, pytest.raises(AccessDenied):
        await found(f"valkey+cluster://:wrong@127.0.0.1:{server.port},nobody:1")


def test_where_a_key_moved_is_read() -> None:
    """Both kinds of redirection, both kinds of host, and nonsense."""
    assert moved_to("MOVED 3999 127.0.0.1:6381", "") == Endpoint("127.0.0.1", 6381)
    assert moved_to("ASK 3999 [::1]:6381", "") == Endpoint("::1", 6381)
    assert moved_to("ASK 3999 ::1:6381", "") == Endpoint("::1", 6381)
    assert moved_to("MOVED 3999 :6381", "host") == Endpoint("host", 6381)
    assert moved_to("MOVED", "host") is None
    assert moved_to("MOVED 1 nowhere", "host") is None


def test_nothing_is_known_at_first() -> None:
    """Nobody owns anything."""
    assert not UNKNOWN.whole
    assert UNKNOWN.owner(b"key") is None
    assert 0 <= slot_of(b"key") < SLOTS
