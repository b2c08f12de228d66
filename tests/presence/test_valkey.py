"""ValkeyPresence: what only this one promises. The contract is held by test_valkey_contract.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from openline.errors import BrokerUnavailable
from openline.presence import valkey
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


async def die(node: ValkeyPresence) -> None:
    """End a node as a crash does: nobody hears of it."""
    await node._tasks.stop()
    await node._client.stop()
    node._running = False


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
            await die(first)
            await until(lambda: told)
            assert told == [("room", Arrival(ANNA, joined=False))]
            await until(lambda: server.call("ZCARD", "openline:leases:{nodes}") == 1)
            assert await second.members("room") == {BEN.client: BEN}
        assert server.call("KEYS", "*") == [b"openline:life:{nodes}"]


async def test_a_room_entered_again_after_a_loss_is_cleared_with_its_node() -> None:
    """Left while the server was away, which then lost all: who enters it under the new lease is not left in it."""
    with ValkeyServer() as server:
        async with at_work(f"{server.url}?timeout=1", "a", "b") as ((first, second), told):
            await first.add("room", ANNA)
            await first.add("other", ANNA)
            server.kill()
            with pytest.raises(BrokerUnavailable):
                await first.remove("room", ANNA.client)
            server.restart()
            # The channels of a lease are noted anew under the next.
            await until(lambda: server.call("EXISTS", "openline:members:{other}"))
            await first.add("room", BEN, announced=True)
            await die(first)
            await until(lambda: told)
            assert told == [("room", Arrival(BEN, joined=False))]
            await seen(second)


async def test_a_room_entered_while_it_is_forgotten_is_cleared_with_its_node() -> None:
    """The same, in the moment in which the new lease is told of it: it is noted under that."""
    with ValkeyServer() as server:
        async with at_work(f"{server.url}?timeout=1", "a", "b") as ((first, second), told):
            await first.add("room", ANNA)
            await first._tasks.stop()  # it is the test that says when
            server.kill()
            with pytest.raises(BrokerUnavailable):
                await first.remove("room", ANNA.client)
            server.restart()
            await first._begin_lease()
            await asyncio.gather(first._bring_into_line("room"), first.add("room", BEN, announced=True))
            await die(first)
            await until(lambda: told)
            assert told == [("room", Arrival(BEN, joined=False))]
            await seen(second)


async def test_rooms_left_while_the_server_is_away_are_forgotten() -> None:
    """Once it is back nothing is known of them, neither there nor here."""
    with ValkeyServer(aof=True) as server:
        async with at_work(f"{server.url}?timeout=1", "a") as ((node,), _):
            rooms = [f"room-{number}" for number in range(100)]
            await asyncio.gather(*(node.add(room, ANNA) for room in rooms))
            server.kill()
            left = await asyncio.gather(*(node.remove(room, ANNA.client) for room in rooms), return_exceptions=True)
            assert {type(outcome) for outcome in left} == {BrokerUnavailable}
            server.restart()
            await until(lambda: set(server.call("KEYS", "*")) == {b"openline:leases:{nodes}", b"openline:life:{nodes}"})
            await until(lambda: repr(node) == "ValkeyPresence(channels=0, running)")


async def test_a_node_that_stood_still_beyond_its_lease_leaves_nothing() -> None:
    """What it enters before it knows that it was taken for dead is under its new lease then, and gone with that."""
    with ValkeyServer() as server:
        async with at_work(server.url, "a", "b") as ((first, second), told):
            await first.add("room", ANNA, announced=True)
            await first._tasks.stop()  # no more beats
            await until(lambda: server.call("ZCARD", "openline:leases:{nodes}") == 1)
            assert told == [("room", Arrival(ANNA, joined=False))]
            await first._visit("on its way")  # this is what the server had not taken when it stood still
            await first.add("late", BEN, announced=True)
            await first._tasks.start()
            first._tasks.spawn(first._beat_on(), "presence")
            await until(lambda: len(told) > 1)
            assert told[1:] == [("room", Arrival(ANNA, joined=True))]
            await seen(second, ANNA)
            assert await second.members("late") == {BEN.client: BEN}
        assert server.call("KEYS", "*") == [b"openline:life:{nodes}"]


async def test_who_may_have_lost_its_lease_renews_it_before_it_enters_anybody() -> None:
    """So nobody is entered under a lease that is buried already, which no one would look at again."""
    with ValkeyServer() as server:
        async with at_work(server.url, "a", "b") as ((first, second), told):
            await first.add("room", ANNA, announced=True)
            await first._tasks.stop()  # no more beats
            await until(lambda: server.call("ZCARD", "openline:leases:{nodes}") == 1)
            await first.add("late", BEN, announced=True)
            await die(first)
            await until(lambda: ("late", Arrival(BEN, joined=False)) in told)
            assert await second.members("late") == {}
            assert await second.members("room") == {}


async def test_a_room_that_was_left_is_looked_at_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failover may undo that it was left; after that while it is forgotten."""
    with ValkeyServer() as server:
        async with at_work(server.url, "a") as ((node,), _):
            await node.add("room", ANNA)
            known = server.call("HGETALL", "openline:members:{room}")
            await node.remove("room", ANNA.client)
            # What the server has then; and the connection is another.
            for client, value in dict(known).items():
                server.call("HSET", "openline:members:{room}", client, value)
                server.call("HSET", "openline:users:{room}", "anna", "1")
            server.call("CLIENT", "KILL", "TYPE", "normal")
            await seen(node)
            assert (await node.stats("room")).users == 0
            monkeypatch.setattr(valkey, "LEFT_SECONDS", 0)
            await until(lambda: not server.call("EXISTS", "openline:visited:{a.1}"))


@pytest.mark.parametrize("channel", ["}", "}x", "_", "_}", "a}b", "{", "{}"])
async def test_every_name_is_a_key_of_its_own(valkey: ValkeyServer, channel: str) -> None:
    """Also where braces would mean something to a cluster."""
    async with at_work(f"{valkey.url}?prefix=names", "a") as ((node,), _):
        await node.add(channel, ANNA)
        for other in ("}", "}x", "_", "_}", "__", "a}b", "{", "{}", "a"):
            assert await node.members(other) == ({ANNA.client: ANNA} if other == channel else {})
