"""Pauses: none at first, then longer ones, spread by chance, and bounded."""

from __future__ import annotations

import asyncio

from openline.valkey.pauses import Pauses


def test_the_first_attempt_is_made_at_once() -> None:
    """Whoever lost a connection tries again without waiting, and after a success too."""
    pauses = Pauses()
    assert pauses.next() == 0
    assert pauses.next() > 0
    pauses.reset()
    assert pauses.next() == 0


def test_pauses_grow_to_their_bound() -> None:
    """Each may be twice as long as the one before, and none is longer than the bound."""
    rows = []
    for _ in range(200):
        pauses = Pauses(1.0)
        rows.append([pauses.next() for _ in range(40)])
    longest = [max(column) for column in zip(*rows, strict=True)]
    assert longest[1] <= 0.1 < longest[4] <= 0.8
    assert 0.5 < longest[-1] <= 1.0


def test_a_call_outlives_a_pause() -> None:
    """Where calls have little time, connections are tried more often."""
    pauses = Pauses.for_calls(0.3)
    assert max(pauses.next() for _ in range(100)) <= 0.1


async def test_what_breaks_at_once_was_no_success() -> None:
    """A server that takes connections and drops them is not called again and again without a pause."""
    pauses = Pauses()
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    lost.set_result("dropped")
    assert pauses.next() == 0
    assert await pauses.outlive(lost) == "dropped"
    assert pauses.next() > 0


def test_pauses_are_spread() -> None:
    """A thousand nodes that lost one server do not come back in one moment."""
    waited = set()
    for _ in range(100):
        pauses = Pauses()
        waited.add([pauses.next() for _ in range(5)][-1])
    assert len(waited) > 90
    assert min(waited) < 0.2 < max(waited)
