"""What waits for a client that is behind: order, and what gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openline.backlog import JOINED_BYTES, Backlog, Droppable


def taken(backlog: Backlog) -> list[bytes]:
    """Take everything out."""
    chunks: list[bytes] = []
    while backlog:
        chunks += backlog.take()
    return chunks


def test_chunks_leave_in_the_order_in_which_they_came() -> None:
    """Droppable or not: order is kept, and the size is that of what waits."""
    backlog = Backlog()
    backlog.add(b"1")
    backlog.add(b"22", Droppable("a", 1))
    backlog.add(b"333")
    assert backlog.size_bytes == 6
    assert taken(backlog) == [b"1", b"22", b"333"]
    assert (backlog.size_bytes, bool(backlog)) == (0, False)


def test_small_chunks_leave_together() -> None:
    """Up to the size a transport takes; a larger one alone."""
    backlog = Backlog()
    large = b"x" * JOINED_BYTES
    for chunk in (b"1", b"2", large, large + b"x", b"3"):
        backlog.add(chunk)
    assert [backlog.take() for _ in range(4)] == [[b"1", b"2"], [large], [large + b"x"], [b"3"]]


def test_the_oldest_that_may_go_go_first() -> None:
    """Dropping stops as soon as enough is gone, and passes by what may not be dropped."""
    backlog = Backlog()
    backlog.add(b"reply")
    for number in range(4):
        backlog.add(b"%d" % number * 10, Droppable("a", 3))
    assert backlog.drop_oldest(11) == 6
    assert taken(backlog) == [b"reply", b"2" * 10, b"3" * 10]


def test_what_may_not_be_dropped_stays() -> None:
    """Asked for more room than there is to be had, it drops what it may, and no more."""
    backlog = Backlog()
    backlog.add(b"reply")
    backlog.add(b"value", Droppable("a", 1))
    assert backlog.drop_oldest(1_000) == 1
    assert backlog.drop_oldest(1_000) == 0
    assert taken(backlog) == [b"reply"]


def test_the_newest_of_a_channel_is_known_by_its_channel() -> None:
    """Only that one goes, and what was sent meanwhile is no longer there to be dropped."""
    backlog = Backlog()
    backlog.add(b"a1", Droppable("a", 1, b"a1"))
    backlog.add(b"b1", Droppable("b", 1, b"b1"))
    assert (backlog.drop_newest("a"), backlog.drop_newest("a"), backlog.drop_newest("c")) == (1, 0, 0)
    backlog.add(b"a2", Droppable("a", 1, b"a2"))
    assert taken(backlog) == [b"b1", b"a2"]
    assert backlog.drop_newest("a") == 0


@given(st.lists(st.one_of(st.tuples(st.integers(1, 50), st.booleans()), st.integers(1, 80), st.just("take"))))
def test_nothing_is_lost_but_what_was_dropped(steps: list[tuple[int, bool] | int | str]) -> None:
    """Whatever is added, dropped and taken: the rest leaves in order, each publication is either sent or counted."""
    backlog = Backlog()
    sent: list[bytes] = []
    added: list[tuple[bytes, bool]] = []
    dropped = 0
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            chunk = b"%d:" % number + b"x" * step[0]
            added.append((chunk, step[1]))
            backlog.add(chunk, Droppable("a", 1) if step[1] else None)
        elif isinstance(step, int):
            dropped += backlog.drop_oldest(step)
        elif backlog:
            sent += backlog.take()
    sent += taken(backlog)
    assert sent == [chunk for chunk, _ in added if chunk in set(sent)]
    assert {chunk for chunk, droppable in added if not droppable} <= set(sent)
    assert len(added) == len(sent) + dropped
    assert backlog.size_bytes == 0
