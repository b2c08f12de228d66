"""Whoever the app said yes to is told of, also where nothing came of it: `on_disconnect` and `on_unsubscribe`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openline import Accept, Allow, Disconnect, Hub, Limits, PermissionDenied, Session
from openline.testing import Closed, Refused, connect, line
from tests.serving import serving
from tests.streaming import Request, http_scope

LIMIT_SECONDS = 10


class Books:
    """A hub with ``room:{name}`` whose app writes down what it was asked and told."""

    def __init__(self, **options: Any) -> None:
        self.lines: asyncio.Queue[tuple[str, str, int]] = asyncio.Queue()
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.accept: Any = Accept(user="ann")
        self.allow: Any = None
        self.slow = ""
        self.hub = hub = Hub(**options)
        self.room = room = hub.channel("room:{name}")

        @hub.on_connect
        async def let_in() -> Any:
            return await self._answer("connect", self.accept)

        @room.on_subscribe
        async def let_enter(name: str) -> Any:
            return await self._answer("subscribe", self.allow)

        @hub.on_disconnect
        def gone(session: Session, code: int) -> None:
            self.lines.put_nowait(("gone", session.user, code))

        @room.on_unsubscribe
        def left(name: str, code: int) -> None:
            self.lines.put_nowait(("left", name, code))

    async def _answer(self, event: str, answer: Any) -> Any:
        if event == self.slow:
            self.asked.set()
            await self.answers.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def line(self) -> tuple[str, str, int]:
        """Wait for what the app is told next."""
        return await asyncio.wait_for(self.lines.get(), LIMIT_SECONDS)


async def test_a_client_that_goes_while_on_connect_decides_is_told_of() -> None:
    """After the handler has said yes, and by the name it gave: who counts connections counts right."""
    books = Books()
    books.slow = "connect"
    async with serving(books.hub) as app:
        async with line(app) as client:
            client.send_frame('{"id":1,"connect":{}}')
            await books.asked.wait()
        assert books.lines.empty()
        books.answers.set()

        assert (await books.line())[:2] == ("gone", "ann")
    assert books.lines.empty()


@pytest.mark.parametrize("answer", [PermissionDenied(), Disconnect(4500, "no"), ZeroDivisionError()], ids=repr)
async def test_who_was_not_accepted_is_not_told_of(answer: Exception) -> None:
    """Whether it is still there as the handler refuses, or not."""
    books = Books()
    books.accept, books.slow = answer, "connect"
    async with serving(books.hub) as app:
        async with line(app) as client:
            client.send_frame('{"id":1,"connect":{}}')
            await books.asked.wait()
        books.answers.set()
        with pytest.raises((Closed, Refused)):
            async with connect(app):
                pass
    assert books.lines.empty()


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        pytest.param(Accept(user="ann", channels=["nowhere"]), None, id="a channel there is not"),
        pytest.param(Accept(user="ann", expire_at=1), None, id="an expiry that has passed"),
        pytest.param(Accept(user="ann", channels=["room:a", "room:b"]), 3505, id="too many channels"),
    ],
)
async def test_who_was_accepted_and_not_let_in_is_told_of_once_it_is_gone(accept: Accept, code: int | None) -> None:
    """Once, with the code it saw."""
    books = Books(limits=Limits(channels=1))
    books.accept = accept
    async with serving(books.hub) as app:
        with pytest.raises((Closed, Refused)):
            async with connect(app):
                pass
        told = await books.line()
        assert told[:2] == ("gone", "ann")
        assert code in (None, told[2])
    assert books.lines.empty()


async def test_who_was_let_in_is_told_of_once() -> None:
    """As ever."""
    books = Books()
    async with serving(books.hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        books.hub.sessions[client.id].disconnect(4001)
        assert [await books.line(), await books.line()] == [("left", "a", 4001), ("gone", "ann", 4001)]
    assert books.lines.empty()
    assert not books.hub._node.sessions


async def test_a_client_that_goes_while_on_subscribe_decides_is_told_of() -> None:
    """In the channel too, although it never was in there."""
    books = Books()
    books.slow = "subscribe"
    async with serving(books.hub) as app, connect(app) as client:
        subscribing = asyncio.create_task(client.subscribe("room:a"))
        await books.asked.wait()
        books.hub.sessions[client.id].disconnect(4001)
        assert await books.line() == ("gone", "ann", 4001)
        books.answers.set()

        assert await books.line() == ("left", "a", 4001)
        with pytest.raises(Closed):
            await subscribing
    assert books.lines.empty()


async def test_a_subscription_that_fails_after_on_subscribe_said_yes_is_told_of() -> None:
    """2000, as the server takes it back; one that the handler refused is not."""
    books = Books()
    async with serving(books.hub) as app, connect(app) as client:
        books.allow = Allow(expire_at=1)
        with pytest.raises(Refused):
            await client.subscribe("room:a")
        assert await books.line() == ("left", "a", 2000)
        books.allow = PermissionDenied()
        with pytest.raises(Refused):
            await client.subscribe("room:b")
        assert books.lines.empty()


async def test_channels_of_one_who_only_listens_are_told_of_where_it_does_not_come_in() -> None:
    """Those the handler said yes to: here the second is none there is."""
    books = Books()
    async with serving(books.hub) as app:
        opening = b'{"subs":{"room:a":{},"nowhere":{}}}'
        request = Request(http_scope("POST", "/connection/uni_http_stream"), opening)
        async with asyncio.timeout(LIMIT_SECONDS):
            await request.run(app)
        told = sorted([await books.line(), await books.line()])
        assert [line[:2] for line in told] == [("gone", "ann"), ("left", "a")]
    assert books.lines.empty()
