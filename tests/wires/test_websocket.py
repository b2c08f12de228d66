"""The plain wire: the same conversation on any ASGI server. Real servers, real sockets."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from openline.framing import Encoding
from openline.wires.websocket import serve
from tests.wires.client import BINARY, PING, PONG, TEXT, WAIT_SECONDS, Frame
from tests.wires.lines import Line
from tests.wires.receivers import BINARY_MESSAGES, TEXT_MESSAGES, Recorder
from tests.wires.servers import QuickProtocol, Served, hypercorn_server, uvicorn_server

CLOSE_SECONDS = 0.2
TOO_MUCH = b"x" * (16 << 20)

SERVERS: dict[str, Callable[[Any], AbstractContextManager[Served]]] = {
    "uvicorn": lambda app: uvicorn_server(app, ws="auto", http="auto", loop="uvloop"),
    "uvicorn-sansio": lambda app: uvicorn_server(app, ws="websockets-sansio"),
    "uvicorn-wsproto": lambda app: uvicorn_server(app, ws="wsproto"),
    "uvicorn-openline": lambda app: uvicorn_server(app, ws=QuickProtocol),
    "hypercorn": hypercorn_server,
}


class PlainLine(Line):
    """A server whose one route serves the plain wire, and the receiver its sockets go to."""

    def __init__(self, served: Served, recorder: Recorder, returned: queue.SimpleQueue[str]) -> None:
        super().__init__(served, recorder, close_seconds=WAIT_SECONDS)
        self._returned = returned

    def returned(self) -> str:
        """Wait for the route's call to be over and say how."""
        return self._returned.get(timeout=WAIT_SECONDS)


@contextmanager
def serving(server: str, encoding: Encoding = TEXT_MESSAGES, subprotocol: str | None = None) -> Iterator[PlainLine]:
    """Serve one route on the plain wire."""
    recorder, returned = Recorder(), queue.SimpleQueue[str]()

    async def route(websocket: WebSocket) -> None:
        before = asyncio.all_tasks()
        try:
            await serve(
                websocket,
                recorder.open,
                encoding=encoding,
                subprotocol=subprotocol,
                message_bytes=1000,
                close_seconds=CLOSE_SECONDS,
            )
        except BaseException as error:
            returned.put(repr(error))
            raise
        left = [task for task in asyncio.all_tasks() - before if task.get_name().startswith("openline")]
        returned.put(f"left {left}" if left else "in peace")

    with SERVERS[server](Starlette(routes=[WebSocketRoute("/", route)])) as served:
        yield PlainLine(served, recorder, returned)


@pytest.fixture(params=SERVERS)
def line(request: pytest.FixtureRequest) -> Iterator[PlainLine]:
    """Serve a text codec on each server."""
    with serving(request.param) as line:
        yield line


@pytest.mark.parametrize("server", SERVERS)
def test_the_subprotocol_is_echoed(server: str) -> None:
    """The one the route chose."""
    with (
        serving(server, subprotocol="centrifuge-json") as line,
        line.client(headers={"Sec-WebSocket-Protocol": "centrifuge-json"}) as client,
    ):
        assert client.headers["sec-websocket-protocol"] == "centrifuge-json"


def test_messages_pass_both_ways(line: PlainLine) -> None:
    """As text for a text codec; chunks that wait go out joined."""
    with line.client() as client:
        client.send_text("grün")
        client.send_frame(BINARY, b"bytes are text too")
        client.send_frame(PING, b"liveness is the server's")
        assert line.recorder.next() == ("received", "grün".encode())
        assert line.recorder.next() == ("received", b"bytes are text too")
        assert client.read_frame() == Frame(PONG, b"liveness is the server's")
        line.write("ü".encode())
        assert client.read_frame() == Frame(TEXT, "ü".encode())
        line.write(b"1", b"2", b"3")
        assert client.read_text() == "1\n2\n3"
        line.write(b"4" * 65_000, b"5" * 1000)
        assert [client.read_text(), client.read_text()] == ["4" * 65_000, "5" * 1000]


@pytest.mark.parametrize("server", SERVERS)
def test_a_binary_codec_speaks_in_bytes(server: str) -> None:
    """Messages are binary frames, and any bytes are taken."""
    with serving(server, BINARY_MESSAGES) as line, line.client() as client:
        client.send_frame(BINARY, b"\xc3(")
        client.send_text("grün")
        assert line.recorder.next() == ("received", b"\xc3(")
        assert line.recorder.next() == ("received", "grün".encode())
        line.write(b"\x01\xff", b"\x01\xfe")
        assert client.read_frame() == Frame(BINARY, b"\x01\xff\x01\xfe")


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_there_are_no_pings_of_the_wire(server: str) -> None:
    """ASGI has none: the server below looks after dead peers."""
    with serving(server) as line, line.client():
        assert not line.served.call(line.recorder.wire.ping)


def test_the_clients_close_is_told_once(line: PlainLine) -> None:
    """With its code, where the server gives it on; then the route returns and nothing is left."""
    with line.client() as client:
        client.send_text("last words")
        client.send_close(4001, "bye")
        assert client.read_close()[0] == 4001
        assert line.recorder.next() == ("received", b"last words")
        kind, code, reason = line.recorder.next()
        assert kind == "closed"
        assert (code, reason) in ((4001, "bye"), (1006, ""))  # Hypercorn keeps the code to itself
        assert line.returned() == "in peace"
        line.write(b"too late")
        line.close(3000, "too late")
        assert line.recorder.is_silent()


def test_a_client_that_vanishes_ends_the_route(line: PlainLine) -> None:
    """However it left."""
    with line.client() as client:
        client.reset()
        assert line.recorder.next()[0] == "closed"
        assert line.returned() == "in peace"


def test_closing_sends_what_is_queued_first(line: PlainLine) -> None:
    """The close is last and said once; messages of the client go nowhere from then on."""
    with line.client() as client:

        def write_and_close() -> None:
            line.recorder.wire.write(b"last words")
            line.recorder.wire.close(3000, "enough", deadline_seconds=WAIT_SECONDS)
            line.recorder.wire.close(3001, "again", deadline_seconds=WAIT_SECONDS)
            line.recorder.wire.write(b"too late")

        line.served.call(write_and_close)
        assert client.read_text() == "last words"
        assert client.read_close() == (3000, "enough")
        client.send_close(3000, "enough")
        client.socket.close()
        assert line.recorder.next() == ("closed", 3000, "enough")
        assert line.returned() == "in peace"


def test_a_client_that_does_not_answer_the_close_is_given_up(line: PlainLine) -> None:
    """At the deadline the route returns; the socket is the server's."""
    with line.client() as client:
        line.close(3000, "enough", seconds=CLOSE_SECONDS)
        assert client.read_close() == (3000, "enough")
        assert line.recorder.next() == ("closed", 3000, "enough")
        assert line.returned() == "in peace"


def test_a_client_that_reads_nothing_is_given_up(line: PlainLine) -> None:
    """Nobody waits for `send`: the receiver pauses, and a close ends at its deadline."""
    with line.client() as client:
        line.write(TOO_MUCH, TOO_MUCH)
        assert line.recorder.next() == ("paused",)
        assert line.served.call(line.recorder.wire.unsent_bytes) >= len(TOO_MUCH)
        line.close(3008, "slow", seconds=CLOSE_SECONDS)
        assert line.recorder.next() == ("closed", 3008, "slow")
        assert line.returned() == "in peace"
        client.reset()  # else some servers wait for it for ever


def test_a_slow_reader_pauses_its_receiver_until_it_reads(line: PlainLine) -> None:
    """Once each way, and everything arrives in order."""
    with line.client() as client:
        line.write(b"1" * len(TOO_MUCH), b"2" * len(TOO_MUCH))
        assert line.recorder.next() == ("paused",)
        assert client.read_frame().payload == b"1" * len(TOO_MUCH)
        assert client.read_frame().payload == b"2" * len(TOO_MUCH)
        assert line.recorder.next() == ("resumed",)
        assert line.served.call(line.recorder.wire.unsent_bytes) == 0
        assert line.recorder.is_silent()


def test_messages_wait_while_reading_is_paused(line: PlainLine) -> None:
    """In order; each pause holds from the next message on."""
    recorder = line.recorder
    recorder.on_receive = lambda message: recorder.wire.pause_reading() if message != b"third" else None
    with line.client() as client:
        client.send_text("first")
        assert recorder.next() == ("received", b"first")
        client.send_text("second")
        client.send_text("third")
        assert line.served.call(recorder.is_silent)
        for message in (b"second", b"third"):
            line.served.call(recorder.wire.resume_reading)
            assert recorder.next() == ("received", message)


def test_closing_while_reading_is_paused_ends(line: PlainLine) -> None:
    """What waited goes nowhere."""
    with line.client() as client:
        line.served.call(line.recorder.wire.pause_reading)
        client.send_text("held")
        line.close(3000, "enough", seconds=CLOSE_SECONDS)
        assert client.read_close() == (3000, "enough")
        client.send_close(3000)
        assert line.recorder.next() == ("closed", 3000, "enough")
        assert line.returned() == "in peace"


@pytest.mark.parametrize(
    ("opcode", "payload", "code", "reason"),
    [
        (TEXT, b"x" * 1001, 1009, "message too big"),
        (TEXT, "ü".encode() * 501, 1009, "message too big"),
        (BINARY, b"\xc3(", 1007, "invalid UTF-8"),
    ],
)
def test_a_message_that_cannot_be_taken_closes_the_socket(
    line: PlainLine, opcode: int, payload: bytes, code: int, reason: str
) -> None:
    """Whatever the server's own limits are."""
    with line.client() as client:
        client.send_frame(opcode, payload)
        assert client.read_close() == (code, reason)
        client.send_close(code)
        assert line.recorder.next() == ("closed", code, reason)
    assert line.recorder.refused == (code == 1009)


def test_a_client_that_closes_with_1009_sent_nothing_too_large(line: PlainLine) -> None:
    """It found something of ours so."""
    with line.client() as client:
        client.send_close(1009, "message too big")
        assert line.recorder.next()[0] == "closed"  # with which code is the server's word
    assert line.recorder.refused == 0


def test_a_receiver_that_closes_at_once(line: PlainLine) -> None:
    """A close from inside its opening, and a write before it, are as good as later ones."""

    def refuse(wire: Any) -> None:
        wire.write(b"sorry")
        wire.close(3503, "not today", deadline_seconds=WAIT_SECONDS)

    line.recorder.on_open = refuse
    with line.client() as client:
        assert client.read_text() == "sorry"
        assert client.read_close() == (3503, "not today")
        client.send_close(3503)
        client.socket.close()
        assert line.recorder.next() == ("closed", 3503, "not today")


@pytest.mark.parametrize("server", SERVERS)
def test_the_servers_end_is_told(server: str) -> None:
    """With whatever code the server gives; the route returns or is cancelled, and `closed` comes once."""
    with serving(server) as line, line.client() as client:
        line.served.call(line.served.ask_to_stop)
        if server != "hypercorn":  # which waits for its clients to go, for its grace time
            assert client.read_close()[0] == 1012
        client.socket.close()
        assert line.recorder.next()[0] == "closed"
        line.returned()
        line.served.stop()
        assert line.recorder.is_silent()


def test_a_receiver_that_raises_ends_its_own_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    """It breaks its promise; the error is the route's, and the receiver still hears the end."""

    def fail(_message: bytes) -> None:
        raise LookupError("broken promise")

    with serving("uvicorn-openline") as line, line.client() as client:
        line.recorder.on_receive = fail
        client.send_text("anything")
        assert client.read_close()[0] == 1011
        assert line.recorder.next() == ("received", b"anything")
        assert line.recorder.next() == ("closed", 1006, "")
        assert "LookupError" in line.returned()
    assert "broken promise" in caplog.text
