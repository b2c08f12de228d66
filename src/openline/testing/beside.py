"""Something that runs beside a block of a test, and fails the test when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine beside a block and wait for it at the end; what either raises comes out as it is."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work)
            yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
