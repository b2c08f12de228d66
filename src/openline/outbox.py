"""What waits for one client: chunks in order, bounded in bytes.

Invariants of this file:

1. Only the outbox writes to a wire, and only in `flush`.
2. Nothing is written the moment it is offered: the node flushes every dirty outbox once, at the end of the turn.
   So replies and pushes of one turn leave in one write, in the order in which they were offered.
3. `offer` never waits. What does not fit is refused, and the outbox stays refusing: a stream with a hole in it is
   worth nothing to a client that counts on order.
4. The bound covers what waits here and what the wire below has not sent yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol, final

from openline.framing import Encoding

_log: Final = logging.getLogger("openline")


class Wire(Protocol):
    """Carries chunks to one client. Implemented on the floor above; nothing here waits.

    What it tells of the client goes to its `Receiver`.
    """

    encoding: Encoding  #: what the chunks offered to this wire have to be made with
    name: str  #: "websocket", as shown to the app

    def write(self, chunks: list[bytes]) -> None:
        """Send these chunks in order, after everything written before. The list is only lent."""

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

    def closed(self, code: int, reason: str) -> None:
        """The client is gone, whoever ended it; called once, and nothing after it. 1006 where no close was seen."""

    def shutdown(self) -> None:
        """The server is about to end: the session closes with 3001."""


@final
class Outbox:
    """The chunks that wait for one client.

    Args:
        wire: where they go.
        limit_bytes: the bound; see `offer`.
        dirty: called once when the outbox turns from empty to waiting, so that the node flushes it.
    """

    __slots__ = (
        "_chunks",
        "_dirty",
        "_limit_bytes",
        "_room_bytes",
        "_wire",
        "encoding",
        "is_dirty",
        "is_paused",
        "refusing",
    )

    def __init__(self, wire: Wire, limit_bytes: int, dirty: Callable[[Outbox], None]) -> None:
        self._wire = wire
        self._limit_bytes = limit_bytes
        self._dirty = dirty
        self._chunks: list[bytes] = []
        #: How much may be offered before the wire has to be asked what it still holds.
        self._room_bytes = 0
        self.encoding = wire.encoding
        self.is_dirty = False
        self.is_paused = False
        self.refusing = False

    def offer(self, chunk: bytes) -> bool:
        """Queue a chunk; say whether it was taken.

        A chunk larger than the whole bound is taken when nothing else waits: it is one message, bounded elsewhere.
        """
        room = self._room_bytes - len(chunk)
        if room < 0 or self.refusing:
            return self._offer_with_care(chunk)
        self._room_bytes = room
        self._chunks.append(chunk)
        if not self.is_dirty:
            self.is_dirty = True
            self._dirty(self)
        return True

    def _offer_with_care(self, chunk: bytes) -> bool:
        """Measure what really waits, then take or refuse."""
        if self.refusing:
            return False
        waiting = self.waiting_bytes()
        if waiting and waiting + len(chunk) > self._limit_bytes:
            self.refusing = True
            return False
        self._room_bytes = max(0, self._limit_bytes - waiting - len(chunk))
        self._chunks.append(chunk)
        if not self.is_dirty:
            self.is_dirty = True
            self._dirty(self)
        return True

    def flush(self) -> None:
        """Write everything that waits, unless the wire asked for a pause. The node calls this once a turn.

        `pause` may be called from inside the wire's write: it only sets a flag. Never raises: a wire that fails is
        logged, and nothing more is taken for it, so that its session ends at the next message.
        """
        self.is_dirty = False
        if self.is_paused or not self._chunks:
            return
        chunks = self._chunks
        try:
            self._wire.write(chunks)
        except Exception:  # noqa: BLE001  # one broken wire must not keep the others from theirs
            _log.exception("a wire failed to write; its session ends at the next message")
            self.refusing = True
        chunks.clear()

    def pause(self) -> None:
        """The wire's buffer is full: keep things here."""
        self.is_paused = True

    def resume(self) -> None:
        """The wire's buffer has drained: what waits goes out at the end of this turn."""
        self.is_paused = False
        if self._chunks and not self.is_dirty:
            self.is_dirty = True
            self._dirty(self)

    def waiting_bytes(self) -> int:
        """How much waits for this client, here and in the wire."""
        return sum(map(len, self._chunks)) + self._wire.unsent_bytes()

    def is_behind(self) -> bool:
        """Say whether more waits for the client than leaves room for an answer of half the bound.

        Either this turn has not ended yet, or the wire is full: then `resume` is called once it has drained.
        """
        return (self.is_dirty or self.is_paused) and self.waiting_bytes() > self._limit_bytes // 4

    def drop(self) -> None:
        """Forget what waits and refuse from now on: the client will be closed and come back for it."""
        self._chunks.clear()
        self.refusing = True
