"""The fast wire: how it comes to its socket, and what it tells its receiver. Real uvicorn, real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import weakref
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from openline.wires.fast import DETACH, FastWire
from tests.wires.client import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    Client,
    Frame,
    close_payload,
    frame,
)
from tests.wires.lines import BAD_UTF8, TOO_MUCH, Line, detaching
from tests.wires.receivers import BINARY_FRAMES, TEXT_FRAMES, Recorder
from tests.wires.servers import uvicorn_server

# --- from the handshake to the wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_detaching_answers_the_handshake_and_echoes_the_subprotocol(loop: str, http: str) -> None:
    """The answer is a 101 with the accept token of RFC 6455, the subprotocol, and uvicorn's default headers."""
    with (
        detaching(loop=loop, subprotocol="centrifuge-json", http=http, headers=[("x-served-by", "test")]) as line,
        line.client(headers={"Sec-WebSocket-Protocol": "other, centrifuge-json"}) as client,
    ):
        assert client.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert client.headers["upgrade"] == "websocket"
        assert client.headers["connection"].lower() == "upgrade"
        assert client.headers["sec-websocket-protocol"] == "centrifuge-json"
        assert client.headers["x-served-by"] == "test"
        assert client.headers["server"] == "uvicorn"


def test_an_empty_subprotocol_header_is_accepted() -> None:
    """Trap 11: centrifuge-python 0.5 sends one; nothing is echoed."""
    with detaching() as line, line.client(headers={"Sec-WebSocket-Protocol": ""}) as client:
        assert "sec-websocket-protocol" not in client.headers
        client.send_text("{}")
        assert line.recorder.next() == ("received", b"{}")


def test_compression_is_not_agreed_on() -> None:
    """One frame serves every client, so a detached socket has no extensions."""
    with detaching() as line, line.client(headers={"Sec-WebSocket-Extensions": "permessage-deflate"}) as client:
        assert "sec-websocket-extensions" not in client.headers


def test_messages_pass_both_ways(line: Line) -> None:
    """What the client sends is received; what is written arrives, chunks in one go, and the list is only lent."""
    with line.client() as client:
        client.send_text("hello")
        assert line.recorder.next() == ("received", b"hello")
        line.write(TEXT_FRAMES.wrap([b"1"]))
        line.write(TEXT_FRAMES.wrap([b"2"]), TEXT_FRAMES.wrap([b"3", b"4"]))
        assert [client.read_text() for _ in range(3)] == ["1", "2", "3\n4"]


def test_what_a_client_sends_before_the_answer_is_not_lost() -> None:
    """An impatient client's first message waits for the receiver."""
    recorder = Recorder()
    arrived, proceed = queue.SimpleQueue[None](), asyncio.Event()

    async def route(websocket: WebSocket) -> None:
        arrived.put(None)
        await proceed.wait()
        websocket.scope["extensions"][DETACH](recorder.open, TEXT_FRAMES, None, 1000)

    with (
        uvicorn_server(Starlette(routes=[WebSocketRoute("/", route)])) as served,
        Client(served.port, answer=False) as client,
    ):
        arrived.get(timeout=5)
        client.send_text("first")
        served.loop.call_soon_threadsafe(proceed.set)
        assert [recorder.next(), recorder.next()] == [("opened",), ("received", b"first")]
        client.read_answer()
        client.send_text("second")
        assert recorder.next() == ("received", b"second")


def test_after_the_detach_nothing_of_the_handshake_is_kept(loop: str) -> None:
    """Task, scope, protocol and queue are garbage once the route has returned; uvicorn counts the wire instead."""
    recorder = Recorder()
    kept: dict[str, weakref.ref[Any]] = {}

    class Remembered(dict[str, Any]):
        """A scope that can be referred to weakly."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope = Remembered(scope)
        kept["scope"] = weakref.ref(scope)
        kept["task"] = weakref.ref(asyncio.current_task())
        kept["protocol"] = weakref.ref(receive.__self__)
        kept["queue"] = weakref.ref(receive.__self__._events)
        scope["extensions"][DETACH](recorder.open, TEXT_FRAMES, None, 1000)

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        connections: set[Any] = served.server.server_state.connections
        recorder.next()
        client.send_text("alive")
        assert recorder.next() == ("received", b"alive")

        def left() -> list[str]:
            gc.collect()
            return [name for name, reference in kept.items() if reference() is not None]

        assert len(kept) == 4
        assert served.call(left) == []
        assert served.call(lambda: list(connections)) == [recorder.wire]
        assert not served.call(lambda: served.server.server_state.tasks)


def test_a_route_that_raises_after_detaching_closes_the_wire(caplog: pytest.LogCaptureFixture) -> None:
    """The error is logged and the client sees 1011."""
    recorder = Recorder()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][DETACH](recorder.open, TEXT_FRAMES, None, 1000)
        raise LookupError("after the detach")

    with uvicorn_server(app) as served, Client(served.port) as client:
        assert client.read_close() == (1011, "internal error")
        client.send_close(1011)
        client.read_end()
        assert [recorder.next(), recorder.next()] == [("opened",), ("closed", 1011, "internal error")]
    assert "after the detach" in caplog.text


def test_a_receiver_that_cannot_be_made_closes_the_wire(caplog: pytest.LogCaptureFixture) -> None:
    """The 101 is out already, so the client sees 1011."""

    def fail(wire: object) -> Any:
        raise LookupError("no receiver")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][DETACH](fail, TEXT_FRAMES, None, 1000)

    with uvicorn_server(app) as served, Client(served.port) as client:
        assert client.read_close() == (1011, "internal error")
    assert "no receiver" in caplog.text


def test_a_socket_is_detached_once() -> None:
    """A second detach, and whatever ASGI offers, is a mistake of the app after the first."""
    recorder = Recorder()
    refused = queue.SimpleQueue[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        detach = scope["extensions"][DETACH]
        detach(recorder.open, TEXT_FRAMES, None, 1000)
        with pytest.raises(RuntimeError, match="detached"):
            detach(recorder.open, TEXT_FRAMES, None, 1000)
        with pytest.raises(RuntimeError, match="detached"):
            await send({"type": "websocket.accept"})
        with pytest.raises(RuntimeError, match="detached"):
            await receive()
        refused.put("all")

    with uvicorn_server(app) as served, Client(served.port):
        assert refused.get(timeout=5) == "all"


def test_a_client_that_left_during_the_handshake_gets_no_receiver(loop: str) -> None:
    """Detaching a socket whose client has gone does nothing."""
    recorder = Recorder()
    stages = queue.SimpleQueue[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        stages.put("asked")
        assert await receive() == {"type": "websocket.connect"}
        assert await receive() == {"type": "websocket.disconnect", "code": 1006}
        scope["extensions"][DETACH](recorder.open, TEXT_FRAMES, None, 1000)
        stages.put("detached")

    with uvicorn_server(app, loop=loop) as served:
        client = Client(served.port, answer=False)
        assert stages.get(timeout=5) == "asked"
        client.reset()
        assert stages.get(timeout=5) == "detached"
    assert recorder.is_silent()


def test_uvicorns_log_line_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """Who came, to which path, as for any WebSocket on uvicorn."""
    with caplog.at_level(logging.INFO, "uvicorn.error"), detaching() as line, line.client(path="/?token=1") as client:
        host, port = client.socket.getsockname()
        assert f'{host}:{port} - "WebSocket /?token=1" [accepted]' in caplog.text
    assert KEY not in caplog.text


# --- what the wire tells its receiver ---------------------------------------------------------------------------------


def test_a_binary_codec_takes_any_bytes_and_text_that_is_text(loop: str) -> None:
    """Only text frames have to be UTF-8 then."""
    with detaching(BINARY_FRAMES, loop=loop) as line, line.client() as client:
        client.send_frame(BINARY, BAD_UTF8)
        client.send_text("grün")
        client.send_frame(TEXT, BAD_UTF8)
        assert line.recorder.next() == ("received", BAD_UTF8)
        assert line.recorder.next() == ("received", "grün".encode())
        assert client.read_close() == (1007, "invalid UTF-8")
        line.write(BINARY_FRAMES.wrap([b"too late"]))


def test_pings_of_the_wire_are_pings_of_the_protocol(line: Line) -> None:
    """They go behind what was written; the receiver hears of every pong, and of none after a close."""
    with line.client() as client:
        line.write(TEXT_FRAMES.wrap([b"before"]))
        assert line.served.call(line.recorder.wire.ping)
        assert client.read_text() == "before"
        assert client.read_frame() == Frame(PING, b"")
        client.send(frame(PONG) + frame(TEXT, b"frag", fin=False) + frame(PONG, b"unasked"))
        assert [line.recorder.next(), line.recorder.next()] == [("ponged",), ("ponged",)]
        line.close(3000, "enough")
        assert not line.served.call(line.recorder.wire.ping)
        assert client.read_close() == (3000, "enough")
        client.send(frame(PONG) + frame(CLOSE, close_payload(3000)))
        assert line.recorder.next() == ("closed", 3000, "enough")


def test_a_slow_reader_pauses_its_receiver_until_it_reads(line: Line) -> None:
    """The receiver hears when the transport is full, from inside the write, and when it has drained."""
    with line.client() as client:
        line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
        assert line.recorder.next() == ("paused",)
        assert line.served.call(line.recorder.wire.unsent_bytes) > 65_536
        assert client.read_frame().payload == TOO_MUCH
        assert line.recorder.next() == ("resumed",)
        line.write(TEXT_FRAMES.wrap([b"more"]))
        assert client.read_text() == "more"
        assert line.served.call(line.recorder.wire.unsent_bytes) == 0


def test_at_shutdown_the_receiver_closes(line: Line) -> None:
    """The session says 3001, and the server ends when the client has answered."""
    with line.client() as client:
        line.served.call(line.served.ask_to_stop)
        assert client.read_close() == (3001, "shutdown")
        client.send_close(3001)
        client.read_end()
        assert [line.recorder.next(), line.recorder.next()] == [("shutdown",), ("closed", 3001, "shutdown")]
        line.served.stop()


def test_a_frozen_peer_does_not_keep_the_server_from_ending(line: Line) -> None:
    """At the deadline it is aborted, and uvicorn exits."""
    with line.client():
        line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
        assert line.recorder.next() == ("paused",)
        line.served.stop()
        assert [line.recorder.next(), line.recorder.next()] == [("shutdown",), ("closed", 3001, "shutdown")]


def test_a_wire_is_small() -> None:
    """It has no dictionary, and no parser while its client keeps to whole frames."""
    with detaching() as line, line.client() as client:
        client.send(frame(TEXT, b"whole") + frame(PING) + frame(TEXT, b"frames"))
        line.recorder.next()
        line.recorder.next()
        wire = line.recorder.wire
        assert isinstance(wire, FastWire)
        assert not hasattr(wire, "__dict__")
        assert wire._parser is None
