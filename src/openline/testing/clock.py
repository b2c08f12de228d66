"""A clock that moves only when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import final


@final
class _Call:
    """A call that is due at some time."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Call it off."""
        self.call = None


@final
class VirtualClock:
    """Time as an input: give it to a hub, and its heartbeats, expiries and history age by `advance`.

    Args:
        unix_seconds: the wall time it begins with.
    """

    def __init__(self, unix_seconds: float = 1_700_000_000.0) -> None:
        self._wall_offset = unix_seconds
        self._now = 0.0
        self._calls: list[tuple[float, int, _Call]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Give the seconds advanced so far."""
        return self._now

    def wall(self) -> float:
        """Give the unix time."""
        return self._wall_offset + self._now

    @property
    def waiting(self) -> int:
        """How many calls are due some time."""
        return sum(due.call is not None for _, _, due in self._calls)

    def call_later(self, seconds: float, call: Callable[[], None]) -> _Call:
        """Call once `advance` passes this moment."""
        due = _Call(call)
        heapq.heappush(self._calls, (self._now + max(0.0, seconds), next(self._order), due))
        return due

    async def advance(self, seconds: float) -> None:
        """Let time pass: everything due meanwhile is called in its order, and the event loop goes round after each."""
        until = self._now + seconds
        while self._calls and self._calls[0][0] <= until:
            self._now, _, due = heapq.heappop(self._calls)
            if due.call is not None:
                due.call()
                await asyncio.sleep(0)
        self._now = until
        await asyncio.sleep(0)
