"""The fast wire: what reaches a receiver, what leaves, and how a connection ends. Real uvicorn, real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import ssl
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from openline.framing import Encoding
from openline.wires.fast import DETACH, Detach, FastWire
from tests.wires.certificates import make_certificate
from tests.wires.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Client,
    Frame,
    close_payload,
    frame,
)
from tests.wires.receivers import BINARY_FRAMES, TEXT_FRAMES, Recorder
from tests.wires.servers import LOOPS, Served, uvicorn_server

#: Short enough to be waited for, long enough for a peer that answers.
CLOSE_SECONDS = 0.2
#: More than the kernel takes off a server's hands for a client that does not read.
TOO_MUCH = b"x" * (16 << 20)


class Line:
    """A server whose one route detaches its sockets, and the receiver they go to."""

    def __init__(self, served: Served, recorder: Recorder) -> None:
        self.served = served
        self.recorder = recorder

    @contextmanager
    def client(self, **options: Any) -> Iterator[Client]:
        """Connect, and see the receiver opened."""
        with Client(self.served.port, **options) as client:
            assert client.status == 101
            assert self.recorder.next() == ("opened",)
            yield client

    def write(self, *chunks: bytes) -> None:
        """Write as an outbox does: the list is only lent."""

        def write() -> None:
            lent = list(chunks)
            self.recorder.wire.write(lent)
            lent.clear()

        self.served.call(write)

    def close(self, code: int, reason: str, seconds: float = CLOSE_SECONDS) -> None:
        """Close as a session does."""
        self.served.call(lambda: self.recorder.wire.close(code, reason, deadline_seconds=seconds))

    def connections(self) -> list[Any]:
        """Give what uvicorn counts as connections."""
        return self.served.call(lambda: list(self.served.server.server_state.connections))


@contextmanager
def detaching(
    encoding: Encoding = TEXT_FRAMES, *, loop: str = "asyncio", subprotocol: str | None = None, **options: Any
) -> Iterator[Line]:
    """Serve one route that detaches."""
    recorder = Recorder()

    async def route(websocket: WebSocket) -> None:
        detach: Detach = websocket.scope["extensions"][DETACH]
        detach(recorder.open, encoding, subprotocol, 1000, CLOSE_SECONDS)

    with uvicorn_server(Starlette(routes=[WebSocketRoute("/", route)]), loop=loop, **options) as served:
        yield Line(served, recorder)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Name an event loop: the one of Python, and uvloop."""
    name: str = request.param
    return name


@pytest.fixture
def line(loop: str) -> Iterator[Line]:
    """Serve a text codec on either loop."""
    with detaching(loop=loop) as line:
        yield line


# --- from the handshake to the wire ---------------------------------------------------------------------------------


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


# --- reading ---------------------------------------------------------------------------------------------------------


def test_frames_may_come_in_pieces_and_in_heaps(line: Line) -> None:
    """Messages are whole and in order however TCP cuts them."""
    with line.client() as client:
        heap = b"".join(frame(TEXT, b"message %d" % number + b"." * number) for number in range(300))
        for cut in range(0, len(heap), 777):
            client.send(heap[cut : cut + 777])
        for number in range(300):
            assert line.recorder.next() == ("received", b"message %d" % number + b"." * number)
        for byte in frame(TEXT, b"slowly"):
            client.send(bytes((byte,)))
        assert line.recorder.next() == ("received", b"slowly")


def test_fragments_are_joined_and_pings_between_them_answered(line: Line) -> None:
    """A message in fragments is one message, cut even within a character."""
    with line.client() as client:
        first, second = "grü".encode()[:3], "grü".encode()[3:]
        client.send_frame(TEXT, first, fin=False)
        client.send_frame(PING, b"between")
        client.send_frame(CONTINUATION, b"", fin=False)
        client.send_frame(CONTINUATION, second)
        assert line.recorder.next() == ("received", "grü".encode())
        assert client.read_frame() == Frame(PONG, b"between")


def test_pings_are_answered(line: Line) -> None:
    """The receiver does not hear of them, whichever way the connection is read."""
    with line.client() as client:
        client.send_frame(PING, b"whole")
        assert client.read_frame() == Frame(PONG, b"whole")
        client.send_frame(TEXT, b"from here on a parser reads: ", fin=False)
        client.send(frame(PING, b"first") + frame(PING, b"second"))
        client.send_frame(CONTINUATION, b"it was a fragment")
        assert line.recorder.next() == ("received", b"from here on a parser reads: it was a fragment")
        pong = client.read_frame()
        assert pong in (Frame(PONG, b"first"), Frame(PONG, b"second"))  # the latest of one read is enough
        client.send_frame(PING, b"third")
        while pong.payload != b"third":
            pong = client.read_frame()
            assert pong.opcode == PONG


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


def test_a_message_up_to_the_limit_is_taken(line: Line) -> None:
    """The bound is on the payload, fragments together."""
    with line.client() as client:
        client.send_frame(TEXT, b"x" * 1000)
        client.send_frame(TEXT, b"y" * 999, fin=False)
        client.send_frame(CONTINUATION, b"z")
        assert line.recorder.next() == ("received", b"x" * 1000)
        assert line.recorder.next() == ("received", b"y" * 999 + b"z")


BAD_UTF8 = b"\xc3("


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x" * 1001), 1009),
        (frame(TEXT, b"x" * 70_000), 1009),
        (frame(TEXT, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401), 1009),
        (frame(TEXT, BAD_UTF8), 1007),
        (frame(BINARY, BAD_UTF8), 1007),
        (frame(TEXT, BAD_UTF8[:1], fin=False) + frame(CONTINUATION, BAD_UTF8[1:]), 1007),
        (frame(TEXT, b"hello", masked=False), 1002),
        (frame(TEXT, b"hello", reserved=4), 1002),
        (frame(TEXT, b"hello", reserved=1), 1002),
        (frame(3, b"hello"), 1002),
        (frame(CONTINUATION, b"of nothing"), 1002),
        (frame(TEXT, b"begun", fin=False) + frame(TEXT, b"again"), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(PING, b"half", fin=False), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, close_payload(1005)), 1002),
        (frame(CLOSE, close_payload(1000) + BAD_UTF8), 1007),
    ],
)
def test_a_broken_frame_gets_the_answer_of_rfc_6455(line: Line, sent: bytes, code: int) -> None:
    """The code says what was wrong; the receiver hears of it once, after what was right."""
    with line.client() as client:
        client.send(frame(TEXT, b"right") + sent)
        answer, reason = client.read_close()
        assert answer == code
        assert line.recorder.next() == ("received", b"right")
        client.send_close(code)
        client.read_end()
        client.socket.close()
        assert line.recorder.next() == ("closed", code, reason)
        assert line.served.call(line.recorder.is_silent)


def test_a_client_in_the_middle_of_a_huge_message_sees_why_it_was_closed(line: Line) -> None:
    """The socket is not reset under the feet of a client that is still sending."""
    with line.client() as client:
        client.send(frame(TEXT, TOO_MUCH))
        assert client.read_close() == (1009, "message too big")
        client.read_end()
    assert line.recorder.next() == ("closed", 1009, "message too big")


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


# --- pausing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragmented", [False, True])
def test_messages_of_one_read_wait_while_reading_is_paused(line: Line, *, fragmented: bool) -> None:
    """What was read already is held back, in order, with the close behind it."""
    recorder = line.recorder

    def pause_at_first(message: bytes) -> None:
        if message in (b"first", b"second"):
            recorder.wire.pause_reading()

    recorder.on_receive = pause_at_first
    with line.client() as client:
        head = frame(TEXT, b"fir", fin=False) + frame(CONTINUATION, b"st") if fragmented else frame(TEXT, b"first")
        rest = frame(TEXT, b"second") + frame(TEXT, b"third") + frame(CLOSE, close_payload(4000, "bye"))
        client.send(head + rest)
        for message in (b"first", b"second"):
            assert recorder.next() == ("received", message)
            assert line.served.call(recorder.is_silent)
            line.served.call(recorder.wire.resume_reading)
        assert recorder.next() == ("received", b"third")
        assert recorder.next() == ("closed", 4000, "bye")
        assert client.read_close() == (4000, "bye")


def test_nothing_is_read_while_paused(line: Line) -> None:
    """What comes later waits in the kernel."""
    with line.client() as client:
        line.served.call(line.recorder.wire.pause_reading)
        client.send_text("later")

        def resume() -> bool:
            silent = line.recorder.is_silent()
            line.recorder.wire.resume_reading()
            return silent

        assert line.served.call(resume)
        assert line.recorder.next() == ("received", b"later")


def test_closing_while_paused_drops_what_was_held(line: Line) -> None:
    """After close nothing reaches the receiver, and the peer's close is seen although reading was paused."""
    recorder = line.recorder
    recorder.on_receive = lambda _message: recorder.wire.pause_reading()
    with line.client() as client:
        client.send(frame(TEXT, b"first") + frame(TEXT, b"held"))
        assert recorder.next() == ("received", b"first")
        line.close(3000, "enough", seconds=5)
        client.send_text("late")
        assert client.read_close() == (3000, "enough")
        client.send_close(3000, "enough")
        client.read_end()
        assert recorder.next() == ("closed", 3000, "enough")


def test_closing_while_the_peers_close_is_held_ends_at_once(line: Line) -> None:
    """Two closes that cross need no further answer."""
    recorder = line.recorder
    recorder.on_receive = lambda _message: recorder.wire.pause_reading()
    with line.client() as client:
        client.send(frame(TEXT, b"first") + frame(CLOSE, close_payload(4000, "bye")))
        assert recorder.next() == ("received", b"first")
        line.close(3000, "enough", seconds=5)
        assert client.read_close() == (3000, "enough")
        client.read_end()
        assert recorder.next() == ("closed", 3000, "enough")


# --- writing ---------------------------------------------------------------------------------------------------------


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


def test_a_client_that_pings_and_does_not_read_is_answered_once(line: Line) -> None:
    """Its answers do not pile up: it gets the latest when it reads again."""
    with line.client() as client:
        line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
        assert line.recorder.next() == ("paused",)
        for number in range(100):
            client.send_frame(PING, b"%d" % number)
        client.send_text("all sent")
        assert line.recorder.next() == ("received", b"all sent")
        assert client.read_frame().payload == TOO_MUCH
        assert client.read_frame() == Frame(PONG, b"99")


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("payload", "code", "reason"), [(close_payload(4001, "bye"), 4001, "bye"), (b"", 1005, "")])
def test_a_client_that_closes_is_answered(line: Line, payload: bytes, code: int, reason: str) -> None:
    """The close is echoed, the receiver hears it once, TCP ends, and uvicorn counts one connection less."""
    with line.client() as client:
        client.send(frame(CLOSE, payload) + frame(TEXT, b"after the end"))
        assert client.read_frame() == Frame(CLOSE, payload)
        client.read_end()
        assert line.recorder.next() == ("closed", code, reason)
        line.write(TEXT_FRAMES.wrap([b"too late"]))
        line.close(3000, "too late")
        assert line.connections() == []
        assert line.recorder.is_silent()


def test_closing_sends_what_was_written_then_waits_for_the_peer(line: Line) -> None:
    """The close frame is last; a second close and later writes change nothing; later messages go nowhere."""
    with line.client() as client:

        def write_and_close() -> None:
            line.recorder.wire.write([TEXT_FRAMES.wrap([b"last words"])])
            line.recorder.wire.close(3000, "enough", deadline_seconds=5)
            line.recorder.wire.close(3001, "again", deadline_seconds=5)
            line.recorder.wire.write([TEXT_FRAMES.wrap([b"too late"])])

        line.served.call(write_and_close)
        assert client.read_text() == "last words"
        assert client.read_close() == (3000, "enough")
        client.send_text("late")
        client.send_frame(PING)
        assert line.connections() == [line.recorder.wire]
        client.send_close(3000)
        client.read_end()
        assert line.recorder.next() == ("closed", 3000, "enough")
        assert line.connections() == []


def test_a_reason_that_does_not_fit_is_cut_between_characters(line: Line) -> None:
    """A close frame holds 123 bytes of reason."""
    with line.client() as client:
        line.close(3000, "ü" * 100)
        assert client.read_close() == (3000, "ü" * 61)


@pytest.mark.parametrize("way", ["reset", "end of stream", "broken frame"])
def test_a_peer_that_breaks_off_during_the_close_ends_it(line: Line, way: str) -> None:
    """The receiver hears of the close that was begun; nobody waits for the deadline."""
    with line.client() as client:
        line.close(3000, "enough", seconds=60)
        assert client.read_close() == (3000, "enough")
        match way:
            case "reset":
                client.reset()
            case "end of stream":
                client.socket.close()
            case _:
                client.send_frame(TEXT, b"unmasked", masked=False)
        assert line.recorder.next() == ("closed", 3000, "enough")


@pytest.mark.parametrize("way", ["reset", "end of stream"])
def test_a_client_that_vanishes_is_told_as_1006(line: Line, way: str) -> None:
    """No close frame was seen."""
    with line.client() as client:
        client.send(frame(TEXT, b"half a frame")[:5])
        if way == "reset":
            client.reset()
        else:
            client.socket.close()
        assert line.recorder.next() == ("closed", 1006, "")
        assert line.connections() == []


def test_a_frozen_peer_is_aborted_at_the_deadline(line: Line) -> None:
    """A peer that reads nothing cannot hold a close: what it was sent is dropped."""
    with line.client():
        line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
        assert line.recorder.next() == ("paused",)
        line.close(3008, "slow")
        assert line.recorder.next() == ("closed", 3008, "slow")
        assert line.connections() == []


@pytest.mark.parametrize("last", [frame(CLOSE, close_payload(1000)), frame(TEXT, b"x", masked=False), b""])
def test_a_frozen_peer_that_ends_is_aborted_too(line: Line, last: bytes) -> None:
    """Its close, its broken frame and its end of stream are answered, and the answer has a deadline."""
    with line.client() as client:
        line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
        assert line.recorder.next() == ("paused",)
        if last:
            client.send(last)
        else:
            client.socket.shutdown(1)
        kind, code, _reason = line.recorder.next()
        assert (kind, code) == ("closed", {0x88: 1000, 0x81: 1002}.get(last[0] if last else 0, 1006))
    # The server of the fixture ends now, which it would not with the connection left.


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


@contextmanager
def detaching_over_tls(loop: str, folder: Path) -> Iterator[tuple[Line, ssl.SSLContext]]:
    """Serve one route that detaches, over TLS."""
    certificate, key, context = make_certificate(folder)
    with detaching(loop=loop, ssl_certfile=certificate, ssl_keyfile=key) as line:
        yield line, context


def freeze_over_tls(line: Line) -> None:
    """Fill every buffer up to the client. TLS hands the first write on to TCP, uncounted; the second it keeps."""
    line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
    line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
    assert line.recorder.next() == ("paused",)


def test_the_wire_runs_over_tls(loop: str, tmp_path: Path) -> None:
    """Messages pass, and both ways of closing end TCP."""
    with detaching_over_tls(loop, tmp_path) as (line, context):
        with line.client(tls=context) as client:
            client.send_text("secret")
            assert line.recorder.next() == ("received", b"secret")
            line.write(TEXT_FRAMES.wrap([b"also secret"]))
            assert client.read_text() == "also secret"
            client.send_close(4000, "bye")
            assert client.read_close() == (4000, "bye")
            assert line.recorder.next() == ("closed", 4000, "bye")
            client.read_end()
        with line.client(tls=context) as client:
            line.close(3000, "enough", seconds=60)
            assert client.read_close() == (3000, "enough")
            client.send_close(3000)
            client.read_end()
            assert line.recorder.next() == ("closed", 3000, "enough")


def test_a_broken_frame_is_answered_over_tls(loop: str, tmp_path: Path) -> None:
    """The client sees why, and the end."""
    with detaching_over_tls(loop, tmp_path) as (line, context), line.client(tls=context) as client:
        client.send_frame(TEXT, b"x" * 1001)
        assert client.read_close() == (1009, "message too big")
        assert line.recorder.next() == ("closed", 1009, "message too big")


def test_a_frozen_peer_is_aborted_over_tls(loop: str, tmp_path: Path) -> None:
    """At the deadline, whatever TLS would still like to say."""
    with detaching_over_tls(loop, tmp_path) as (line, context), line.client(tls=context):
        freeze_over_tls(line)
        line.close(3008, "slow")
        assert line.recorder.next() == ("closed", 3008, "slow")
        assert line.connections() == []


def test_a_frozen_peer_that_closes_is_aborted_over_tls(loop: str, tmp_path: Path) -> None:
    """It keeps no server from ending."""
    with detaching_over_tls(loop, tmp_path) as (line, context), line.client(tls=context) as client:
        freeze_over_tls(line)
        client.send_close(1000)
        assert line.recorder.next() == ("closed", 1000, "")
        line.served.stop()


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


def test_uvicorns_log_line_is_written(caplog: pytest.LogCaptureFixture) -> None:
    """Who came, to which path, as for any WebSocket on uvicorn."""
    with caplog.at_level(logging.INFO, "uvicorn.error"), detaching() as line, line.client(path="/?token=1") as client:
        host, port = client.socket.getsockname()
        assert f'{host}:{port} - "WebSocket /?token=1" [accepted]' in caplog.text
    assert KEY not in caplog.text
