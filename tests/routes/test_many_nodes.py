"""Clients without an SDK and several nodes: whoever answers, nothing is lost."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.listeners import SSE, events, lines
from tests.streaming import ask
from tests.test_many_nodes import House, houses

ROOM = f"{SSE}?channel=room:x"
#: More than is read of history at a time.
MANY = 40


@pytest.fixture(params=["valkey", "nats"])
def url(request: pytest.FixtureRequest) -> str:
    """An engine that all tests share, under a name of the test's own."""
    server: Any = request.getfixturevalue(request.param)
    return f"{server.url}?prefix=test{secrets.token_hex(8)}"


async def test_an_event_stream_goes_on_at_another_node(url: str) -> None:
    """What was missed comes from history, however much it is, and what comes then comes live."""
    async with houses(url, recovery_publications=7) as nodes:
        here, there = nodes
        async with events(here.app, ROOM) as client:
            await client.push()
            await there.room.publish("seen", name="x")
            assert await client.publication() == "seen"
            last_id = client.last_id
        for number in range(MANY):
            await nodes[number % 2].room.publish(number, name="x")
        async with events(there.app, ROOM, last_id=last_id) as client:
            assert (await client.push())["connect"]["subs"]["room:x"]["recovered"]
            assert [await client.publication() for _ in range(MANY)] == list(range(MANY))
            await here.room.publish("live", name="x")
            assert await client.publication() == "live"


async def test_a_stream_that_says_where_it_stood_goes_on_as_well(url: str) -> None:
    """By `recover` in the request: then a first part comes with the connect push, and the rest behind it."""
    async with houses(url, recovery_publications=7) as (here, there):
        for number in range(MANY):
            await here.room.publish(number, name="x")
        first = (await here.room.history(name="x", limit=1)).publications[0].position
        wish = {"recover": True, "epoch": first.epoch, "offset": first.offset}
        async with lines(there.app, body={"subs": {"room:x": wish}}) as client:
            result = (await client.push())["connect"]["subs"]["room:x"]
            assert result["recovered"]
            got = [publication["data"] for publication in result["publications"]]
            while len(got) < MANY - 1:
                got.append(await client.publication())
            assert got == list(range(1, MANY))


async def test_polls_that_go_from_node_to_node_follow_a_channel(url: str) -> None:
    """What was published between two of them, on either, comes with the next; what is new ends the waiting."""
    async with houses(url, recovery_publications=7) as nodes:
        since = (await poll(nodes[0], ""))["since"]
        got: list[int] = []
        for number in range(MANY):
            await nodes[number % 2].room.publish(number, name="x")
            if number % 3 == 0:
                answer = await poll(nodes[number // 3 % 2], since)
                since, got = answer["since"], got + numbers(answer)
        while len(got) < MANY:
            answer = await poll(nodes[len(got) % 2], since)
            since, got = answer["since"], got + numbers(answer)
        assert got == list(range(MANY))


async def poll(node: House, since: str) -> Any:
    """Poll a node."""
    where = "/connection/poll?channel=room:x" + (f"&since={since.replace(' ', '%20')}" if since else "")
    answer = await ask(node.app, "GET", where)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def numbers(answer: Any) -> list[int]:
    """Give what an answer brings."""
    room = answer["channels"]["room:x"]
    assert room["recovered"]
    return [publication["data"] for publication in room["publications"]]
