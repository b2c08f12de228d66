"""Tasks that end together: started by one call, stopped by another, and none in silence."""

from __future__ import annotations

import asyncio

import pytest

from openline.valkey.tasks import Tasks


async def test_stop_ends_every_task() -> None:
    """Each is cancelled, and has ended when `stop` returns."""
    tasks, ended = Tasks(), list[int]()

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    await tasks.start()
    for number in range(3):
        tasks.spawn(wait(number), "waiter")
    await asyncio.sleep(0)
    await tasks.stop()
    assert sorted(ended) == [0, 1, 2]
    await tasks.stop()


async def test_they_may_be_stopped_from_another_task() -> None:
    """Who starts and who stops need not be the same task."""
    tasks = Tasks()
    await asyncio.create_task(tasks.start())
    await asyncio.create_task(tasks.stop())


async def test_a_failure_is_logged_and_ends_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in one task does not take the others along, nor is it kept quiet."""
    tasks, alive = Tasks(), asyncio.Event()

    async def fail() -> None:
        raise ValueError("a bug")

    async def go_on() -> None:
        alive.set()

    await tasks.start()
    tasks.spawn(fail(), "failing")
    await asyncio.sleep(0)
    tasks.spawn(go_on(), "other")
    await alive.wait()
    await tasks.stop()
    assert "the task failing" in caplog.text
    assert "a bug" in caplog.text


async def test_what_comes_too_late_is_not_run() -> None:
    """After the stop nothing begins, and nothing is left unawaited."""
    tasks, ran = Tasks(), list[int]()

    async def run() -> None:
        ran.append(1)

    tasks.spawn(run(), "early")
    await tasks.start()
    await tasks.stop()
    tasks.spawn(run(), "late")
    await asyncio.sleep(0)
    assert not ran
