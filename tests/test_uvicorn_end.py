"""The WebSocket implementation for uvicorn: how ordinary sockets end, by whomever. Real servers, real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from uvicorn.protocols.utils import ClientDisconnected

from openline.uvicorn import WebSocketProtocol
from tests.wires.client import CLOSE, Client, Frame
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


# --- the end ---------------------------------------------------------------------------------------------------------


def test_the_apps_close_is_sent_and_answered(loop: str, told: Told) -> None:
    """Code and reason arrive; the app's `receive` says the same."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})
        told.put(await receive())
        await send({"type": "websocket.close", "code": 4001})

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert client.read_close() == (4000, "enough")
        assert told.next() == {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}
        client.send_close(4000)
        client.read_end()


@pytest.mark.parametrize("way", ["close", "close without a code", "reset", "end of stream"])
def test_the_clients_end_reaches_the_app(loop: str, told: Told, way: str) -> None:
    """With its code, 1005 where it named none, 1006 where there was no close; after the messages before it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.put("accepted")
        told.put(await receive())
        told.put(await receive())

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert told.next() == "accepted"
        client.send_text("last words")
        assert told.next() == {"type": "websocket.receive", "text": "last words"}
        match way:
            case "close":
                client.send_close(4002, "bye")
                assert client.read_close() == (4002, "bye")
                client.read_end()
                code, reason = 4002, "bye"
            case "close without a code":
                client.send_frame(CLOSE)
                assert client.read_frame() == Frame(CLOSE, b"")
                client.read_end()
                code, reason = 1005, ""
            case "reset":
                client.reset()
                code, reason = 1006, ""
            case _:
                client.socket.close()
                code, reason = 1006, ""
        assert told.next() == {"type": "websocket.disconnect", "code": code, "reason": reason}


def test_a_client_that_leaves_during_the_handshake_reaches_the_app(loop: str, told: Told) -> None:
    """As a disconnect, and `send` raises the `OSError` of ASGI."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        told.put((await receive())["type"])
        told.put((await receive())["type"])
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})
        told.put("refused")

    with uvicorn_server(app, loop=loop) as served:
        client = Client(served.port, answer=False)
        assert told.next() == "websocket.connect"
        client.reset()
        assert told.next() == "websocket.disconnect"
        assert told.next() == "refused"


def test_sending_to_a_client_that_left_raises(loop: str, told: Told) -> None:
    """FastAPI turns the `OSError` into its `WebSocketDisconnect`; a late close is no error."""
    app = FastAPI()

    @app.websocket("/")
    async def route(websocket: WebSocket) -> None:
        await websocket.accept()
        assert (await websocket.receive())["type"] == "websocket.disconnect"
        with pytest.raises(WebSocketDisconnect):
            await websocket.send_text("anyone there?")
        told.put("raised")

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        client.send_close(1001)
        assert told.next() == "raised"


def test_an_exception_in_an_open_socket_closes_it_with_1011(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told that it was the server; the log says what."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise LookupError("a secret")

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert client.read_close() == (1011, "")
        client.send_close(1011)
        client.read_end()
    assert "a secret" in caplog.text


def test_returning_from_an_open_socket_closes_it(caplog: pytest.LogCaptureFixture) -> None:
    """With 1000; a value returned is a mistake and named in the log."""

    async def app(scope: Any, receive: Any, send: Any) -> str:
        await send({"type": "websocket.accept"})
        return "value"

    with uvicorn_server(app) as served, Client(served.port) as client:
        assert client.read_close() == (1000, "")
    assert "should return None, but returned 'value'" in caplog.text


# --- the server's end ------------------------------------------------------------------------------------------------


def test_at_shutdown_an_open_socket_is_closed_with_1012(loop: str, told: Told) -> None:
    """The app is told at once, the client too, and the server ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.put("accepted")
        told.put(await receive())

    with uvicorn_server(app, loop=loop, ws=WebSocketProtocol) as served, Client(served.port) as client:
        assert told.next() == "accepted"
        served.call(served.ask_to_stop)
        assert client.read_close() == (1012, "")
        client.send_close(1012)
        client.read_end()
        assert told.next() == {"type": "websocket.disconnect", "code": 1012, "reason": ""}


def test_at_shutdown_a_handshake_is_refused_with_503(told: Told) -> None:
    """The app has not answered yet, and cannot any more."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        told.put("asked")
        told.put((await receive())["type"])

    with uvicorn_server(app) as served, Client(served.port, answer=False) as client:
        assert told.next() == "asked"
        served.call(served.ask_to_stop)
        client.read_answer()
        assert client.status == 503
        assert told.next() == "websocket.disconnect"


def test_a_frozen_peer_does_not_keep_the_server_from_ending(loop: str, told: Told) -> None:
    """It is aborted at the deadline: a client that reads nothing and answers nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": b"x" * (16 << 20)})
        told.put("sent")
        await receive()
        told.put((await receive())["code"])

    with uvicorn_server(app, loop=loop) as served, Client(served.port):
        assert told.next() == "sent"
        served.stop()
        assert told.next() == 1012


def test_a_frozen_peer_is_let_go_when_the_app_closes(loop: str, told: Told) -> None:
    """No close lasts longer than its deadline, so the server's end has nothing to wait for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": b"x" * (16 << 20)})
        told.put("sent")

    with uvicorn_server(app, loop=loop) as served, Client(served.port):
        assert told.next() == "sent"
        served.stop()


def test_an_app_cancelled_at_shutdown_closes_its_socket(loop: str, told: Told) -> None:
    """Uvicorn cancels calls that outlast its patience; the client had its 1012 by then."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        told.put("accepted")
        await asyncio.Event().wait()

    with uvicorn_server(app, loop=loop, timeout_graceful_shutdown=1) as served, Client(served.port) as client:
        assert told.next() == "accepted"
        served.call(served.ask_to_stop)
        assert client.read_close() == (1012, "")
        served.stop()


# --- a handshake that is not answered ---------------------------------------------------------------------------------


class HastyProtocol(WebSocketProtocol):
    """One that waits no longer than a test does."""

    close_seconds = 0.2
    handshake_seconds = 0.2


@pytest.mark.parametrize("said", [None, {"type": "websocket.http.response.start", "status": 401, "headers": []}])
def test_a_handshake_the_app_does_not_answer_is_refused_with_503(loop: str, told: Told, said: Any) -> None:
    """A dependency hangs, or the app began to refuse and never came to the end. It learns that the client has left."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if said:
            await send(said)
        told.put(await receive())
        try:
            await send({"type": "websocket.accept"})
        except ClientDisconnected:
            told.put("too late")

    with uvicorn_server(app, loop=loop, ws=HastyProtocol) as served, Client(served.port) as client:
        assert (client.status, client.body) == (503, b"Service Unavailable")
        client.read_end()
        assert told.next() == {"type": "websocket.disconnect", "code": 1006}
        assert told.next() == "too late"
        assert served.call(lambda: list(served.server.server_state.connections)) == []


def test_what_was_answered_in_time_has_no_deadline_any_more(loop: str, told: Told) -> None:
    """Accepted or detached, the connection goes on for as long as it likes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/never":
            await receive()
            return
        await send({"type": "websocket.accept"})
        told.put(await receive())

    with uvicorn_server(app, loop=loop, ws=HastyProtocol) as served, Client(served.port) as client:
        with Client(served.port, "/never") as other:
            assert other.status == 503  # so long it was
        client.send_text("still here")
        assert told.next()["text"] == "still here"
