"""Compressed messages on a hub's line: in both directions, whole and in fragments, right and wrong. Real sockets.

How ordinary routes compress is asked in `test_conversation.py`; what exactly is agreed on, in `test_deflate.py`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from openline import Hub
from openline.framing import COMPRESSED_FROM_BYTES, DEFLATED, encoding
from openline.wires.fast import DeflatedWire, FastWire
from tests.wires.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Client,
    Frame,
    close_payload,
    compressed,
    frame,
)
from tests.wires.conftest import ECHOED_BYTES
from tests.wires.echo import EchoServer
from tests.wires.lines import BAD_UTF8, Line, detaching
from tests.wires.receivers import TEXT_FRAMES
from tests.wires.servers import uvicorn_server

OFFER = "permessage-deflate; client_max_window_bits"
#: The first of the reserved bits.
RSV1 = 4
LONG = b"the same again and again, " * 100


def decompressed(received: Frame, window_bits: int = 15) -> bytes:
    """Give what is in a compressed frame."""
    assert received.rsv1
    return zlib.decompressobj(wbits=-window_bits).decompress(received.payload + b"\x00\x00\xff\xff")


@pytest.fixture
def echo(echoes: dict[str, EchoServer]) -> EchoServer:
    """Send messages back, compressed where that makes them shorter."""
    return echoes["compressed line"]


@pytest.fixture
def line(loop: str) -> Iterator[Line]:
    """Serve a text codec on either loop, and agree to compression."""
    with detaching(loop=loop, compression=True) as line:
        yield line


@contextmanager
def compressing(line: Line) -> Iterator[Client]:
    """Connect as a client that compresses."""
    with line.client(headers={"Sec-WebSocket-Extensions": OFFER}) as client:
        yield client


# --- agreeing ---------------------------------------------------------------------------------------------------------


def test_a_client_that_offers_compression_gets_a_wire_of_its_kind(line: Line) -> None:
    """With the encoding that all of its kind share; the others get the plain one."""
    with compressing(line) as client:
        assert client.headers["sec-websocket-extensions"].startswith("permessage-deflate; server_no_context_takeover")
        wire = line.recorder.wire
        assert isinstance(wire, DeflatedWire)
        assert wire.encoding is encoding(TEXT_FRAMES.codec, DEFLATED)
    assert line.recorder.next() == ("closed", 1006, "")
    with line.client() as client:
        assert "sec-websocket-extensions" not in client.headers
        wire = line.recorder.wire
        assert type(wire) is FastWire
        assert wire.encoding is TEXT_FRAMES


def test_compression_is_not_agreed_on_unasked() -> None:
    """A hub without it answers no offer."""
    with detaching() as line, line.client(headers={"Sec-WebSocket-Extensions": OFFER}) as client:
        assert "sec-websocket-extensions" not in client.headers
        assert type(line.recorder.wire) is FastWire


@pytest.mark.parametrize("bits", [12, 13, 15])
def test_a_client_reads_what_was_compressed_with_the_window_it_asked_for(echo: EchoServer, bits: int) -> None:
    """Repetitions that lie further back than that are not made use of."""
    text = b"".join(b"%06d" % number for number in range(8000))
    with echo.client(TEXT, f"permessage-deflate; server_max_window_bits={bits}") as client:
        client.send_frame(TEXT, text)
        assert decompressed(client.read_frame(), bits) == text


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("length", [0, 1, COMPRESSED_FROM_BYTES - 1, COMPRESSED_FROM_BYTES, 5_000, ECHOED_BYTES])
def test_a_compressed_message_comes_back(echo: EchoServer, kind: int, length: int) -> None:
    """Compressed from a certain length on, plain below it."""
    payload = (b"*" if kind == TEXT else b"\xfe") * length
    with echo.client(kind, OFFER) as client:
        client.send_frame(kind, compressed(payload), reserved=RSV1)
        received = client.read_frame()
        assert received.opcode == kind
        assert received.rsv1 == (length >= COMPRESSED_FROM_BYTES)
        assert (decompressed(received) if received.rsv1 else received.payload) == payload


def test_a_released_client_is_understood(echo: EchoServer) -> None:
    """Whole messages and fragments, with the context that it may not keep."""
    url = f"ws://127.0.0.1:{echo.served.port}/json/compressed"
    with connect(url, extensions=[ClientPerMessageDeflateFactory()], proxy=None) as client:
        for _ in range(3):
            client.send(LONG.decode())
            assert client.recv() == LONG.decode()
        client.send(["in ", "several ", "pieces"])
        assert client.recv() == "in several pieces"
        assert client.ping().wait(5)


def test_a_message_may_be_compressed_or_not(echo: EchoServer) -> None:
    """Each as the client likes."""
    with echo.client(TEXT, OFFER) as client:
        client.send(
            frame(TEXT, b"plain") + frame(TEXT, compressed(b"not"), reserved=RSV1) + frame(TEXT, b"plain again")
        )
        assert [client.read_text() for _ in range(3)] == ["plain", "not", "plain again"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_compressed_message_may_be_cut_anywhere(echo: EchoServer, size: int) -> None:
    """Into fragments, with control frames between, which are never compressed; only the first one says that it is."""
    whole = compressed(LONG)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    with echo.client(TEXT, OFFER) as client:
        for number, piece in enumerate(pieces):
            opcode, reserved = (CONTINUATION, 0) if number else (TEXT, RSV1)
            client.send_frame(opcode, piece, fin=number == len(pieces) - 1, reserved=reserved)
            if number == 0 and len(pieces) > 1:
                client.send_frame(PING, b"between")
                assert client.read_frame() == Frame(PONG, b"between")
        assert decompressed(client.read_frame()) == LONG
        client.send_close(1000)
        assert client.read_frame() == Frame(CLOSE, close_payload(1000))


def test_what_does_not_become_shorter_is_sent_as_it_is(echo: EchoServer) -> None:
    """An image, say."""
    noise = zlib.compress(LONG * 3, 9) + bytes(range(256))
    with echo.client(BINARY, OFFER) as client:
        client.send_frame(BINARY, noise)
        assert client.read_frame() == Frame(BINARY, noise)


def test_a_client_that_compresses_costs_no_parser(line: Line) -> None:
    """As long as it keeps to whole frames, as clients do."""
    with compressing(line) as client:
        for _ in range(3):
            client.send_frame(TEXT, compressed(b"hello"), reserved=RSV1)
            assert line.recorder.next() == ("received", b"hello")
        wire = line.recorder.wire
        assert isinstance(wire, DeflatedWire)
        assert wire._parser is None
        assert not hasattr(wire, "__dict__")


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_a_message_is_bounded_by_what_it_becomes(line: Line) -> None:
    """Up to the limit it is taken."""
    with compressing(line) as client:
        client.send_frame(TEXT, compressed(b"x" * 1000), reserved=RSV1)
        assert line.recorder.next() == ("received", b"x" * 1000)
        client.send_frame(TEXT, compressed(b"x" * 1001), reserved=RSV1)
        assert client.read_close() == (1009, "message too big")
        assert line.recorder.next() == ("closed", 1009, "message too big")


BOMB = compressed(bytes(10 << 20))  # ten kilobytes


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, BOMB[:900], reserved=RSV1),
        frame(TEXT, BOMB[:900], fin=False, reserved=RSV1),
        frame(TEXT, BOMB[:3], fin=False, reserved=RSV1) + frame(CONTINUATION, BOMB[3:900]),
        frame(TEXT, compressed(b"x" * 1000), fin=False, reserved=RSV1) + frame(CONTINUATION, compressed(b"x")),
        frame(TEXT, BOMB, reserved=RSV1),
    ],
    ids=["whole", "first fragment", "second fragment", "a drop too much", "long"],
)
def test_a_bomb_is_not_let_off(line: Line, sent: bytes) -> None:
    """A little that becomes a lot is too big, and is never made."""
    with compressing(line) as client:
        client.send(sent)
        assert client.read_close() == (1009, "message too big")
        assert line.recorder.next() == ("closed", 1009, "message too big")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"\xff\xff\xff", reserved=RSV1), 1002),
        (frame(TEXT, b"\xff\xff\xff", fin=False, reserved=RSV1), 1002),
        (frame(TEXT, compressed(b"x"), reserved=RSV1 | 2), 1002),
        (frame(TEXT, compressed(b"x"), reserved=2), 1002),
        (frame(PING, compressed(b"x"), reserved=RSV1), 1002),
        (frame(CLOSE, close_payload(1000), reserved=RSV1), 1002),
        (frame(CONTINUATION, b"x", reserved=RSV1), 1002),
        (frame(TEXT, compressed(b"xx")[:2], fin=False, reserved=RSV1) + frame(CONTINUATION, b"x", reserved=RSV1), 1002),
        (frame(TEXT, b"x", fin=False) + frame(CONTINUATION, compressed(b"x"), reserved=RSV1), 1002),
        (frame(TEXT, compressed(b"x"), masked=False, reserved=RSV1), 1002),
        (frame(TEXT, compressed(BAD_UTF8), reserved=RSV1), 1007),
        (frame(TEXT, compressed(BAD_UTF8), fin=False, reserved=RSV1) + frame(CONTINUATION), 1007),
    ],
)
def test_what_is_wrong_is_refused(line: Line, sent: bytes, code: int) -> None:
    """After what was right before it; the receiver hears of it once."""
    with compressing(line) as client:
        client.send(frame(TEXT, compressed(b"right"), reserved=RSV1) + sent)
        answer, reason = client.read_close()
        assert answer == code
        assert line.recorder.next() == ("received", b"right")
        client.send_close(code)
        client.socket.close()
        assert line.recorder.next() == ("closed", code, reason)


def test_compressed_frames_need_an_agreement() -> None:
    """Without one their bit is reserved."""
    with detaching() as line, line.client() as client:
        client.send_frame(TEXT, compressed(b"hello"), reserved=RSV1)
        assert client.read_close()[0] == 1002


# --- a hub ------------------------------------------------------------------------------------------------------------


def test_a_hub_compresses_once_for_all_who_want_it() -> None:
    """Two clients get the same bytes, a third the same message in plain; what they send is understood either way."""
    hub = Hub(compression=True)
    hub.channel("news")
    app = FastAPI()
    app.include_router(hub.router)
    path = "/connection/websocket"
    offer: dict[str, str | None] = {"Sec-WebSocket-Extensions": OFFER}
    with (
        uvicorn_server(app, lifespan="on") as served,
        Client(served.port, path, offer) as first,
        Client(served.port, path, offer) as second,
        Client(served.port, path) as plain,
    ):
        commands = b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news"}}'
        first.send_frame(TEXT, compressed(commands), reserved=RSV1)
        second.send_frame(TEXT, compressed(commands), reserved=RSV1)
        plain.send_frame(TEXT, commands)
        for client in (first, second, plain):
            assert '"connect":{' in client.read_text()
            assert '"subscribe":{' in client.read_text()

        asyncio.run_coroutine_threadsafe(hub.publish("news", LONG.decode()), served.loop).result(5)

        message = plain.read_frame()
        frames = [first.read_frame(), second.read_frame()]
        assert LONG in message.payload
        assert frames[0] == frames[1]
        assert decompressed(frames[0]) == message.payload
        encodings = served.call(lambda: [session.outbox.encoding for session in hub.sessions.values()])
        assert len(set(encodings)) == 2


def test_a_hub_compresses_nothing_unasked() -> None:
    """It is an option."""
    hub = Hub()
    app = FastAPI()
    app.include_router(hub.router)
    with (
        uvicorn_server(app, lifespan="on") as served,
        Client(served.port, "/connection/websocket", {"Sec-WebSocket-Extensions": OFFER}) as client,
    ):
        assert client.status == 101
        assert "sec-websocket-extensions" not in client.headers
