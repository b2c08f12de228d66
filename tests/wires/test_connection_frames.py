"""An open WebSocket: the frames of a client become messages, however they are cut and whenever reading is paused."""

from __future__ import annotations

import asyncio
import codecs

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from openline.wires.connection import LARGE_READ_BYTES
from openline.wires.deflate import reading
from tests.wires.client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_payload, compressed, frame
from tests.wires.memory import Collecting, Inflating, Transport

texts = (st.text(max_size=20) | st.text(min_size=100, max_size=100)).map(str.encode)
blobs = st.binary(max_size=40) | st.binary(min_size=120, max_size=300)
messages = st.tuples(texts, st.just(False)) | st.tuples(blobs, st.just(True))


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


def read_by_websockets(data: bytes, *, inflating: bool = False) -> tuple[list[tuple[bytes, bool]], int | None]:
    """Give the messages that `websockets` reads, and the code with which the conversation ends, if it does.

    It leaves to its callers what is UTF-8, and takes a close amid a message for a mistake.
    """
    parser = ServerProtocol(state=State.OPEN, max_size=2000)
    parser.extensions = [reading()] if inflating else []
    parser.receive_data(data)
    read: list[tuple[bytes, bool]] = []
    message, binary = b"", False
    for event in parser.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            binary = binary if event.opcode is Opcode.CONT else event.opcode is Opcode.BINARY
            message += bytes(event.data)
            if (event.opcode is Opcode.CONT or not event.fin) and not (binary or begins_as_utf8(message)):
                return read, 1007
            if event.fin:
                read.append((message, binary))
                message = b""
    code = parser.close_rcvd or parser.close_sent
    return read, None if code is None else int(code.code)


def begins_as_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8, but perhaps for a last character that is not whole."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return True


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


@st.composite
def doubtful_compressed_frames(draw: st.DrawFn) -> bytes:
    """Draw bytes that begin as frames do, most of them compressed, right and wrong."""
    data = b""
    for _ in range(draw(st.integers(1, 5))):
        head = draw(st.sampled_from([0xC1, 0xC2, 0xC1, 0x81, 0x41, 0x01, 0x80, 0xC0, 0xC9, 0x89, 0xE1]))
        message = draw(st.text(max_size=300)).encode() * draw(st.sampled_from([1, 5, 100]))
        payload = compressed(message) if len(message) != 2000 else b""  # websockets refuses one of just the limit
        payload = payload[: draw(st.integers(0, len(payload)))] if draw(st.integers(0, 4)) == 0 else payload
        data += bytes((head,)) + frame(0, payload if draw(st.integers(0, 9)) else draw(st.binary(max_size=50)))[1:]
    return data


@given(doubtful_compressed_frames())
async def test_compressed_frames_are_read_as_websockets_reads_them(data: bytes) -> None:
    """Here, too, the quick way decides nothing differently."""
    read, code = read_by_websockets(data, inflating=True)
    connection = Inflating(Transport(), frozenset())
    connection.data_received(data)
    assert connection.messages == read
    assert [end[0] for end in connection.ends] == ([] if code is None else [code])
    connection.connection_lost(None)


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
