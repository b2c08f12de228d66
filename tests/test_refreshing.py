"""What the server prolongs by itself: `on_refresh` of a hub and of a channel, asked as something runs out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from openline import JWT, Accept, Allow, DeclarationError, Disconnect, Hub, Limits, PermissionDenied, Session
from openline.testing import Client, VirtualClock, connect
from tests.serving import serving

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


def hub_for_a_minute(clock: VirtualClock, **options: Any) -> Hub:
    """Give a hub that lets everyone in as Ann for 60 seconds, and into ``room:{name}`` for 30."""
    hub = Hub(clock=clock, **options)
    room = hub.channel("room:{name}", presence=True)

    @hub.on_connect
    async def let_in() -> Accept:
        return Accept(user="ann", info="old", meta={"plan": "free"}, expire_at=clock.wall() + 60)

    @room.on_subscribe
    async def let_enter(name: str) -> Allow:
        return Allow(info=f"seat in {name}", expire_at=clock.wall() + 30)

    return hub


async def settle(hub: Hub) -> None:
    """Let the handlers that were asked come to their end."""
    while hub._node._tasks._running:
        await asyncio.wait(tuple(hub._node._tasks._running), timeout=5)


def unsubscribed(client: Client) -> list[int]:
    """Give the codes of the unsubscribe pushes that have come."""
    return [push["unsubscribe"]["code"] for push in client.waiting() if "unsubscribe" in push]


# --- a connection -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prolonged",
    [
        pytest.param(lambda expiry: expiry, id="unix seconds"),
        pytest.param(lambda expiry: datetime.fromtimestamp(expiry, UTC), id="a moment"),
        pytest.param(lambda expiry: Accept(expire_at=expiry), id="Accept"),
    ],
)
async def test_a_connection_goes_on_for_as_long_as_the_handler_says(prolonged: Callable[[float], Any]) -> None:
    """It is asked as the time is over, not before, and again when that time is over."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock)
    asked: list[float] = []

    @hub.on_refresh
    async def once_more(session: Session) -> Any:
        asked.append(clock.wall())
        assert session.user == "ann"
        return prolonged(clock.wall() + 100) if len(asked) < 3 else None

    async with serving(hub) as app, connect(app) as client:
        for times, seconds in enumerate((59.5, 98, 98)):
            await clock.advance(seconds)
            assert (len(asked), client.is_closed) == (times, False)
            await clock.advance(2)
            await settle(hub)

        assert len(asked) == 3
        closed = await client.closed()
        assert (closed.code, closed.reason) == (3005, "connection expired")


async def test_a_handler_may_say_that_it_ends_no_more() -> None:
    """`Accept` without an expiry; what it says of info and meta counts from then on."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock)

    @hub.on_refresh
    def for_ever() -> Accept:
        return Accept(info="new", meta={"plan": "paid"})

    async with serving(hub) as app, connect(app) as client:
        session = hub.sessions[client.id]
        await clock.advance(40)
        await client.subscribe("room:a")
        await clock.advance(21)
        await settle(hub)
        assert (session.info, session.meta) == ("new", {"plan": "paid"})
        assert (await client.presence("room:a"))[client.id]["conn_info"] == "new"
        await clock.advance(3600)

        assert not client.is_closed


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(None, 3005, id="nothing"),
        pytest.param(1_000_000_000, 3005, id="an expiry that has passed"),
        pytest.param(PermissionDenied("banned"), 3005, id="a refusal"),
        pytest.param(Disconnect(4500, "banned"), 4500, id="a disconnect"),
        pytest.param(ZeroDivisionError(), 3005, id="a failure"),
        pytest.param("for ever", 3005, id="what is no answer"),
        pytest.param(Accept(user="bob"), 3005, id="another user"),
        pytest.param(Accept(channels=["room:a"]), 3005, id="channels"),
    ],
)
async def test_without_leave_a_connection_ends(answer: Any, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is an answer; what is a fault of the app is in the log with its cause, and counted."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock)

    @hub.on_refresh
    async def no() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(hub) as app, connect(app) as client:
        await clock.advance(61)

        assert (await client.closed()).code == code
    faulty = not (answer is None or isinstance(answer, int | PermissionDenied | Disconnect))
    assert hub.counters.handler_errors == faulty
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert ["on_refresh failed" in error for error in errors] == [True] * faulty


@pytest.mark.parametrize(("grace", "given"), [(25, 25), (0, 5)])
async def test_a_handler_that_does_not_answer_is_waited_for_so_long_and_asked_once(grace: float, given: float) -> None:
    """The grace that clients have too; where they have none, 5 seconds. What it says later counts no more."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock, limits=Limits(expiry_grace_seconds=grace))
    asked, answers = [], asyncio.Event()

    @hub.on_refresh
    async def slow() -> Accept:
        asked.append(clock.wall())
        await answers.wait()
        return Accept()

    async with serving(hub) as app, connect(app) as client:
        await clock.advance(60.25 + given - 0.5)
        assert not client.is_closed
        await clock.advance(1)
        assert (await client.closed()).code == 3005
        answers.set()
        await settle(hub)

        assert len(asked) == 1


async def test_an_answer_within_that_time_keeps_the_connection() -> None:
    """Heartbeats go on meanwhile."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock)
    answers = asyncio.Event()

    @hub.on_refresh
    async def slow() -> float:
        await answers.wait()
        return clock.wall() + 1000

    async with serving(hub) as app, connect(app) as client:
        await clock.advance(60.25)
        pings = client.pings
        for _ in range(24):
            await clock.advance(1)
        answers.set()
        await settle(hub)
        await clock.advance(30)

        assert not client.is_closed
        assert client.pings > pings


async def test_a_connection_that_ends_meanwhile_is_not_brought_back() -> None:
    """The answer finds nobody."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock)
    answers = asyncio.Event()

    @hub.on_refresh
    async def slow() -> Accept:
        await answers.wait()
        return Accept(info="new")

    async with serving(hub) as app:
        async with connect(app):
            await clock.advance(61)
        answers.set()
        await settle(hub)

        assert not hub.sessions


@pytest.mark.parametrize("answer", [None, Accept(info="late"), Disconnect(4500, "banned")], ids=repr)
async def test_what_the_app_decides_meanwhile_goes_before_the_answer(answer: Any) -> None:
    """It was asked earlier: what it says of the old expiry ends nothing, and makes nothing last."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock, limits=Limits(expiry_grace_seconds=25))
    asked, answers = [], asyncio.Event()

    @hub.on_refresh
    async def slow() -> Any:
        asked.append(clock.wall())
        if len(asked) > 1:
            return None
        await answers.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(hub) as app, connect(app) as client:
        await clock.advance(61)
        await hub.user("ann").refresh(clock.wall() + 25)  # the very moment it would be over without an answer
        answers.set()
        await settle(hub)
        assert hub.sessions[client.id].info == "old"
        await clock.advance(20)
        assert not client.is_closed
        await clock.advance(10)
        await settle(hub)

        assert (await client.closed()).code == 3005
        assert len(asked) == 2


async def test_an_expiry_set_while_the_app_is_asked_is_asked_about_by_itself() -> None:
    """Although the app has not answered about the one before."""
    clock = VirtualClock()
    hub = hub_for_a_minute(clock)
    asked, answers = [], asyncio.Event()

    @hub.on_refresh
    async def slow() -> float | None:
        asked.append(clock.wall())
        if len(asked) > 1:
            return clock.wall() + 1000
        await answers.wait()
        return None

    async with serving(hub) as app, connect(app) as client:
        await clock.advance(61)
        await hub.user("ann").refresh(clock.wall() + 5)
        await clock.advance(6)
        answers.set()
        await settle(hub)
        await clock.advance(60)

        assert not client.is_closed
        assert len(asked) == 2


async def test_connections_by_token_are_their_clients_business() -> None:
    """They are told of the expiry and bring a new token; the handler is not asked."""
    clock = VirtualClock()
    hub = Hub(auth=JWT(secret=SECRET), clock=clock)

    @hub.on_refresh
    async def never() -> None:
        raise AssertionError("asked")

    token = jwt.encode({"sub": "ann", "exp": clock.wall() + 60}, SECRET, algorithm="HS256")
    async with serving(hub) as app, connect(app, token=token) as client:
        await clock.advance(86)

        assert (await client.closed()).code == 3005
    assert hub.counters.handler_errors == 0


# --- a subscription ---------------------------------------------------------------------------------------------------


async def test_a_subscription_goes_on_for_as_long_as_the_handler_says() -> None:
    """The handler takes the parts of the name; what is new of its info is shown in presence."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    room = hub.channel("room:{name}", presence=True)
    asked: list[str] = []

    @room.on_subscribe
    async def for_a_while() -> Allow:
        return Allow(info="old seat", expire_at=clock.wall() + 30)

    @room.on_refresh
    async def once_more(name: str, session: Session) -> Allow | None:
        asked.append(name)
        return Allow(expire_at=clock.wall() + 100, info="new seat") if len(asked) == 1 else None

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await clock.advance(31)
        await settle(hub)
        assert (await client.presence("room:a"))[client.id]["chan_info"] == "new seat"
        assert unsubscribed(client) == []
        await clock.advance(100)
        await settle(hub)

        assert unsubscribed(client) == [2501]
        assert not client.is_closed
        assert asked == ["a", "a"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(PermissionDenied(), 2501, id="a refusal"),
        pytest.param(ZeroDivisionError(), 2501, id="a failure"),
        pytest.param(Allow(data="no"), 2501, id="what is no answer"),
        pytest.param(Disconnect(4500, "banned"), 4500, id="a disconnect"),
    ],
)
async def test_without_leave_a_subscription_ends(answer: Any, code: int) -> None:
    """The client subscribes again, and is asked about anew; a disconnect is one."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    room = hub.channel("room:{name}")
    room.on_subscribe(lambda: Allow(expire_at=clock.wall() + 30))

    @room.on_refresh
    async def no() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await clock.advance(31)
        await settle(hub)

        ends = [(await client.closed()).code] if code >= 3000 else unsubscribed(client)
        assert ends == [code]


async def test_a_new_subscription_in_the_same_channel_is_asked_about_by_itself() -> None:
    """What was asked of the old one neither ends it nor makes it last longer."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    room = hub.channel("room:{name}")
    room.on_subscribe(lambda: Allow(expire_at=clock.wall() + 30))
    answers = [asyncio.Event(), asyncio.Event()]
    asked: list[float] = []

    @room.on_refresh
    async def slow() -> float | None:
        asked.append(clock.wall())
        first = len(asked) == 1
        await answers[len(asked) - 1].wait()
        return None if first else clock.wall() + 1000

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await clock.advance(31)
        await client.unsubscribe("room:a")
        await client.subscribe("room:a")
        await clock.advance(31)
        for answer in answers:
            answer.set()
        await settle(hub)
        await clock.advance(100)

        assert hub.sessions[client.id].channels == {"room:a"}
        assert len(asked) == 2


async def test_a_server_side_subscription_is_asked_about_too_and_ends_with_its_connection() -> None:
    """3006: its client cannot subscribe to it again by itself."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    room = hub.channel("room:{name}")
    asked: list[str] = []

    @hub.on_connect
    async def let_in() -> Accept:
        return Accept(subscriptions={"room:a": Allow(data="hello", expire_at=clock.wall() + 30)})

    @room.on_refresh
    async def once_more(name: str) -> float | None:
        asked.append(name)
        return clock.wall() + 30 if len(asked) == 1 else None

    async with serving(hub) as app, connect(app) as client:
        await clock.advance(31)
        await settle(hub)
        assert hub.sessions[client.id].channels == {"room:a"}
        await clock.advance(31)

        assert (await client.closed()).code == 3006


# --- declaring --------------------------------------------------------------------------------------------------------


def test_a_hub_and_a_channel_have_one_such_handler() -> None:
    """A second one is a mistake, and so is a parameter that is none of what there is."""
    hub = Hub()
    room = hub.channel("room:{name}")
    for owner in (hub, room):
        with pytest.raises(DeclarationError, match="message"):
            owner.on_refresh(lambda message: None)
        owner.on_refresh(lambda: None)
        with pytest.raises(DeclarationError, match="already"):
            owner.on_refresh(lambda: None)
