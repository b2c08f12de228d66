"""The WebSocket implementation for uvicorn: an app's ordinary routes run on it unchanged.

Real servers, real sockets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Header, WebSocket
from fastapi.responses import PlainTextResponse

from tests.wires.client import BINARY, PING, TEXT, Client, Frame, frame
from tests.wires.receivers import Told
from tests.wires.servers import LOOPS, uvicorn_server


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Name an event loop: the one of Python, and uvloop."""
    name: str = request.param
    return name


@pytest.fixture
def told() -> Told:
    """Give a way for an app to tell its test something."""
    return Told()


async def token_of(x_token: Annotated[str, Header()]) -> str:
    """Depend on a header of the handshake."""
    return x_token


def echo_app() -> FastAPI:
    """Make an app that sends back what it gets."""
    app = FastAPI()

    @app.websocket("/")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        while (event := await websocket.receive())["type"] != "websocket.disconnect":
            if event.get("text") is not None:
                await websocket.send_text(event["text"])
            else:
                await websocket.send_bytes(event["bytes"])

    return app


# --- ordinary routes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_text_and_bytes_pass_both_ways(loop: str, http: str) -> None:
    """Small, medium and large messages keep their kind."""
    with uvicorn_server(echo_app(), loop=loop, http=http) as served, Client(served.port) as client:
        for size in (0, 5, 125, 126, 65_535, 65_536, 1 << 20):
            for opcode in (TEXT, BINARY):
                client.send_frame(opcode, b"x" * size)
                assert client.read_frame() == Frame(opcode, b"x" * size)


def test_the_scope_says_what_the_client_asked(loop: str, told: Told) -> None:
    """Path, query, headers, subprotocols, addresses and state are there as ASGI names them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.put(scope)

    headers: dict[str, str | None] = {"X-Twice": "1", "Sec-WebSocket-Protocol": "one, two", "X-Latin": "\xfc"}
    with (
        uvicorn_server(app, loop=loop, root_path="/root", http="httptools") as served,
        Client(served.port, "/caf%C3%A9/a%2Fb?x=%20&y", headers) as client,
    ):
        scope = told.next()
        assert scope["type"] == "websocket"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
        assert (scope["scheme"], scope["http_version"]) == ("ws", "1.1")
        assert scope["path"] == "/root/café/a/b"
        assert scope["raw_path"] == b"/root/caf%C3%A9/a%2Fb"
        assert scope["root_path"] == "/root"
        assert scope["query_string"] == b"x=%20&y"
        assert (b"x-twice", b"1") in scope["headers"]
        assert (b"host", b"test") in scope["headers"]
        assert scope["subprotocols"] == ["one", "two"]
        assert scope["server"] == ("127.0.0.1", served.port)
        assert scope["client"] == client.socket.getsockname()
        assert scope["state"] == {}
        assert "websocket.http.response" in scope["extensions"]


def test_an_app_gets_its_dependencies_and_its_lifespan_state(told: Told) -> None:
    """Everything FastAPI gives a WebSocket route is given."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"database": "open"}

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/rooms/{name}")
    async def room(websocket: WebSocket, name: str, token: Annotated[str, Depends(token_of)], limit: int = 3) -> None:
        await websocket.accept()
        await websocket.send_json([name, token, limit, websocket.state.database])

    with (
        uvicorn_server(app, lifespan="on") as served,
        Client(served.port, "/rooms/lobby?limit=5", {"X-Token": "secret"}) as client,
    ):
        assert client.read_text() == '["lobby","secret",5,"open"]'
        assert client.read_close() == (1000, "")


def test_accepting_with_a_subprotocol_and_headers(loop: str) -> None:
    """The answer carries them, and uvicorn's default headers."""
    app = FastAPI()

    @app.websocket("/")
    async def route(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="chat", headers=[(b"X-Mine", b"yes")])

    with (
        uvicorn_server(app, loop=loop, headers=[("X-Every", "answer")]) as served,
        Client(served.port, headers={"Sec-WebSocket-Protocol": "chat"}) as client,
    ):
        assert client.status == 101
        assert client.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert client.headers["sec-websocket-protocol"] == "chat"
        assert client.headers["x-mine"] == "yes"
        assert client.headers["x-every"] == "answer"
        assert client.headers["server"] == "uvicorn"
        assert "date" in client.headers


def test_an_empty_subprotocol_header_offers_none(told: Told) -> None:
    """Trap 11: centrifuge-python 0.5 sends one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.put(scope["subprotocols"])
        await send({"type": "websocket.accept"})

    with uvicorn_server(app) as served, Client(served.port, headers={"Sec-WebSocket-Protocol": ""}) as client:
        assert client.status == 101
        assert told.next() == []


def test_a_message_sent_before_the_accept_is_received_after_it(loop: str, told: Told) -> None:
    """An impatient client loses nothing."""
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.put((await receive())["type"])
        await proceed.wait()
        await send({"type": "websocket.accept"})
        for _ in range(2):
            await send({"type": "websocket.send", "text": (await receive())["text"]})

    with uvicorn_server(app, loop=loop) as served, Client(served.port, answer=False) as client:
        assert told.next() == "websocket.connect"
        client.send_text("early")
        served.loop.call_soon_threadsafe(proceed.set)
        client.read_answer()
        assert client.read_text() == "early"
        client.send_text("in time")
        assert client.read_text() == "in time"


def test_a_header_cannot_break_out_of_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """An app that would send one gets an error, and the client 500."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "headers": [(b"x", b"1\r\nset-cookie: a=b")]})

    with uvicorn_server(app) as served, Client(served.port) as client:
        assert client.status == 500
    assert "line break" in caplog.text


# --- refusing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize(
    ("method", "headers", "status", "answer"),
    [
        ("GET", {"Sec-WebSocket-Version": "8"}, 426, ("sec-websocket-version", "13")),
        ("GET", {"Sec-WebSocket-Version": None}, 426, ("sec-websocket-version", "13")),
        ("GET", {"Sec-WebSocket-Key": None}, 400, None),
        ("GET", {"Sec-WebSocket-Key": "too short"}, 400, None),
        ("GET", {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400, None),
        ("PUT", {}, 405, ("allow", "GET")),
    ],
)
def test_what_is_no_handshake_is_refused(
    http: str, method: str, headers: dict[str, str | None], status: int, answer: tuple[str, str] | None
) -> None:
    """The app does not hear of it; the client learns what was wrong, and the connection ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the app was called")

    with uvicorn_server(app, http=http) as served, Client(served.port, "/", headers, method=method) as client:
        assert client.status == status
        assert client.body
        if answer:
            assert client.headers[answer[0]] == answer[1]
        client.read_end()


def test_closing_before_accepting_is_403(loop: str, told: Told) -> None:
    """As with every ASGI server; the app sees the socket gone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.put(await receive())
        await send({"type": "websocket.close", "code": 1008})
        told.put(await receive())

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert client.status == 403
        client.read_end()
        assert told.next() == {"type": "websocket.connect"}
        assert told.next() == {"type": "websocket.disconnect", "code": 1006}


def test_an_app_may_answer_with_a_response_of_its_own(loop: str) -> None:
    """The denial response of ASGI, in pieces too."""
    app = FastAPI()

    @app.websocket("/whole")
    async def whole(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("pay first", 402, headers={"X-Price": "1"}))

    @app.websocket("/pieces")
    async def pieces(websocket: WebSocket) -> None:
        start = {"type": "websocket.http.response.start", "status": 451, "headers": [(b"content-type", b"text/x")]}
        await websocket.send(start)
        await websocket.send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
        await websocket.send({"type": "websocket.http.response.body", "body": b"thing"})

    with uvicorn_server(app, loop=loop) as served:
        with Client(served.port, "/whole") as client:
            assert (client.status, client.body, client.headers["x-price"]) == (402, b"pay first", "1")
            client.read_end()
        with Client(served.port, "/pieces") as client:
            assert (client.status, client.body, client.headers["content-type"]) == (451, b"nothing", "text/x")
            client.read_end()


@pytest.mark.parametrize("begun", [False, True])
def test_an_exception_before_the_answer_is_500(loop: str, caplog: pytest.LogCaptureFixture, *, begun: bool) -> None:
    """With the traceback in the log and nothing of it on the wire, also when a denial was begun."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "websocket.http.response.start", "status": 402})
        raise LookupError("a secret")

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert (client.status, client.body) == (500, b"Internal Server Error")
        client.read_end()
    assert "a secret" in caplog.text


def test_returning_without_an_answer_is_500(caplog: pytest.LogCaptureFixture) -> None:
    """And a line in the log."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    with uvicorn_server(app) as served, Client(served.port) as client:
        assert client.status == 500
    assert "without completing handshake" in caplog.text


def test_asgi_messages_out_of_order_are_refused(told: Told) -> None:
    """The app gets an error that names the message and where the handshake stands."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(RuntimeError, match=r"'websocket.send': the handshake is not answered yet"):
            await send({"type": "websocket.send", "text": "too early"})
        await send({"type": "websocket.accept"})
        with pytest.raises(RuntimeError, match=r"'websocket.accept': the handshake is accepted"):
            await send({"type": "websocket.accept"})
        with pytest.raises(ValueError, match="1005"):
            await send({"type": "websocket.close", "code": 1005})
        await send({"type": "websocket.close"})
        told.put("done")

    with uvicorn_server(app) as served, Client(served.port) as client:
        assert told.next() == "done"
        assert client.read_close() == (1000, "")


# --- what is logged --------------------------------------------------------------------------------------------------


def test_the_log_has_uvicorns_lines(caplog: pytest.LogCaptureFixture) -> None:
    """One for each handshake, as uvicorn's own implementations write it."""
    app = FastAPI()

    @app.websocket("/open")
    async def opened(websocket: WebSocket) -> None:
        await websocket.accept()

    @app.websocket("/closed")
    async def closed(websocket: WebSocket) -> None:
        await websocket.close()

    with caplog.at_level(logging.INFO, "uvicorn.error"), uvicorn_server(app) as served:
        for path, line in (("/open?a=1", "[accepted]"), ("/closed", "403"), ("/caf%C3%A9", "403")):
            with Client(served.port, path) as client:
                host, port = client.socket.getsockname()
            assert f'{host}:{port} - "WebSocket {path}" {line}' in caplog.text


def test_a_ping_of_the_client_is_answered() -> None:
    """The app does not see it."""
    with uvicorn_server(echo_app()) as served, Client(served.port) as client:
        client.send(frame(PING, b"there?") + frame(TEXT, b"text"))
        assert [client.read_frame().payload for _ in range(2)] == [b"there?", b"text"]
