"""Work on one key is done one after the other, in the order in which it was decided."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from types import TracebackType
from typing import final


@final
class Locks:
    """A fair lock for each key. A key that nobody holds or waits for takes no memory."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Hashable, deque[Place]] = {}

    def __len__(self) -> int:
        """Count the keys somebody holds or waits for."""
        return len(self._queues)

    def hold(self, key: Hashable) -> Place:
        """Take a place in the queue of a key, in this very call; ``async with`` it does the work when its turn comes.

        So the order is that of the decisions, whichever task runs first. A place that is not used is given up by
        `Place.leave`.
        """
        queue = self._queues.setdefault(key, deque())
        place = Place(self, key)
        queue.append(place)
        return place

    def next(self, place: Place) -> Place | None:
        """Say who has the lock of a place's key."""
        queue = self._queues.get(place.key)
        return queue[0] if queue else None

    def remove(self, place: Place) -> None:
        """Take a place out, and let the next one go."""
        queue = self._queues.get(place.key)
        if queue is None or place not in queue:
            return
        queue.remove(place)
        if queue:
            queue[0].turn.set()
        else:
            del self._queues[place.key]


@final
class Place:
    """One place in the queue of a key."""

    __slots__ = ("_locks", "key", "turn")

    def __init__(self, locks: Locks, key: Hashable) -> None:
        self._locks = locks
        self.key = key
        self.turn = asyncio.Event()

    async def __aenter__(self) -> None:
        """Wait for those before."""
        try:
            while self._locks.next(self) is not self:
                await self.turn.wait()
        except BaseException:
            self.leave()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the next one go."""
        self.leave()

    def leave(self) -> None:
        """Give the place up. Idempotent."""
        self._locks.remove(self)
