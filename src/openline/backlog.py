"""What waits for a client that is behind: in order, and what of it may be dropped.

A channel whose messages replace each other says so (`ChannelOptions.slow`). What of it waits for a client that does not
keep up is dropped rather than the client: the oldest first, or all but the newest. Everything else stays in its order.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, final

#: Chunks are taken out together up to this: about what a transport takes before it says that it is full.
JOINED_BYTES: Final = 65_536


class Droppable(NamedTuple):
    """What has to be known of a chunk that may be dropped."""

    channel: str
    publications: int  #: in the chunk
    newest: bytes = b""  #: the chunk of the newest publication alone, where only that one may wait; else empty


@final
class Backlog:
    """Chunks that wait, in order.

    Attributes:
        size_bytes: of all that waits.
        droppable_bytes: of what may be dropped.
    """

    __slots__ = ("_chunks", "_droppable", "_newest", "_next", "droppable_bytes", "size_bytes")

    def __init__(self) -> None:
        # Ordered dictionaries, because things are taken out at the front: a plain one passes over every gap again.
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._droppable: OrderedDict[int, Droppable] = OrderedDict()  # by the same numbers, in the same order
        self._newest: dict[str, int] = {}  # of the channels of which only the newest may wait
        self._next = 0
        self.size_bytes = 0
        self.droppable_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def add(self, chunk: bytes, droppable: Droppable | None = None) -> None:
        """Put a chunk behind all others."""
        number = self._next
        self._next += 1
        self._chunks[number] = chunk
        self.size_bytes += len(chunk)
        if droppable is not None:
            self._droppable[number] = droppable
            self.droppable_bytes += len(chunk)
            if droppable.newest:
                self._newest[droppable.channel] = number

    def take(self) -> list[bytes]:
        """Take the first chunks out: at least one, and no more than `JOINED_BYTES` if they are several."""
        taken: list[bytes] = []
        size = 0
        while self._chunks:
            number, chunk = next(iter(self._chunks.items()))
            size += len(chunk)
            if taken and size > JOINED_BYTES:
                break
            taken.append(chunk)
            self._remove(number)
        return taken

    def drop_newest(self, channel: str) -> int:
        """Drop what was the newest of a channel until now; say how many publications that were."""
        number = self._newest.get(channel)
        return 0 if number is None else self._remove(number)

    def drop_oldest(self, excess_bytes: int) -> int:
        """Drop the oldest of what may be dropped until this much is gone; say how many publications that were."""
        goal = self.size_bytes - excess_bytes
        dropped = 0
        while self.size_bytes > goal and self._droppable:
            dropped += self._remove(next(iter(self._droppable)))
        return dropped

    def _remove(self, number: int) -> int:
        size = len(self._chunks.pop(number))
        self.size_bytes -= size
        droppable = self._droppable.pop(number, None)
        if droppable is None:
            return 0
        self.droppable_bytes -= size
        if droppable.newest:
            del self._newest[droppable.channel]
        return droppable.publications
