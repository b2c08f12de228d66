"""Clients that stop reading, beside many that go on: the second kind never waits for the first. A server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median, quantiles

import pytest

from tests.abuse.crowd import Crowd
from tests.abuse.guest import NARROW_BYTES, Guest
from tests.abuse.process import Process

READERS = 500
FROZEN = 50
ROUNDS = 5
MESSAGES = 30
#: Beside a server that waits for one of fifty for a millisecond, readers wait five times as long. A busy machine makes
#: one round slower than the next, but hardly the most of them by so much.
MOST = 3.0
#: More than the system takes for a client that does not read, and an outbox on top of it.
PLENTY_KIB = 12_288
POURED_KIB = 60


@pytest.fixture
def server() -> Iterator[Process]:
    """A server."""
    with Process() as server:
        yield server


def freeze(stack: ExitStack, server: Process, talker: Guest) -> list[Guest]:
    """Add frozen clients, each with as much waiting as the system takes, and more in its outbox."""
    frozen = [stack.enter_context(Guest(server.port, receive_bytes=NARROW_BYTES)) for _ in range(FROZEN)]
    for guest in frozen:
        guest.subscribe("news")
        guest.subscribe("flood")
    for _ in range(PLENTY_KIB // POURED_KIB):
        if talker.rpc("state")["behind"] == FROZEN:
            return frozen
        talker.rpc("pour", POURED_KIB)
    raise AssertionError("they do not freeze")


def state(talker: Guest) -> tuple[int, int, int]:
    """Ask how many sessions there are, how many of them are behind, and how many were closed for it."""
    told = talker.rpc("state")
    return told["sessions"], told["behind"], told["slow"]


def p99(values: list[float]) -> float:
    """Give the value that one in a hundred is above."""
    return quantiles(values, n=100)[98]


def test_readers_are_told_as_fast_beside_frozen_clients_as_without(server: Process) -> None:
    """All of it, in order; the frozen ones are there all the time, full to the brim, and have read nothing."""
    ratios: list[float] = []
    with Guest(server.port) as talker, Crowd(server.port, "news", READERS) as crowd:
        for _ in range(ROUNDS):
            alone = crowd.latencies(talker, MESSAGES)
            with ExitStack() as stack:
                frozen = freeze(stack, server, talker)
                beside = crowd.latencies(talker, MESSAGES)
                assert state(talker) == (READERS + FROZEN + 1, FROZEN, 0)
                assert not any(guest.pushes for guest in frozen)
            while state(talker) != (READERS + 1, 0, 0):
                pass
            ratios.append(p99(beside) / p99(alone))
        assert crowd.has_heard_everything()
    assert median(ratios) < MOST, ratios


def test_readers_are_told_everything_while_frozen_clients_are_closed(server: Process) -> None:
    """All fifty are closed with 3008, each with one line in the log. Nobody else is, and nothing is late for good."""
    with Guest(server.port) as talker, Crowd(server.port, "news", READERS) as crowd, ExitStack() as stack:
        frozen = freeze(stack, server, talker)
        for _ in range(PLENTY_KIB // POURED_KIB):
            talker.rpc("pour", POURED_KIB)
            crowd.latencies(talker, 1)
            if talker.rpc("state")["slow"] == FROZEN:
                break
        crowd.latencies(talker, 1)
        assert state(talker) == (READERS + 1, 0, FROZEN)
        assert crowd.has_heard_everything()
    assert server.stop(10) != -9
    for guest in frozen:
        assert server.log.count(guest.id) == 1
        assert f"session {guest.id} of user '' is too slow: closed with 3008" in server.log
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log
