"""What waits for one client: chunks in order, bounded in bytes.

Invariants of this file:

1. Nothing is written the moment it is offered: `flush_all` flushes every dirty outbox at the end of the turn. So
   replies and pushes of one turn leave in one write, in the order in which they were offered. There are two
   exceptions: one that is full before the turn ends is flushed early, so that nobody is too slow for what one turn
   brings; and a session that ends flushes what it has.
2. An outbox is in one of three states. Keeping up: `first` and `rest` hold this turn's chunks. Behind: a `Backlog`
   holds everything, and `first` is None. Refusing: nothing is taken, and the session is about to end.
3. `offer` never waits. What does not fit is refused, and the outbox stays refusing: a stream with a hole in it is
   worth nothing to a client that counts on order. Only what its channel declared to be droppable gives way before that.
4. The bound covers what waits here and what the wire below has not sent yet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, final

from openline.backlog import Backlog, Droppable
from openline.framing import Encoding

_log: Final = logging.getLogger("openline")


class Direct(Protocol):
    """The shortest way to the kernel: a socket."""

    def send(self, chunk: bytes, /) -> int:
        """Hand over as much as is taken at once; say how many bytes that were.

        Raises:
            OSError: nothing was taken.
        """


class Wire(Protocol):
    """Carries chunks to one client. Implemented on the floor above; nothing here waits.

    What it tells of the client goes to its `Receiver`.
    """

    encoding: Encoding  #: what the chunks offered to this wire have to be made with
    name: str  #: "websocket", as shown to the app

    @property
    def direct(self) -> Direct | None:
        """What sends a chunk at once; None where there is no such thing, or something written before has not left.

        To be used within the call that asked for it.
        """

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Send these chunks in order, after everything written before. The sequence is only lent."""

    def unsent_bytes(self) -> int:
        """How much of what was written has not left yet."""

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Close after what was written; a peer that has not answered by the deadline is aborted. Idempotent."""

    def ping(self) -> bool:
        """Send a ping of the wire's own; False where it has none and the server below looks after dead peers."""

    def pause_reading(self) -> None:
        """Give the session no more frames for now."""

    def resume_reading(self) -> None:
        """Give the session frames again."""


class Receiver(Protocol):
    """Whom a wire tells what its client did: a session. Nothing here waits or raises."""

    def receive(self, frame: bytes) -> None:
        """Take one whole message of the client: UTF-8 where the codec is text."""

    def pause(self) -> None:
        """The wire's buffer is full. May come from inside `Wire.write`."""

    def resume(self) -> None:
        """The wire's buffer has drained."""

    def ponged(self) -> None:
        """The client answered a ping of the wire's own, or sent a pong unasked."""

    def too_large(self) -> None:
        """The client sent a message larger than the wire takes, which closes it with 1009: `closed` follows."""

    def closed(self, code: int, reason: str) -> None:
        """The client is gone, whoever ended it; called once, and nothing after it. 1006 where no close was seen."""

    def shutdown(self) -> None:
        """The server is about to end: the session closes with 3001."""


class Owner(Protocol):
    """Whom an outbox tells what it needs: a session."""

    def dirty(self) -> None:
        """Something waits that has to be flushed at the end of the turn."""

    def skipped(self, publications: int) -> None:
        """So many publications were dropped, because the client is behind."""


class _Nobody:
    """The owner of an outbox that has ended: it would keep the session alive for the garbage collector."""

    def dirty(self) -> None:
        pass

    def skipped(self, publications: int) -> None:
        pass


_NOBODY: Final = _Nobody()


@final
class Outbox:
    """The chunks that wait for one client.

    While the wire takes what it is given, `first` and `rest` hold what was offered in this turn. Once the wire says
    that it is full, and until all that waited has gone, everything goes through a `Backlog`.

    Args:
        wire: where they go; one that holds nothing yet.
        limit_bytes: the bound; see `offer`.
        owner: is told when the outbox turns from empty to waiting, so that the node flushes it.

    Attributes:
        room_bytes: how much may be offered before it has to be measured what really waits; below zero where every offer
            needs care: the client is behind, or nothing is taken any more.
        first: the first chunk of this turn; None where there is none.
        rest: what was offered behind it.
    """

    __slots__ = (
        "_backlog",
        "_limit_bytes",
        "_owner",
        "_unsent_bytes",
        "encoding",
        "first",
        "is_paused",
        "refusing",
        "rest",
        "room_bytes",
        "wire",
    )

    def __init__(self, wire: Wire, limit_bytes: int, owner: Owner) -> None:
        self.wire = wire
        self._limit_bytes = limit_bytes
        self._owner = owner
        self._backlog: Backlog | None = None
        self.encoding = wire.encoding
        self.room_bytes = limit_bytes
        self.first: bytes | None = None
        self.rest: list[bytes] | None = None
        self.is_paused = False
        self.refusing = False
        self._unsent_bytes = 0  #: when `is_stalled` was asked last

    # --- in -------------------------------------------------------------------------------------------------------

    def offer(self, chunk: bytes, droppable: Droppable | None = None) -> bool:
        """Queue a chunk; say whether it was taken.

        A chunk larger than the whole bound is taken when nothing else waits: it is one message, bounded elsewhere. One
        that may be dropped is always taken; whether it leaves is another matter, and the owner is told if it does not.
        `Fanout.run` has the first lines of this written out: change both.
        """
        room = self.room_bytes - len(chunk)
        if room < 0:
            return self._offer_with_care(chunk, droppable)
        self.room_bytes = room
        self._put(chunk)
        return True

    def _put(self, chunk: bytes) -> None:
        if self.first is None:
            self.first = chunk
            self._owner.dirty()
        elif self.rest is None:
            self.rest = [chunk]
        else:
            self.rest.append(chunk)

    def _offer_with_care(self, chunk: bytes, droppable: Droppable | None) -> bool:
        """Measure what really waits, then take or refuse."""
        if self.refusing:
            return False
        if self._backlog is None and not self._fits(chunk):
            self.flush()  # early: what the client takes at once does not wait
        # The flush may have paused the wire, and then there is a backlog now.
        if self._backlog is None and self._fits(chunk):
            self.room_bytes = max(0, self._limit_bytes - self.waiting_bytes() - len(chunk))
            self._put(chunk)
            return True
        if self._backlog is not None:
            return self._keep(self._backlog, chunk, droppable)
        if droppable is None:
            return self._refuse()
        self._owner.dirty()
        return self._keep(self._fall_behind(), chunk, droppable)

    def _fits(self, chunk: bytes) -> bool:
        waiting = self.waiting_bytes()
        return not waiting or waiting + len(chunk) <= self._limit_bytes

    def _could_fit(self, backlog: Backlog, chunk: bytes) -> bool:
        """Tell whether a chunk would fit with all dropped that may be: else nothing need be dropped for it."""
        firm_bytes = self.waiting_bytes() - backlog.droppable_bytes
        return not firm_bytes or firm_bytes + len(chunk) <= self._limit_bytes

    def _keep(self, backlog: Backlog, chunk: bytes, droppable: Droppable | None) -> bool:
        """Put a chunk behind what waits, and drop what may be dropped in favour of it."""
        skipped = 0
        if droppable is not None and droppable.newest:
            chunk = droppable.newest
            skipped = backlog.drop_newest(droppable.channel) + droppable.publications - 1
            droppable = droppable._replace(publications=1)
        if not self._fits(chunk) and (droppable is None or self._could_fit(backlog, chunk)):
            skipped += backlog.drop_oldest(self.waiting_bytes() + len(chunk) - self._limit_bytes)
        fits = self._fits(chunk)
        if fits:
            backlog.add(chunk, droppable)
        elif droppable is not None:
            skipped += droppable.publications
        if skipped:
            self._owner.skipped(skipped)
        return fits or droppable is not None or self._refuse()

    def _refuse(self) -> bool:
        self.refusing = True
        self.room_bytes = -1
        return False

    def _forget(self) -> None:
        self.first = self.rest = None
        self._backlog = None
        self._refuse()

    # --- out ------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything that waits, unless the wire asked for a pause. The node calls this once a turn.

        `pause` may be called from inside the wire's write: it only sets state. Never raises: a wire that fails is
        logged, and nothing more is taken for it, so that its session ends at the next message.
        """
        try:
            if self._backlog is not None:
                self._drain(self._backlog)
            elif self.first is not None:
                first, self.first = self.first, None
                if self.rest is None:
                    self.wire.write(first)
                else:
                    rest, self.rest = self.rest, None
                    self.wire.write(first, rest)
        except Exception:  # noqa: BLE001  # one broken wire must not keep the others from theirs
            _log.exception("a wire failed to write; its session ends at the next message")
            self._forget()

    def _drain(self, backlog: Backlog) -> None:
        """Write what waited, piece by piece: what the wire has is no longer to be dropped."""
        while backlog and not self.is_paused:
            first, *rest = backlog.take()
            self.wire.write(first, rest)
        if not backlog and not self.is_paused:
            self._backlog = None
            self.room_bytes = 0

    def pause(self) -> None:
        """The wire's buffer is full: keep things here."""
        self.is_paused = True
        self._fall_behind()

    def _fall_behind(self) -> Backlog:
        """Keep what waits in a backlog, and whatever comes until that is empty."""
        self.room_bytes = -1
        backlog = self._backlog
        if backlog is None:
            backlog = self._backlog = Backlog()
        for chunk in (self.first, *(self.rest or ())):
            if chunk is not None:
                backlog.add(chunk)
        self.first = self.rest = None
        return backlog

    def resume(self) -> None:
        """The wire's buffer has drained: what waits goes out at the end of this turn."""
        self.is_paused = False
        if self._backlog is not None:
            self._owner.dirty()

    # --- how much -------------------------------------------------------------------------------------------------

    def waiting_bytes(self) -> int:
        """How much waits for this client, here and in the wire."""
        waiting = self.wire.unsent_bytes()
        if self.first is not None:
            waiting += len(self.first)
        if self.rest is not None:
            waiting += sum(map(len, self.rest))
        if self._backlog is not None:
            waiting += self._backlog.size_bytes
        return waiting

    def is_behind(self) -> bool:
        """Say whether more waits for the client than leaves room for an answer of half the bound.

        Either this turn has not ended yet, or the wire is full: then `resume` is called once it has drained.
        """
        waits = self.first is not None or self._backlog is not None
        return waits and self.waiting_bytes() > self._limit_bytes // 4

    def is_stalled(self) -> bool:
        """Say whether the wire is full, and nothing of what it holds has left since this was asked last."""
        before, self._unsent_bytes = self._unsent_bytes, self.wire.unsent_bytes()
        return self.is_paused and self._unsent_bytes >= before

    def drop(self) -> None:
        """Forget what waits and refuse from now on: the client will be closed and come back for it."""
        self._forget()
        self._owner = _NOBODY


def flush_all(outboxes: Iterable[Outbox]) -> None:
    """Flush all these outboxes: the end of a turn.

    Nearly all of them hold one chunk, and their wires nothing. Those chunks are sent in a loop with nothing else in it:
    a system call leaves the processor's caches cold, so whatever is done between two of them takes several times as
    long.
    """
    # Three lists, as a tuple for each client would set off the garbage collector in the middle of every turn.
    ready: list[Outbox] = []
    directs: list[Direct] = []
    chunks: list[bytes] = []
    for outbox in outboxes:
        chunk, direct = outbox.first, outbox.wire.direct
        if chunk is None or direct is None or outbox.rest is not None:
            outbox.flush()
        else:
            outbox.first = None
            ready.append(outbox)
            directs.append(direct)
            chunks.append(chunk)
    for outbox, direct, chunk in zip(ready, directs, chunks, strict=True):
        try:
            sent = direct.send(chunk)
        except OSError:  # no room, or a broken connection: the wire finds out which
            sent = 0
        if sent != len(chunk):
            outbox.first = chunk[sent:]
            outbox.flush()
