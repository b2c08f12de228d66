"""What waits for one client: order, one write a turn, and the bound."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.backlog import Droppable
from openline.outbox import Direct, Outbox, flush_all
from tests.engine import RecordingWire


class Owner:
    """Writes down what an outbox tells it."""

    def __init__(self) -> None:
        self.flagged = 0
        self.dropped = 0

    def dirty(self) -> None:
        """Count the calls."""
        self.flagged += 1

    def skipped(self, publications: int) -> None:
        """Count the publications."""
        self.dropped += publications


def outbox(wire: RecordingWire, limit_bytes: int = 1000, owner: Owner | None = None) -> Outbox:
    """Make an outbox whose turn the test ends itself."""
    return Outbox(wire, limit_bytes, owner or Owner())


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
    owner = Owner()
    box = outbox(RecordingWire(), owner=owner)
    box.offer(b"a")
    box.offer(b"b")
    assert owner.flagged == 1
    box.flush()
    box.offer(b"c")
    assert owner.flagged == 2


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
    wire.keeps_unread = True
    box = outbox(wire, 100)
    assert box.offer(b"x" * 90)
    assert not box.offer(b"x" * 20)
    assert not box.offer(b"x")


def test_one_chunk_beyond_the_bound_is_taken_alone() -> None:
    """A single large message, bounded where it was made, is no reason to close a client that reads."""
    wire = RecordingWire()
    wire.keeps_unread = True
    box = outbox(wire, 100)
    assert box.offer(b"x" * 500)
    assert not box.offer(b"x")


def test_nobody_is_too_slow_for_one_turn() -> None:
    """More than the bound in one turn leaves early, as far as the wire takes it; order is kept."""
    wire = RecordingWire()
    box = outbox(wire, 100)
    chunks = [b"%d" % number * 40 for number in range(8)]
    assert all(box.offer(chunk) for chunk in chunks)
    box.flush()
    assert wire.chunks == chunks


@pytest.mark.parametrize("droppable", [None, Droppable("a", 1)])
def test_a_wire_that_is_full_after_an_early_flush_is_sent_the_rest_later(droppable: Droppable | None) -> None:
    """What did not fit waits behind the pause, and nothing waits where nobody would look for it."""
    wire, owner = RecordingWire(), Owner()
    box = outbox(wire, 1000, owner)
    wire.on_write = box.pause
    assert box.offer(b"1" * 900)
    assert box.offer(b"2" * 200, droppable)
    wire.on_write = lambda: None
    box.resume()
    box.flush()
    assert wire.chunks == [b"1" * 900, b"2" * 200]
    assert owner.dropped == 0


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
    wire, owner = RecordingWire(), Owner()
    box = outbox(wire, owner=owner)
    box.pause()
    box.offer(b"a")
    box.flush()
    assert owner.flagged == 0
    box.resume()
    assert owner.flagged == 1
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


# --- a client that is behind, and what may be dropped for it ----------------------------------------------------------


def behind(wire: RecordingWire, limit_bytes: int, owner: Owner) -> Outbox:
    """Make an outbox whose wire has said that it is full."""
    box = outbox(wire, limit_bytes, owner)
    box.pause()
    return box


def caught_up(wire: RecordingWire, box: Outbox) -> list[bytes]:
    """Let the client read everything; give what was written since it fell behind."""
    wire.unread_bytes = 0
    box.resume()
    box.flush()
    return wire.chunks


def test_the_oldest_droppable_chunks_give_way() -> None:
    """Past the bound the oldest go, their publications are counted, and the client stays."""
    wire, owner = RecordingWire(), Owner()
    box = behind(wire, 100, owner)
    for number in range(6):
        assert box.offer(b"%d" % number * 30, Droppable("a", 2))
    assert owner.dropped == 6
    assert caught_up(wire, box) == [b"3" * 30, b"4" * 30, b"5" * 30]


def test_droppable_chunks_give_way_to_replies() -> None:
    """What may not be dropped takes the room of what may; order is kept among those that stay."""
    wire, owner = RecordingWire(), Owner()
    box = behind(wire, 100, owner)
    box.offer(b"1" * 40, Droppable("a", 1))
    box.offer(b"2" * 40, Droppable("a", 1))
    assert box.offer(b"reply" * 10)
    assert owner.dropped == 1
    assert caught_up(wire, box) == [b"2" * 40, b"reply" * 10]


def test_a_droppable_chunk_for_which_there_is_no_room_is_itself_dropped() -> None:
    """Where only replies wait, the newcomer goes; nobody is closed for it."""
    wire, owner = RecordingWire(), Owner()
    box = behind(wire, 100, owner)
    assert box.offer(b"r" * 90)
    assert box.offer(b"1" * 20, Droppable("a", 3))
    assert (owner.dropped, box.refusing) == (3, False)
    assert caught_up(wire, box) == [b"r" * 90]


def test_replies_past_the_bound_are_refused_all_the_same() -> None:
    """A droppable channel lets a client off that does not read its messages, not one that only asks."""
    box = behind(RecordingWire(), 100, Owner())
    assert box.offer(b"r" * 90)
    assert not box.offer(b"r" * 20)
    assert not box.offer(b"1", Droppable("a", 1))


def test_of_a_latest_only_channel_the_newest_waits() -> None:
    """One publication per channel, however many come: and it is the last of its batch."""
    wire, owner = RecordingWire(), Owner()
    box = behind(wire, 1000, owner)
    box.offer(b"a1a2", Droppable("a", 2, b"a2"))
    box.offer(b"b1", Droppable("b", 1, b"b1"))
    box.offer(b"a3a4a5", Droppable("a", 3, b"a5"))
    assert owner.dropped == 4
    assert caught_up(wire, box) == [b"b1", b"a5"]


def test_a_client_that_keeps_up_is_given_everything() -> None:
    """A policy for the slow changes nothing for the others, however much comes in one turn."""
    wire, owner = RecordingWire(), Owner()
    box = outbox(wire, 100, owner)
    chunks = [b"%d" % number * 40 for number in range(8)]
    for chunk in chunks:
        assert box.offer(chunk, Droppable("a", 1, chunk))
    box.flush()
    assert wire.chunks == chunks
    assert owner.dropped == 0


def test_what_fits_neither_here_nor_in_the_wire_leaves_later() -> None:
    """A wire that holds much without having said that it is full: what was offered is flushed in this turn too."""
    wire, owner = RecordingWire(), Owner()
    wire.keeps_unread = True
    box = outbox(wire, 100, owner)
    assert box.offer(b"0" * 90)
    box.flush()
    assert box.offer(b"1" * 50, Droppable("a", 1, b"1" * 50))
    assert (owner.dropped, owner.flagged) == (1, 2)
    wire.unread_bytes = 0
    assert box.offer(b"2" * 50, Droppable("a", 1, b"2" * 50))
    box.flush()
    assert wire.chunks == [b"0" * 90, b"2" * 50]
    assert box.offer(b"3")
    assert not box.is_paused


def test_a_backlog_is_written_only_as_the_wire_takes_it() -> None:
    """What the wire has is no longer to be dropped, so it gets a piece at a time."""
    wire, owner = RecordingWire(), Owner()
    box = behind(wire, 1_000_000, owner)
    for number in range(10):
        box.offer(b"%d" % number * 60_000)
    wire.on_write = box.pause
    box.resume()
    box.flush()
    assert [chunk[:1] for chunk in wire.chunks] == [b"0"]
    wire.on_write = lambda: None
    assert [chunk[:1] for chunk in caught_up(wire, box)] == [b"%d" % number for number in range(10)]
    assert wire.writes == 10


# --- the end of the turn ----------------------------------------------------------------------------------------------


class DirectWire(RecordingWire):
    """A wire with a socket to send on."""

    def __init__(self, direct: Direct | None) -> None:
        super().__init__()
        self.direct = direct


def flushed(*wires: RecordingWire) -> None:
    """Offer one chunk to an outbox on each wire, and flush them all."""
    boxes = [outbox(wire) for wire in wires]
    for number, box in enumerate(boxes):
        box.offer(b"chunk %d" % number)
    flush_all(boxes)
    assert all(box.first is None and box.waiting_bytes() == 0 for box in boxes)


def fill(full: socket.socket) -> None:
    """Send until there is no room."""
    while True:
        full.send(b"x" * 65_536)


def test_one_chunk_goes_straight_to_the_socket() -> None:
    """Where nothing is in between; the wire itself is not asked."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        direct, other = DirectWire(ours), RecordingWire()
        flushed(direct, other)
        assert theirs.recv(100) == b"chunk 0"
        assert (direct.writes, other.chunks) == (0, [b"chunk 1"])


def test_several_chunks_go_through_the_wire() -> None:
    """They have to be joined first."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire = DirectWire(ours)
        box = outbox(wire)
        box.offer(b"1")
        box.offer(b"2")
        flush_all([box, box])
        assert (wire.writes, wire.chunks) == (1, [b"1", b"2"])


def test_what_the_socket_does_not_take_goes_through_the_wire() -> None:
    """A socket that is full takes a part or nothing: the rest is the wire's, in order, and the others get theirs."""

    class Part:
        def send(self, chunk: bytes, /) -> int:
            return 3

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            fill(ours)
        full, part, fine = DirectWire(ours), DirectWire(Part()), RecordingWire()
        flushed(full, part, fine)
        assert (full.chunks, part.chunks, fine.chunks) == ([b"chunk 0"], [b"nk 1"], [b"chunk 2"])


def test_a_broken_socket_is_left_to_the_wire() -> None:
    """The wire finds out what is wrong; nobody else misses anything."""
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        broken, fine = DirectWire(ours), RecordingWire()
        flushed(broken, fine)
        assert (broken.chunks, fine.chunks) == ([b"chunk 0"], [b"chunk 1"])


@pytest.mark.parametrize("limit_bytes", [1, 64, 1000])
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.integers(1, 400), st.sampled_from(["must", "may", "latest"])),
            st.sampled_from(["flush", "pause", "resume", "drain"]),
        ),
        max_size=60,
    )
)
def test_order_and_bound_hold_whatever_happens(limit_bytes: int, steps: list[tuple[int, str] | str]) -> None:
    """Whatever is offered, paused and drained: no more than the bound waits, and what leaves is in order.

    All that had to be taken leaves; of what may be dropped, each publication leaves or is counted.
    """
    wire, owner = RecordingWire(), Owner()
    wire.keeps_unread = True
    box = outbox(wire, limit_bytes, owner)
    taken: dict[bytes, bool] = {}
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            size, kind = step
            chunk = b"%d:" % number + b"x" * size
            droppable = Droppable("a", 1, chunk if kind == "latest" else b"")
            waited = box.waiting_bytes()
            if box.offer(chunk, None if kind == "must" else droppable):
                taken[chunk] = kind == "must"
                assert box.waiting_bytes() <= limit_bytes or box.waiting_bytes() in (waited, len(chunk))
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
    assert wire.chunks == [chunk for chunk in taken if chunk in set(wire.chunks)]
    assert {chunk for chunk, must in taken.items() if must} <= set(wire.chunks)
    assert len(taken) == len(wire.chunks) + owner.dropped
