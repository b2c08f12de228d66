"""What the back end is told and not asked: nobody waits for it, and it is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.responses import JSONResponse

from openline.backend import telling
from openline.testing import connect
from tests.backend.service import house, service


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait between tries."""
    monkeypatch.setattr(telling, "_FIRST_PAUSE_SECONDS", 0.01)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that nothing tells of."""
    async with asyncio.timeout(10):
        while not happened():  # noqa: ASYNC110  # counts have no event
            await asyncio.sleep(0.005)


async def test_it_is_tried_again_after_a_failure_that_may_pass() -> None:
    """A status of 500 and above, 429, or no connection."""
    async with service() as back_end, house(back_end, "disconnect", retries=3) as house_:
        answers: Iterator[Any] = iter((JSONResponse({}, 503), JSONResponse({}, 429), {"result": {}}))
        back_end.answers["disconnect"] = lambda said: next(answers)
        async with connect(house_.app):
            pass
        for _ in range(3):
            await back_end.told()
        counts = house_.events.counts["disconnect"]
        assert (counts.asked, counts.retried, counts.failed, counts.dropped) == (1, 2, 0, 0)


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (404, 1), (302, 1)])
async def test_it_is_given_up_after_so_many_tries_counted_and_logged(
    status: int, tries: int, caplog: pytest.LogCaptureFixture
) -> None:
    """At once where the same request does no better."""
    async with service() as back_end, house(back_end, "disconnect", retries=2) as house_:
        back_end.answers["disconnect"] = JSONResponse({}, status)
        async with connect(house_.app):
            pass
        counts = house_.events.counts["disconnect"]
        await until(lambda: counts.dropped == 1)
        assert back_end.times("disconnect") == tries
        assert f"it answered with status {status}" in caplog.text


async def test_what_it_answers_is_not_read() -> None:
    """Any 200 will do; an error or a disconnect means nothing to who is gone."""
    async with service() as back_end, house(back_end, "unsubscribe") as house_:
        back_end.answers["unsubscribe"] = {"disconnect": {"code": 4500, "reason": "no"}}
        async with connect(house_.app) as client:
            for _ in range(2):
                await client.subscribe("room:a")
                await client.unsubscribe("room:a")
                await back_end.told()
            assert not client.is_closed


async def test_more_than_can_wait_is_dropped_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A back end that is away costs bounded memory, and no client anything."""
    monkeypatch.setattr(telling, "LANES", 1)
    monkeypatch.setattr(telling, "WAITING", 2)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def stall(said: dict[str, Any]) -> dict[str, Any]:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(release.wait(), loop))
        return {}

    async with service() as back_end, house(back_end, "unsubscribe") as house_, connect(house_.app) as client:
        back_end.answers["unsubscribe"] = stall
        counts = house_.events.counts["unsubscribe"]
        await client.subscribe("room:a")
        await client.unsubscribe("room:a")
        await back_end.told()
        for _ in range(5):
            await client.subscribe("room:a")
            await client.unsubscribe("room:a")
        assert (counts.asked, counts.dropped) == (6, 3)
        assert "2 others wait already" in caplog.text
        release.set()
        for _ in range(2):
            await back_end.told()


async def test_what_is_left_as_the_server_ends_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has so many seconds, and then the server ends all the same."""
    monkeypatch.setattr(telling, "LAST_SECONDS", 0.1)
    monkeypatch.setattr(telling, "LANES", 1)
    async with service() as back_end:
        async with house(back_end, "unsubscribe", retries=10) as house_, connect(house_.app) as client:
            back_end.answers["unsubscribe"] = JSONResponse({}, 500)
            monkeypatch.setattr(telling, "_FIRST_PAUSE_SECONDS", 10)
            counts = house_.events.counts["unsubscribe"]
            for _ in range(3):
                await client.subscribe("room:a")
                await client.unsubscribe("room:a")
        assert (counts.asked, counts.dropped) == (3, 3)
