"""Messages in frames (RFC 6455, 5): whatever the lengths, the cuts and what comes between, they come back as they were.

Asked of an ordinary route and of a hub's line, as the Autobahn suite asks it: its groups 1, 2, 5 and 9.
"""

from __future__ import annotations

import pytest

from tests.wires.client import BINARY, CONTINUATION, PING, PONG, TEXT, Client, Frame, frame
from tests.wires.echo import EchoServer

#: Around the lengths at which a frame says its length otherwise.
LENGTHS = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537)


def in_pieces(client: Client, data: bytes, size: int) -> None:
    """Send bytes so that the server reads them in pieces, as far as a client can see to it."""
    for start in range(0, len(data), size):
        client.send(data[start : start + size])


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("length", LENGTHS)
def test_a_message_of_any_length_comes_back(echo: EchoServer, kind: int, length: int) -> None:
    """As the kind that it was."""
    payload = (b"*" if kind == TEXT else b"\xfe") * length
    with echo.client(kind) as client:
        client.send_frame(kind, payload)
        assert client.read_frame() == Frame(kind, payload)


@pytest.mark.parametrize("size", [1, 997])
def test_a_frame_may_come_in_pieces(echo: EchoServer, size: int) -> None:
    """Down to single bytes, and so may the control frames between."""
    text = b"x" * (300 if size == 1 else 65_536)
    with echo.client() as client:
        in_pieces(client, frame(TEXT, text) + frame(PING, b"between") + frame(TEXT, b"second"), size)
        frames = [client.read_frame() for _ in range(3)]
        assert [one for one in frames if one.opcode == TEXT] == [Frame(TEXT, text), Frame(TEXT, b"second")]
        assert Frame(PONG, b"between") in frames


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [1, 64, 1300, 65_536])
def test_a_message_may_come_in_any_number_of_fragments(echo: EchoServer, kind: int, size: int) -> None:
    """It comes back in one piece, as the kind that its first fragment said."""
    payload = (b"*" if kind == TEXT else b"\xfe") * (500 if size == 1 else 65_536)
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
    with echo.client(kind) as client:
        client.send(
            b"".join(
                frame(CONTINUATION if number else kind, piece, fin=number == len(pieces) - 1)
                for number, piece in enumerate(pieces)
            )
        )
        assert client.read_frame() == Frame(kind, payload)


def test_fragments_may_be_empty(echo: EchoServer) -> None:
    """All of them, too."""
    with echo.client() as client:
        client.send(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION))
        assert client.read_frame() == Frame(TEXT, b"")
        client.send(frame(TEXT, fin=False) + frame(CONTINUATION, b"middle", fin=False) + frame(CONTINUATION))
        assert client.read_frame() == Frame(TEXT, b"middle")


@pytest.mark.parametrize("size", [1, 1000])
def test_pings_between_fragments_are_answered_before_the_message(echo: EchoServer, size: int) -> None:
    """Each at its place; the message is not touched by them."""
    with echo.client() as client:
        sent = (
            frame(TEXT, b"one, ", fin=False)
            + frame(PING, b"first")
            + frame(CONTINUATION, b"two, ", fin=False)
            + frame(PING, b"second")
            + frame(PONG, b"unasked")
            + frame(CONTINUATION, b"three")
        )
        in_pieces(client, sent, size)
        assert [client.read_frame() for _ in range(3)] == [
            Frame(PONG, b"first"),
            Frame(PONG, b"second"),
            Frame(TEXT, b"one, two, three"),
        ]


@pytest.mark.parametrize("payload", [b"", b"Hello", bytes(range(125)), b"\xfe" * 125], ids=len)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_ping_comes_back_as_a_pong(echo: EchoServer, payload: bytes, size: int) -> None:
    """With what was in it, whatever that is."""
    with echo.client() as client:
        in_pieces(client, frame(PING, payload), size)
        assert client.read_frame() == Frame(PONG, payload)


@pytest.mark.parametrize("size", [1, 1000])
def test_every_ping_has_its_pong(echo: EchoServer, size: int) -> None:
    """Ten at once are answered by ten, in order."""
    with echo.client() as client:
        in_pieces(client, b"".join(frame(PING, b"payload-%d" % number) for number in range(10)), size)
        assert [client.read_frame() for _ in range(10)] == [Frame(PONG, b"payload-%d" % number) for number in range(10)]


@pytest.mark.parametrize("payload", [b"", b"unsolicited pong payload"])
def test_a_pong_that_nobody_asked_for_is_ignored(echo: EchoServer, payload: bytes) -> None:
    """The next answer is the one to the next question."""
    with echo.client() as client:
        client.send(frame(PONG, payload) + frame(PING, b"asked"))
        assert client.read_frame() == Frame(PONG, b"asked")


@pytest.mark.parametrize("head", ["81fe0005", "81ff0000000000000005"])
def test_a_length_may_be_written_longer_than_it_needs(echo: EchoServer, head: str) -> None:
    """RFC 6455 forbids it to senders; there is no doubt about what it means."""
    with echo.client() as client:
        client.send(bytes.fromhex(head) + bytes(4) + b"hello")
        assert client.read_frame() == Frame(TEXT, b"hello")
