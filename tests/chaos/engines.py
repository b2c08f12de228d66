"""The engines of the chaos runs: started when a block is entered, each for one fault alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from tests.chaos.stage import NODES
from tests.cut import Cutter, cutter
from tests.engines.nats import NatsServer
from tests.engines.process import ServerProcess
from tests.engines.valkey import Sentinels, ValkeyCluster, ValkeyServer


class Engine(NamedTuple):
    """An engine that runs."""

    server: Any
    address: str
    lines: tuple[Cutter, ...] = ()  #: what stands between each node and it, where that is to be broken

    @property
    def addresses(self) -> list[str]:
        """As each node reaches it."""
        own = str(self.server.port) if self.lines else ""
        return [self.address.replace(own, str(line.port)) for line in self.lines] or [self.address] * NODES

    @property
    def servers(self) -> list[ServerProcess]:
        """Its processes."""
        return [self.server] if isinstance(self.server, ServerProcess) else list(self.server.servers)


Start = Callable[[], AbstractAsyncContextManager[Engine]]


@asynccontextmanager
async def _running(server: Any) -> AsyncIterator[Any]:
    """Run a server of `tests.engines`, whose methods block."""
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.close)


@asynccontextmanager
async def valkey() -> AsyncIterator[Engine]:
    """Run a Valkey that keeps what it has acknowledged."""
    async with _running(ValkeyServer(aof=True)) as server:
        yield Engine(server, server.url)


@asynccontextmanager
async def redis() -> AsyncIterator[Engine]:
    """Run a Redis 7 in its place."""
    async with _running(ValkeyServer("redis", aof=True)) as server:
        yield Engine(server, server.url)


@asynccontextmanager
async def cluster() -> AsyncIterator[Engine]:
    """Run a Valkey Cluster, whose publications are acknowledged once a replica has them."""
    async with _running(ValkeyCluster(aof=True, node_timeout_ms=2_000)) as server:
        yield Engine(server, f"{server.url}?replicas=1")


@asynccontextmanager
async def hasty_cluster() -> AsyncIterator[Engine]:
    """Run one that acknowledges what a master alone has: a failover may lose it, which is told."""
    async with _running(ValkeyCluster(aof=True, node_timeout_ms=2_000)) as server:
        yield Engine(server, server.url)


@asynccontextmanager
async def forgetful_valkey() -> AsyncIterator[Engine]:
    """Run a Valkey that keeps nothing."""
    async with _running(ValkeyServer()) as server:
        yield Engine(server, server.url)


class Watched:
    """A Valkey and its replica under sentinels, which promote the replica when its master fails."""

    def __init__(self) -> None:
        self.master = ValkeyServer(aof=True)
        self.replica = ValkeyServer(aof=True, replica_of=self.master)
        self.sentinels = Sentinels(self.master)
        self.servers = [self.master, self.replica, *self.sentinels.servers]

    def start(self) -> None:
        """Start all, and wait until they know each other."""
        self.master.start()
        self.replica.start()
        self.sentinels.start()

    def close(self) -> None:
        """End all, by force."""
        self.sentinels.close()
        self.replica.close()
        self.master.close()


@asynccontextmanager
async def sentinel() -> AsyncIterator[Engine]:
    """Run a master and its replica under sentinels; what is published waits until the replica has it."""
    async with _running(Watched()) as server:
        yield Engine(server, f"{server.sentinels.url}?replicas=1")


@asynccontextmanager
async def nats() -> AsyncIterator[Engine]:
    """Run a NATS with JetStream."""
    async with _running(NatsServer()) as server:
        yield Engine(server, server.url)


def behind_lines(start: Start) -> Start:
    """Put a line that can be cut between each node and an engine that is one server."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Engine]:
        async with start() as engine, AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(cutter(engine.server.port)) for _ in range(NODES)]
            yield engine._replace(lines=tuple(lines))

    return run
