"""Expiry and refresh: how long a connection and a subscription last, and how a client makes them last longer."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from openline import JWT, Accept, Allow, Hub, Limits
from openline.testing import VirtualClock, connect, line
from tests.serving import ended, refused, serving

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"
YEAR = 365 * 24 * 3600


def signed(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def hub_with_tokens(clock: VirtualClock, *, limits: Limits | None = None) -> Hub:
    """Give a hub whose clients show tokens, to connect and to enter a club."""
    hub = Hub(auth=JWT(secret=SECRET, anonymous=True), clock=clock, limits=limits)
    hub.channel("club:{name}", protected=True)
    hub.channel("room:{name}", publish=True)
    return hub


def ann(clock: VirtualClock, seconds: float | None = 60) -> str:
    """Make a connection token of Ann's that lasts so long."""
    return signed(sub="ann") if seconds is None else signed(sub="ann", exp=clock.wall() + seconds)


def club(clock: VirtualClock, seconds: float | None = 60, **claims: Any) -> str:
    """Make a subscription token of Ann's that lasts so long."""
    claims = {"sub": "ann", "channel": "club:a"} | claims
    return signed(**claims) if seconds is None else signed(**claims, exp=clock.wall() + seconds)


# --- the connection ---------------------------------------------------------------------------------------------------


async def test_a_connection_is_kept_25_seconds_beyond_its_expiry_then_closed_with_3005() -> None:
    """The time in which a refresh is still in time; the client comes back by itself."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, 60)) as client:
        await clock.advance(84.9)
        assert not client.is_closed
        await clock.advance(0.5)

        closed = await client.closed()
        assert (closed.code, closed.reason) == (3005, "connection expired")


async def test_a_refresh_within_that_time_keeps_it_open() -> None:
    """For as long as the new token says."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, 60)) as client:
        await clock.advance(80)
        result = await client.command("refresh", token=ann(clock, 100))
        assert result == {"client": client.id, "version": result["version"], "expires": True, "ttl": 100}
        await clock.advance(124)
        assert not client.is_closed
        await clock.advance(2)

        assert (await client.closed()).code == 3005


async def test_a_token_without_expiry_keeps_it_open_for_ever() -> None:
    """The client is told that there is nothing to refresh any more."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, 60)) as client:
        result = await client.command("refresh", token=ann(clock, None))
        assert set(result) == {"client", "version"}
        await clock.advance(3600)

        assert not client.is_closed


async def test_a_connection_can_be_refreshed_again_and_again() -> None:
    """The last token counts, even if it lasts less long than the one before."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, 60)) as client:
        for seconds in (1000, 10**10, 30):
            result = await client.command("refresh", token=ann(clock, seconds))
            assert result["ttl"] == min(seconds, YEAR)
        await clock.advance(56)

        assert (await client.closed()).code == 3005


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param("", 3501, id="no token"),
        pytest.param("made up", 3500, id="a bad token"),
        pytest.param(signed(sub="bob", exp=2_000_000_000), 3500, id="of another user"),
        pytest.param(signed(exp=2_000_000_000), 3500, id="of nobody"),
        pytest.param(signed(sub="ann", exp=1_000_000_000), 3005, id="an expired token"),
        pytest.param(signed(sub="ann", channel="club:a", exp=2_000_000_000), 3500, id="a subscription token"),
    ],
)
async def test_a_refresh_that_is_no_good_ends_the_connection(token: str, code: int) -> None:
    """3005 has the client come back with a new token, 3500 and 3501 have it stay away."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock)) as client:
        assert await ended(client.command("refresh", token=token)) == code


async def test_a_connection_that_has_expired_by_its_new_token_is_told_110_and_runs_on() -> None:
    """The old expiry stays in force: no token makes a connection last for ever by being odd."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, 60)) as client:
        past = signed(sub="ann", expire_at=clock.wall() - 1)
        assert await refused(client.command("refresh", token=past)) == 110
        await clock.advance(86)

        assert (await client.closed()).code == 3005


@pytest.mark.parametrize("token", [None, signed(sub="ann")], ids=["anonymous", "a token without expiry"])
async def test_refreshing_what_does_not_expire_closes_with_3501(token: str | None) -> None:
    """The client was not told to."""
    clock = VirtualClock()
    request = {} if token is None else {"token": token}
    async with serving(hub_with_tokens(clock)) as app, line(app) as client:
        await client.connect(**request)

        assert await ended(client.command("refresh", token=ann(clock))) == 3501


async def test_refreshing_an_expiry_of_the_handlers_closes_with_3501() -> None:
    """The client knows nothing of it."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)

    @hub.on_connect
    def for_a_minute() -> Accept:
        return Accept(user="ann", expire_at=clock.wall() + 60)

    async with serving(hub) as app, connect(app) as client:
        assert await ended(client.command("refresh", token=ann(clock))) == 3501


async def test_a_client_may_ask_for_the_whole_grace_time() -> None:
    """`Limits.expiry_grace_seconds`; 0 is none."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock, limits=Limits(expiry_grace_seconds=0))
    async with serving(hub) as app, connect(app, token=ann(clock, 10)) as client:
        await clock.advance(9.9)
        assert not client.is_closed
        await clock.advance(0.5)

        assert (await client.closed()).code == 3005


# --- a subscription ---------------------------------------------------------------------------------------------------


async def test_a_subscription_is_kept_25_seconds_beyond_its_expiry_then_ended_with_2501() -> None:
    """The client subscribes again by itself, with a new token; the connection stays."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        result = await client.subscribe("club:a", token=club(clock, 59.5))
        assert (result["expires"], result["ttl"]) == (True, 60)
        await clock.advance(84.3)
        await hub.publish("club:a", "still here")
        assert (await client.publication("club:a"))["data"] == "still here"
        await clock.advance(0.5)

        pushes = [push for push in client.waiting() if "ping" not in push]
        assert pushes == [{"channel": "club:a", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}]
        assert hub.sessions[client.id].channels == frozenset()
        await client.subscribe("club:a", token=club(clock))


async def test_a_sub_refresh_within_that_time_keeps_it() -> None:
    """For as long as the new token says."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        await client.subscribe("club:a", token=club(clock, 60))
        await clock.advance(80)
        assert await client.command("sub_refresh", channel="club:a", token=club(clock, 100)) == {
            "expires": True,
            "ttl": 100,
        }
        await clock.advance(124)
        assert hub.sessions[client.id].channels == {"club:a"}
        await clock.advance(2)

        assert hub.sessions[client.id].channels == frozenset()


async def test_a_token_without_expiry_keeps_it_for_ever() -> None:
    """The result is empty, and there."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        await client.subscribe("club:a", token=club(clock, 60))
        assert await client.command("sub_refresh", channel="club:a", token=club(clock, None)) == {}
        await clock.advance(3600)

        assert hub.sessions[client.id].channels == {"club:a"}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({"token": "x"}, 3501, id="no channel"),
        pytest.param({"channel": "club:open", "token": "x"}, 3501, id="a subscription without expiry"),
        pytest.param({"channel": "club:a", "token": "made up"}, 3500, id="a bad token"),
        pytest.param(
            {"channel": "club:a", "token": signed(sub="ann", channel="club:a", exp=1_000_000_000)},
            3006,
            id="an expired token",
        ),
        pytest.param(
            {"channel": "club:a", "token": signed(sub="ann", channel="club:b")}, 3500, id="of another channel"
        ),
        pytest.param({"channel": "club:a", "token": signed(sub="bob", channel="club:a")}, 3500, id="of another user"),
        pytest.param(
            {"channel": "club:a", "token": signed(sub="ann", channel="club:a", client="x")},
            3500,
            id="of another client",
        ),
        pytest.param({"channel": "club:a", "token": signed(sub="ann")}, 3500, id="a connection token"),
    ],
)
async def test_a_sub_refresh_that_is_no_good_ends_the_connection(request_: dict[str, str], code: int) -> None:
    """3006 has the client come back with a new token, the others have it stay away."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, None)) as client:
        await client.subscribe("club:a", token=club(clock))
        await client.subscribe("club:open", token=club(clock, None, channel="club:open"))

        assert await ended(client.command("sub_refresh", **request_)) == code


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({"channel": "club:b", "token": "x"}, 103, id="not subscribed"),
        pytest.param({"channel": "nowhere", "token": "x"}, 103, id="a channel nobody declared"),
        pytest.param({"channel": "club:a"}, 107, id="no token"),
    ],
)
async def test_a_sub_refresh_that_makes_no_sense_is_refused(request_: dict[str, str], code: int) -> None:
    """The connection and its subscriptions stay."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, connect(app, token=ann(clock, None)) as client:
        await client.subscribe("club:a", token=club(clock))

        assert await refused(client.command("sub_refresh", **request_)) == code
        assert await client.command("sub_refresh", channel="club:a", token=club(clock)) == {"expires": True, "ttl": 60}


async def test_a_subscription_that_has_expired_by_its_new_token_is_told_110_and_still_expires() -> None:
    """The old expiry stays in force."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        await client.subscribe("club:a", token=club(clock, 60))
        past = club(clock, None, expire_at=clock.wall() - 1)
        assert await refused(client.command("sub_refresh", channel="club:a", token=past)) == 110
        await clock.advance(86)

        assert hub.sessions[client.id].channels == frozenset()


async def test_a_subscription_that_ended_meanwhile_expires_no_more() -> None:
    """Neither a new one in the same channel nor the session is touched by the old one's time."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        await client.subscribe("club:a", token=club(clock, 60))
        await client.unsubscribe("club:a")
        await client.subscribe("club:a", token=club(clock, None))
        await clock.advance(3600)

        assert hub.sessions[client.id].channels == {"club:a"}


async def test_an_expiry_of_the_handlers_is_not_told_and_ends_with_2501() -> None:
    """At that moment: the client has no token to renew. It subscribes again, and the handler decides anew."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    room = hub.channel("room:{name}")

    @room.on_subscribe
    def for_a_minute() -> Allow:
        return Allow(expire_at=clock.wall() + 60)

    async with serving(hub) as app, connect(app) as client:
        assert await client.subscribe("room:a") == {}
        await clock.advance(59.5)
        assert hub.sessions[client.id].channels == {"room:a"}
        await clock.advance(1)

        assert [push["unsubscribe"]["code"] for push in client.waiting() if "unsubscribe" in push] == [2501]
        assert not client.is_closed
        assert await client.subscribe("room:a") == {}


async def test_an_expiry_that_has_passed_refuses_the_subscription_with_110() -> None:
    """By a handler as by a token."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    late = hub.channel("late")

    @late.on_subscribe
    def too_late() -> Allow:
        return Allow(expire_at=clock.wall())

    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        assert await refused(client.subscribe("late")) == 110
        past = club(clock, None, expire_at=clock.wall() - 1)
        assert await refused(client.subscribe("club:a", token=past)) == 110
        assert hub.sessions[client.id].channels == frozenset()


async def test_the_expiry_of_a_server_side_subscription_closes_with_3006() -> None:
    """A client cannot subscribe to it again by itself; it can reconnect."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, None)) as client:
        session = hub.sessions[client.id]
        await session.subscribe("room:a")
        subscription = session.subscription("room:a")
        assert subscription is not None
        subscription.ends_at = clock.monotonic() + 60  # no way leads here yet but the engine's own
        session.schedule()
        await clock.advance(86)

        closed = await client.closed()
        assert (closed.code, closed.reason) == (3006, "subscription expired")


async def test_connection_and_subscriptions_expire_each_at_its_own_time() -> None:
    """One timer serves all of them."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    async with serving(hub) as app, connect(app, token=ann(clock, 300)) as client:
        for channel, seconds in (("club:a", 100), ("club:b", 200), ("club:c", 50)):
            await client.subscribe(channel, token=club(clock, seconds, channel=channel))
        left = []
        for _ in range(13):
            await clock.advance(25.5)
            left.append(len(hub.sessions[client.id].channels) if client.id in hub.sessions else None)

        assert left == [3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, None]
