"""The tasks of a node: every one runs in one group, and none ends in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, final

from openline.errors import BrokerUnavailable
from openline.inbox import finish

_log: Final = logging.getLogger("openline")


@final
class Tasks:
    """Work that runs beside whatever began it."""

    __slots__ = ("_group", "_running", "_stopping")

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take work until the block ends, and end with the last of it: call `end` before."""
        self._running.clear()  # of a loop that was killed
        self._stopping = False
        try:
            async with asyncio.TaskGroup() as self._group:
                yield
        finally:
            self._group = None

    @property
    def are_taken(self) -> bool:
        """Whether the block is entered."""
        return self._group is not None

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task of the group. The work handles its own errors; one that escapes is logged."""
        if self._group is None or self._stopping:
            _log.warning("the hub has stopped, and does not begin %r", work)
            work.close()
            return
        task = self._group.create_task(_guarded(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def spawn_or_finish(self, work: Coroutine[Any, Any, None], *, immediate: bool) -> None:
        """Run without a task where nothing in it waits."""
        if immediate:
            finish(_guarded(work))
        else:
            self.spawn(work)

    async def end(self, seconds: float) -> None:
        """Give what runs its time to end, then cancel it; what it begins meanwhile has no more time than that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._running and (left := deadline - loop.time()) > 0:
            await asyncio.wait(tuple(self._running), timeout=left)
        self._stopping = True
        for task in tuple(self._running):
            _log.warning("the hub stops, and cancels what has not ended in time: %r", task)
            task.cancel()


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """Run work so that an error in it ends neither the group nor in silence."""
    try:
        await work
    except BrokerUnavailable as error:
        _log.error("the broker is away: %s", error)
    except Exception:  # noqa: BLE001  # logged: one task must not end the others
        _log.exception("a task of the hub failed")
