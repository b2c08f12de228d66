"""A connection on a transport in memory: what came of the bytes it was given, without a socket."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.extensions import Extension

from openline.wires.connection import Connection
from openline.wires.deflate import inflate, reading
from openline.wires.fast import DeflatedWire


class Transport(asyncio.Transport):
    """A transport in memory: it keeps what is written and knows whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_paused = False
        self.is_closed = False

    def write(self, data: Any) -> None:
        """Keep it."""
        self.written += data

    def write_eof(self) -> None:
        """Nothing more is written."""

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def pause_reading(self) -> None:
        """Remember it."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """Remember it."""
        self.is_paused = False

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return self.is_closed

    def close(self) -> None:
        """Remember it."""
        self.is_closed = True

    def abort(self) -> None:
        """Remember it."""
        self.is_closed = True


class Collecting(Connection):
    """Collects messages; pauses reading after those it is told to."""

    def __init__(self, transport: Transport, pauses: frozenset[int]) -> None:
        super().__init__(transport, set(), message_bytes=2000, close_seconds=0.01)
        self.messages: list[tuple[bytes, bool]] = []
        self.ends: list[tuple[int, str]] = []
        self.pauses = pauses

    def _take(self, payload: bytes, *, binary: bool) -> None:
        assert not self._is_paused, "a message came while reading was paused"
        self.messages.append((payload, binary))
        if len(self.messages) in self.pauses:
            self.pause_reading()

    def _ponged(self, payload: bytes) -> None:
        assert not self._is_paused

    def _ended(self, code: int, reason: str) -> None:
        self.ends.append((code, reason))


class Inflating(Collecting):
    """Collects messages that may be compressed."""

    _ordinary = DeflatedWire._ordinary

    def _inflate(self, payload: bytes) -> bytes | None:
        return inflate(payload, self._message_bytes)

    def _extensions(self) -> list[Extension]:
        return [reading()]
