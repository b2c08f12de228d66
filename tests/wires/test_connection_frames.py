"""An open WebSocket: the frames of a client become messages, however they are cut and whenever reading is paused."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from openline.wires.connection import LARGE_READ_BYTES, Connection, is_utf8
from tests.wires.client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, frame


class Transport(asyncio.Transport):
    """A transport in memory: it keeps what is written and knows whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_paused = False
        self.is_closed = False

    def write(self, data: Any) -> None:
        """Keep it."""
        self.written += data

    def write_eof(self) -> None:
        """Nothing more is written."""

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def pause_reading(self) -> None:
        """Remember it."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """Remember it."""
        self.is_paused = False

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return self.is_closed

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True

    def abort(self) -> None:
        """Remember it."""
        self.is_closed = True


class Collecting(Connection):
    """Collects messages; pauses reading after those it is told to."""

    def __init__(self, transport: Transport, pauses: frozenset[int]) -> None:
        super().__init__(transport, set(), message_bytes=2000, close_seconds=0.01)
        self.messages: list[tuple[bytes, bool]] = []
        self.ends: list[tuple[int, str]] = []
        self.pauses = pauses

    def _take(self, payload: bytes, *, binary: bool) -> None:
        assert not self._is_paused, "a message came while reading was paused"
        self.messages.append((payload, binary))
        if len(self.messages) in self.pauses:
            self.pause_reading()

    def _ponged(self, payload: bytes) -> None:
        assert not self._is_paused

    def _ended(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))


messages = st.tuples(st.binary(max_size=40) | st.binary(min_size=120, max_size=300), st.booleans())


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[bytes, bool]], bytes]:
    """Draw messages, and the bytes that carry them: whole or in fragments, with pings and pongs anywhere."""
    sent = draw(st.lists(messages, max_size=8))
    carried = b""
    for payload, binary in sent:
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        pieces = [payload[start:end] for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for number, piece in enumerate(pieces):
            opcode = CONTINUATION if number else BINARY if binary else TEXT
            carried += frame(opcode, piece, fin=number == len(pieces) - 1)
            if draw(st.booleans()):
                carried += frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)))
    return sent, carried + frame(CLOSE, close_payload(4000, "bye"))


@given(conversations(), st.lists(st.integers(1, 40), min_size=1, max_size=200), st.frozensets(st.integers(1, 8)))
async def test_messages_are_whole_and_in_order(
    conversation: tuple[list[tuple[bytes, bool]], bytes], reads: list[int], pauses: frozenset[int]
) -> None:
    """Whatever the reads, the fragments, the control frames between them, and the pauses."""
    sent, carried = conversation
    transport = Transport()
    connection = Collecting(transport, pauses)
    for size in [*reads, len(carried)]:
        while transport.is_paused and not connection.ends:
            connection.resume_reading()
            await asyncio.sleep(0)  # what was held is given out in a callback of its own
        data, carried = carried[:size], carried[size:]
        if data:
            connection.data_received(data)
    while transport.is_paused and not connection.ends:
        connection.resume_reading()
        await asyncio.sleep(0)
    assert connection.messages == sent
    assert connection.ends == [(4000, "bye")]
    assert transport.is_closed
    connection.connection_lost(None)
    assert connection.ends == [(4000, "bye")]


@st.composite
def doubtful_frames(draw: st.DrawFn) -> bytes:
    """Draw bytes that begin as frames do, right and wrong."""
    data = b""
    for _ in range(draw(st.integers(1, 6))):
        head = draw(st.sampled_from([0x81, 0x82, 0x89, 0x8A, 0x88, 0x01, 0x80, 0x00, 0xC1, 0x83]))
        payload = draw(st.binary(max_size=130) | st.just(close_payload(3000)) | st.binary(min_size=1999, max_size=2001))
        masked = draw(st.integers(0, 9)) > 0
        data += bytes((head,)) + frame(0, payload, masked=masked)[1:]
    return data[: draw(st.integers(1, len(data)))] if draw(st.booleans()) else data


def read_by_websockets(data: bytes) -> tuple[list[tuple[bytes, bool]], int | None]:
    """Give the messages that `websockets` reads, and the code with which the conversation ends, if it does."""
    parser = ServerProtocol(state=State.OPEN, max_size=2000)
    parser.receive_data(data)
    read, message, binary = [], b"", False
    for event in parser.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            binary = binary if event.opcode is Opcode.CONT else event.opcode is Opcode.BINARY
            message += bytes(event.data)
            if event.fin:
                read.append((message, binary))
                message = b""
    return read, int(parser.close_sent.code) if parser.close_sent else None


@given(doubtful_frames())
async def test_any_bytes_are_read_as_websockets_reads_them(data: bytes) -> None:
    """The quick way decides nothing differently: same messages, same verdict on what is wrong."""
    read, code = read_by_websockets(data)
    connection = Collecting(Transport(), frozenset())
    connection.data_received(data)
    assert connection.messages == read
    assert [end[0] for end in connection.ends] == ([] if code is None else [code])
    connection.connection_lost(None)
    assert len(connection.ends) == 1


def test_utf8_is_told_from_other_bytes() -> None:
    """Of any length, ASCII or not."""
    assert all(is_utf8(text.encode()) for text in ("", "ascii", "grün", "🙂"))
    assert not any(is_utf8(data) for data in (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"ok\xf0\x9f"))


async def test_a_client_that_floods_waits_a_turn() -> None:
    """After a large read the transport is read again in the next turn of the loop: the others have theirs first."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    flood = frame(TEXT, b"x" * 1_000) * (LARGE_READ_BYTES // 1_000 + 1)
    connection.data_received(flood)
    paused = [transport.is_paused]
    await asyncio.sleep(0)
    paused.append(transport.is_paused)
    assert paused == [True, False]
    assert len(connection.messages) == LARGE_READ_BYTES // 1_000 + 1


async def test_a_pause_of_the_receiver_outlives_the_turn() -> None:
    """Reading goes on after a large read only if nobody else has paused it."""
    transport = Transport()
    connection = Collecting(transport, frozenset({3}))
    connection.data_received(frame(TEXT, b"x" * 1_000) * (LARGE_READ_BYTES // 1_000 + 1))
    await asyncio.sleep(0)
    assert transport.is_paused
    assert len(connection.messages) == 3
