"""Clients without an SDK, on every server: streams over HTTP, a WebSocket that only listens, and polls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect

from tests.listeners import Events
from tests.servers.control import Control
from tests.servers.people import LIMIT_SECONDS
from tests.servers.server import Server

EVENTS = {"accept": "text/event-stream"}


@asynccontextmanager
async def opened(
    server: Server, path: str, name: str, last_id: str = ""
) -> AsyncIterator[tuple[httpx2.Response, AsyncIterator[bytes]]]:
    """Open a stream of one channel."""
    headers = EVENTS | ({"last-event-id": last_id} if last_id else {})
    where = f"{server.http}/connection/{path}?channel=room:{name}"
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client,
        client.stream("GET", where, headers=headers) as response,
    ):
        yield response, response.aiter_bytes()


async def pushes(pieces: AsyncIterator[bytes], events: Events, count: int) -> list[dict[str, Any]]:
    """Read so many pushes of an event stream."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += [push for push, _ in events.feed(await anext(pieces))]
    return found


async def test_events_come_as_they_are_published_and_go_on_after_a_cut(
    server: Server, control: Control, name: str
) -> None:
    """Nothing on the way waits for more; the id brings what was missed."""
    events = Events()
    async with opened(server, "uni_sse", name) as (response, pieces):
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "connect" in (await pushes(pieces, events, 1))[0]
        await control.announce(name, author="ann", text="one")
        assert (await pushes(pieces, events, 1))[0]["pub"]["data"]["text"] == "one"
    for text in ("two", "three"):
        await control.announce(name, author="ann", text=text)
    events = Events(events.last_id)
    async with opened(server, "uni_sse", name, events.last_id) as (_, pieces):
        connect, *missed = await pushes(pieces, events, 3)
        assert connect["connect"]["subs"][f"room:{name}"]["recovered"]
        assert [push["pub"]["data"]["text"] for push in missed] == ["two", "three"]


async def test_lines_come_as_they_are_published(server: Server, control: Control, name: str) -> None:
    """One object on each."""
    async with opened(server, "uni_http_stream", name) as (_, pieces):
        assert b'{"connect":' in await anext(pieces)
        await control.announce(name, author="ann", text="one")
        assert json.loads(await anext(pieces))["pub"]["data"]["text"] == "one"


@pytest.mark.parametrize("asked", ["url", "message"])
async def test_a_websocket_gives_one_push_a_message(server: Server, control: Control, name: str, asked: str) -> None:
    """On both wires, however many are published at once."""
    where = server.websocket().replace("/websocket", "/uni_websocket")
    where += f"?channel=room:{name}" if asked == "url" else ""
    async with asyncio.timeout(LIMIT_SECONDS), connect(where, proxy=None) as socket:
        if asked == "message":
            await socket.send(json.dumps({"subs": {f"room:{name}": {}}}))
        assert "connect" in json.loads(await socket.recv())
        async with asyncio.TaskGroup() as tasks:
            for _ in range(20):
                tasks.create_task(control.announce(name, author="ann", text="hello"))
        offsets = [json.loads(await socket.recv())["pub"]["offset"] for _ in range(20)]
        assert offsets == list(range(1, 21))


async def test_a_refusal_is_an_http_status_and_a_last_message(server: Server, name: str) -> None:
    """Streams have not begun then; a WebSocket is told before it is closed."""
    room = f"somebody-owned-{name}"
    for path in ("uni_sse", "uni_http_stream"):
        async with opened(server, path, room) as (response, pieces):
            assert response.status_code == 403
            assert b"3507" in await anext(pieces)
    where = server.websocket().replace("/websocket", "/uni_websocket") + f"?channel=room:{room}"
    async with asyncio.timeout(LIMIT_SECONDS), connect(where, proxy=None) as socket:
        assert json.loads(await socket.recv())["disconnect"]["code"] == 3507
        await socket.wait_closed()
        assert socket.close_code == 3507


async def test_a_poll_waits_and_is_answered(server: Server, control: Control, name: str) -> None:
    """With what came meanwhile; what comes between two polls comes with the next."""
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:

        async def poll(since: str = "") -> Any:
            query = {"channel": f"room:{name}"} | ({"since": since} if since else {})
            answer = await client.get(f"{server.http}/connection/poll", params=query)
            assert answer.status_code == 200, answer.text
            return answer.json()

        since, texts = (await poll())["since"], []
        polling = asyncio.create_task(poll(since))
        await control.announce(name, author="ann", text="one")
        for answered in (polling, None):
            answer = await answered if answered else await poll(since)
            since = answer["since"]
            texts += [each["data"]["text"] for each in answer["channels"][f"room:{name}"]["publications"]]
            if answered:
                await control.announce(name, author="ann", text="two")
        assert texts == ["one", "two"]


@pytest.mark.parametrize("name_", ["openline", "uvicorn"])
async def test_a_server_that_ends_answers_polls_that_wait(name_: str) -> None:
    """At once, with the cursor they had; it does not wait for their time to be over."""
    ending = Server(name_)
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
            where, query = f"{ending.http}/connection/poll", {"channel": "room:a", "wait": "60"}
            since = (await client.get(where, params=query)).json()["since"]
            polling = asyncio.create_task(client.get(where, params=query | {"since": since}))
            while (await client.get(f"{ending.http}/control/sessions")).json() == 0:
                pass
            ending.terminate()
            answer = await polling
            assert (answer.status_code, answer.json()["since"]) == (200, since)
        assert await asyncio.to_thread(ending.ended_within, LIMIT_SECONDS)
    finally:
        ending.kill()
