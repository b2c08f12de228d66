"""Something that runs beside a block of a test, and fails the test when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine beside a block and wait for it at the end.

    If either raises, the other is stopped, and the error comes out as it is. An error after the first, which is often
    its consequence, is noted on it.
    """
    errors: list[BaseException] = []

    async def run() -> None:
        try:
            await work
        except BaseException as error:
            errors.append(error)
            raise

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run())
            try:
                yield
            except BaseException as error:
                errors.append(error)
                raise
    except BaseExceptionGroup as group:
        first, *others = [error for error in errors if error in group.exceptions]
        for other in others:
            first.add_note(f"After that: {other!r}")
        raise first from first.__cause__
