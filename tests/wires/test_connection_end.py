"""An open WebSocket: every way in which it ends, and that it does. Real uvicorn, real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wires.client import (
    CLOSE,
    PING,
    TEXT,
    Frame,
    close_payload,
    frame,
)
from tests.wires.lines import TOO_MUCH, Line, detaching_over_tls, freeze_over_tls
from tests.wires.receivers import TEXT_FRAMES

# --- the end ----------------------------------------------------------------------------------------------------------


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
            line.recorder.wire.write(TEXT_FRAMES.wrap([b"last words"]))
            line.recorder.wire.close(3000, "enough", deadline_seconds=5)
            line.recorder.wire.close(3001, "again", deadline_seconds=5)
            line.recorder.wire.write(TEXT_FRAMES.wrap([b"too late"]))

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


# --- over TLS ---------------------------------------------------------------------------------------------------------


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
