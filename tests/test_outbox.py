"""What waits for one client: order, one write a turn, and the bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.outbox import Outbox
from tests.engine import RecordingWire

DIRTY: list[Outbox] = []


def outbox(wire: RecordingWire, limit_bytes: int = 1000) -> Outbox:
    """Make an outbox whose turn the test ends itself."""
    DIRTY.clear()
    return Outbox(wire, limit_bytes, DIRTY.append)


def test_nothing_is_written_before_the_flush() -> None:
    """What is offered waits for the end of the turn, then leaves in one write and in order."""
    wire = RecordingWire()
    box = outbox(wire)
    assert all(box.offer(chunk) for chunk in (b"a", b"b", b"c"))
    assert wire.writes == 0
    box.flush()
    assert (wire.writes, wire.chunks) == (1, [b"a", b"b", b"c"])


def test_an_outbox_is_dirty_once_a_turn() -> None:
    """The node is told of the first chunk only, and again in the next turn."""
    wire = RecordingWire()
    box = outbox(wire)
    box.offer(b"a")
    box.offer(b"b")
    assert [box] == DIRTY
    box.flush()
    box.offer(b"c")
    assert [box, box] == DIRTY


def test_a_flush_of_nothing_writes_nothing() -> None:
    """An outbox that was flushed early, as at the end of a session, is flushed again without effect."""
    wire = RecordingWire()
    box = outbox(wire)
    box.offer(b"a")
    box.flush()
    box.flush()
    assert wire.writes == 1


def test_the_bound_counts_what_the_wire_has_not_sent() -> None:
    """Chunks that were written but not sent take room from those that come."""
    wire = RecordingWire()
    wire.keeps_unread = True
    box = outbox(wire, 100)
    assert box.offer(b"x" * 60)
    box.flush()
    assert not box.offer(b"x" * 41)
    assert box.refusing


def test_room_comes_back_when_the_wire_has_sent() -> None:
    """A client that reads is given any amount over time."""
    wire = RecordingWire()
    box = outbox(wire, 100)
    for _ in range(50):
        assert box.offer(b"x" * 60)
        box.flush()
    assert len(wire.chunks) == 50


def test_after_a_refusal_everything_is_refused() -> None:
    """A stream with a hole is worth nothing: what would fit again is not taken either."""
    wire = RecordingWire()
    box = outbox(wire, 100)
    assert box.offer(b"x" * 90)
    assert not box.offer(b"x" * 20)
    assert not box.offer(b"x")


def test_one_chunk_beyond_the_bound_is_taken_alone() -> None:
    """A single large message, bounded where it was made, is no reason to close a client that reads."""
    wire = RecordingWire()
    box = outbox(wire, 100)
    assert box.offer(b"x" * 500)
    assert not box.offer(b"x")


def test_while_paused_chunks_stay_and_count() -> None:
    """A wire whose buffer is full is not written to; its outbox fills up to the bound."""
    wire = RecordingWire()
    box = outbox(wire, 100)
    box.pause()
    assert box.offer(b"x" * 50)
    box.flush()
    assert wire.writes == 0
    assert box.waiting_bytes() == 50
    assert not box.offer(b"x" * 51)


def test_resuming_makes_it_dirty_again() -> None:
    """What waited through a pause goes out at the end of the turn in which the wire resumed."""
    wire = RecordingWire()
    box = outbox(wire)
    box.pause()
    box.offer(b"a")
    box.flush()
    DIRTY.clear()
    box.resume()
    assert [box] == DIRTY
    box.flush()
    assert wire.chunks == [b"a"]


def test_a_pause_from_inside_the_write_is_no_reentry() -> None:
    """A transport says that it is full from within `write`: what was written stays written, once."""
    wire = RecordingWire()
    box = outbox(wire)
    wire.on_write = box.pause
    box.offer(b"a")
    box.offer(b"b")
    box.flush()
    box.offer(b"c")
    box.flush()
    assert wire.chunks == [b"a", b"b"]
    wire.on_write = lambda: None
    box.resume()
    box.flush()
    assert wire.chunks == [b"a", b"b", b"c"]


def test_dropping_forgets_and_refuses() -> None:
    """After a drop nothing that waited is written and nothing is taken."""
    wire = RecordingWire()
    box = outbox(wire)
    box.offer(b"a")
    box.drop()
    assert not box.offer(b"b")
    box.flush()
    assert wire.chunks == []


@pytest.mark.parametrize("limit_bytes", [1, 64, 1000])
@given(
    steps=st.lists(st.one_of(st.integers(1, 400), st.sampled_from(["flush", "pause", "resume", "drain"])), max_size=60)
)
def test_order_and_bound_hold_whatever_happens(limit_bytes: int, steps: list[int | str]) -> None:
    """Whatever is offered, paused and drained: all that was taken leaves in order, and no more than the bound waits."""
    wire = RecordingWire()
    wire.keeps_unread = True
    box = outbox(wire, limit_bytes)
    taken: list[bytes] = []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            chunk = b"%d:" % number + b"x" * step
            waited = box.waiting_bytes()
            if box.offer(chunk):
                taken.append(chunk)
                assert waited == 0 or box.waiting_bytes() <= limit_bytes
        elif step == "flush":
            box.flush()
        elif step == "pause":
            box.pause()
        elif step == "resume":
            box.resume()
        else:
            wire.unread_bytes = 0
    box.resume()
    box.flush()
    assert wire.chunks == taken
