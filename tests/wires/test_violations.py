"""Frames that are wrong (RFC 6455, 5 and 8): what was right before them is answered, then they are, and it is over.

Asked of an ordinary route and of a hub's line, as the Autobahn suite asks it: its groups 3, 4, 5 and 6. That the
receiver of a line and the app behind a route hear of it once is asked in `test_connection.py` and
`test_conversation.py`.
"""

from __future__ import annotations

import pytest

from tests.wires.client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Frame, close_payload, frame
from tests.wires.echo import EchoServer


def closes(client: Client, code: int) -> None:
    """See the server say why it closes, and close."""
    assert client.read_close()[0] == code
    client.read_end()


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
@pytest.mark.parametrize("reserved", range(1, 8))
def test_reserved_bits_belong_to_extensions(echo: EchoServer, opcode: int, reserved: int) -> None:
    """Without one they mean nothing, in whatever frame."""
    with echo.client() as client:
        client.send(frame(TEXT, b"right") + frame(opcode, b"wrong", reserved=reserved) + frame(PING, b"too late"))
        assert client.read_text() == "right"
        closes(client, 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"reserved opcode payload"])
def test_reserved_opcodes_mean_nothing(echo: EchoServer, opcode: int, payload: bytes) -> None:
    """With a payload or without."""
    with echo.client() as client:
        client.send(frame(TEXT, b"right") + frame(opcode, payload) + frame(PING))
        assert client.read_text() == "right"
        closes(client, 1002)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG])
def test_a_client_masks_every_frame(echo: EchoServer, opcode: int) -> None:
    """One that does not is no client."""
    with echo.client() as client:
        client.send_frame(opcode, close_payload(1000), masked=False)
        closes(client, 1002)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_control_frame_has_at_most_125_bytes(echo: EchoServer, opcode: int, size: int) -> None:
    """One more is too many, however they come."""
    sent = frame(opcode, close_payload(1000) + b"x" * 124)
    with echo.client() as client:
        for start in range(0, len(sent), size):
            client.send(sent[start : start + size])
        closes(client, 1002)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_is_whole(echo: EchoServer, opcode: int) -> None:
    """It has no fragments."""
    with echo.client() as client:
        client.send(frame(opcode, close_payload(1000), fin=False) + frame(CONTINUATION, b"x"))
        closes(client, 1002)


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("before", [b"", frame(TEXT, b"whole")])
def test_a_continuation_continues_something(echo: EchoServer, before: bytes, *, fin: bool) -> None:
    """A message that has ended is nothing that goes on."""
    with echo.client() as client:
        client.send(before + frame(CONTINUATION, b"of nothing", fin=fin) + frame(TEXT, b"after"))
        if before:
            assert client.read_text() == "whole"
        closes(client, 1002)


def test_a_continuation_after_the_last_fragment_continues_nothing(echo: EchoServer) -> None:
    """The message before it is answered."""
    with echo.client() as client:
        client.send(frame(TEXT, b"frag", fin=False) + frame(CONTINUATION, b"ments") + frame(CONTINUATION, b"again"))
        assert client.read_text() == "fragments"
        closes(client, 1002)


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_message_ends_before_the_next_begins(echo: EchoServer, opcode: int, *, fin: bool) -> None:
    """Only control frames may come between its fragments."""
    with echo.client() as client:
        client.send(frame(TEXT, b"begun", fin=False) + frame(PING, b"may be") + frame(opcode, b"may not", fin=fin))
        assert client.read_frame() == Frame(PONG, b"may be")
        closes(client, 1002)


@pytest.mark.parametrize(
    "length",
    ["fe" + "ffff", "ff" + "0000000000011171", "ff" + "0000ffffffffffff", "ff" + "8000000000000000", "ff" * 9],
)
def test_a_frame_that_is_too_long_is_refused_by_its_header(echo: EchoServer, length: str) -> None:
    """Nobody waits for the rest of it, and nothing is allocated for it."""
    with echo.client() as client:
        client.send(frame(TEXT, b"x" * 10_000, fin=False) + bytes.fromhex("80" + length))
        closes(client, 1009)


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"hello")[:1],
        frame(TEXT, b"hello")[:5],
        frame(TEXT, b"hello")[:-1],
        frame(TEXT, b"x" * 300)[:3],
        frame(TEXT, b"hello", fin=False),
        frame(TEXT, b"hello", fin=False) + frame(CONTINUATION, b"hello")[:-1],
        frame(CLOSE, close_payload(1000))[:-1],
        frame(PING, b"hello")[:-1],
    ],
    ids=lambda sent: f"{sent[0]:02x} {len(sent)}",
)
def test_nothing_is_made_of_half_a_frame(echo: EchoServer, sent: bytes) -> None:
    """A client that breaks off in the middle is gone, and nothing of it is left."""
    with echo.client() as client:
        client.send(sent)
        assert echo.knows(client)
        client.socket.shutdown(1)
        client.read_end()
        assert not echo.knows(client)


# --- text -------------------------------------------------------------------------------------------------------------

VALID = {
    "greek": "cebae1bdb9cf83cebcceb5",
    "first of one byte": "00",
    "first of two bytes": "c280",
    "first of three bytes": "e0a080",
    "first of four bytes": "f0908080",
    "last of one byte": "7f",
    "last of two bytes": "dfbf",
    "last of three bytes": "efbfbf",
    "last of all": "f48fbfbf",
    "before the surrogates": "ed9fbf",
    "behind the surrogates": "ee8080",
    "replacement character": "efbfbd",
    "no character": "efbfbe",
    "no character, four bytes": "f09fbfbe",
}
INVALID = {
    "continuation first": "80",
    "continuation last": "bf",
    "continuations": "80bf80bf80bf",
    "lonely starts": "c020df20",
    "lonely start of three": "e020",
    "five bytes": "f888808080",
    "six bytes": "fc8480808080",
    "impossible byte": "fe",
    "impossible bytes": "ffff",
    "past the last of all": "f4908080",
    "surrogate": "eda080",
    "last surrogate": "edbfbf",
    "surrogates in a pair": "eda080edb080",
    "slash in two bytes": "c0af",
    "slash in three bytes": "e080af",
    "slash in four bytes": "f08080af",
    "two bytes too many": "c1bf",
    "nul in two bytes": "c080",
    "cut in two bytes": "ce",
    "cut in three bytes": "e1bd",
    "cut in four bytes": "f09080",
}


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_text_in_utf8_comes_back(echo: EchoServer, text: str, size: int) -> None:
    """However it is cut into fragments."""
    payload = bytes.fromhex(text)
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
    with echo.client() as client:
        for number, piece in enumerate(pieces):
            client.send_frame(CONTINUATION if number else TEXT, piece, fin=number == len(pieces) - 1)
        assert client.read_frame() == Frame(TEXT, payload)


@pytest.mark.parametrize("text", INVALID.values(), ids=INVALID)
@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("around", [b"", b"around"])
def test_other_text_ends_the_conversation(echo: EchoServer, text: str, size: int, around: bytes) -> None:
    """Whatever is around it, and however it is cut."""
    payload = bytes.fromhex(text)
    pieces = [around, *(payload[start : start + size] for start in range(0, len(payload), size)), around]
    with echo.client() as client:
        client.send(
            b"".join(
                frame(CONTINUATION if number else TEXT, piece, fin=number == len(pieces) - 1)
                for number, piece in enumerate(pieces)
            )
        )
        assert client.read_close()[0] == 1007


@pytest.mark.parametrize("wrong", ["f490", "eda080", "c0", "ff"])
def test_text_that_cannot_become_right_is_refused_at_once(echo: EchoServer, wrong: str) -> None:
    """With the fragment that spoils it: nobody waits for the end of the message."""
    with echo.client() as client:
        client.send(frame(TEXT, "κόσμε".encode(), fin=False) + frame(PING, b"fine so far"))
        assert client.read_frame() == Frame(PONG, b"fine so far")
        client.send_frame(CONTINUATION, bytes.fromhex(wrong), fin=False)
        closes(client, 1007)


def test_what_follows_such_text_is_not_looked_at(echo: EchoServer) -> None:
    """Neither another mistake, nor a close, nor a message."""
    with echo.client() as client:
        client.send(
            frame(TEXT, b"right")
            + frame(TEXT, b"\xff", fin=False)
            + frame(PING)
            + frame(CLOSE, close_payload(1000))
            + frame(TEXT, b"unmasked", masked=False)
        )
        assert client.read_text() == "right"
        closes(client, 1007)


def test_binary_messages_are_any_bytes(echo: EchoServer) -> None:
    """In fragments too."""
    with echo.client(BINARY) as client:
        client.send(frame(BINARY, b"\xff", fin=False) + frame(CONTINUATION, b"\xfe"))
        assert client.read_frame() == Frame(BINARY, b"\xff\xfe")
