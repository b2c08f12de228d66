"""ValkeyPresence keeps the contract of every presence: on Valkey, on Redis and on a cluster."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from openline.presence.base import Presence
from openline.presence.valkey import ValkeyPresence
from openline.testing.presence import PRESENCE_CHECKS, PresenceCheck, PresenceNodes
from openline.valkey.address import ValkeyAddress
from tests.cut import Cutter, cutter
from tests.engines.valkey import ValkeyCluster, ValkeyServer

#: A short lease, so that the checks that outlast it take seconds.
LEASE_SECONDS = 1.2

Factory = Callable[[], AbstractAsyncContextManager[PresenceNodes]]


async def crash(presence: Presence) -> None:
    """Let a node die: nothing of it runs any more, and nobody was told."""
    assert isinstance(presence, ValkeyPresence)
    await presence._tasks.stop()
    await presence._client.stop()
    presence._running = False


def presences(*urls: str) -> list[Presence]:
    """Make a presence for each URL."""
    return [ValkeyPresence(ValkeyAddress.parse(url), lease_seconds=LEASE_SECONDS) for url in urls]


@pytest.fixture(params=["valkey", "redis", "valkey_cluster"])
def shared(request: pytest.FixtureRequest) -> Factory:
    """Nodes on a server that all tests share."""
    server: ValkeyServer | ValkeyCluster = request.getfixturevalue(request.param)

    @asynccontextmanager
    async def nodes() -> AsyncIterator[PresenceNodes]:
        # Each check has leases of its own: other tests' nodes come and go on this server.
        url = f"{server.url}?prefix=check{secrets.token_hex(8)}&timeout=2"
        yield PresenceNodes(presences=presences(url, url, url), node_lease_seconds=LEASE_SECONDS * 1.5, crash=crash)

    return nodes


@pytest.mark.parametrize("check", PRESENCE_CHECKS, ids=str)
async def test_contract(check: PresenceCheck, shared: Factory) -> None:
    """Every guarantee that a shared server can be asked for."""
    await check(shared)


@asynccontextmanager
async def lonely_nodes() -> AsyncIterator[PresenceNodes]:
    """Nodes on a server of their own, that can be cut off from it, all or each."""
    with ValkeyServer() as server:
        async with cutter(server.port) as first, cutter(server.port) as second:
            made = presences(*(f"valkey://127.0.0.1:{one.port}?timeout=1" for one in (first, second)))
            lines = dict(zip(map(id, made), (first, second), strict=True))

            @asynccontextmanager
            async def pause(presence: Presence) -> AsyncIterator[None]:
                async with _cut(lines[id(presence)]):
                    yield

            @asynccontextmanager
            async def outage() -> AsyncIterator[None]:
                server.freeze()
                try:
                    yield
                finally:
                    server.thaw()

            async def forget() -> None:
                await asyncio.to_thread(server.call, "FLUSHALL")

            yield PresenceNodes(
                presences=made,
                node_lease_seconds=LEASE_SECONDS * 2,
                crash=crash,
                pause=pause,
                outage=outage,
                forget=forget,
            )


@asynccontextmanager
async def _cut(line: Cutter) -> AsyncIterator[None]:
    line.cut()
    try:
        yield
    finally:
        line.mend()


@pytest.mark.parametrize(
    "check",
    [check for check in PRESENCE_CHECKS if check.needs],
    ids=str,
)
async def test_contract_while_the_server_fails(check: PresenceCheck) -> None:
    """What has to hold when nodes and the server fail, on a server of its own."""
    await check(lonely_nodes)
