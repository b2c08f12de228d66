"""Something beside a block: whichever fails, the test sees its own error and nothing is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from openline.testing.beside import beside


async def wait_for_ever(log: list[str]) -> None:
    """Run until stopped."""
    try:
        await asyncio.Event().wait()
    finally:
        log.append("stopped")


async def fail_beside(work: Coroutine[Any, Any, None]) -> None:
    """Raise in a block while something runs beside it."""
    async with beside(work):
        await asyncio.sleep(0)
        raise KeyError("block")


async def test_the_block_waits_for_what_runs_beside_it() -> None:
    """To its end."""
    log: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        log.append("done")

    async with beside(work()):
        assert log == []
    assert log == ["done"]


async def test_an_error_beside_ends_the_block_and_comes_out_as_it_is() -> None:
    """Not in a group of one."""

    async def work() -> None:
        raise KeyError("beside")

    with pytest.raises(KeyError, match="beside"):
        async with beside(work()):
            await asyncio.Event().wait()


async def test_an_error_of_the_block_stops_what_runs_beside_it() -> None:
    """And comes out as it is."""
    log: list[str] = []
    with pytest.raises(KeyError, match="block"):
        await fail_beside(wait_for_ever(log))
    assert log == ["stopped"]


async def test_of_two_errors_the_first_comes_out_and_the_other_is_noted_on_it() -> None:
    """The second is often a consequence; neither is hidden."""

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("beside")

    with pytest.raises(KeyError, match="block") as caught:
        await fail_beside(work())
    assert caught.value.__notes__ == ["After that: ValueError('beside')"]
