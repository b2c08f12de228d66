"""What a wire on an ASGI server has still to send: chunks in order, for the one task that awaits the server's `send`.

The server says that it is done with something by returning; until then it counts as unsent. Past a mark the receiver is
asked to pause, and once enough has gone it may go on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, final

from openline.outbox import Receiver

_JOINED_BYTES: Final = 65_536  #: several chunks go out together up to this
_HIGH_BYTES: Final = 65_536  #: unsent; past it the receiver is asked to pause
_LOW_BYTES: Final = 16_384  #: unsent; from here down it may go on


@final
class Unsent:
    """The chunks of one wire.

    Attributes:
        size_bytes: how much is queued, or with a server that has not said it is done with it.
        changed: set while the task that sends has something to look at.
    """

    __slots__ = ("_chunks", "_is_full", "changed", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.changed = asyncio.Event()
        self._chunks: deque[bytes] = deque()
        self._is_full = False

    def __bool__(self) -> bool:
        """Tell whether something is queued."""
        return bool(self._chunks)

    def put(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Queue these chunks."""
        self._chunks.append(chunk)
        self._chunks.extend(more)
        self.size_bytes += len(chunk) + sum(map(len, more))
        self.changed.set()

    def offer(self, receiver: Receiver, chunk: bytes, more: Sequence[bytes]) -> None:
        """Queue these chunks, and have the receiver pause where that is too much."""
        self.put(chunk, more)
        if self.size_bytes > _HIGH_BYTES and not self._is_full:
            self._is_full = True
            receiver.pause()

    def take(self) -> bytes:
        """Take the next chunk, to be sent now: `sent` follows."""
        return self._chunks.popleft()

    def take_some(self) -> list[bytes]:
        """Take as many chunks as go out together, at least one: `sent` follows."""
        chunks = [self._chunks.popleft()]
        size = len(chunks[0])
        while self._chunks and size + len(self._chunks[0]) <= _JOINED_BYTES:
            chunks.append(self._chunks.popleft())
            size += len(chunks[-1])
        return chunks

    def sent(self, receiver: Receiver, size: int) -> None:
        """The server is done with so many bytes of what was taken."""
        self.size_bytes -= size
        if self._is_full and self.size_bytes <= _LOW_BYTES:
            self._is_full = False
            receiver.resume()

    def drop(self) -> None:
        """Forget all of it: there is nobody to send it to."""
        self._chunks.clear()
        self.size_bytes = 0
