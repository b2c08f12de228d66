"""A server that is gone, and another that stands in its place: what clients go through, on every server."""

from __future__ import annotations

import pytest

from tests.cut import cutter
from tests.servers.people import crowd
from tests.servers.server import COMMANDS, Server


@pytest.mark.parametrize("name", COMMANDS)
async def test_clients_come_back_to_the_next_server(name: str) -> None:
    """They reconnect by themselves, and are told that what the first one remembered is gone with it.

    The first one dies: how a server takes its leave is its own affair, see `test_differences`.
    """
    first, second = Server(name), Server(name)
    try:
        async with cutter(first.port) as proxy, crowd(first, protobuf=False) as people:
            alice = await people.connected("alice", port=proxy.port)
            room = await alice.enter("room:lobby")
            await room.say({"author": "alice", "text": "before"})
            await room.hear()

            proxy.turn_to(second.port)
            first.kill()
            subscribed = await room.ear.next("subscribed")
            await room.say({"author": "alice", "text": "after"})

            assert (subscribed.was_recovering, subscribed.recovered) == (True, False)
            assert (await room.hear())["text"] == "after"
    finally:
        first.kill()
        second.stop()


def test_the_log_says_at_the_start_which_wire_is_slow(running: Server) -> None:
    """One line on the plain wire tells how to get the fast one; on the fast wire there is none."""
    assert running.log.count("connections run on the plain wire") == (running.name != "openline")


async def test_uvicorns_own_event_loop_serves_the_plain_wire() -> None:
    """``--loop asyncio``: connect, publish, hear."""
    server = Server("uvicorn", "--loop", "asyncio")
    try:
        async with crowd(server, protobuf=True) as people:
            room = await (await people.connected("alice")).enter("room:lobby")
            await room.say({"author": "alice", "text": "hello"})

            assert (await room.hear())["text"] == "hello"
    finally:
        server.stop()
