"""The programs of README and docs are driven by clients: they do what the page around them says."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from openline.errors import OpenlineError
from openline.server import application
from openline.settings import load
from openline.testing import Client, Closed, HandshakeRefused, Refused, connect, started
from tests.api.house import served
from tests.bare_client import bare_line
from tests.engines.valkey import ValkeyServer
from tests.pages import ROOT, page, program
from tests.running import openline_run, running
from tests.wires.servers import uvicorn_server

MODULES = ROOT / "web/node_modules"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and this process in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def routes(app: Any) -> httpx2.AsyncClient:
    """A client of the app's routes, in the same event loop."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


async def refused(client: Client, channel: str) -> int:
    """Subscribe in vain; give the error's code."""
    with pytest.raises(Refused) as refusal:
        await client.subscribe(channel)
    return refusal.value.code


async def kept_out(app: Any, **options: Any) -> OpenlineError:
    """Connect in vain; give the reason."""
    with pytest.raises((Refused, Closed, HandshakeRefused)) as reason:
        async with connect(app, **options):
            pass
    error: OpenlineError = reason.value
    return error


# --- README -------------------------------------------------------------------------------------------------------


async def test_server_and_clients_of_the_readme_hear_each_other(folder: Path) -> None:
    """`openline run main:app`, the JavaScript, the Python and a request, as one who follows the README has them."""
    readme = page("README.md")
    assert "main.py" in readme.write_files(folder)
    (script,) = readme.blocks("js")
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(openline_run("main:app", folder))
        here = f"127.0.0.1:{port}"
        (folder / "client.py").write_text((folder / "client.py").read_text().replace("127.0.0.1:8000", here))
        # Node 20 has no WebSocket of its own, as browsers do.
        (folder / "node_modules").symlink_to(MODULES)
        (folder / "browser.mjs").write_text('import { WebSocket } from "ws";\nglobalThis.WebSocket = WebSocket;\n')
        (folder / "client.mjs").write_text(script.text.replace("127.0.0.1:8000", here))

        browser = await stack.enter_async_context(running(["node", "--import", "./browser.mjs", "client.mjs"], folder))
        await browser.prints("hello from JavaScript")
        listener = await stack.enter_async_context(running([sys.executable, "client.py"], folder))
        await asyncio.gather(browser.prints("hello from Python"), listener.prints("hello from Python"))
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"http://{here}/rooms/lobby?text=hello+from+HTTP")

        assert answer.status_code == 200
        await asyncio.gather(browser.prints("hello from HTTP"), listener.prints("hello from HTTP"))


async def test_the_larger_program_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members enter, messages are signed, what does not fit is refused by its field, a call is answered."""
    async with program(page("README.md"), "chat.py", monkeypatch) as chat, routes(chat.app) as http:
        tokens = {user: (await http.post("/token", params={"user": user})).json() for user in ("ada", "eve")}
        async with connect(chat.app, token=tokens["ada"]) as ada, connect(chat.app, token=tokens["eve"]) as eve:
            await ada.subscribe("room:lobby")
            await ada.publish("room:lobby", {"author": "eve", "text": "hello"})

            assert (await ada.publication())["data"] == {"author": "ada", "text": "hello"}
            assert await ada.rpc("room.present", {"name": "lobby"}) == ["ada"]
            assert await refused(eve, "room:lobby") == 103
            with pytest.raises(Refused, match="text"):
                await ada.publish("room:lobby", {"txt": "hello"})
        assert str(await kept_out(chat.app)).startswith("3501")


# --- the quickstart and the way from the tutorial -----------------------------------------------------------------


async def test_the_chat_of_the_quickstart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is served, a visitor without a name is told, a route publishes to those who are there."""
    quickstart = page("docs/quickstart.md")
    quickstart.write_files(folder)
    async with program(quickstart, "chat.py", monkeypatch) as chat, routes(chat.app) as http:
        assert "app.js" in (await http.get("/page/")).text
        assert "name" in str(await kept_out(chat.app, data={"name": ""}))
        async with connect(chat.app, data={"name": "ada"}) as ada:
            await ada.subscribe("room:kitchen")
            await http.post("/rooms/kitchen", json={"author": "cook", "text": "tea"})
            assert (await ada.publication())["data"] == {"author": "cook", "text": "tea"}
            assert await refused(ada, "hall:kitchen") == 102


async def test_the_chat_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tutorial's chat works as its page says; so does what it becomes, with the names proven."""
    tutorial = page("docs/from-connection-manager.md")
    async with program(tutorial, "before.py", monkeypatch) as before:
        assert {route.path for route in before.app.routes} >= {"/chat/{name}"}

    async with program(tutorial, "after.py", monkeypatch) as after, routes(after.app) as http:
        assert "sign in first" in str(await kept_out(after.app, token="made up"))
        async with connect(after.app, token="token-of-ada") as ada, connect(after.app, token="token-of-bob") as bob:
            await ada.subscribe("room:lobby")
            await bob.subscribe("room:lobby")
            await bob.publish("room:lobby", {"author": "ada", "text": "it was me"})
            await http.post("/rooms/lobby", json={"author": "the house", "text": "now, now"})
            said = [(await ada.publication())["data"] for _ in range(2)]
            assert said == [{"author": "bob", "text": "it was me"}, {"author": "the house", "text": "now, now"}]


# --- authentication -----------------------------------------------------------------------------------------------


async def test_tokens_of_the_authentication_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The app's token opens a line and the server subscribes; without one, with a bad one or when banned: no line."""
    async with program(page("docs/authentication.md"), "tokens.py", monkeypatch) as tokens, routes(tokens.app) as http:
        token = (await http.post("/live-token")).json()["token"]
        async with connect(tokens.app, token=token) as client:
            assert next(iter(tokens.hub.sessions.values())).channels == {"user:42"}
            await tokens.hub.publish("user:42", "hello")
            assert (await client.publication("user:42"))["data"] == "hello"
            (session,) = tokens.hub.user("42").sessions
            assert session.info == {"name": "Ada"}

        assert str(await kept_out(tokens.app)).startswith("3501")
        assert str(await kept_out(tokens.app, token="not.a.token")).startswith("3500")
        tokens.BANNED.add("42")
        assert str(await kept_out(tokens.app, token=token)) == "103 banned"


async def test_opaque_tokens_of_the_authentication_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the client sends is looked up by a dependency."""
    async with program(page("docs/authentication.md"), "opaque.py", monkeypatch) as opaque:
        async with connect(opaque.app, token="s3cret-of-ada"):
            assert [session.user for session in opaque.hub.sessions.values()] == ["ada"]
        assert str(await kept_out(opaque.app, token="made up")) == "103 unknown token"


async def test_cookies_of_the_authentication_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cookie says who it is; a page of a site that is not listed is refused before anyone is asked."""
    signed_in = {"cookie": "session_id=5e55"}
    async with program(page("docs/authentication.md"), "cookies.py", monkeypatch) as cookies:
        async with connect(cookies.app, headers={**signed_in, "origin": "https://shop.example"}):
            assert [session.user for session in cookies.hub.sessions.values()] == ["ada"]
        foreign = await kept_out(cookies.app, headers={**signed_in, "origin": "https://evil.example"})
        assert isinstance(foreign, HandshakeRefused)
        assert foreign.status == 403


async def test_schemes_of_the_authentication_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header of the handshake is read by FastAPI's scheme; members enter, the rest stays outside."""
    ada = {"authorization": "Bearer token-of-ada"}
    async with program(page("docs/authentication.md"), "schemes.py", monkeypatch) as schemes:
        async with connect(schemes.app, headers=ada) as client:
            await client.subscribe("room:lobby")
            (here,) = (await client.presence("room:lobby")).values()
            assert (here["user"], here["chan_info"]) == ("ada", {"role": "member"})
            assert await refused(client, "room:attic") == 103
            assert await refused(client, "user:ada") == 103
        stranger = await kept_out(schemes.app, headers={"authorization": "Bearer made up"})
        assert str(stranger) == "101 unknown token"


async def test_subscription_tokens_of_the_authentication_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protected channel wants its own token; a session ends with its hour, or when somebody signs out."""
    async with (
        program(page("docs/authentication.md"), "private.py", monkeypatch) as private,
        routes(private.app) as http,
    ):
        token = (await http.post("/board-token/7")).json()["token"]
        async with connect(private.app) as client:
            (session,) = private.hub.sessions.values()
            assert session.ends_at is not None
            assert await refused(client, "board:7") == 103
            assert (await client.subscribe("board:7", token=token))["expires"]

        signed = private.auth.sign("42", expires_in=900)
        async with connect(private.app, token=signed) as client:
            await http.post("/role-changed/42")
            assert (await client.closed()).code == 3011
        async with connect(private.app, token=signed) as client:
            await http.post("/sign-out/42")
            assert (await client.closed()).code == 3503


async def test_on_refresh_of_the_authentication_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says another hour to those who are signed in."""
    async with program(page("docs/authentication.md"), "private.py", monkeypatch) as private, connect(private.app):
        (session,) = private.hub.sessions.values()
        assert await private.another_hour(session) is None
        session.user = "ada"
        assert await private.another_hour(session) > private.datetime.now(private.UTC)


# --- backend events -----------------------------------------------------------------------------------------------


async def test_the_back_end_of_the_events_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standalone server of the page's file asks the page's program: each event has the answer that is shown."""
    events = page("docs/events.md")
    events.write_files(folder)
    async with program(events, "backend.py", monkeypatch) as back_end, routes(back_end.app) as http:
        assert (await http.post("/events/connect", json={})).status_code == 403
        with uvicorn_server(back_end.app, ws="none") as server:
            settings = (folder / "openline.toml").read_text().replace("127.0.0.1:9000", f"127.0.0.1:{server.port}")
            (folder / "openline.toml").write_text(settings)
            app = application(load(folder / "openline.toml", {}))
            async with started(app):
                async with connect(app, headers={"cookie": "session=5e55"}) as ada:
                    await ada.subscribe("room:lobby")
                    await ada.subscribe("news")
                    assert await refused(ada, "room:attic") == 103
                    await ada.publish("room:lobby", "hello")
                    publication = await ada.publication("room:lobby")
                    assert publication["data"] == {"text": "hello", "by": "ada"}
                    assert publication["info"]["chan_info"] == {"role": "member"}
                    with pytest.raises(Refused, match="103"):
                        await ada.publish("news", "hello")
                    assert await ada.rpc("rooms.list", None) == ["room:lobby"]
                    with pytest.raises(Refused, match="104"):
                        await ada.rpc("rooms.close", None)
                assert str(await kept_out(app)) == "4501 sign in first"
    told = capsys.readouterr().out
    assert "ada left room:lobby" in told
    assert "ada left the server" in told


# --- plain endpoints ----------------------------------------------------------------------------------------------


async def test_the_short_way_from_the_tutorial(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old page's messages pass as they were, in as many lines as the page says."""
    guide = page("docs/from-connection-manager.md")
    sizes = {
        block.file: len([line for line in block.text.splitlines()[1:] if line.strip()])
        for block in guide.blocks("python")
        if block.file in ("before.py", "plain.py")
    }
    assert sizes == {"before.py": 23, "plain.py": 11}
    assert "11 lines, blank ones aside, where there were 23" in guide.text.replace("\n", " ")
    async with (
        program(guide, "plain.py", monkeypatch) as plain,
        bare_line(plain.app, "/chat/ada") as ada,
        bare_line(plain.app, "/chat/bob") as bob,
    ):
        ada.send("hello")
        assert [await each.next() for each in (ada, bob)] == ['{"author":"ada","text":"hello"}'] * 2


async def test_the_tracker_of_the_plain_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """FastAPI's dependencies decide who comes in; what is no spot is answered, the rest goes to everybody."""
    guide = page("docs/plain-endpoints.md")
    async with program(guide, "tracker.py", monkeypatch) as tracker:
        mine = "/trucks/7?token=token-of-ada"
        async with bare_line(tracker.app, mine) as ada, bare_line(tracker.app, mine) as bob:
            ada.send("nonsense")
            assert await ada.next() == '{"error":"that is no spot"}'
            ada.send('{"x": 1, "y": 2}')
            assert [await each.next() for each in (ada, bob)] == ['{"x":1.0,"y":2.0}'] * 2
        async with bare_line(tracker.app, "/trucks/7", accepted=False) as stranger:
            assert await stranger.closed() == (3507, "sign in first")


async def test_the_prices_of_the_plain_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task follows; the events of the route are those of examples/prices.py, which is driven on a real server."""
    async with program(page("docs/plain-endpoints.md"), "prices.py", monkeypatch) as prices:
        position = await prices.price.publish({"cents": 100}, item="TEA")
        await prices.price.publish({"cents": 110}, item="TEA")
        async with asyncio.timeout(5):
            async for event in prices.prices("TEA", str(position)):
                assert event.data.cents == 110
                break
            (reset,) = [event async for event in prices.prices("TEA", "made up")]
        assert (reset.event, reset.id) == ("reset", "")


# --- concepts -----------------------------------------------------------------------------------------------------


async def test_the_shop_of_the_concepts_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The router's prefix holds, cases are for their customers, a cache channel gives the newest to those who come."""
    path, cookie = "/live/connection/websocket", {"cookie": "user=ada"}
    async with (
        program(page("docs/concepts.md"), "shop.py", monkeypatch) as shop,
        connect(shop.app, path=path, headers=cookie) as ada,
    ):
        await ada.subscribe("support:4711")
        await ada.publish("support:4711", {"text": "it broke"})
        said = await ada.publication("support:4711")
        assert said["data"] == {"text": "it broke", "by": "ada"}
        assert (said["info"]["conn_info"], said["info"]["chan_info"]) == ({"name": "Ada"}, {"side": "customer"})
        assert await refused(ada, "support:4712") == 103

        newest = await ada.subscribe("price:corner:tea", recover=True, offset=0, epoch="")
        assert [missed["data"] for missed in newest["publications"]] == [{"price": 230}]
        assert await ada.rpc("price.now", {"shop": "corner", "item": "tea"}) == 230


# --- sending less -------------------------------------------------------------------------------------------------


async def test_the_market_of_the_bandwidth_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second book is a patch of the first; of the trades only those that pass arrive."""
    book = {"bids": [["1.08", number] for number in range(20)], "asks": [["1.09", 5]]}
    chosen = {
        "op": "and",
        "nodes": [
            {"key": "symbol", "cmp": "in", "vals": ["EURUSD", "EURCHF"]},
            {"key": "size", "cmp": "gte", "val": "1000"},
        ],
    }
    async with (
        program(page("docs/bandwidth.md"), "market.py", monkeypatch) as market,
        routes(market.app) as http,
        connect(market.app) as client,
    ):
        assert (await client.subscribe("book:EURUSD", delta="fossil"))["delta"]
        await client.subscribe("trades", tf=chosen)
        for size in (5, 6):
            await http.post("/books/EURUSD", json=book | {"asks": [["1.09", size]]})
        whole, patch = [await client.publication("book:EURUSD") for _ in range(2)]
        assert "delta" not in whole
        assert patch["delta"]
        assert len(patch["data"]) < len(whole["data"]) / 4
        for symbol, size in (("EURUSD", 10), ("GBPUSD", 5_000), ("EURCHF", 1_000)):
            await http.post("/trades", json={"symbol": symbol, "price": "1.1", "size": size})
        assert (await client.publication("trades"))["data"]["symbol"] == "EURCHF"


# --- scaling out --------------------------------------------------------------------------------------------------


async def test_the_routes_of_the_scaling_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its counts are those of the clients; its health is red while the engine is away, and green again after."""
    with ValkeyServer(aof=True) as server:
        monkeypatch.setenv("BROKER", server.url)
        async with program(page("docs/scaling.md"), "main.py", monkeypatch) as main, routes(main.app) as http:

            async def turns(status: int) -> None:
                async with asyncio.timeout(15):
                    while (await http.get("/health")).status_code != status:  # noqa: ASYNC110  # a route has no event
                        await asyncio.sleep(0.02)

            async with connect(main.app) as client:
                await client.subscribe("room:lobby")
                assert (await http.get("/rooms")).json() == {"room:lobby": 1}
                assert list((await http.get("/nodes")).json().values()) == [1]
                assert (await http.delete("/users/ada/connections")).status_code == 200
                await turns(200)
                server.kill()
                await turns(503)
                assert (await http.delete("/users/ada/connections")).status_code == 503
                server.restart()
                await turns(200)
                assert (await http.post("/rooms/lobby?text=back&key=1")).status_code == 200
                assert (await client.publication())["data"] == {"text": "back"}


# --- publishing from elsewhere ------------------------------------------------------------------------------------


async def test_the_functions_of_the_publishing_page(valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync and async code is heard in the hub's room; what is tried again under its key is heard once."""
    monkeypatch.setenv("BROKER", valkey.url)
    async with program(page("docs/publishing.md"), "channels.py", monkeypatch) as channels, channels.publisher:
        app = FastAPI()
        app.include_router(channels.hub.router)
        async with started(app), connect(app) as client:
            await client.subscribe("room:kitchen")
            offset = await asyncio.to_thread(channels.announce, "kitchen", "tea")
            assert await channels.announce_async("kitchen", "cake") == offset + 1
            for _ in range(2):
                await asyncio.to_thread(channels.announce_paid, 7)
            await channels.announce_async("kitchen", "the end")
            heard = [(await client.publication())["data"]["text"] for _ in range(4)]

    assert heard == ["tea", "cake", "order 7 is paid", "the end"]


# --- the server API -----------------------------------------------------------------------------------------------


def answers(text: str) -> re.Pattern[str]:
    """Make a pattern of an answer as a page shows it: an ellipsis stands for what is another each time."""
    return re.compile(".+?".join(map(re.escape, text.rstrip("\n").split("…"))))


async def test_the_requests_of_the_api_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `curl` is answered as the page says, one after the other; so is what it does to a client."""
    api = page("docs/api.md")
    async with program(api, "main.py", monkeypatch) as main, served(main.app) as address:
        blocks = [block for block in api.blocks() if block.language in ("console", "text")]
        for asked, answered in zip(blocks[::2], blocks[1::2], strict=True):
            assert (asked.language, answered.language) == ("console", "text")
            commands, shown = asked.text.splitlines(), answered.text.splitlines()
            for command, answer in zip(commands, shown, strict=True):
                curl = shlex.split(command.replace("http://127.0.0.1:8000", address))
                given = await asyncio.to_thread(subprocess.check_output, [*curl, "-sS", "--noproxy", "*"], text=True)
                assert answers(answer).fullmatch(given), (command, given)


async def test_the_back_end_of_the_api_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """It publishes with the released library, and a client in the room hears it."""
    monkeypatch.setenv("NO_PROXY", "*")
    api = page("docs/api.md")
    async with program(api, "main.py", monkeypatch) as main, served(main.app) as address:
        monkeypatch.setenv("API", f"{address}/api")
        async with program(api, "back_end.py", monkeypatch) as back_end, connect(main.app, name="ann") as ann:
            await ann.subscribe("room:lobby")
            offset = await asyncio.to_thread(back_end.announce, "hello")
            said = await ann.publication("room:lobby")
            assert (said["data"], said["offset"]) == ({"text": "hello"}, offset)
