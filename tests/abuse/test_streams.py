"""Lines over HTTP whose clients stop reading: they are dealt with as on a socket, and cut off. A server of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.abuse.guest import NARROW_BYTES, Guest
from tests.abuse.process import Process
from tests.abuse.test_stop import PLENTY_KIB, POURED_KIB, opening
from tests.wires.reader import Reader, request

FROZEN = 20
READERS = 5


@pytest.fixture
def server() -> Iterator[Process]:
    """A server."""
    with Process() as server:
        yield server


def pour(talker: Guest, readers: list[Reader], condition: str, count: int) -> None:
    """Publish until so many are behind, or were closed as slow, while the others read."""
    for _ in range(2 * PLENTY_KIB // POURED_KIB):
        if talker.rpc("state")[condition] == count:
            return
        talker.rpc("pour", POURED_KIB)
        for reader in readers:
            assert len(reader.line()) > POURED_KIB * 1024
    raise AssertionError(f"they are not {condition}")


def test_frozen_readers_of_a_stream_are_closed_with_3008_and_cut_off(server: Process) -> None:
    """At the bound of the outbox; nothing of them stays, neither session nor connection. Those who read hear it all."""
    with ExitStack() as stack:
        talker = stack.enter_context(Guest(server.port))
        readers = [stack.enter_context(Reader(server.port, opening("flood"))) for _ in range(READERS)]
        frozen = [
            stack.enter_context(Reader(server.port, opening("flood"), receive_bytes=NARROW_BYTES))
            for _ in range(FROZEN)
        ]
        for reader in readers:
            assert b'"connect"' in reader.line()
            assert b'"subscribe"' in reader.line()
        while talker.rpc("state")["sessions"] < READERS + FROZEN + 1:
            pass
        pour(talker, readers, "behind", FROZEN)
        assert talker.rpc("state")["slow"] == 0
        files = talker.rpc("state")["files"]
        pour(talker, readers, "slow", FROZEN)
        assert talker.rpc("state")["sessions"] == READERS + 1
        while talker.rpc("state")["files"] > files - FROZEN:  # once the time for their end is over
            time.sleep(0.05)  # it is asked no faster than its limits allow
        for reader in frozen:
            with pytest.raises(ConnectionError, match=r"in the middle of an answer|reset"):
                reader.rest()
    assert server.stop(10) != -9
    assert server.log.count("is too slow: closed with 3008") == FROZEN
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log


def test_what_is_posted_in_a_flood_costs_its_sender_only(server: Process) -> None:
    """Posts for nobody, for a node there is not, of nonsense and of what is too large, a thousand on one connection."""
    posts = [
        request("/emulation", body)
        for body in (
            b'{"session":"x","node":"y","data":"{}"}',
            b"nonsense",
            b"[" * 60_000,
            b'{"session":"' + b"x" * 130_000 + b'","node":"y","data":"{}"}',
            b"x" * 200_000,
        )
    ]
    with Guest(server.port) as talker, Reader(server.port, opening("flood")) as stream:
        assert b'"connect"' in stream.line()
        assert b'"subscribe"' in stream.line()
        told: set[int] = set()
        for post in posts:
            for _ in range(20):
                with Reader(server.port, post, answer=False) as flood:
                    try:
                        flood.read_answer()
                    except ConnectionError:
                        continue  # it was told before all of it was read
                    told.add(flood.status)
        assert told <= {400, 404, 413}
        talker.rpc("pour", 1)
        assert len(stream.line()) > 1024
    assert server.stop(10) != -9
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log
