"""A receiver that records what its wire tells it, for a test in another thread to wait for."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

from openline.framing import MESSAGES, WEBSOCKET, Encoding
from openline.outbox import Receiver, Wire
from openline.protocol.json import JSON
from openline.protocol.protobuf import PROTOBUF

TEXT_FRAMES = Encoding(JSON, WEBSOCKET)
BINARY_FRAMES = Encoding(PROTOBUF, WEBSOCKET)
TEXT_MESSAGES = Encoding(JSON, MESSAGES)
BINARY_MESSAGES = Encoding(PROTOBUF, MESSAGES)

WAIT_SECONDS = 5


class Recorder:
    """Takes one connection at a time.

    Attributes:
        wire: of the latest connection; there once `opened` has been recorded.
        refused: how many messages were larger than the wire takes.
        on_receive: called with each message after it was recorded, on the server's loop.
    """

    def __init__(self) -> None:
        self.wire: Wire
        self.on_receive: Callable[[bytes], None] = lambda _frame: None
        self.on_open: Callable[[Wire], None] = lambda _wire: None
        self.refused = 0
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def open(self, wire: Wire) -> Receiver:
        """Take a wire, as a hub does."""
        self.wire = wire
        self._events.put(("opened",))
        self.on_open(wire)
        return self

    def receive(self, frame: bytes) -> None:
        """Record a message."""
        self._events.put(("received", frame))
        self.on_receive(frame)

    def pause(self) -> None:
        """Record it."""
        self._events.put(("paused",))

    def ponged(self) -> None:
        """Record it."""
        self._events.put(("ponged",))

    def resume(self) -> None:
        """Record it."""
        self._events.put(("resumed",))

    def too_large(self) -> None:
        """Count it."""
        self.refused += 1

    def closed(self, code: int, reason: str) -> None:
        """Record the end."""
        self._events.put(("closed", code, reason))

    def shutdown(self) -> None:
        """Record it, and close as a session does."""
        self._events.put(("shutdown",))
        self.wire.close(3001, "shutdown", deadline_seconds=0.2)

    def next(self) -> tuple[Any, ...]:
        """Wait for the next event."""
        return self._events.get(timeout=WAIT_SECONDS)

    def is_silent(self) -> bool:
        """Tell whether nothing more was recorded."""
        return self._events.empty()


class Told:
    """What an app told its test, in order."""

    def __init__(self) -> None:
        self._values: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.put: Callable[[Any], None] = self._values.put

    def next(self) -> Any:
        """Wait for the next value."""
        return self._values.get(timeout=5)
