"""What clients post beside their streams: it reaches its session on whichever node it comes in, or is told not to."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import FastAPI

from openline import Heartbeat, History, Hub, Limits, cluster
from openline.emulation import new_secret
from openline.errors import BrokerUnavailable, OpenlineError, PayloadTooBig
from openline.testing import connect, started
from tests.serving import serving
from tests.streaming import EMULATION, SSE, STREAM, StreamClient, ask, streaming
from tests.test_many_nodes import PATIENCE_SECONDS, House, houses, until


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    """One node."""
    async with serving(house()) as app:
        yield app


def house(**options: Any) -> Hub:
    """Make a hub with a room."""
    hub = Hub(**options)
    hub.channel("room:{name}", history=History(size=50, seconds=60), presence=True, publish=True)
    return hub


def body(client: StreamClient, frame: str, **changed: str) -> bytes:
    """Give the body of a post."""
    return json.dumps({"session": client.session, "node": client.node, "data": frame} | changed).encode()


# --- one node ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STREAM, SSE])
async def test_what_is_posted_is_carried_out_and_answered_on_the_stream(app: FastAPI, path: str) -> None:
    """Commands, several in a frame, and their replies in order."""
    async with streaming(app, path) as client:
        frame = '{"id":2,"subscribe":{"channel":"room:x"}}\n{"id":3,"publish":{"channel":"room:x","data":1}}\n'
        assert await client.post(frame) == 204
        assert "subscribe" in await client.line()
        told = [await client.line(), await client.line()]
        assert {"id": 3, "publish": {}} in told
        assert (await ask(app, "POST", EMULATION, body(client, "{}"))).body == b""


async def test_the_secret_is_the_clients_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is none of what others see, and stands in no log and no repr."""
    caplog.set_level(logging.DEBUG)
    hub = house()
    async with serving(hub) as app, streaming(app) as ann, streaming(app) as ben:
        await ann.subscribe("room:x")
        await ben.subscribe("room:x")
        presence = await ben.command("presence", channel="room:x")
        assert ann.session not in (ann.id, ben.session)
        assert len(ann.session) >= 32
        assert ann.session not in json.dumps(presence)
        assert all(ann.session not in repr(session) for session in hub.sessions.values())
        assert (await ask(app, "POST", EMULATION, b"{" + body(ann, "{}"))).status == 400
    assert ann.session not in caplog.text


async def test_a_session_is_found_by_its_secret_and_by_nothing_else(app: FastAPI) -> None:
    """Its id, which others see, opens nothing; 204 tells nobody which secrets there are."""
    async with streaming(app) as ann:
        frame = '{"id":2,"subscribe":{"channel":"room:x"}}'
        for name in (ann.id, ann.session[:-1], ann.session.lower(), new_secret()):
            assert (await ask(app, "POST", EMULATION, body(ann, frame, session=name))).status == 204
        assert (await ann.subscribe("room:x"))["recoverable"]  # and not 105


async def test_a_line_over_websocket_has_no_secret() -> None:
    """It needs none: its connect reply names no session and no node."""
    hub = house()
    async with serving(hub) as app:
        async with streaming(app):
            assert all(session.secret for session in hub.sessions.values())
        async with connect(app) as client:
            assert [session.secret for session in hub.sessions.values()] == [""]
            assert '"session"' not in str(client.frames[0])


async def test_posts_for_a_session_that_is_gone_go_nowhere(app: FastAPI) -> None:
    """204, as they may have been on their way when it ended."""
    async with streaming(app) as client:
        pass
    assert await client.post('{"id":2,"subscribe":{"channel":"room:x"}}') == 204
    async with streaming(app) as other:
        assert await other.post("nonsense") == 204
        assert await other.end() == (3501, "bad request")
        assert await other.post("nonsense") == 204


@pytest.mark.parametrize("node", ["", "another", "0" * 16])
async def test_posts_for_a_node_there_is_not_are_told_so(app: FastAPI, node: str) -> None:
    """404: the client gives its stream up, and connects anew."""
    async with streaming(app) as client:
        assert (await ask(app, "POST", EMULATION, body(client, "{}", node=node))).status == 404


async def test_a_pong_is_posted() -> None:
    """And the client that posts none is closed with 3012, as on every wire."""
    hub = house(heartbeat=Heartbeat(ping_seconds=1, pong_seconds=0.5))
    async with serving(hub) as app, streaming(app) as awake, streaming(app) as asleep:
        assert await awake.line() == {}
        assert await awake.post("{}") == 204
        assert await asleep.end() == (3012, "no pong")
        assert await awake.line() == {}


async def test_the_limits_of_commands_hold() -> None:
    """Too fast is answered with 111; too large is told to the post; too deep is answered."""
    hub = house(limits=Limits(commands_per_second=0.1, commands_burst=1, channels=1, message_bytes=1_000))
    async with serving(hub) as app, streaming(app) as client:
        assert await client.post(json.dumps({"id": 9, "rpc": {"method": "x" * 1_000}})) == 413
        assert hub.counters.messages_too_large == 1
        replies = [await client.command("rpc", method="x") for _ in range(3)]
        assert replies[-1]["error"]["code"] == 111
        escaped = json.dumps({"id": 99, "rpc": {"method": '"' * 400}})
        assert len(escaped) < 1_000 < len(body(client, escaped))
        assert await client.post(escaped) == 204  # a frame may be as large as on every wire, however it is packed


async def test_more_than_waits_is_refused_and_counted() -> None:
    """A client that asks faster than it is answered is told so, and loses nothing that was taken."""
    gate = asyncio.Event()
    hub = house(limits=Limits(waiting_commands=2, message_bytes=60_000))

    @hub.rpc("wait")
    async def wait(message: Any) -> Any:
        await gate.wait()
        return message

    async with serving(hub) as app, streaming(app) as client:
        frames = [json.dumps({"id": 2 + n, "rpc": {"method": "wait", "data": "x" * 20_000}}) for n in range(8)]
        statuses = [await client.post(frame) for frame in frames]
        assert statuses == [204, 204, 204, 204, 204, 204, 429, 429]
        assert hub.counters.frames_refused == 2
        gate.set()
        assert [(await client.line())["id"] for _ in range(6)] == [2, 3, 4, 5, 6, 7]


async def test_a_hub_that_was_started_again_knows_no_old_sessions() -> None:
    """Its name among the nodes is another."""
    hub = house()
    async with serving(hub) as app, streaming(app) as client:
        pass
    async with serving(hub) as app, streaming(app) as other:
        assert client.node != other.node
        assert (await ask(app, "POST", EMULATION, body(client, "{}"))).status == 404


# --- several nodes ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["valkey", "nats"])
def url(request: pytest.FixtureRequest) -> str:
    """An engine that all tests share, under a name of the test's own."""
    server: Any = request.getfixturevalue(request.param)
    return f"{server.url}?prefix=test{secrets.token_hex(8)}"


async def test_no_sticky_sessions(url: str) -> None:
    """A stream on one of three nodes, and its posts on all of them in turn: answered once each, in order."""
    async with houses(url, 3) as nodes, streaming(nodes[0].app, name="ann") as ann:
        await ann.subscribe("room:x", nodes[1].app)
        for number in range(12):
            reply = await ann.command("publish", nodes[number % 3].app, channel="room:x", data=number)
            assert reply["publish"] == {}
        heard: list[Any] = []
        while len(heard) < 12:
            push = await ann.push()
            heard += [push["pub"]["data"]] if "pub" in push else []
        assert heard == list(range(12))


async def test_frames_of_one_node_stay_in_order(url: str) -> None:
    """Whatever is on its way at the same time."""
    async with houses(url) as nodes, streaming(nodes[0].app, name="ann") as ann:
        frames = [json.dumps({"id": 2 + number, "history": {"channel": "room:x"}}) for number in range(50)]
        async with asyncio.TaskGroup() as tasks:
            for frame in frames:
                tasks.create_task(ann.post(frame, nodes[1].app))
        assert [(await ann.line())["id"] for _ in frames] == list(range(2, 52))


async def test_posts_for_a_node_that_died_are_told_so_and_its_clients_recover(url: str) -> None:
    """Once it is known to be gone; the client goes to another node with its position, and misses nothing."""
    async with houses(url, 1) as (there,), AsyncExitStack() as stack:
        here = House(url)
        dying = await stack.enter_async_context(AsyncExitStack())
        await dying.enter_async_context(started(here.app, limit_seconds=PATIENCE_SECONDS))
        await until(lambda: len(there.hub.nodes) == len(here.hub.nodes) == 2)
        async with streaming(here.app, name="ann") as ann:
            position = await ann.subscribe("room:x", there.app)
            await dying.aclose()
            assert (await ann.end())[0] == 3001
        await until(lambda: len(there.hub.nodes) == 1)
        assert await ann.post("{}", there.app) == 404
        await there.room.publish("missed", name="x")
        async with streaming(there.app, name="ann") as again:
            since = {"epoch": position["epoch"], "offset": position.get("offset", 0)}
            result = await again.subscribe("room:x", recover=True, **since)
            assert result["recovered"]
            assert [pub["data"] for pub in result["publications"]] == ["missed"]


async def test_a_node_that_has_just_started_knows_the_others_streams(url: str) -> None:
    """From its first request on: 404 would have their clients give them up."""
    async with houses(url, 1) as (there,), streaming(there.app, name="ann") as ann:
        here = House(url)
        async with started(here.app, limit_seconds=PATIENCE_SECONDS):
            assert await ann.post('{"id":2,"rpc":{"method":"x"}}', here.app) == 204
            assert (await ann.line())["id"] == 2


async def test_a_node_that_a_new_one_does_not_know_may_be_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """429 for a few seconds, in which each node says hello; counted."""
    monkeypatch.setattr(cluster, "MEETING_SECONDS", 0.01)
    async with houses(url, 1) as (there,), streaming(there.app, name="ann") as ann:
        answer = await ask(there.app, "POST", EMULATION, body(ann, "{}", node="another"))
        assert answer.status == 429
        assert there.hub.counters.frames_refused == 1


async def test_a_session_on_another_node_that_is_gone_is_no_error(url: str) -> None:
    """As on this one: nobody waits to hear."""
    async with houses(url) as nodes:
        async with streaming(nodes[0].app, name="ann") as ann:
            pass
        assert await ann.post("{}", nodes[1].app) == 204
        async with streaming(nodes[0].app, name="ben") as ben:
            assert await ben.post("{}", nodes[1].app) == 204
            assert (await ben.end())[0] == 3501  # a pong nobody asked for


async def test_more_than_waits_on_another_node_ends_the_session(url: str) -> None:
    """Its client was told that the frame is on its way, so it is not left to wait for an answer."""
    gate = asyncio.Event()
    async with houses(url, waiting_commands=1) as nodes:

        @nodes[0].hub.rpc("wait")
        async def wait(message: Any) -> None:
            await gate.wait()

        async with streaming(nodes[0].app, name="ann") as ann:
            for number in range(5):
                frame = json.dumps({"id": 2 + number, "rpc": {"method": "wait", "data": "x" * 40_000}})
                assert await ann.post(frame, nodes[1].app) == 204
            assert (await ann.end())[0] == 3013
            assert nodes[0].hub.counters.frames_refused == 1
            gate.set()


async def test_a_broker_that_is_away_is_told_as_a_pause(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """429, never an error of the server's, which would end the stream; counted and logged."""
    errors: list[OpenlineError] = [PayloadTooBig(2, 1), BrokerUnavailable("it is away")]

    async def fail(*_: Any) -> None:
        raise errors.pop()

    async with houses(url) as nodes, streaming(nodes[0].app, name="ann") as ann:
        with monkeypatch.context() as patch:
            patch.setattr(type(nodes[1].hub._node.broker), "tell", fail)
            assert await ann.post('{"id":2,"rpc":{"method":"x"}}', nodes[1].app) == 429
            assert await ann.post('{"id":2,"rpc":{"method":"x"}}', nodes[1].app) == 413
        assert nodes[1].hub.counters.frames_refused == 1
        assert (await ann.command("rpc", nodes[1].app, method="subscribe me", data="room:x"))["rpc"] is not None
