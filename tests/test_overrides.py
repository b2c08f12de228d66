"""Overrides: what a token changes of a channel's options for one subscription."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from openline import JWT, History, Hub
from openline.options import Recovery
from openline.testing import Client, VirtualClock, connect, line
from tests.serving import ended, refused, serving

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


def signed(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def told(**override: bool) -> str:
    """Make Ann's token for the room, which says so much more of it."""
    return signed(sub="ann", channel="room", override={name: {"value": value} for name, value in override.items()})


def hub_with_room(*, presence: bool = True, join_leave: bool = True, recovery: Recovery = "stream") -> Hub:
    """Give a hub with one room."""
    hub = Hub(auth=JWT(secret=SECRET), clock=VirtualClock())
    hub.channel("room", history=History(), presence=presence, join_leave=join_leave, recovery=recovery, publish=True)
    return hub


ANN = signed(sub="ann")


async def heard(client: Client) -> list[str]:
    """Leave the room, and give the kinds of what came before that."""
    await client.unsubscribe("room")
    return [next(kind for kind in push if kind != "channel") for push in client.waiting()]


async def test_a_hidden_subscriber_is_in_no_presence_and_nobody_hears_it_come_or_go() -> None:
    """It hears the others all the same."""
    async with serving(hub_with_room()) as app, connect(app, token=ANN) as watcher:
        await watcher.subscribe("room", join_leave=True)
        async with connect(app, token=ANN) as hidden:
            await hidden.subscribe("room", token=told(presence=False, join_leave=False), join_leave=True)
            assert set(await watcher.presence("room")) == {watcher.id}
            async with connect(app, token=ANN) as third:
                await third.subscribe("room")
                assert set(await watcher.presence("room")) == {watcher.id, third.id}
        assert set(await watcher.presence("room")) == {watcher.id}
        assert await heard(watcher) == ["join", "join", "leave"]


async def test_without_an_override_a_token_changes_nothing() -> None:
    """What it does not say is as declared."""
    async with serving(hub_with_room()) as app, connect(app, token=ANN) as client:
        assert (await client.subscribe("room", token=told(), join_leave=True))["recoverable"]
        assert set(await client.presence("room")) == {client.id}
        assert await heard(client) == ["join"]


async def test_joins_and_leaves_can_be_forced_on_a_subscriber() -> None:
    """It did not ask for them."""
    async with serving(hub_with_room()) as app, connect(app, token=ANN) as client:
        await client.subscribe("room", token=told(force_push_join_leave=True))

        assert await heard(client) == ["join"]


@pytest.mark.parametrize(
    ("override", "granted"),
    [
        ({}, set()),
        ({"force_positioning": True}, {"positioned"}),
        ({"force_recovery": True}, {"positioned", "recoverable"}),
        ({"force_recovery": False}, set()),
    ],
)
async def test_positions_and_recovery_can_be_forced_on_one_that_did_not_ask(
    override: dict[str, bool], granted: set[str]
) -> None:
    """In a channel that leaves it to its clients."""
    async with serving(hub_with_room(recovery="asked")) as app, connect(app, token=ANN) as client:
        result = await client.subscribe("room", token=told(**override))

        assert set(result) - {"epoch"} == granted


async def test_a_subscription_of_the_connection_token_has_its_overrides() -> None:
    """`subs` says of each channel what a subscription token would."""
    hub = hub_with_room(recovery="asked")
    subs = {"room": {"override": {"presence": {"value": False}, "force_recovery": {"value": True}}}}
    async with serving(hub) as app, line(app) as client:
        result = await client.connect(token=signed(sub="ann", subs=subs))

        assert result["subs"]["room"]["recoverable"]
        assert await client.presence("room") == {}


async def test_an_override_that_is_none_makes_the_token_invalid() -> None:
    """103 at a subscribe, 3500 at a connect, as any claim of a wrong type."""
    async with serving(hub_with_room()) as app, connect(app, token=ANN) as client, line(app) as other:
        wrong = {"presence": {"value": "no"}}
        token = signed(sub="ann", channel="room", override=wrong)
        assert await refused(client.subscribe("room", token=token)) == 103
        assert await ended(other.connect(token=signed(sub="ann", subs={"room": {"override": wrong}}))) == 3500
