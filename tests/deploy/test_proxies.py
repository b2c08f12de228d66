"""What the two configurations promise beside the transports: who is let through, what is told, what stays open."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.deploy.followers import SDK_JS, Heard, curl, sdk_js
from tests.deploy.house import PROXIES, House
from tests.deploy.node import Node
from tests.deploy.proxy import HAProxy, Nginx
from tests.engines.process import wait_until
from tests.engines.valkey import ValkeyServer

LIMIT_SECONDS = 10


@asynccontextmanager
async def line(house: House, channel: str, *, encrypted: bool = False) -> AsyncIterator[ClientConnection]:
    """Follow a channel over WebSocket, through the proxy."""
    base = house.proxy.https if encrypted else house.proxy.http
    tls = house.proxy.trusting if encrypted else None
    address = f"ws{base[4:]}/connection/uni_websocket?channel={channel}"
    async with connect(address, proxy=None, ssl=tls) as made:
        assert "connect" in await hears(made)
        yield made


async def hears(one: ClientConnection) -> dict[str, object]:
    """Wait for the next push that is no ping."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not (push := json.loads(await one.recv())):
            pass
    assert isinstance(push, dict)
    return push


def holder(house: House, before: list[int]) -> Node:
    """The node that has a line more than before."""
    return next(node for node, count in zip(house.nodes, before, strict=True) if node.state()["sessions"] > count)


def sessions(house: House) -> list[int]:
    """How many lines each node has."""
    return [int(node.state()["sessions"]) for node in house.nodes]


@pytest.fixture
def channel() -> str:
    """A channel nobody was in before."""
    return f"room:{secrets.token_hex(4)}"


@pytest.fixture
async def empty(house: House) -> House:
    """A house in which nobody is left from the test before."""
    await asyncio.to_thread(wait_until, lambda: not sum(sessions(house)), "everybody has left")
    return house


async def test_posts_land_on_either_node(empty: House, channel: str) -> None:
    """What clients of streams say goes to both nodes in turn, wherever the stream is; none is refused."""
    heard = Heard()
    kinds = {kind: what for kind, what in SDK_JS.items() if what[0] != "websocket"}
    before = [node.state()["requests"].get("/emulation", 0) for node in empty.nodes]
    async with sdk_js(heard, kinds, empty.proxy.http, channel) as scripts:
        assert await heard.until(lambda: len(heard.numbers) == len(kinds))
        for number in range(10):
            for kind in kinds:
                scripts.publish(kind, number)
        everything = sorted([*range(10)] * len(kinds))
        assert await heard.until(lambda: all(sorted(one) == everything for one in heard.numbers.values())), (
            heard.numbers
        )
        after = [node.state()["requests"]["/emulation"] for node in empty.nodes]

    posted = [new - old for new, old in zip(after, before, strict=True)]
    # One to subscribe and ten to publish, each, some of them together in one post.
    assert min(posted) >= len(kinds)
    assert abs(posted[0] - posted[1]) <= sum(posted) // 2
    assert heard.problems == []


async def test_a_client_that_hangs_up_is_gone_from_its_node(empty: House, channel: str) -> None:
    """At once, not with the next ping that cannot be delivered: the proxy hangs up too."""
    async with aclosing(curl(f"{empty.proxy.http}/connection/uni_http_stream?channel={channel}")) as lines:
        assert "connect" in json.loads(await anext(lines))
        assert sum(sessions(empty)) == 1
    await asyncio.to_thread(wait_until, lambda: not sum(sessions(empty)), "nobody is there")


async def test_lines_over_tls(empty: House, channel: str) -> None:
    """WebSocket with TLS; streams with TLS, and over HTTP/2."""
    async with line(empty, channel, encrypted=True) as websocket:
        address = f"{empty.proxy.https}/connection/uni_sse?channel={channel}"
        options = (
            "--cacert",
            str(empty.proxy.certificate),
            "--http2",
            "--include",
            "-H",
            f"Origin: {empty.proxy.https}",
        )
        async with aclosing(curl(address, *options)) as lines:
            assert (await anext(lines)).split() == ["HTTP/2", "200"]
            while '"connect"' not in await anext(lines):
                pass
            await asyncio.to_thread(empty.nodes[0].publish, channel, 7)
            while '"pub"' not in (told := await anext(lines)):
                pass
            assert '"data":7' in told
        assert "pub" in await hears(websocket)


def test_a_node_is_told_who_asks(house: House) -> None:
    """The address of the client and the scheme it used; what it wrote there itself is not believed."""
    forged = {"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "gopher", "Host": "shop.example:8443"}
    request = urllib.request.Request(f"{house.proxy.https}/state", headers=forged)
    with urllib.request.urlopen(request, timeout=LIMIT_SECONDS, context=house.proxy.trusting) as answer:
        state = json.load(answer)

    assert state["client"] == "127.0.0.1"
    assert state["address"] == "https://shop.example:8443/state"


def test_strangers_are_not_told_how_a_node_is(house: House) -> None:
    """The route names servers: it is for the proxy."""
    assert house.proxy.ask("/health") == 404


def test_a_page_of_another_site_is_refused(house: House) -> None:
    """The hub compares the origin with the host, which has come through as it was."""
    assert house.proxy.ask("/connection/poll?channel=room:x&wait=0", origin="http://evil.example") == 403
    assert house.proxy.ask("/connection/poll?channel=room:x&wait=0", origin=house.proxy.http) == 200


def test_no_token_is_logged(house: House) -> None:
    """The queries of requests hold them, and are left out."""
    assert house.proxy.ask("/connection/poll?channel=room:x&wait=0&token=s3cret") in (200, 401)
    log = house.proxy.folder / "access" if isinstance(house.proxy, Nginx) else house.proxy.folder / "log"
    wait_until(lambda: "/connection/poll" in log.read_text(), "the request is in the log")
    assert "s3cret" not in log.read_text()


def test_half_a_request_holds_nothing_for_long(house: House) -> None:
    """A client that says nothing more is not passed on to a node."""
    before = [node.state()["requests"] for node in house.nodes]
    with socket.create_connection(("127.0.0.1", house.proxy.port), LIMIT_SECONDS) as half:
        half.sendall(b"POST /emulation HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n")
        assert house.proxy.ask("/state") == 200
    after = [node.state()["requests"] for node in house.nodes]
    assert [one.get("/emulation", 0) for one in before] == [one.get("/emulation", 0) for one in after]


@pytest.mark.parametrize("proxy", PROXIES)
async def test_a_node_that_is_full_is_passed_over(valkey: ValkeyServer, channel: str, proxy: str) -> None:
    """Its 503 is not for the client: the next node takes the handshake, and the POST a stream begins with."""
    with House(proxy, valkey.url, connections=1) as house:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(line(house, channel))
                stream = curl(f"{house.proxy.http}/connection/http_stream", "--data", '{"id":1,"connect":{}}')
                await stack.enter_async_context(aclosing(stream))
                assert "client" in json.loads(await anext(stream))["connect"]
            assert sessions(house) == [1, 5]


async def test_lines_outlive_a_reload_of_nginx(nginx_house: House, channel: str) -> None:
    """New workers take new lines; the old ones keep theirs, for a while."""
    proxy = nginx_house.proxy
    assert isinstance(proxy, Nginx)
    async with line(nginx_house, channel) as old:
        before = proxy.workers()
        proxy.reload()
        await asyncio.to_thread(wait_until, lambda: not before & proxy.accepting(), "the old workers take no lines")
        async with line(nginx_house, channel) as new:
            await asyncio.to_thread(nginx_house.nodes[0].publish, channel, 1)
            for one in (old, new):
                assert "pub" in await hears(one)
        assert before & proxy.workers()


async def test_a_node_is_drained_before_it_stops(haproxy_house: House, channel: str) -> None:
    """New lines go to the other; those it has stay until it ends, and are led to the other then."""
    house = haproxy_house
    assert isinstance(house.proxy, HAProxy)
    async with line(house, channel) as old:
        drained = holder(house, [0, 0])
        name = ("one", "two")[house.nodes.index(drained)]
        assert house.proxy.say(f"set server lines/{name} state drain").strip() == ""
        before = sessions(house)
        async with line(house, channel), line(house, channel) as new:
            assert drained.state()["sessions"] == before[house.nodes.index(drained)]
            await asyncio.to_thread(drained.publish, channel, 1)
            for one in (old, new):
                assert "pub" in await hears(one)
        house.proxy.say(f"set server lines/{name} state ready")


async def test_lines_outlive_the_engine(channel: str) -> None:
    """Its nodes are red and get no new lines; those they have stay, and no post of a stream is answered with 5xx."""
    with ValkeyServer(aof=True) as engine, House("haproxy", f"{engine.url}?timeout=1") as house:
        stream = curl(f"{house.proxy.http}/connection/http_stream", "--data", '{"id":1,"connect":{}}')
        async with aclosing(stream), line(house, channel) as old:
            connected = json.loads(await anext(stream))["connect"]
            engine.kill()
            await asyncio.to_thread(wait_until, lambda: _states(house, "lines") == {"DOWN"}, "both are red")
            assert house.proxy.ask("/connection/poll?channel=room:x&wait=0") == 503
            posted = {"session": connected["session"], "node": connected["node"], "data": '{"id":2,"ping":{}}'}
            answers = [house.proxy.ask("/emulation", json.dumps(posted).encode()) for _ in house.nodes]
            assert set(answers) <= {204, 429}
            assert _states(house, "requests") == {"UP"}

            engine.restart()
            await asyncio.to_thread(wait_until, lambda: _states(house, "lines") == {"UP"}, "both are green")
            await asyncio.to_thread(house.nodes[0].publish, channel, 1)
            assert "pub" in await hears(old)


def _states(house: House, backend: str) -> set[str]:
    assert isinstance(house.proxy, HAProxy)
    rows = [row.split(",") for row in house.proxy.say("show stat").splitlines()]
    return {row[17].partition(" ")[0] for row in rows if row[:1] == [backend] and row[1] in ("one", "two")}
