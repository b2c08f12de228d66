"""What the client of a plain line has sent and its route has not taken yet: in order, and bounded.

At the bound reading stops, until the route has taken all of it: the network holds the client back. A client that leaves
leaves its messages behind, and the route gets them. Once the server closes, the rest counts no more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, final

from openline.session import Session

#: Of unread messages together; past it reading stops, however few they are.
UNREAD_BYTES: Final = 65_536


@final
class Mailbox:
    """The receiver of a plain line's wire. What is not a message is the session's.

    Args:
        session: whose messages these are.
        limit: how many may wait.

    Attributes:
        over: set once the wire has ended.
    """

    __slots__ = ("_changed", "_is_full", "_is_open", "_limit", "_messages", "_size", "over", "session")

    def __init__(self, session: Session, limit: int) -> None:
        self.session = session
        self.over = asyncio.Event()
        self._limit = limit
        self._messages: deque[str | bytes] = deque()
        self._size = 0
        self._is_full = False
        self._is_open = True
        self._changed = asyncio.Event()

    # --- for the wire ---------------------------------------------------------------------------------------------

    def take(self, message: str | bytes) -> None:
        """Keep a message until the route asks for it."""
        if not self._is_open:
            return
        self._messages.append(message)
        self._size += len(message)
        self._changed.set()
        if not self._is_full and (len(self._messages) >= self._limit or self._size >= UNREAD_BYTES):
            self._is_full = True
            self.session.pause_reading()

    def receive(self, frame: bytes) -> None:
        """Keep a message."""
        self.take(frame)

    def pause(self) -> None:
        """The wire's buffer is full."""
        self.session.pause()

    def resume(self) -> None:
        """The wire's buffer has drained."""
        self.session.resume()

    def ponged(self) -> None:
        """The client answered a ping."""
        self.session.ponged()

    def too_large(self) -> None:
        """The client sent too large a message."""
        self.session.too_large()

    def shutdown(self) -> None:
        """The server is about to end."""
        self.session.shutdown()

    def closing(self) -> None:
        """The server closes: what nobody has taken counts no more."""
        self._is_open = False
        self._messages.clear()
        self._changed.set()

    def closed(self, code: int, reason: str) -> None:
        """The client is gone."""
        self._is_open = False
        self._changed.set()
        self.over.set()
        self.session.closed(code, reason)

    # --- for the route --------------------------------------------------------------------------------------------

    async def next(self) -> str | bytes | None:
        """Wait for the next message and give it; None once there will be no more."""
        while not self._messages:
            if not self._is_open:
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        self._size -= len(message)
        if self._is_full and not self._messages:
            self._is_full = False
            self.session.resume_reading()
        return message
