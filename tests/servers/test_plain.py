"""Plain lines and followed channels on every server, for clients that are no SDK: a bare WebSocket, and HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.servers.control import Control
from tests.servers.people import LIMIT_SECONDS, Crowd, crowd
from tests.servers.raw import RawClient
from tests.servers.server import Server


def dial(server: Server, path: str) -> connect:
    """Open a bare WebSocket."""
    return connect(f"ws://127.0.0.1:{server.port}{path}", proxy=None, open_timeout=LIMIT_SECONDS, compression=None)


async def ended(client: ClientConnection) -> tuple[int, str]:
    """Wait for the end; give code and reason."""
    await client.wait_closed()
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


@pytest.fixture
async def sdk(server: Server) -> AsyncIterator[Crowd]:
    """A maker of clients of the SDK."""
    async with crowd(server, protobuf=False) as made:
        yield made


async def test_plain_clients_and_the_sdk_hear_each_other(server: Server, sdk: Crowd, name: str) -> None:
    """Text to one is a publication to the other; each is one WebSocket message, in order, without an envelope."""
    person = await sdk.connected("bob")
    hall = await person.enter(f"hall:{name}", join_leave=True)
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/plain/{name}") as first:
        while (await hall.ear.next("join")).info.user != name:
            pass  # the SDK is told of its own coming too
        await first.send("hello")
        assert [await first.recv() for _ in range(2)] == ["heard", "hello"]
        publication = (await hall.ear.next("publication")).pub
        assert (publication.data, publication.info.user) == ("hello", name)
        await hall.say({"to": "all"})
        await hall.say("a text")
        assert json.loads(await first.recv()) == {"to": "all"}
        assert await first.recv() == "a text"
    assert (await hall.ear.next("leave")).info.user == name


async def test_binary_messages(server: Server, name: str) -> None:
    """Both ways, and text beside them."""
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/plain/{name}") as client:
        await client.send(b"\x00\xff")
        assert [await client.recv() for _ in range(2)] == ["heard", b"\x00\xff"]
        await client.send(["in ", "fragments"])
        assert [await client.recv() for _ in range(2)] == ["heard", "in fragments"]


async def test_many_messages_at_once(server: Server, control: Control, name: str) -> None:
    """However they are batched on the way, each arrives by itself."""
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/plain/{name}") as client:
        await client.send("begin")
        assert [await client.recv() for _ in range(2)] == ["heard", "begin"]
        await asyncio.gather(*(control.publish(f"hall:{name}", {"number": number}) for number in range(20)))
        got = [json.loads(await client.recv())["number"] for _ in range(20)]
        assert sorted(got) == list(range(20))


@pytest.mark.parametrize(("said", "code"), [("return", 1000), ("fail", 1011)])
async def test_the_route_ends(server: Server, name: str, said: str, code: int) -> None:
    """With what was sent before, and the code that says how."""
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/plain/{name}") as client:
        await client.send(said)
        assert (await ended(client))[0] == code


async def test_the_hub_ends_it(server: Server, control: Control, name: str) -> None:
    """By its user, as any client."""
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/plain/{name}") as client:
        await client.send("hello")
        await client.recv()
        await control.send(name, {"word": 1})
        while await client.recv() != '{"word":1}':
            pass
        await control.disconnect(name, 4000, "go")
        assert await ended(client) == (4000, "go")


async def test_too_large_a_message(server: Server, name: str) -> None:
    """It is not taken."""
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/plain/{name}") as client:
        await client.send("x" * 65_537)
        assert (await ended(client))[0] == 1009


async def test_a_page_of_another_site(server: Server, name: str) -> None:
    """It is refused as on the hub's own routes."""
    raw = RawClient(server, path=f"/plain/{name}", extra="Origin: https://evil.example\r\n")
    with raw:
        assert "403" in raw.answer[0]


@pytest.mark.parametrize("running", ["openline"], indirect=True)
async def test_a_peer_that_is_dead(server: Server, name: str) -> None:
    """On the fast wire the hub pings it, and closes it with 3012. Elsewhere it is the server that pings, or not."""
    with RawClient(server, path=f"/beating/{name}") as raw:
        assert (await asyncio.to_thread(raw.close_frame)) == (3012, "no pong")


async def test_a_client_that_answers_pings_stays(server: Server, name: str) -> None:
    """Beyond the first wait for a pong."""
    async with asyncio.timeout(LIMIT_SECONDS), dial(server, f"/beating/{name}") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 2.5)
        await client.send("still here")
        assert await client.recv() == "still here"


# --- server-sent events -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def events(server: Server, path: str, last: str = "") -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Read server-sent events as `EventSource` does."""
    headers = {"Last-Event-ID": last} if last else {}

    async def each(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
        event: dict[str, Any] = {}
        async for line in response.aiter_lines():
            field, _, value = line.partition(": ")
            if not line:
                if event:
                    yield event
                event = {}
            elif field:
                event[field] = json.loads(value) if field == "data" else value

    async with (
        httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client,
        client.stream("GET", server.http + path, headers=headers) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        yield each(response)


async def test_a_followed_channel_in_a_route_of_fastapi(server: Server, control: Control, name: str) -> None:
    """Each publication is an event; one who comes back with its id is given what follows it."""
    async with events(server, f"/feed/{name}") as first:
        assert (await anext(first))["event"] == "begun"
        for text in ("one", "two"):
            await control.announce(name, author="ada", text=text)
        seen = [await anext(first) for _ in range(2)]
    assert [event["data"]["text"] for event in seen] == ["one", "two"]

    await control.announce(name, author="ada", text="three")
    async with events(server, f"/feed/{name}", seen[0]["id"]) as again:
        await anext(again)
        assert [(await anext(again))["data"]["text"] for _ in range(2)] == ["two", "three"]
        await control.announce(name, author="ada", text="four")
        assert (await anext(again))["data"]["text"] == "four"


async def test_a_stream_does_not_keep_the_server_from_ending(server: Server, name: str) -> None:
    """It ends with the server, which ends in time."""
    own = Server(server.name)
    try:
        async with events(own, f"/feed/{name}") as stream:
            await anext(stream)
            own.terminate()
            assert await asyncio.to_thread(own.ended_within, 8)
    finally:
        own.kill()
