"""An open WebSocket: what is read, what is answered, what waits. Real uvicorn, real sockets."""

from __future__ import annotations

import pytest

from tests.wires.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    close_payload,
    frame,
)
from tests.wires.lines import BAD_UTF8, TOO_MUCH, Line
from tests.wires.receivers import TEXT_FRAMES

# --- reading ----------------------------------------------------------------------------------------------------------


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
    """Each of them, in order, whichever way the connection is read; the receiver does not hear of it."""
    with line.client() as client:
        client.send_frame(PING, b"whole")
        assert client.read_frame() == Frame(PONG, b"whole")
        client.send_frame(TEXT, b"from here on a parser reads: ", fin=False)
        client.send(frame(PING, b"first") + frame(PING, b"second"))
        client.send_frame(CONTINUATION, b"it was a fragment")
        assert line.recorder.next() == ("received", b"from here on a parser reads: it was a fragment")
        assert [client.read_frame(), client.read_frame()] == [Frame(PONG, b"first"), Frame(PONG, b"second")]


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


def test_a_message_up_to_the_limit_is_taken(line: Line) -> None:
    """The bound is on the payload, fragments together."""
    with line.client() as client:
        client.send_frame(TEXT, b"x" * 1000)
        client.send_frame(TEXT, b"y" * 999, fin=False)
        client.send_frame(CONTINUATION, b"z")
        assert line.recorder.next() == ("received", b"x" * 1000)
        assert line.recorder.next() == ("received", b"y" * 999 + b"z")


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
    assert line.recorder.refused == 1


def test_a_client_that_closes_with_1009_sent_nothing_too_large(line: Line) -> None:
    """It found something of ours so. The receiver is told the code, and not that the wire refused anything."""
    with line.client() as client:
        client.send_close(1009, "message too big")
        assert client.read_close() == (1009, "message too big")
    assert line.recorder.next() == ("closed", 1009, "message too big")
    assert line.recorder.refused == 0


# --- pausing ----------------------------------------------------------------------------------------------------------


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


def test_a_broken_frame_behind_a_pause_waits_too(line: Line) -> None:
    """Who paused has not finished with what came before it."""
    recorder = line.recorder
    recorder.on_receive = lambda _message: recorder.wire.pause_reading()
    with line.client() as client:
        client.send(frame(TEXT, b"right") + frame(TEXT, b"wrong", masked=False))
        assert recorder.next() == ("received", b"right")
        assert line.served.call(recorder.is_silent)
        line.served.call(recorder.wire.resume_reading)
        assert recorder.next() == ("closed", 1002, "incorrect masking")
        assert client.read_close() == (1002, "incorrect masking")


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
