"""Into the event loop from another thread, such as that of a plain handler."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], Result]) -> Result:
    """Call in a loop that runs in another thread, and wait for the result; what it raises is raised here."""
    done: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def run() -> None:
        try:
            done.set_result(call())
        except Exception as error:  # noqa: BLE001  # the caller's, in its own thread
            done.set_exception(error)

    loop.call_soon_threadsafe(run)
    return done.result()
