"""What a connection begins with: where the server puts it, and what it asks for where it only listens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openline import Accept, Allow, History, Hub, Limits, Session
from openline.testing import Client, connect
from tests.listeners import Listener, lines
from tests.serving import serving


def a_hub(**limits: Any) -> Hub:
    """Give a hub that puts everybody into a channel of their own."""
    hub = Hub(limits=Limits(**limits))
    hub.channel("own:{name}", history=History(), presence=True)
    hub.channel("news:{name}", history=History(), presence=True, filters=True, delta=True)
    guarded = hub.channel("guarded:{name}")

    @guarded.on_subscribe
    async def enter(message: dict[str, Any], session: Session) -> Allow:
        return Allow(data={"you said": message}, info=session.user)

    @hub.on_connect
    async def who() -> Accept:
        return Accept(user="ann", channels=["own:ann"])

    return hub


async def asked(app: Any, **subs: Any) -> dict[str, Any]:
    """Ask for channels; give the first push."""
    async with lines(app, body={"subs": {name.replace("_", ":"): wish for name, wish in subs.items()}}) as client:
        return await client.push()


async def test_a_client_that_can_speak_is_put_where_the_server_says_and_nowhere_else() -> None:
    """Its `subs` are positions in those channels, and no wishes."""
    hub = a_hub()
    async with serving(hub) as app, connect(app, subs={"own:ann": {}, "news:a": {}}):
        assert next(iter(hub.sessions.values())).channels == {"own:ann"}


async def test_one_that_only_listens_is_asked_about_as_if_it_subscribed() -> None:
    """The handler has its data, and gives data and info."""
    async with serving(a_hub()) as app:
        subs = (await asked(app, guarded_a={"data": {"a": 1}}, news_b={}))["connect"]["subs"]
        assert set(subs) == {"own:ann", "guarded:a", "news:b"}
        assert subs["guarded:a"]["data"] == {"you said": {"a": 1}}


async def test_it_is_in_presence_and_leaves_it() -> None:
    """As everybody else."""
    hub = a_hub()
    async with serving(hub) as app, lines(app, body={"subs": {"news:a": {}}}) as client:
        await client.push()
        async with connect(app) as other:
            await other.subscribe("news:a")
            assert len(await other.presence("news:a")) == 2
            client.request.leave()
            await left_alone(other)


async def left_alone(client: Client) -> None:
    """Wait until nobody else is there."""
    while len(await client.presence("news:a")) > 1:
        pass


async def test_filters_and_deltas_are_granted_as_to_anybody() -> None:
    """A filter lets through what it names; a delta is a patch of what was sent before."""
    hub = a_hub()
    wanted = {"tf": {"key": "kind", "cmp": "eq", "val": "good"}}
    body = {"subs": {"news:a": wanted, "news:b": {"delta": "fossil"}}}
    async with serving(hub) as app, lines(app, body=body) as client:
        assert (await client.push())["connect"]["subs"]["news:b"]["delta"]
        await hub.publish("news:a", 1, tags={"kind": "bad"})
        await hub.publish("news:a", 2, tags={"kind": "good"})
        assert await client.publication() == 2
        for number in range(2):
            await hub.publish("news:b", ["the same as before" * 9, number])
        assert json.loads(await client.publication())[1] == 0
        assert (await pub(client))["delta"]


async def pub(client: Listener) -> dict[str, Any]:
    """Wait for the next publication, and give it whole."""
    while "pub" not in (push := await client.push()):
        pass
    found: dict[str, Any] = push["pub"]
    return found


@pytest.mark.parametrize(
    ("wish", "code"),
    [({"delta": "other"}, 3501), ({"type": 1}, 3004), ({"tf": {"op": "no"}}, 3004), ({"data": "[" * 70 + "]" * 70}, 0)],
)
async def test_what_cannot_be_asked_for_ends_the_line(wish: dict[str, Any], code: int) -> None:
    """Before the app is asked about it."""
    async with serving(a_hub()) as app:
        push = await asked(app, news_a=wish)
        assert push.get("disconnect", {}).get("code", 0) == code


async def test_payloads_of_wishes_are_bounded_as_all_payloads_are() -> None:
    """No handler gets to see what nests deeper than `Limits.json_depth`."""
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    async with serving(a_hub(json_depth=10)) as app:
        assert "nests" in (await asked(app, guarded_a={"data": deep}))["disconnect"]["reason"]


async def test_the_channels_of_both_count_together() -> None:
    """And each counts once."""
    async with serving(a_hub(channels=2)) as app:
        assert "connect" in await asked(app, own_ann={}, news_a={})
        assert (await asked(app, news_a={}, news_b={}))["disconnect"]["code"] == 3505
