"""One hub on several nodes: what is said on one is heard on all, and nobody notices where they are."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, final

import pytest
from fastapi import FastAPI

from openline import Accept, AlreadySubscribed, BrokerUnavailable, Channel, History, Hub, Limits, UnknownChannel
from openline.testing import Client, Closed, connect, started
from tests.engines.nats import NatsServer
from tests.engines.process import ServerProcess
from tests.engines.valkey import ValkeyServer

#: Longer than any broker needs to connect again.
PATIENCE_SECONDS = 15


@final
class House:
    """One of the nodes: an app with its hub."""

    def __init__(self, url: str, **limits: Any) -> None:
        self.hub = Hub(url, limits=Limits(**limits))
        self.room: Channel[Any] = self.hub.channel(
            "room:{name}", history=History(size=50, seconds=60), presence=True, join_leave=True, publish=True
        )
        self.news: Channel[Any] = self.hub.channel("news:{name}")
        self.app = FastAPI()
        self.app.include_router(self.hub.router)

        @self.hub.on_connect
        def who(name: str) -> Accept:
            return Accept(user=name)

        @self.hub.rpc("subscribe me")
        async def subscribe_me(message: str) -> None:
            await self.hub.user("ann").subscribe(message)


@asynccontextmanager
async def houses(url: str, count: int = 2, **limits: Any) -> AsyncIterator[list[House]]:
    """Run nodes on one engine, until each knows of all."""
    async with AsyncExitStack() as stack:
        nodes = [House(url, **limits) for _ in range(count)]
        for node in nodes:
            await stack.enter_async_context(started(node.app, limit_seconds=PATIENCE_SECONDS))
        await until(lambda: all(len(node.hub.nodes) == count for node in nodes))
        yield nodes


@asynccontextmanager
async def two(anns: House, bens: House) -> AsyncIterator[tuple[Client, Client]]:
    """Connect Ann and Ben to a node each."""
    async with connect(anns.app, name="ann") as ann, connect(bens.app, name="ben") as ben:
        yield ann, ben


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for what other processes bring about.

    Raises:
        TimeoutError: it did not come.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # it is other processes that are waited for
            await asyncio.sleep(0.02)


async def publish_until_taken(room: Channel[Any], number: int) -> None:
    """Publish, as an app does that insists: under one key, again and again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await room.publish(number, name="x", idempotency_key=str(number))
            except BrokerUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def heard(client: Client, last: int) -> list[int]:
    """Give what a client hears, up to and with a number."""
    numbers: list[int] = []
    while not numbers or numbers[-1] != last:
        push = await client.push()
        assert "unsubscribe" not in push, push
        if "pub" in push:
            numbers.append(push["pub"]["data"])
    return numbers


@pytest.fixture(params=["valkey", "redis", "valkey_cluster", "nats"])
def url(request: pytest.FixtureRequest) -> str:
    """An engine that all tests share, under a name of the test's own."""
    server: Any = request.getfixturevalue(request.param)
    return f"{server.url}?prefix=test{secrets.token_hex(8)}"


async def test_what_is_published_on_one_node_is_heard_on_all(url: str) -> None:
    """In order, once, with one position for all; with history and without."""
    async with houses(url, 3) as nodes, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(node.app, name="ann")) for node in nodes]
        for client in clients:
            await client.subscribe("room:x")
            await client.subscribe("news:x")
        for number in range(9):
            await nodes[number % 3].room.publish(number, name="x")
            await nodes[number % 3].news.publish(number, name="x")
        for client in clients:
            assert [(await client.publication("room:x"))["data"] for _ in range(9)] == list(range(9))
        assert len({client.positions["room:x"] for client in clients}) == 1


async def test_a_client_recovers_on_another_node(url: str) -> None:
    """What it missed comes from the other node, in order: no sticky sessions."""
    async with houses(url) as (first, second):
        async with connect(first.app, name="ann") as client:
            await client.subscribe("room:x")
            await first.room.publish(1, name="x")
            await heard(client, 1)
            position = client.positions["room:x"]
        for number in (2, 3):
            await second.room.publish(number, name="x")
        async with connect(second.app, name="ann") as client:
            result = await client.recover("room:x", position)
            assert result["recovered"]
            assert [publication["data"] for publication in result["publications"]] == [2, 3]


async def test_presence_and_joins_are_those_of_all_nodes(url: str) -> None:
    """Who is on another node is seen, comes and goes like anybody."""
    async with houses(url) as (first, second), connect(first.app, name="ann") as ann:
        await ann.subscribe("room:x", join_leave=True)
        async with connect(second.app, name="ben") as ben:
            await ben.subscribe("room:x")
            while (push := await ann.push()).get("join", {}).get("info", {}).get("user") != "ben":
                pass
            assert {one["user"] for one in (await ann.presence("room:x")).values()} == {"ann", "ben"}
        while "leave" not in (push := await ann.push()):
            pass
        assert push["leave"]["info"]["user"] == "ben"
        assert {one["user"] for one in (await ann.presence("room:x")).values()} == {"ann"}


async def test_a_user_is_reached_on_every_node(url: str) -> None:
    """Each of the four orders is carried out wherever the user is, before it returns."""
    async with houses(url) as (first, second), two(second, second) as (ann, ben):
        await first.hub.user("ann").subscribe("room:x")
        assert [*second.hub.sessions[ann.id].channels] == ["room:x"]
        await first.hub.user("ann").send({"hello": 1})
        while (push := await ann.push()).get("message") is None:
            pass
        assert push["message"]["data"] == {"hello": 1}
        await first.hub.user("ann").unsubscribe("room:x")
        assert not second.hub.sessions[ann.id].channels
        await first.hub.user("ann").disconnect()
        assert ann.id not in second.hub.sessions
        assert isinstance(await ann.closed(), Closed)
        assert ben.id in second.hub.sessions


async def test_what_another_node_refuses_is_raised_as_what_it_was(url: str) -> None:
    """The code that asks need not know where the user is."""
    async with houses(url) as (first, second), connect(second.app, name="ann"):
        with pytest.raises(UnknownChannel):
            await first.hub.user("ann").subscribe("nowhere")
        await first.hub.user("ann").subscribe("room:x")
        await first.hub.user("ann").subscribe("room:x")  # being there already is no error
        with pytest.raises(AlreadySubscribed):
            await next(iter(second.hub.sessions.values())).subscribe("room:x")


async def test_a_survey_counts_all_nodes(url: str) -> None:
    """Clients by node, subscribers by channel."""
    async with houses(url) as (first, second), connect(first.app, name="ann") as ann, connect(second.app) as ben:
        await ann.subscribe("room:x")
        await ben.subscribe("room:x")
        await ben.subscribe("news:y")
        survey = await first.hub.survey()
        assert survey.channels == {"room:x": 2, "news:y": 1}
        assert (survey.clients, [node.clients for node in survey.nodes]) == (2, [1, 1])
        assert (await second.hub.survey("news:")).channels == {"news:y": 1}


async def test_a_node_that_stops_is_gone_at_once(url: str) -> None:
    """It says so, and its clients are taken out of presence."""
    async with houses(url) as (first, _):
        third = House(url)
        async with started(third.app), connect(third.app, name="carl") as carl:
            await until(lambda: len(first.hub.nodes) == 3)
            await carl.subscribe("room:x")
            assert len(await first.room.presence(name="x")) == 1
        assert len(first.hub.nodes) == 2
        assert not await first.room.presence(name="x")


# --- the engine fails ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["valkey", "redis", "nats"])
def server(request: pytest.FixtureRequest) -> Any:
    """An engine of the test's own, which keeps its data over a restart."""
    if request.param == "nats":
        return NatsServer()
    return ValkeyServer(request.param, aof=True)


async def test_clients_do_not_notice_a_restart_of_the_broker(server: ServerProcess) -> None:
    """What was published before and after it, on either node, is heard once, in order; nobody is told anything."""
    with server:
        url = f"{server.url}?timeout=2"  # type: ignore[attr-defined]
        async with houses(url) as (first, second), two(first, second) as (ann, ben):
            for client in (ann, ben):
                await client.subscribe("room:x")
            await first.room.publish(1, name="x")
            server.kill()
            await until(lambda: bool(first.hub.problems) and bool(second.hub.problems))
            with pytest.raises(BrokerUnavailable):
                await first.room.publish(0, name="x")
            server.restart()
            for number in range(2, 12):
                await publish_until_taken((first, second)[number % 2].room, number)
            for client in (ann, ben):
                assert await heard(client, 11) == list(range(1, 12))
            await until(lambda: not first.hub.problems and not second.hub.problems)
            await until(lambda: _everybody_is_seen(first, second))
            async with asyncio.timeout(PATIENCE_SECONDS):
                # On NATS presence is in memory: everybody is entered again.
                while len(await second.room.presence(name="x")) < 2:  # noqa: ASYNC110  # it is other processes
                    await asyncio.sleep(0.02)


def _everybody_is_seen(*nodes: House) -> bool:
    return all(len(node.hub.nodes) == len(nodes) for node in nodes)


async def test_whoever_subscribes_while_the_broker_is_away_is_refused_for_now() -> None:
    """100, which a client tries again by itself; it stays connected, and so do its other channels."""
    with ValkeyServer() as server:
        async with houses(f"{server.url}?timeout=0.5", 1) as (node,), connect(node.app, name="ann") as ann:
            await ann.subscribe("room:x")
            server.freeze()
            try:
                with pytest.raises(Exception, match=r"^100 ") as refused:
                    await ann.subscribe("room:y")
                assert getattr(refused.value, "temporary", False)
                assert not ann.is_closed
            finally:
                server.thaw()
            await until(lambda: not node.hub.problems)
            await ann.subscribe("room:y")


async def test_clients_are_told_when_history_was_lost() -> None:
    """A server that comes back empty has lost what they may have missed: 2500, and they may subscribe again."""
    with ValkeyServer() as server:
        async with houses(f"{server.url}?timeout=2", 1) as (node,), connect(node.app, name="ann") as ann:
            await ann.subscribe("room:x")
            await node.room.publish(1, name="x")
            await heard(ann, 1)
            server.kill()
            server.restart()
            while "unsubscribe" not in (push := await ann.push()):
                pass
            assert push["unsubscribe"]["code"] == 2500
            result = await ann.recover("room:x", ann.positions["room:x"])
            assert result["was_recovering"]
            assert not result.get("recovered")
            await publish_until_taken(node.room, 2)
            assert await heard(ann, 2) == [2]


async def test_a_node_that_cannot_reach_its_broker_does_not_start() -> None:
    """With words that say where it looked, and no password."""
    node = House("valkey://user:secret@127.0.0.1:1?timeout=0.2")
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1") as refused:
        async with node.hub.running():
            pass
    assert "secret" not in str(refused.value)


async def test_followers_on_other_nodes(url: str) -> None:
    """What is published on one node is followed on another, and from a position of the one on the other."""
    async with houses(url) as (here, there), asyncio.timeout(PATIENCE_SECONDS):
        publications = there.room.follow(name="x")
        first = asyncio.ensure_future(anext(publications))
        await until(lambda: "room:x" in there.hub._node._topics)
        while not first.done():
            await here.room.publish("begin", name="x")
            await asyncio.wait([first], timeout=0.1)
        position = (await first).position
        for number in range(5):
            await here.room.publish(number, name="x")
        got: list[Any] = []
        while not got or got[-1] != 4:
            got.append((await anext(publications)).message)
        assert [each for each in got if each != "begin"] == list(range(5))
        await publications.aclose()

        again = here.hub.follow("room:x", since=position)
        got = []
        while not got or got[-1] != 4:
            got.append((await anext(again)).message)
        assert [each for each in got if each != "begin"] == list(range(5))
        await again.aclose()
