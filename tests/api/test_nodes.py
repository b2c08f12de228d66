"""The API on several nodes: whichever is asked, all of them do it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openline.testing import connect
from tests.api.house import BackEnd, back_end, house_hub
from tests.test_many_nodes import until


@pytest.fixture(params=["valkey", "nats"])
def url(request: pytest.FixtureRequest) -> str:
    """An engine that all tests share, under a name of the test's own."""
    server: Any = request.getfixturevalue(request.param)
    return f"{server.url}?prefix=test{secrets.token_hex(8)}"


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[BackEnd, BackEnd]]:
    """Run two nodes until each knows of the other; give the back end of each."""
    async with back_end(house_hub(url)) as here, back_end(house_hub(url)) as there:
        await until(lambda: len(here.hub.nodes) == len(there.hub.nodes) == 2)
        yield here, there


async def test_a_user_is_reached_wherever_it_is(url: str) -> None:
    """Subscribed from a position, refreshed, unsubscribed, spared and disconnected from the other node."""
    async with (
        two(url) as (here, there),
        connect(there.app, name="ann") as ann,
        connect(here.app, name="ann") as tab,
        connect(there.app, name="ann") as third,
    ):
        since = await there.get("publish", channel="news:a", data=1)
        await there.get("publish", channel="news:a", data=2)
        await here.get("subscribe", user="ann", client=ann.id, channel="news:a", recover_since=since, data={"a": 1})
        push = await ann.push()
        assert (push["subscribe"]["offset"], push["subscribe"]["data"]) == (since["offset"], {"a": 1})
        assert (await ann.publication("news:a"))["data"] == 2
        since = {"offset": 1, "epoch": "other"}
        refusal = await here.refused("subscribe", user="ann", client=third.id, channel="news:a", recover_since=since)
        assert refusal[0] == 112

        override = {"join_leave": {"value": False}}
        await here.get("subscribe", user="ann", channel="room:a", info=[1], override=override)
        for client in (ann, tab, third):
            assert "subscribe" in await client.push()
        presence = (await here.get("presence", channel="room:a"))["presence"]
        shown = [(client, info["chan_info"]) for client, info in presence.items()]
        assert sorted(shown) == sorted((client.id, [1]) for client in (ann, tab, third))
        await here.get("refresh", user="ann", client=ann.id, expire_at=4_000_000_000, info={"new": 1})
        assert (await ann.push())["refresh"]["expires"]
        presence = (await here.get("presence", channel="room:a"))["presence"]
        assert presence[ann.id]["conn_info"] == {"new": 1}

        await here.get("unsubscribe", user="ann", client=ann.id, channel="")
        assert {(await ann.push())["channel"] for _ in range(2)} == {"news:a", "room:a"}
        await here.get("disconnect", user="ann", whitelist=[tab.id, third.id], disconnect={"code": 4100})
        assert (await ann.closed()).code == 4100
        await here.get("refresh", user="ann", expired=True)
        assert [(await client.closed()).code for client in (tab, third)] == [3005, 3005]


async def test_what_there_is_is_that_of_all_nodes(url: str) -> None:
    """Channels with the subscribers of both, and a line for each node."""
    async with two(url) as (here, there), connect(here.app, name="ann") as ann, connect(there.app, name="bob") as bob:
        await ann.subscribe("news:a")
        await bob.subscribe("news:a")
        await bob.subscribe("tick:a")
        assert await here.get("channels", pattern="{news,hall}:*") == {"channels": {"news:a": {"num_clients": 2}}}
        assert len((await there.get("channels"))["channels"]) == 2
        nodes = (await here.get("info"))["nodes"]
        assert {node["uid"] for node in nodes} == {node.id for node in there.hub.nodes}


async def test_what_is_not_kept_reaches_the_subscribers_of_all_nodes(url: str) -> None:
    """With what is: one has a place in the stream, the other none."""
    async with two(url) as (here, there), connect(there.app, name="ann") as ann:
        await ann.subscribe("news:a")
        first = await here.get("publish", channel="news:a", data=1)
        for _ in range(2):
            unkept = {"channel": "news:a", "data": 2, "skip_history": True, "idempotency_key": "k"}
            assert await here.get("publish", **unkept) == {}
        third = await here.get("publish", channel="news:a", data=3)
        heard = [await ann.publication("news:a") for _ in range(3)]
        assert {p["data"]: p.get("offset", 0) for p in heard} == {1: first["offset"], 2: 0, 3: third["offset"]}
        history = await there.get("history", channel="news:a", limit=-1)
        assert [p["data"] for p in history["publications"]] == [1, 3]
        await here.get("history_remove", channel="news:a")
        assert (await there.get("history", channel="news:a", limit=-1))["publications"] == []


async def test_a_connection_is_found_by_its_id_alone(url: str) -> None:
    """On whichever node it is, and whoever its user is."""
    async with two(url) as (here, there), connect(there.app, name="ann") as ann, connect(there.app, name="ann") as tab:
        await here.get("subscribe", client=ann.id, channel="news:a")
        assert "subscribe" in await ann.push()
        await here.get("disconnect", client=ann.id)
        assert (await ann.closed()).code == 3503
        assert list(there.hub.sessions) == [tab.id]


async def test_many_at_once_is_for_all_nodes(url: str) -> None:
    """Broadcasts, batches, counts of who is there, and keys by which a repeat is known."""
    async with two(url) as (here, there), connect(there.app, name="ann") as ann:
        await ann.subscribe("room:a")
        await ann.subscribe("news:a")
        once = {"channels": ["news:a", "news:b"], "data": 1, "idempotency_key": "k"}
        first = await here.get("broadcast", **once)
        assert await there.get("broadcast", **once) == first
        assert (await ann.publication("news:a"))["data"] == 1
        commands = [
            {"publish": {"channel": "news:a", "data": 2}},
            {"presence_stats": {"channel": "room:a"}},
            {"rpc": {"method": "nothing"}},
        ]
        published, stats, unknown = (await here.ask("batch", commands=commands))["replies"]
        assert (await ann.publication("news:a"))["offset"] == published["publish"]["offset"]
        assert stats == {"presence_stats": {"num_clients": 1, "num_users": 1}}
        assert unknown["error"]["code"] == 104


async def test_a_version_is_compared_across_nodes(url: str) -> None:
    """Whoever publishes the older state later is passed over."""
    async with two(url) as (here, there):
        newest = await here.get("publish", channel="news:a", data="new", version=2)
        assert await there.get("publish", channel="news:a", data="old", version=1) == newest
        history = await there.get("history", channel="news:a", limit=-1)
        assert [p["data"] for p in history["publications"]] == ["new"]
