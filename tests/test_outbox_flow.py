"""An outbox over a wire that fills up, pauses from inside a write, and drains: nothing is lost or stuck."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from openline.backlog import Droppable
from openline.outbox import Outbox, flush_all
from tests.engine import JSON_MESSAGES

HIGH_BYTES, LOW_BYTES = 64, 16


class Socket:
    """The kernel's side of a narrow wire: it takes as much as there is room for."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self.sent = b""

    def send(self, chunk: bytes, /) -> int:
        """Take what fits."""
        taken = min(len(chunk), self.room_bytes)
        if not taken:
            raise BlockingIOError
        self.room_bytes -= taken
        self.sent += chunk[:taken]
        return taken


class NarrowWire:
    """A wire with a buffer over a socket, and watermarks, as a transport has them. It is the outbox's owner too."""

    encoding = JSON_MESSAGES
    name = "narrow"

    def __init__(self, limit_bytes: int, room_bytes: int) -> None:
        self.socket = Socket(room_bytes)
        self.buffer = b""
        self.is_full = False
        self.skipped_publications = 0
        self.due: list[Outbox] = []
        self.box = Outbox(self, limit_bytes, self)

    @property
    def direct(self) -> Socket | None:
        """The socket, while nothing waits for it."""
        return None if self.buffer else self.socket

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Send, and keep what is not taken; say so past the high mark, from inside the write."""
        self.buffer += b"".join((chunk, *more))
        self._pass_on()
        if len(self.buffer) > HIGH_BYTES and not self.is_full:
            self.is_full = True
            self.box.pause()

    def drain(self, size: int) -> None:
        """Let the peer read so much."""
        self.socket.room_bytes += size
        self._pass_on()
        if self.is_full and len(self.buffer) <= LOW_BYTES:
            self.is_full = False
            self.box.resume()

    def _pass_on(self) -> None:
        taken = min(len(self.buffer), self.socket.room_bytes)
        if taken:
            self.socket.send(self.buffer[:taken])
            self.buffer = self.buffer[taken:]

    def end_turn(self) -> None:
        """Flush what is dirty."""
        due, self.due = self.due, []
        flush_all(due)

    def dirty(self) -> None:
        """Flush at the end of the turn."""
        self.due.append(self.box)

    def skipped(self, publications: int) -> None:
        """Count."""
        self.skipped_publications += publications

    def unsent_bytes(self) -> int:
        """What the kernel has not taken."""
        return len(self.buffer)

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Nobody closes here."""

    def ping(self) -> bool:
        """It has none."""
        return False

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


offers = st.tuples(st.sampled_from(["must", "oldest", "latest"]), st.integers(8, 150))
steps = st.lists(st.one_of(offers, offers, offers, st.just("end of turn"), st.integers(0, 400)), max_size=70)


@settings(max_examples=400)
@given(limit_bytes=st.integers(50, 1000), room_bytes=st.integers(0, 300), steps=steps)
def test_whatever_the_wire_does_all_that_was_taken_arrives_or_is_counted(
    limit_bytes: int, room_bytes: int, steps: list[tuple[str, int] | str | int]
) -> None:
    """Once the client reads again everything that waited arrives, in order, without another word from anyone."""
    wire = NarrowWire(limit_bytes, room_bytes)
    box = wire.box
    taken: dict[bytes, str] = {}
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            kind, size = step
            chunk = (b"<%d" % number).ljust(size - 1, b".") + b">"
            droppable = Droppable(kind, 1, chunk if kind == "latest" else b"")
            if not box.offer(chunk, None if kind == "must" else droppable):
                break
            taken[chunk] = kind
        elif isinstance(step, int):
            wire.drain(step)
        else:
            wire.end_turn()
    if box.refusing:
        return
    for _ in range(len(taken) + 2):
        wire.end_turn()
        wire.drain(1_000)
    assert box.waiting_bytes() == 0
    assert not box.is_behind()
    arrived = [piece + b">" for piece in wire.socket.sent.split(b">")[:-1]]
    assert arrived == [chunk for chunk in taken if chunk in set(arrived)]
    assert {chunk for chunk, kind in taken.items() if kind == "must"} <= set(arrived)
    assert len(taken) == len(arrived) + wire.skipped_publications
