"""An open WebSocket: no client has the loop for itself, however small its frames and however many they are."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from openline.wires.connection import FRAMES_IN_A_TURN
from tests.wires.client import CLOSE, CONTINUATION, PING, TEXT, close_payload, compressed, frame
from tests.wires.lines import Line, detaching_over_tls
from tests.wires.memory import Collecting, Inflating, Transport

#: What a loop reads at once.
READ_BYTES = 262_144
#: With the parser reading, a turn may go on to the end of a piece.
MOST_IN_A_TURN = FRAMES_IN_A_TURN + 342

BEGINNINGS = {
    "whole frames": b"",
    "a parser": frame(TEXT, b"", fin=False) + frame(CONTINUATION, b""),
}


def flood(beginning: bytes, messages: int = 2 * FRAMES_IN_A_TURN + 88) -> bytes:
    """Give a read full of numbered messages; with a beginning that decides who reads them."""
    return beginning + b"".join(frame(TEXT, b"%d" % number) for number in range(messages))


def numbers(connection: Collecting) -> list[int]:
    """Give the numbers of the messages that were taken."""
    return [int(payload) for payload, _ in connection.messages if payload]


async def turns(connection: Collecting, transport: Transport) -> list[int]:
    """Let the loop go round until the transport is read again, or the end; tell how many messages each turn took."""
    taken = [len(connection.messages)]
    while transport.is_paused and not connection.ends:
        await asyncio.sleep(0)  # a turn of the loop is what is asked for here
        taken.append(len(connection.messages) - sum(taken))
    return taken


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_a_flood_is_taken_a_bit_each_turn(beginning: bytes) -> None:
    """In order, all of it, and nothing more is read meanwhile."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(beginning, READ_BYTES // 11))
    taken = await turns(connection, transport)
    assert numbers(connection) == list(range(READ_BYTES // 11))
    assert len(taken) > READ_BYTES // 11 // MOST_IN_A_TURN
    assert max(taken) <= MOST_IN_A_TURN


async def test_pings_count_too() -> None:
    """As do the frames nobody hears of."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(frame(PING) * (READ_BYTES // 6))
    assert len(transport.written) == 2 * FRAMES_IN_A_TURN
    await turns(connection, transport)
    assert len(transport.written) == 2 * (READ_BYTES // 6)


async def test_a_turn_is_never_interrupted_for_nothing() -> None:
    """As many frames as a turn may take are taken in one, and reading goes on."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(b"", FRAMES_IN_A_TURN))
    assert numbers(connection) == list(range(FRAMES_IN_A_TURN))
    assert not transport.is_paused


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_a_receiver_may_pause_amid_a_flood(beginning: bytes) -> None:
    """Between two turns, and resume as often as it likes: it is as if there had been no turns."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(beginning))
    before = len(connection.messages)
    connection.pause_reading()
    connection.resume_reading()
    connection.pause_reading()
    await asyncio.sleep(0)
    assert len(connection.messages) == before
    connection.resume_reading()
    connection.resume_reading()
    taken = await turns(connection, transport)
    assert max(taken) <= MOST_IN_A_TURN
    assert numbers(connection) == list(range(len(numbers(connection))))
    assert len(numbers(connection)) == 2 * FRAMES_IN_A_TURN + 88


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_what_comes_amid_a_flood_is_behind_it(beginning: bytes) -> None:
    """A transport may hand out more although it was paused, as TLS does with what it has decrypted."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(beginning, 600))
    connection.data_received(frame(TEXT, b"600"))
    await turns(connection, transport)
    assert numbers(connection) == list(range(601))


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_a_close_amid_a_flood_drops_the_rest(beginning: bytes) -> None:
    """Nothing is taken after it, and the peer's own close at the end is seen."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(beginning) + frame(CLOSE, close_payload(4000)))
    before = len(connection.messages)
    connection.close(3000, "enough", deadline_seconds=60)
    await turns(connection, transport)
    assert len(connection.messages) == before
    assert connection.ends == [(3000, "enough")]
    assert transport.is_closed
    connection.connection_lost(None)


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_a_connection_lost_amid_a_flood_is_over(beginning: bytes) -> None:
    """The end is told, and nothing after it."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(beginning))
    before = len(connection.messages)
    transport.abort()
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await asyncio.sleep(0)
    assert len(connection.messages) == before
    assert connection.ends == [(1006, "")]


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_a_broken_frame_behind_a_flood_is_found(beginning: bytes) -> None:
    """After all that was right before it."""
    transport = Transport()
    connection = Collecting(transport, frozenset())
    connection.data_received(flood(beginning) + frame(TEXT, b"wrong", masked=False))
    await turns(connection, transport)
    assert numbers(connection) == list(range(2 * FRAMES_IN_A_TURN + 88))
    assert connection.ends == [(1002, "incorrect masking")]
    connection.connection_lost(None)


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_what_compressed_frames_become_counts(beginning: bytes) -> None:
    """A read full of small frames that become large ones is more than a turn may be."""
    transport = Transport()
    connection = Inflating(transport, frozenset())
    message = b"x" * 2_000
    connection.data_received(beginning + frame(TEXT, compressed(message), reserved=4) * 200)
    taken = await turns(connection, transport)
    assert [payload for payload, _ in connection.messages if payload] == [message] * 200
    assert max(taken) < 200


def leave(client: socket.socket) -> None:
    """Say that nothing more will come."""
    client.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("last", [frame(CLOSE, close_payload(4000, "bye")), b""])
def test_who_sends_a_flood_and_leaves_is_heard_out(line: Line, last: bytes) -> None:
    """To the last message, then the end is told."""
    with line.client() as client:
        client.send(flood(b"", 5_000) + last)
        if not last:
            leave(client.socket)
        for number in range(5_000):
            assert line.recorder.next() == ("received", b"%d" % number)
        assert line.recorder.next() == (("closed", 4000, "bye") if last else ("closed", 1006, ""))


@pytest.mark.parametrize("way", [leave, socket.socket.close], ids=["end of stream", "close"])
def test_who_leaves_over_tls_is_heard_out(loop: str, tmp_path: Path, way: Callable[[socket.socket], None]) -> None:
    """As far as TLS itself gives out what it has."""
    with detaching_over_tls(loop, tmp_path) as (line, context), line.client(tls=context) as client:
        client.send(flood(b"", 3_000) + frame(CLOSE, close_payload(4000, "bye")))
        for number in range(3_000):
            assert line.recorder.next() == ("received", b"%d" % number)
        way(client.socket)
        assert line.recorder.next() == ("closed", 4000, "bye")
