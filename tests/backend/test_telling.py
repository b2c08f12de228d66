"""What the back end is told and not asked: nobody waits for it, and it is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.responses import JSONResponse

from openline.backend import telling
from openline.testing import Closed, Refused, connect, line
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


async def test_who_comes_back_is_asked_about_once_its_leaving_was_heard() -> None:
    """Else the back end would hear last that it left. Other channels and other clients wait for nothing."""
    loop = asyncio.get_running_loop()
    release = asyncio.Event()
    heard: list[str] = []

    async def stall(said: dict[str, Any]) -> dict[str, Any]:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(release.wait(), loop))
        heard.append("unsubscribe")
        return {}

    def note(said: dict[str, Any]) -> dict[str, Any]:
        heard.append("subscribe " + said["channel"])
        return {"result": {}}

    async with service() as back_end, house(back_end, "subscribe", "unsubscribe") as house_:
        back_end.answers |= {"unsubscribe": stall, "subscribe": note}
        async with connect(house_.app) as client, connect(house_.app) as other:
            await client.subscribe("room:a")
            await client.unsubscribe("room:a")
            while (await back_end.told()).event != "unsubscribe":
                pass
            await client.subscribe("room:b")
            await other.subscribe("room:a")
            coming_back = asyncio.create_task(client.subscribe("room:a"))
            await until(lambda: house_.events.counts["subscribe"].asked == 4)
            assert heard == ["subscribe room:a", "subscribe room:b", "subscribe room:a"]
            release.set()
            await coming_back
            assert heard[3:] == ["unsubscribe", "subscribe room:a"]


async def test_it_waits_no_longer_than_for_an_answer_or_until_that_is_given_up() -> None:
    """The client tries again by itself."""
    async with service() as back_end:
        options: dict[str, Any] = {"retries": 1, "timeout_seconds": 2}
        async with house(back_end, "subscribe", "unsubscribe", **options) as house_, connect(house_.app) as client:
            back_end.answers["unsubscribe"] = JSONResponse({}, 503)
            await client.subscribe("room:a")
            await client.unsubscribe("room:a")
            await client.subscribe("room:a")
            assert house_.events.counts["unsubscribe"].dropped == 1


# --- those who did not come in after all ------------------------------------------------------------------------------


async def test_a_client_that_goes_while_it_is_asked_about_is_told_of_afterwards() -> None:
    """Once the answer is there: the back end may have it in its books by then."""
    loop = asyncio.get_running_loop()
    release = asyncio.Event()

    async def slow(said: dict[str, Any]) -> dict[str, Any]:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(release.wait(), loop))
        return {"result": {"user": "ann"}}

    async with service() as back_end, house(back_end, "connect", "disconnect") as house_:
        back_end.answers["connect"] = slow
        async with line(house_.app) as client:
            client.send_frame('{"id":1,"connect":{}}')
            asked = await back_end.told()
        release.set()
        told = await back_end.told()
        assert (told.event, told.said["user"], told.said["client"]) == ("disconnect", "ann", asked.said["client"])


@pytest.mark.parametrize("ends", [True, False], ids=["the client goes", "the server takes it out"])
async def test_a_subscription_that_comes_to_nothing_while_it_is_asked_about_is_told_of(ends: bool) -> None:
    """In a channel nobody is in, as far as the hub goes."""
    loop = asyncio.get_running_loop()
    release = asyncio.Event()

    async def slow(said: dict[str, Any]) -> dict[str, Any]:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(release.wait(), loop))
        return {}

    async with service() as back_end, house(back_end, "subscribe", "unsubscribe") as house_:
        back_end.answers["subscribe"] = slow
        async with connect(house_.app) as client:
            session = house_.hub.sessions[client.id]
            subscribing = asyncio.create_task(client.subscribe("room:a"))
            await back_end.told()
            if ends:
                session.disconnect(4001, "bye")
            else:
                await session.unsubscribe("room:a")
            release.set()
            told = await back_end.told()
            assert (told.event, told.said["channel"]) == ("unsubscribe", "room:a")
            assert told.said["code"] == (4001 if ends else 2000)
            with pytest.raises((Closed, Refused)):
                await subscribing


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
