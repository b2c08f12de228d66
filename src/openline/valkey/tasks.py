"""The tasks of one object that is started by one call and stopped by another.

A task group has to be left by the task that entered it, and `start` and `stop` may be called from two. So one task
holds the group. It is watched: `stop` waits for it; an error that ends a task of the group, which is a bug, is logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, final

_log: Final = logging.getLogger("openline.valkey")


@final
class Tasks:
    """Tasks that end together."""

    __slots__ = ("_group", "_holder")

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._holder: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; tasks may be spawned from here on."""
        ready = asyncio.Event()
        self._holder = asyncio.create_task(self._hold(ready), name="openline.valkey")
        await ready.wait()

    async def _hold(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._group:
            ready.set()
            await asyncio.Event().wait()  # until `stop` cancels, and the group with it

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run in the group. What is spawned while there is none, as after `stop`, is not run."""
        if self._group is None:
            work.close()
            return
        self._group.create_task(_guarded(work, name), name=f"openline.valkey.{name}")

    async def stop(self) -> None:
        """Cancel every task and wait until all have ended. Idempotent."""
        holder, self._holder, self._group = self._holder, None, None
        if holder is None or holder.get_loop() is not asyncio.get_running_loop():
            return  # or a loop that was closed took it along
        holder.cancel()
        await asyncio.wait([holder])


async def _guarded(work: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001  # logged: one task must not end the others
        _log.exception("the task %s of the connection to Valkey failed; please report this", name)
