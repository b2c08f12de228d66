"""A task that one call starts and another ends, and whose death is never silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, final

_log: Final = logging.getLogger("openline")


@final
class WatchedTask:
    """One task at most. A task group cannot hold it: that has to be left by the task which entered it.

    What ends it but `stop` is a bug of its work, and is logged.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._task is not None and not self._task.done()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run; there is none at the moment."""
        self._task = asyncio.create_task(work, name=f"openline.{name}")
        self._task.add_done_callback(_report)

    async def stop(self) -> None:
        """End it and wait until it has ended. Idempotent; one of a loop that is gone is gone with it."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        _log.error("the task %s failed; please report this", task.get_name(), exc_info=task.exception())
