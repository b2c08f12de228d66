"""The fast wire's two ways to the socket, straight or by the transport: order is kept, whatever goes which way."""

from __future__ import annotations

from typing import Any

from openline.outbox import Direct
from openline.wires.borrowed import BorrowedSocket
from openline.wires.fast import DETACH
from tests.wires.client import PING, TEXT, Client, Frame
from tests.wires.lines import TOO_MUCH, Line
from tests.wires.receivers import TEXT_FRAMES, Recorder
from tests.wires.servers import uvicorn_server


def framed(word: bytes) -> bytes:
    """Frame a word."""
    return TEXT_FRAMES.wrap([word])


def direct(line: Line) -> Direct | None:
    """Give the wire's way past its transport, as of now."""
    return line.served.call(lambda: line.recorder.wire.direct)


def test_an_idle_wire_can_be_sent_to_directly(line: Line) -> None:
    """And what is written after that comes after it."""
    with line.client() as client:
        line.write(framed(b"zero"))
        assert client.read_text() == "zero"
        first, second = framed(b"first"), framed(b"second")

        def send() -> None:
            way = line.recorder.wire.direct
            assert way is not None
            assert way.send(first) == len(first)
            line.recorder.wire.write(second)

        line.served.call(send)
        assert [client.read_text(), client.read_text()] == ["first", "second"]


def test_nothing_overtakes_the_answer_to_the_handshake(loop: str) -> None:
    """Uvloop may still hold the 101 when a client that did not wait for it is answered."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"][DETACH](recorder.open, TEXT_FRAMES, None, 1000)

    recorder = Recorder()
    recorder.on_open = lambda wire: wire.write(framed(b"at once"))
    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert client.status == 101
        assert client.read_text() == "at once"


def test_what_follows_a_control_frame_in_the_same_turn_stays_behind_it(line: Line) -> None:
    """Uvloop keeps what its transport is given until the end of the turn: nothing may overtake it."""
    with line.client() as client:

        def send() -> None:
            line.recorder.wire.ping()
            assert line.recorder.wire.direct is None
            line.recorder.wire.write(framed(b"behind"))

        line.served.call(send)
        assert [client.read_frame(), client.read_frame()] == [Frame(PING, b""), Frame(TEXT, b"behind")]
        line.write(framed(b"again"))
        assert client.read_text() == "again"
        assert direct(line) is not None


def test_what_the_kernel_did_not_take_stays_in_front(line: Line) -> None:
    """A message cut in two by a full socket is whole at the other end, and everything after it is behind it."""
    with line.client() as client:
        line.write(framed(TOO_MUCH))
        assert line.recorder.next() == ("paused",)
        assert direct(line) is None
        line.write(framed(b"second"))
        assert client.read_frame().payload == TOO_MUCH
        assert client.read_text() == "second"
        assert line.recorder.next() == ("resumed",)


def test_after_the_end_there_is_no_way_to_the_socket(line: Line) -> None:
    """The descriptor is given back with the close: its number may soon be another connection's."""
    with line.client() as client:
        line.close(3000, "enough")
        assert direct(line) is None
        line.write(framed(b"too late"))
        assert client.read_close() == (3000, "enough")
        client.send_close(3000)
        client.read_end()


def test_a_lost_connection_is_never_sent_to(line: Line) -> None:
    """When the client vanishes the descriptor is given back before the transport closes it."""
    with line.client() as client:
        line.write(framed(b"first"))
        way = direct(line)
        assert isinstance(way, BorrowedSocket)
        assert way.fileno() >= 0
        client.reset()
        assert line.recorder.next() == ("closed", 1006, "")
        assert (way.fileno(), direct(line)) == (-1, None)
        line.write(framed(b"for nobody"))
