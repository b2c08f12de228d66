"""Valkey and Redis as the tests need them: alone, as a master with replicas, as a cluster, and under sentinels.

To make a replica lack what its master acknowledged, freeze it, let the master drop it (`ValkeyServer.drop_replicas`),
write to the master, kill the master, and thaw the replica: what was written in between is nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, final

import redis

from tests.engines.ports import HeldPort
from tests.engines.process import wait_until
from tests.engines.resp import Program, RespServer
from tests.wires.certificates import make_certificate

_SLOTS: Final = 16_384
_SETTLE_SECONDS: Final = 20


@final
class ValkeyServer(RespServer):
    """A Valkey, or a Redis 7.

    Args:
        aof: whether all it has acknowledged is still there after a `restart`, also after a `kill`; else a restart
            forgets everything.
        password: what a client must say; none where empty.
        replica_of: the master to copy. The start then waits until the copy is complete, if the master answers.
        tls: whether it speaks TLS, and nothing else; for Redis only, the wheel's Valkey is built without.
        options: further lines of its configuration, such as ``maxmemory 8mb``; they win over the ones made here.
    """

    def __init__(
        self,
        program: Program = "valkey",
        *,
        aof: bool = False,
        password: str = "",
        replica_of: ValkeyServer | None = None,
        tls: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        if tls and program == "valkey":
            raise ValueError("the wheel's Valkey is built without TLS: tls needs program='redis'")
        super().__init__(f"{program}-server", program, password=password)
        lines = [
            'save ""',
            f"appendonly {'yes' if aof else 'no'}",
            "appendfsync always",
            "repl-diskless-sync yes",
            "repl-diskless-sync-delay 0",
            "repl-ping-replica-period 1",
            "enable-debug-command local",
        ]
        lines += self._encryption() if tls else [f"port {self.port}"]
        if password:
            lines += [f'requirepass "{password}"', f'masterauth "{password}"']
        if replica_of is not None:
            lines += [f"replicaof 127.0.0.1 {replica_of.port}"]
        self._replica_of = replica_of
        self._configure((*lines, *options))

    @property
    def url(self) -> str:
        """Its address for a hub, by its program: ``valkey://`` or ``redis://``, ``rediss://`` with TLS."""
        secret = f":{self.password}@" if self.password else ""
        return f"{self.program}{'s' if self.authority else ''}://{secret}127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers; a replica whose master answers, until the copy is complete."""
        super().start()
        if self._replica_of is not None and self._replica_of.answering:
            wait_until(self.in_step, f"{self.name} is a copy of its master")

    def in_step(self) -> bool:
        """Whether it is a master, or a replica whose link to its master is up."""
        state = self.call("INFO", "replication")
        return bool(state["role"] == "master" or state["master_link_status"] == "up")

    def wait_until_promoted(self) -> None:
        """Wait until it is a master, as after a failover to it.

        Raises:
            AssertionError: not within 20 seconds.
        """
        wait_until(lambda: self._plays(b"master"), f"{self.name} is a master", _SETTLE_SECONDS)

    def wait_until_demoted(self) -> None:
        """Wait until it is a replica, as after it came back and another has its place.

        Raises:
            AssertionError: not within 20 seconds.
        """
        wait_until(lambda: self._plays(b"slave"), f"{self.name} is a replica", _SETTLE_SECONDS)

    def drop_replicas(self) -> None:
        """Break the links of its replicas; those that are not frozen make new ones at once."""
        self.call("CLIENT", "KILL", "TYPE", "replica")

    def _plays(self, role: bytes) -> bool:
        try:
            return bool(self.call("ROLE")[0] == role)
        except redis.ConnectionError:  # a sentinel that gives a server its new role breaks its connections
            return False

    def _encryption(self) -> list[str]:
        certificate, key, _ = make_certificate(self.folder)
        self.authority = certificate
        return [
            "port 0",
            f"tls-port {self.port}",
            f'tls-cert-file "{certificate}"',
            f'tls-key-file "{key}"',
            f'tls-ca-cert-file "{certificate}"',
            "tls-auth-clients no",
        ]


class _Group:
    """Several servers that are started and closed together."""

    def __init__(self) -> None:
        self._owned = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undone:
            undone.callback(self.close)
            self.start()
            undone.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start all and wait until they work together."""
        raise NotImplementedError

    def close(self) -> None:
        """End all, by force; nothing happens the second time."""
        self._owned.close()


@dataclass(frozen=True)
class _Member:
    """A line of CLUSTER NODES."""

    identity: str
    port: int
    flags: frozenset[str]
    master: str
    epoch: int
    slots: tuple[range, ...]

    @classmethod
    def read(cls, line: str) -> _Member:
        identity, address, flags, master, _ping, _pong, epoch, _link, *slots = line.split()
        ranges = [slot.partition("-") for slot in slots if not slot.startswith("[")]  # [ marks one that is moving
        return cls(
            identity,
            int(address.partition("@")[0].rpartition(":")[2]),
            frozenset(flags.split(",")),
            master,
            int(epoch),
            tuple(range(int(first), int(last or first) + 1) for first, _, last in ranges),
        )


@final
class ValkeyCluster(_Group):
    """A Valkey Cluster, or a Redis one.

    Args:
        masters: how many masters share the slots.
        replicas: how many each of them has.
        node_timeout_ms: a node in silence for so long has failed, and its replica is promoted; milliseconds.
        aof: as for `ValkeyServer`.
    Attributes:
        servers: all of them, those that began as masters first.
    """

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 1,
        *,
        program: Program = "valkey",
        node_timeout_ms: int = 1_000,
        aof: bool = False,
    ) -> None:
        super().__init__()
        self._masters = masters
        self._node_timeout_ms = node_timeout_ms
        self._buses: list[HeldPort] = []
        self.servers: list[ValkeyServer] = []
        for _ in range(masters * (1 + replicas)):
            bus = HeldPort()
            self._owned.callback(bus.close)
            self._buses.append(bus)
            options = (
                "cluster-enabled yes",
                "cluster-config-file nodes.conf",
                "cluster-node-timeout 1000",  # while it forms: a master waits as long before it takes part
                "cluster-replica-validity-factor 0",  # a replica that was cut off may still be promoted
                f"cluster-port {bus.number}",
            )
            server = ValkeyServer(program, aof=aof, options=options)
            self._owned.callback(server.close)
            self.servers.append(server)

    @property
    def url(self) -> str:
        """Its address for a hub, with all its servers."""
        return f"{self.servers[0].program}+cluster://{','.join(f'127.0.0.1:{one.port}' for one in self.servers)}"

    def start(self) -> None:
        """Start all servers, make them a cluster and wait until all of them say so and every replica is linked."""
        for server in self.servers:
            server.start()
        for number, master in enumerate(self.servers[: self._masters]):
            first, end = (_SLOTS * at // self._masters for at in (number, number + 1))
            master.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            master.call("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for number, server in enumerate(self.servers):  # all pairs: gossip would take a second or two more
            for other, bus in zip(self.servers[:number], self._buses, strict=False):
                server.call("CLUSTER", "MEET", "127.0.0.1", other.port, bus.number)
        identities = [server.call("CLUSTER", "MYID") for server in self.servers]
        for number, replica in enumerate(self.servers[self._masters :]):
            wait_until(_accepted(replica, identities[number % self._masters]), "a replica has met its master")
        self.wait_until_settled()
        for server in self.servers:
            server.call("CONFIG", "SET", "cluster-node-timeout", self._node_timeout_ms)

    def wait_until_settled(self) -> None:
        """Wait until every server that runs says the cluster is whole, all see the same, and replicas are linked.

        Raises:
            AssertionError: not within 20 seconds.
        """
        wait_until(self._settled, "the cluster is whole", _SETTLE_SECONDS)

    def master_of(self, key: str | bytes) -> ValkeyServer:
        """The server that takes writes for a key, by the newest word of those that answer.

        Raises:
            LookupError: nobody does, as in the middle of a failover.
        """
        slot: int = next(self._answering()).call("CLUSTER", "KEYSLOT", key)
        return self._pick(lambda member: any(slot in slots for slots in member.slots))

    def replica_of(self, server: ValkeyServer) -> ValkeyServer:
        """A replica of a server, which may itself be dead.

        Raises:
            LookupError: it has none that is not marked as failed.
        """
        master = next(member.identity for member in self._members() if member.port == server.port)
        return self._pick(lambda member: member.master == master)

    def _pick(self, wanted: Callable[[_Member], bool]) -> ValkeyServer:
        fitting = [member for member in self._members() if wanted(member) and "fail" not in member.flags]
        if not fitting:
            raise LookupError("no server of the cluster fits")
        newest = max(fitting, key=lambda member: member.epoch)  # one that came back may not know of its successor yet
        return next(server for server in self.servers if server.port == newest.port)

    def _members(self) -> list[_Member]:
        return [member for server in self._answering() for member in _view(server)]

    def _answering(self) -> Iterator[ValkeyServer]:
        return (server for server in self.servers if server.answering)

    def _settled(self) -> bool:
        try:
            answering = list(self._answering())
            views = [
                sorted((one.identity, one.master, str(one.slots)) for one in _view(server)) for server in answering
            ]
            return (
                all(len(view) == len(self.servers) and view == views[0] for view in views)
                and all(b"cluster_state:ok" in server.call("CLUSTER", "INFO") for server in answering)
                and all(server.in_step() for server in answering)
            )
        except redis.ConnectionError:  # one is going down
            return False


def _view(server: ValkeyServer) -> list[_Member]:
    answer: bytes = server.call("CLUSTER", "NODES")
    return [_Member.read(line) for line in answer.decode().splitlines()]


def _accepted(replica: ValkeyServer, master: bytes) -> Callable[[], bool]:
    def replicate() -> bool:
        try:
            replica.call("CLUSTER", "REPLICATE", master)
        except redis.ResponseError:  # it has not heard of its master yet
            return False
        return True

    return replicate


@final
class _Sentinel(RespServer):
    def __init__(self, master: ValkeyServer, name: str, quorum: int) -> None:
        super().__init__("sentinel", master.program)
        lines = [
            f"port {self.port}",
            f"sentinel monitor {name} 127.0.0.1 {master.port} {quorum}",
            f"sentinel down-after-milliseconds {name} 1000",
            f"sentinel failover-timeout {name} 5000",
        ]
        if master.password:
            lines += [f'sentinel auth-pass {name} "{master.password}"']
        self._configure(lines)

    def _command(self) -> Sequence[str]:
        return (*map(str, super()._command()), "--sentinel")

    def hurry(self) -> None:
        """Look and tell five times as often as it would."""
        for period in ("info-period", "publish-period", "ask-period"):
            self.call("SENTINEL", "DEBUG", period, 300)


@final
class Sentinels(_Group):
    """Sentinels that watch over a master and its replicas, all running; one in silence for a second has failed.

    Args:
        count: how many; more than half of them decide.
        name: what they call the master.
    Attributes:
        servers: the sentinels.
    """

    def __init__(self, master: ValkeyServer, count: int = 3, *, name: str = "main") -> None:
        super().__init__()
        self.name = name
        self._master = master
        self.servers: list[RespServer] = []
        self._sentinels = [_Sentinel(master, name, count // 2 + 1) for _ in range(count)]
        for sentinel in self._sentinels:
            self._owned.callback(sentinel.close)
            self.servers.append(sentinel)

    @property
    def url(self) -> str:
        """Their address for a hub, with the name of the master."""
        secret = f":{self._master.password}@" if self._master.password else ""
        addresses = ",".join(f"127.0.0.1:{one.port}" for one in self.servers)
        return f"{self._master.program}+sentinel://{secret}{addresses}/{self.name}"

    @property
    def master_port(self) -> int:
        """The port of the master, as the first sentinel that answers sees it now."""
        sentinel = next(server for server in self.servers if server.answering)
        return int(sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def start(self) -> None:
        """Start all and wait until they know each other and the master's replicas."""
        for sentinel in self._sentinels:
            sentinel.start()
            sentinel.hurry()
        wait_until(self._acquainted, "the sentinels know each other", _SETTLE_SECONDS)

    def _acquainted(self) -> bool:
        replicas = self._master.call("INFO", "replication")["connected_slaves"]
        return all(self._knows(sentinel, replicas) for sentinel in self._sentinels)

    def _knows(self, sentinel: _Sentinel, replicas: int) -> bool:
        answer = sentinel.call("SENTINEL", "MASTER", self.name)
        state = dict(zip(answer[::2], answer[1::2], strict=True)) if isinstance(answer, list) else answer
        others = int(state[b"num-other-sentinels"])
        return others == len(self._sentinels) - 1 and int(state[b"num-slaves"]) == replicas
