"""The examples: each is run as its first lines say, and does what they say."""

from __future__ import annotations

import ast
import asyncio
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import connect as websocket

from openline.testing import Closed, HandshakeRefused, Refused, connect, started
from tests.running import openline_run, running

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ADA, BOB = {"authorization": "Bearer token-of-ada"}, {"authorization": "Bearer token-of-bob"}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """One example, read anew: what an earlier test did to it is forgotten."""
    monkeypatch.delitem(sys.modules, request.param, raising=False)
    return importlib.import_module(request.param)


def of(name: str) -> pytest.MarkDecorator:
    """Give a test the example of this name."""
    return pytest.mark.parametrize("example", [f"examples.{name}"], indirect=True)


def routes(app: Any) -> httpx2.AsyncClient:
    """A client of the app's routes, in the same event loop."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_says_how_it_is_run_and_is_tested(path: Path) -> None:
    """The first lines hold the command; a test below drives the example."""
    command = f"openline run examples.{path.stem}:app", f"python examples/{path.stem}.py"
    text = path.read_text()

    assert any(f"    {one}" in text.partition('"""\n')[0] for one in command)
    assert (
        f'of("{path.stem}")' in Path(__file__).read_text() or f"examples/{path.stem}.py" in Path(__file__).read_text()
    )


@of("ticker")
async def test_the_newest_price_comes_at_once_and_then_each_change(example: ModuleType) -> None:
    """One who subscribes from before the first gets the newest price, and live ones after it."""
    async with started(example.app), connect(example.app) as witness, connect(example.app) as client:
        await witness.subscribe("price:TEA")
        await witness.publication()

        result = await client.subscribe("price:TEA", recover=True, offset=0, epoch="")
        (newest,) = result["publications"]
        async with routes(example.app) as http:
            assert (await http.get("/prices/TEA")).json() == newest["data"]
            assert (await http.get("/prices/GOLD")).json() is None
        assert (await client.publication("price:TEA"))["offset"] > newest["offset"]


@of("orders")
async def test_a_customer_hears_of_their_own_orders_only(example: ModuleType) -> None:
    """The server subscribes each customer; a change is told to them alone, and once."""
    app = example.app
    async with started(app), connect(app, headers=ADA) as ada, connect(app, headers=BOB) as bob, routes(app) as http:
        taken = await http.post("/orders", headers=ADA)
        for _ in range(2):
            await http.put("/orders/1/state", params={"state": "packed"})

        assert taken.status_code == 201
        assert [(await ada.publication())["data"]["state"] for _ in range(2)] == ["taken", "packed"]
        assert bob.waiting() == []
        with pytest.raises(Refused, match="103"):
            await bob.subscribe("customer:ada")


@of("orders")
async def test_a_customer_who_was_away_gets_what_happened(example: ModuleType) -> None:
    """The connect command says where the client stood, and the reply holds what it missed."""
    async with started(example.app), routes(example.app) as http:
        async with connect(example.app, headers=ADA) as ada:
            position = ada.positions["customer:ada"]
        await http.post("/orders", headers=ADA)

        subs = {"customer:ada": {"recover": True, "epoch": position.epoch, "offset": position.offset}}
        async with connect(example.app, headers=ADA, subs=subs) as back:
            assert back.positions["customer:ada"].offset == position.offset + 1

            await http.post("/customers/ada/sign-out")
            assert (await back.closed()).code == 3503


@of("orders")
async def test_strangers_are_refused_by_routes_and_hub_alike(example: ModuleType) -> None:
    """One dependency answers for both."""
    stranger = {"authorization": "Bearer made-up"}
    async with started(example.app), routes(example.app) as http:
        assert (await http.post("/orders", headers=stranger)).status_code == 401
        with pytest.raises(Refused) as refused:
            async with connect(example.app, headers=stranger):
                pass
        assert (refused.value.code, refused.value.message) == (101, "unknown token")


@of("board")
async def test_strokes_reach_those_who_are_there_and_saved_ones_stay(example: ModuleType) -> None:
    """A stroke is signed and told, a picture is kept by a call, a stroke beside the board is refused by its field."""
    async with started(example.app), connect(example.app, query="name=ada") as ada:
        await ada.subscribe("board:1", join_leave=True)
        async with connect(example.app, query="name=bob") as bob:
            await bob.subscribe("board:1")
            while (push := await ada.push()).get("join", {}).get("info", {}).get("user") != "bob":
                assert "join" in push

            await bob.publish("board:1", {"points": [[1, 2]], "by": "ada"})
            assert (await ada.publication())["data"] == {"points": [[1, 2]], "by": "bob"}

            with pytest.raises(Refused, match="points"):
                await bob.publish("board:1", {"points": [[1, 2000]]})
            assert await bob.rpc("board.save", {"board": "1", "strokes": [{"points": [[1, 2]]}]}) == 1
        assert await ada.rpc("board.load", "1") == [{"points": [[1, 2]], "by": ""}]
        with pytest.raises(Refused, match="not at that board"):
            await ada.rpc("board.save", {"board": "2", "strokes": []})


@of("board")
async def test_nobody_enters_the_board_without_a_name(example: ModuleType) -> None:
    """The query of the handshake is checked as that of a route is."""
    async with started(example.app):
        with pytest.raises((Refused, Closed, HandshakeRefused), match="name"):
            async with connect(example.app):
                pass


def test_the_tutorials_chat_in_half_the_lines() -> None:
    """What takes the tutorial 27 lines beside its page; counted without blank ones, and without words about it."""
    program = ast.parse((ROOT / "examples/chat.py").read_text())
    assert len(list(filter(None, ast.unparse(program.body[1:]).splitlines()))) == 13  # type: ignore[arg-type]  # a list will do


async def test_the_tutorials_chat_on_a_real_server() -> None:
    """Each hears what the others say, in the tutorial's words; examples/chat.py knows no protocol of ours."""
    async with openline_run("examples.chat:app", ROOT) as port, asyncio.timeout(20):
        address = f"ws://127.0.0.1:{port}/ws"
        async with websocket(f"{address}/1", proxy=None) as ada:
            async with websocket(f"{address}/2", proxy=None) as bob:
                await bob.send("hello")
                assert [await bob.recv() for _ in range(2)] == ["You wrote: hello", "Client #2 says: hello"]
                assert await ada.recv() == "Client #2 says: hello"
            assert await ada.recv() == "Client #2 left the chat"


async def read_prices(http: httpx2.AsyncClient, count: int, last: str = "") -> list[str]:
    """Read this many events of examples/prices.py as they are written, and let go of the line."""
    headers = {"last-event-id": last} if last else {}
    events: list[str] = []
    async with asyncio.timeout(20), http.stream("GET", "/prices/TEA", headers=headers) as response:
        async for text in response.aiter_text():
            events += filter(None, text.split("\n\n"))
            if len(events) >= count:
                break
    return events


async def test_an_event_source_that_comes_back_misses_nothing() -> None:
    """It sends the id it saw last; one that was away too long is told, and begins anew without an id."""
    async with (
        openline_run("examples.prices:app", ROOT) as port,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        (begun,) = await read_prices(http, 1)
        assert begun.startswith("id: ")
        for cents in (100, 110):
            assert (await http.put("/prices/TEA", params={"cents": cents})).status_code == 200
        first, second = await read_prices(http, 2, begun.removeprefix("id: "))
        assert first.startswith('data: {"cents":100}\nid: ')
        assert [second] == await read_prices(http, 1, first.partition("id: ")[2])
        (told,) = await read_prices(http, 2, "made up:1")
        assert told.split("\n")[0] == "event: reset"
        assert told.rstrip().endswith("id:")


async def test_listening_from_the_command_line() -> None:
    """The client prints what the ticker publishes, over a real socket."""
    async with openline_run("examples.ticker:app", ROOT) as port:
        address = f"ws://127.0.0.1:{port}/connection/websocket"
        command = [sys.executable, "examples/listen.py", address, "price:TEA"]
        async with running(command, ROOT) as listener:
            await listener.prints("connected as")
            await listener.prints("subscribed")
            assert await listener.prints('{"cents": ')
