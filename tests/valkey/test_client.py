"""The client: what is repeated and what is not, and how it follows a cluster that changes."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from openline.errors import BrokerUnavailable
from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.client import Valkey
from openline.valkey.script import Script
from tests.cut import cutter
from tests.engines.process import wait_until
from tests.engines.valkey import ValkeyCluster, ValkeyServer

COUNT = Script("return redis.call('INCR', KEYS[1])")


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Valkey]:
    """Start a client, and stop it in the end."""
    made = Valkey(ValkeyAddress.parse(url))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def fresh() -> bytes:
    """Make a key nobody has used."""
    return secrets.token_hex(8).encode()


async def test_commands_are_answered(valkey: ValkeyServer) -> None:
    """Words of any kind go in; the answer comes as it is."""
    key = fresh()
    async with client(valkey.url) as made:
        assert await made.call("HSET", key, "a", 1, b"b", 2.5) == 2
        assert await made.call("HGETALL", key, repeatable=True) == [b"a", b"1", b"b", b"2.5"]
        assert await made.call("GET", fresh()) is None
        assert made.problem == ""


async def test_a_refused_command_is_told() -> None:
    """The server's words are in the error, and its name."""
    with ValkeyServer() as server:
        async with client(server.url) as made:
            with pytest.raises(BrokerUnavailable, match=rf"{server.port}: ERR unknown command"):
                await made.call("NOPE")


async def test_a_script_is_made_known_once() -> None:
    """The first run sends its source, the next only its checksum; also after the server forgot it."""
    with ValkeyServer() as server:
        async with client(server.url) as made:
            assert [await made.run(COUNT, [b"n"], []) for _ in range(3)] == [1, 2, 3]
            server.call("SCRIPT", "FLUSH")
            assert [await made.run(COUNT, [b"n"], []) for _ in range(2)] == [4, 5]
        statistics = server.call("INFO", "commandstats")
        assert statistics["cmdstat_eval"]["calls"] == 2


async def test_what_could_not_be_sent_is_sent_when_it_can_be() -> None:
    """A server that restarts costs a command time and nothing else, whether or not it may be done twice."""
    with ValkeyServer(aof=True) as server:
        async with client(server.url) as made:
            server.kill()
            waiting = asyncio.create_task(made.run(COUNT, [b"n"], []))
            await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
            try:
                assert await waiting == 1
            except BrokerUnavailable:
                # It was on the line already when that broke: then it is not repeated, and its caller is told.
                assert await made.call("GET", "n") is None


@pytest.mark.parametrize("repeatable", [False, True])
async def test_what_was_sent_and_not_answered_is_repeated_if_that_is_right(*, repeatable: bool) -> None:
    """The line breaks after a command left: what counts is not repeated, what only sets is."""
    with ValkeyServer() as server:
        async with cutter(server.port) as line, client(f"valkey://127.0.0.1:{line.port}?timeout=3") as made:
            line.swallow()
            setting = asyncio.create_task(made.call("SET", "a", "1", repeatable=repeatable))
            await line.swallowed.wait()
            line.mend()
            line.drop()
            if repeatable:
                assert await setting == b"OK"
            else:
                with pytest.raises(BrokerUnavailable, match="closed the connection"):
                    await setting
            assert await made.call("GET", "a") == (b"1" if repeatable else None)


async def test_a_call_ends_by_its_deadline() -> None:
    """Whatever the server does; a call may have a time of its own."""
    with ValkeyServer() as server:
        async with client(f"{server.url}?timeout=30") as made:
            server.freeze()
            with pytest.raises(BrokerUnavailable, match="in time"):
                await made.call("GET", "a", timeout=0.1, repeatable=True)


async def test_while_a_server_loads_it_is_waited_for() -> None:
    """LOADING and BUSY say that nothing was done, and will be."""
    with ValkeyServer() as server:
        url = f"{server.url}?timeout=10"
        async with client(url) as made, client(url) as other:
            server.call("CONFIG", "SET", "busy-reply-threshold", 50)
            busy = asyncio.create_task(made.call("EVAL", "while true do end", 0))
            await asyncio.to_thread(wait_until, lambda: _is_busy(server), "the script runs")
            waiting = asyncio.create_task(other.call("INCR", "n"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await asyncio.shield(waiting)
            await asyncio.to_thread(server.call, "SCRIPT", "KILL")
            assert await waiting == 1
            with pytest.raises(BrokerUnavailable):
                await busy


def _is_busy(server: ValkeyServer) -> bool:
    try:
        server.call("PING")
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


async def test_it_cannot_be_started_where_nobody_is() -> None:
    """Within its time it says so; nothing is left behind, and it may be tried again."""
    server = ValkeyServer()
    try:
        made = Valkey(ValkeyAddress.parse(f"{server.url}?timeout=0.5"))
        with pytest.raises(BrokerUnavailable, match="cannot be reached"):
            await made.start()
        assert made.problem
        with pytest.raises(BrokerUnavailable, match="not started"):
            await made.call("GET", "a")
        server.start()
        await made.start()
        assert await made.call("GET", "a") is None
        await made.stop()
    finally:
        server.close()


async def test_a_wrong_password_is_told_at_once() -> None:
    """There is nothing to wait for, and nothing secret in the words."""
    with ValkeyServer(password="right") as server:
        url = server.url.replace("right", "wr0ng")
        with pytest.raises(BrokerUnavailable, match="does not let us in") as raised:
            async with asyncio.timeout(2), client(url):
                pass
        assert "wr0ng" not in str(raised.value)


async def test_stop_ends_what_waits_and_is_quick() -> None:
    """Calls under way say that they were not done; nothing is reported as forgotten."""
    with ValkeyServer() as server:
        made = Valkey(ValkeyAddress.parse(server.url))
        await made.start()
        server.freeze()
        waiting = [asyncio.create_task(made.call("GET", "a", repeatable=True)) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(1):
            await made.stop()
            await made.stop()
        for task in waiting:
            with pytest.raises(BrokerUnavailable):
                await task
        gc.collect()


async def test_every_master_can_be_asked(valkey_cluster: ValkeyCluster) -> None:
    """What has to be asked of each is asked of each."""
    async with client(valkey_cluster.url) as made:
        assert len(made.shards) == 3
        identities = {await made.call("CLUSTER", "MYID", on=shard) for shard in made.shards}
        assert len(identities) == 3
        with pytest.raises(BrokerUnavailable):
            await made.call("PING", on=Endpoint("nobody", 1), timeout=0.1)


async def test_keys_go_to_their_masters(valkey_cluster: ValkeyCluster) -> None:
    """A thousand keys, a thousand answers."""
    async with client(valkey_cluster.url) as made:
        keys = [fresh() for _ in range(1_000)]
        await asyncio.gather(*(made.call("SET", key, key, "EX", 60, routed_by=key) for key in keys))
        assert await asyncio.gather(*(made.call("GET", key, routed_by=key) for key in keys)) == keys


async def test_a_slot_that_moves_is_followed() -> None:
    """While keys are on their way (ASK) and once they have arrived (MOVED), nothing is lost and nobody is told."""
    with ValkeyCluster(masters=2, replicas=0) as cluster:
        async with client(cluster.url) as made:
            key = b"{moving}n"
            assert await made.run(COUNT, [key], []) == 1
            old = cluster.master_of(key)
            new = next(server for server in cluster.servers if server is not old)
            slot = old.call("CLUSTER", "KEYSLOT", key)
            identities = {server: server.call("CLUSTER", "MYID") for server in (old, new)}
            new.call("CLUSTER", "SETSLOT", slot, "IMPORTING", identities[old])
            old.call("CLUSTER", "SETSLOT", slot, "MIGRATING", identities[new])
            assert await made.run(COUNT, [key], []) == 2  # still there
            old.call("MIGRATE", "127.0.0.1", new.port, key, 0, 5_000)
            assert await made.run(COUNT, [key], []) == 3  # asked for
            for server in (new, old):
                server.call("CLUSTER", "SETSLOT", slot, "NODE", identities[new])
            assert await made.run(COUNT, [key], []) == 4  # moved
            assert new.call("GET", key) in (b"4", 4)
            assert made.fleet.topology.owner(key) == ("127.0.0.1", new.port)
