"""ValkeyPresence: what only this one promises. The contract is held by test_valkey_contract.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from openline.errors import BrokerUnavailable
from openline.presence.valkey import ValkeyPresence
from openline.publication import Arrival, ClientInfo
from openline.valkey.address import ValkeyAddress
from tests.engines.valkey import ValkeyServer

LEASE_SECONDS = 1.2
ANNA = ClientInfo("anna", "session-1", b'{"name":"A"}', b"\x00\xff")
BEN = ClientInfo("ben|7|x", "session-2")


class Told(list[tuple[str, Arrival]]):
    """What a presence announced."""

    def __call__(self, channel: str, arrival: Arrival) -> None:
        """Note it."""
        self.append((channel, arrival))


@asynccontextmanager
async def at_work(url: str, *names: str) -> AsyncIterator[tuple[list[ValkeyPresence], Told]]:
    """Run a presence for each name."""
    told = Told()
    async with AsyncExitStack() as stack:
        nodes = [ValkeyPresence(ValkeyAddress.parse(url), lease_seconds=LEASE_SECONDS) for _ in names]
        for name, node in zip(names, nodes, strict=True):
            await node.start(name, told)
            stack.push_async_callback(node.stop)
        yield nodes, told


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what the server brings about."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # it is another process that is waited for
            await asyncio.sleep(0.02)


async def seen(node: ValkeyPresence, *infos: ClientInfo) -> None:
    """Wait until exactly these are in the room."""
    async with asyncio.timeout(10):
        while True:
            try:
                if await node.members("room") == {info.client: info for info in infos}:
                    return
            except BrokerUnavailable:
                pass
            await asyncio.sleep(0.02)


async def test_a_server_that_lost_its_end_is_put_right() -> None:
    """Who was entered last is there again, who was taken out last is gone again; nobody is told anything."""
    with ValkeyServer(aof=True) as server:
        async with at_work(server.url, "a", "b") as ((first, second), told):
            await first.add("room", ANNA, announced=True)
            before = server.call("HGETALL", "openline:members:{room}")
            await first.remove("room", ANNA.client)
            await first.add("room", BEN, announced=True)
            # What a replica has that was promoted before it heard of the rest.
            server.call("DEL", "openline:members:{room}", "openline:users:{room}")
            for client, known in dict(before).items():
                server.call("HSET", "openline:members:{room}", client, known)
                server.call("HSET", "openline:users:{room}", "anna", "1")
            server.kill()
            server.restart()
            await seen(second, BEN)
            assert (await second.stats("room")).users == 1
            assert not told


async def test_a_frozen_server_costs_nobody_anything() -> None:
    """While nobody can renew a lease nobody is dead: no leaves, no joins, and all are there after it."""
    with ValkeyServer() as server:
        async with at_work(f"{server.url}?timeout=0.5", "a", "b", "c") as ((first, second, third), told):
            for number, node in enumerate((first, second, third)):
                await node.add("room", ClientInfo("u", f"session-{number}"), announced=True)
            server.freeze()
            await asyncio.sleep(2 * LEASE_SECONDS)
            server.thaw()
            await until(lambda: not any(node.problem for node in (first, second, third)))
            await asyncio.sleep(2 * LEASE_SECONDS)
            assert len(await first.members("room")) == 3
            assert not told


async def test_what_could_not_be_said_is_said_later() -> None:
    """A session that could not be taken out while the server was away is gone once it is back."""
    with ValkeyServer() as server:
        async with at_work(f"{server.url}?timeout=0.3", "a") as ((node,), _):
            await node.add("room", ANNA)
            await node.add("room", BEN)
            server.freeze()
            with pytest.raises(BrokerUnavailable):
                await node.remove("room", ANNA.client)
            server.thaw()
            await seen(node, BEN)


async def test_nothing_is_left_in_the_server() -> None:
    """Of nodes that stopped and of one that died: no key but the store's name for itself."""
    with ValkeyServer() as server:
        async with at_work(server.url, "a", "b") as ((first, second), told):
            for node, info in ((first, ANNA), (second, BEN)):
                await node.add("room", info, announced=True)
            await first._tasks.stop()
            await first._client.stop()
            first._running = False
            await until(lambda: told)
            assert told == [("room", Arrival(ANNA, joined=False))]
            await until(lambda: server.call("ZCARD", "openline:leases:{nodes}") == 1)
            assert await second.members("room") == {BEN.client: BEN}
        assert server.call("KEYS", "*") == [b"openline:life:{nodes}"]


@pytest.mark.parametrize("channel", ["}", "}x", "_", "_}", "a}b", "{", "{}"])
async def test_every_name_is_a_key_of_its_own(valkey: ValkeyServer, channel: str) -> None:
    """Also where braces would mean something to a cluster."""
    async with at_work(f"{valkey.url}?prefix=names", "a") as ((node,), _):
        await node.add(channel, ANNA)
        for other in ("}", "}x", "_", "_}", "__", "a}b", "{", "{}", "a"):
            assert await node.members(other) == ({ANNA.client: ANNA} if other == channel else {})
