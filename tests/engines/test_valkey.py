"""Valkey and Redis, alone, replicated, as a cluster and under sentinels: they keep, lose and hand over what is said."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
import redis as redis_py
from redis.exceptions import MovedError

from tests.engines.process import wait_until
from tests.engines.resp import Program
from tests.engines.valkey import Sentinels, ValkeyCluster, ValkeyServer

PROGRAMS: tuple[Program, ...] = ("valkey", "redis")
each_program = pytest.mark.parametrize("program", PROGRAMS)


@pytest.fixture
def cluster() -> Iterator[ValkeyCluster]:
    """A cluster of the test's own, to break."""
    with ValkeyCluster() as made:
        yield made


def test_the_shared_ones_are_what_their_names_say(valkey: ValkeyServer, redis: ValkeyServer) -> None:
    """One is Valkey from its wheel, the other a Redis 7 or newer; each says so in its address."""
    assert int(valkey.call("INFO", "server")["valkey_version"].split(".")[0]) >= 9
    assert "valkey_version" not in redis.call("INFO", "server")
    assert int(redis.call("INFO", "server")["redis_version"].split(".")[0]) >= 7
    assert valkey.url == f"valkey://127.0.0.1:{valkey.port}"
    assert redis.url == f"redis://127.0.0.1:{redis.port}"


@each_program
def test_what_an_append_only_one_acknowledged_survives_a_kill(program: Program) -> None:
    """Each entry is on disk before it is acknowledged."""
    with ValkeyServer(program, aof=True) as server:
        server.call("XADD", "stream", "1-1", "field", "value")
        server.kill()
        server.start()
        assert server.call("XLEN", "stream") == 1


@each_program
def test_any_other_forgets_everything_with_its_process(program: Program) -> None:
    """Even when it is stopped in peace."""
    with ValkeyServer(program) as server:
        server.call("SET", "key", "value")
        server.restart()
        assert server.call("GET", "key") is None


@each_program
def test_a_password_is_asked_for(program: Program) -> None:
    """It is in the address, and who does not say it is refused."""
    with ValkeyServer(program, password="open-sesame") as server:
        assert server.url == f"{program}://:open-sesame@127.0.0.1:{server.port}"
        assert server.call("SET", "key", "value")
        server.password = "wrong"
        with pytest.raises(redis_py.AuthenticationError):
            server.call("GET", "key")
        server.password = "open-sesame"


def test_tls_is_spoken_to_who_trusts_its_certificate() -> None:
    """It is reached with the context it gives or the authority's file, and not with the public ones alone."""
    with ValkeyServer("redis", tls=True) as server:
        assert server.url == f"rediss://127.0.0.1:{server.port}"
        assert server.call("SET", "key", "value")
        assert server.trust().verify_mode == ssl.CERT_REQUIRED
        with (
            socket.create_connection(("127.0.0.1", server.port), 5) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_wheel_without_tls_is_refused_at_once() -> None:
    """Rather than by a server that does not start."""
    with pytest.raises(ValueError, match="program='redis'"):
        ValkeyServer(tls=True)


@each_program
def test_a_replica_has_what_its_master_had(program: Program) -> None:
    """As soon as it is started, and with the master's password."""
    with ValkeyServer(program, password="secret") as master:
        master.call("SET", "key", "value")
        with ValkeyServer(program, password="secret", replica_of=master) as replica:
            assert replica.call("GET", "key") == b"value"


def test_a_frozen_replica_whose_link_is_dropped_misses_what_follows() -> None:
    """What its master acknowledged after that is gone with the master."""
    with ValkeyServer() as master, ValkeyServer(replica_of=master) as replica:
        master.call("SET", "before", "value")
        wait_until(lambda: replica.call("GET", "before") == b"value", "the replica has the first key")
        replica.freeze()
        master.drop_replicas()
        master.call("SET", "after", "value")
        master.kill()
        replica.thaw()
        replica.call("REPLICAOF", "NO", "ONE")
        assert replica.call("EXISTS", "before") == 1
        assert replica.call("EXISTS", "after") == 0


def test_the_shared_cluster_has_a_master_and_a_replica_for_every_key(valkey_cluster: ValkeyCluster) -> None:
    """Three of each; a key is taken by its master and by no other."""
    masters = {valkey_cluster.master_of(f"key-{number}").port for number in range(50)}
    replicas = {valkey_cluster.replica_of(server).port for server in valkey_cluster.servers if server.port in masters}
    assert len(masters) == len(replicas) == 3
    assert len(masters | replicas) == 6
    master = valkey_cluster.master_of("key")
    assert master.call("SET", "key", "value")
    other = next(server for server in valkey_cluster.servers if server.port in masters and server is not master)
    with pytest.raises(MovedError):
        other.call("GET", "key")
    assert valkey_cluster.url.startswith("valkey+cluster://127.0.0.1:")
    assert valkey_cluster.url.count(",") == 5


def test_a_cluster_promotes_even_a_replica_that_was_left_behind(cluster: ValkeyCluster) -> None:
    """It lacks the master's last write, takes its place, and the master that comes back follows it."""
    master = cluster.master_of("key")
    replica = cluster.replica_of(master)
    master.call("SET", "key", "old")
    wait_until(lambda: master.call("WAIT", 1, 1_000) == 1, "the replica has the first value")
    replica.freeze()
    master.drop_replicas()
    master.call("SET", "key", "new")
    master.kill()
    replica.thaw()
    replica.wait_until_promoted()
    cluster.wait_until_settled()
    assert cluster.master_of("key") is replica
    assert replica.call("GET", "key") == b"old"
    master.start()
    cluster.wait_until_settled()
    assert cluster.master_of("key") is replica
    assert cluster.replica_of(replica) is master


def test_nothing_is_left_of_a_cluster(cluster: ValkeyCluster) -> None:
    """No server of it runs once it is closed."""
    cluster.close()
    assert not any(server.running for server in cluster.servers)


@each_program
def test_sentinels_put_a_replica_in_the_place_of_a_dead_master(program: Program) -> None:
    """They know where the master is, before and after; the old one follows when it comes back."""
    with (
        ValkeyServer(program, password="secret") as master,
        ValkeyServer(program, password="secret", replica_of=master) as replica,
        Sentinels(master) as sentinels,
    ):
        ports = ",".join(f"127.0.0.1:{server.port}" for server in sentinels.servers)
        assert sentinels.url == f"{program}+sentinel://:secret@{ports}/main"
        assert sentinels.master_port == master.port
        master.kill()
        replica.wait_until_promoted()
        wait_until(lambda: sentinels.master_port == replica.port, "the sentinels say so")
        master.start()
        master.wait_until_demoted()
