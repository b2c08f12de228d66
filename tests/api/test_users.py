"""What the API does to a user's connections: `Methods.subscribe`, `unsubscribe`, `disconnect` and `refresh`."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from openline.testing import Client, VirtualClock, connect
from tests.api.house import back_end, house_hub


async def silent(client: Client) -> bool:
    """Say whether a client was told nothing: after a round trip, what was to come has come."""
    await client.unsubscribe("news:nowhere")
    return client.waiting() == []


# --- subscribe --------------------------------------------------------------------------------------------------------


async def test_a_user_is_put_into_a_channel_with_what_goes_with_it() -> None:
    """Others see the info, the client is given the data; one that is there already stays."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="bob") as bob:
        assert await it.get("subscribe", user="ann", channel="room:a", info={"role": 1}, data=[2]) == {}
        assert await it.get("subscribe", user="ann", channel="room:a", info={"role": 2}) == {}
        push = await ann.push()
        assert (push["channel"], push["subscribe"]["data"], push["subscribe"]["recoverable"]) == ("room:a", [2], True)
        assert (await it.get("presence", channel="room:a"))["presence"][ann.id]["chan_info"] == {"role": 1}
        assert await silent(bob)


async def test_info_and_data_may_be_in_base64() -> None:
    """They are JSON all the same: clients of either codec are told them."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        encoded = base64.b64encode(b'{"a":\n1}').decode()
        await it.get("subscribe", user="ann", channel="tick:a", b64info=encoded, b64data=encoded, info=0, data=0)
        assert (await ann.push())["subscribe"]["data"] == {"a": 1}
        assert (await it.get("presence", channel="tick:a"))["presence"][ann.id]["chan_info"] == {"a": 1}
        bad = base64.b64encode(b"\x00").decode()
        refusal = await it.refused("subscribe", user="ann", channel="tick:b", b64info=bad)
        assert refusal == (107, "b64info is not JSON in base64")


async def test_one_connection_of_a_user_is_meant_by_its_id() -> None:
    """The user is the one it has, else nobody is meant."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="ann") as tab:
        await it.get("subscribe", user="ann", client=tab.id, channel="tick:a")
        await it.get("subscribe", user="bob", client=ann.id, channel="tick:a")
        await it.get("subscribe", user="ann", session="of nobody", channel="tick:a")
        assert (await tab.push())["channel"] == "tick:a"
        assert await silent(ann)


async def test_what_was_missed_is_brought_along() -> None:
    """After the position that was asked for, in order, before anything newer, each once."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        since = await it.get("publish", channel="news:a", data=1)
        for number in (2, 3):
            await it.get("publish", channel="news:a", data=number)
        await it.get("subscribe", user="ann", channel="news:a", recover_since=since)
        await it.get("publish", channel="news:a", data=4)
        push = await ann.push()
        assert push["subscribe"] == {"recoverable": True, "positioned": True, **since}
        assert [(await ann.publication("news:a"))["data"] for _ in range(3)] == [2, 3, 4]


async def test_what_history_no_longer_holds_is_not_passed_over() -> None:
    """Error 112, and no subscription: what the client would be told has no place for it."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await it.get("publish", channel="news:a", data=1)
        since = {"offset": 1, "epoch": "another"}
        assert (await it.refused("subscribe", user="ann", channel="news:a", recover_since=since))[0] == 112
        assert await silent(ann)
        assert it.hub.sessions[ann.id].channels == set()


async def test_a_subscription_may_be_otherwise_than_its_channel() -> None:
    """Not shown in presence, say."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await it.get("subscribe", user="ann", channel="room:a", override={"presence": {"value": False}})
        assert "subscribe" in await ann.push()
        assert await it.get("presence", channel="room:a") == {"presence": {}}


async def test_a_subscription_may_end_by_itself() -> None:
    """At its time the connection is closed with 3006: the server began it, so the client cannot renew it."""
    clock = VirtualClock()
    async with back_end(house_hub(clock=clock)) as it, connect(it.app, name="ann") as ann:
        expire_at = int(clock.wall()) + 10
        await it.get("subscribe", user="ann", channel="tick:a", expire_at=expire_at)
        assert "subscribe" in await ann.push()
        refusal = await it.refused("subscribe", user="ann", channel="tick:b", expire_at=int(clock.wall()) - 1)
        assert refusal == (107, "expire_at is past")
        await clock.advance(11)
        assert (await ann.closed()).code == 3006


async def test_an_unknown_channel_is_told_whoever_the_user_is() -> None:
    """Also where nobody is connected."""
    async with back_end() as it:
        for method in ("subscribe", "unsubscribe"):
            assert (await it.refused(method, user="nobody", channel="nowhere"))[0] == 102
        assert await it.get("subscribe", user="nobody", channel="tick:a") == {}
        assert (await it.refused("subscribe", user="nobody", channel=""))[0] == 107


# --- unsubscribe ------------------------------------------------------------------------------------------------------


async def test_a_user_is_taken_out_of_a_channel_or_of_all() -> None:
    """The clients are told by code 2000; not being there is no error."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        for channel in ("tick:a", "tick:b", "news:a"):
            await ann.subscribe(channel)
        assert await it.get("unsubscribe", user="ann", channel="tick:a") == {}
        assert await ann.push() == {
            "channel": "tick:a",
            "unsubscribe": {"code": 2000, "reason": "server unsubscribe"},
        }
        assert await it.get("unsubscribe", user="ann", channel="tick:a") == {}
        assert await it.get("unsubscribe", user="ann", channel="") == {}
        assert {(await ann.push())["channel"] for _ in range(2)} == {"tick:b", "news:a"}
        assert it.hub.sessions[ann.id].channels == set()


# --- disconnect -------------------------------------------------------------------------------------------------------


async def test_a_user_is_disconnected_for_good() -> None:
    """With 3503; other users stay."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="bob") as bob:
        assert await it.get("disconnect", user="ann") == {}
        closed = await ann.closed()
        assert (closed.code, closed.reason) == (3503, "force disconnect")
        assert bob.id in it.hub.sessions


@pytest.mark.parametrize(
    ("disconnect", "told"),
    [
        ({"code": 4100, "reason": "go away"}, (4100, "go away")),
        ({"code": 3011}, (3011, "force reconnect")),
        ({"code": 0, "reason": ""}, (3503, "force disconnect")),
        ({"reason": "because"}, (3503, "because")),
        (None, (3503, "force disconnect")),
    ],
)
async def test_the_code_of_a_disconnect_may_be_chosen(disconnect: Any, told: tuple[int, str]) -> None:
    """What is left out is the default."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await it.get("disconnect", user="ann", disconnect=disconnect)
        closed = await ann.closed()
        assert (closed.code, closed.reason) == told


@pytest.mark.parametrize(
    "disconnect", [{"code": 200}, {"code": 4000, "reason": "{}"}, {"code": 4000, "reason": "x" * 200}]
)
async def test_a_code_no_client_can_be_sent_is_refused(disconnect: Any) -> None:
    """Nobody is disconnected."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        assert (await it.refused("disconnect", user="ann", disconnect=disconnect))[0] == 107
        assert ann.id in it.hub.sessions


async def test_connections_may_be_spared() -> None:
    """As where a user signs in and every other device is to go."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="ann") as tab:
        await it.get("disconnect", user="ann", whitelist=[tab.id, "somebody"])
        assert (await ann.closed()).code == 3503
        assert list(it.hub.sessions) == [tab.id]


async def test_nobody_is_not_everybody_who_is_anonymous() -> None:
    """A forgotten user is an error; "" says it on purpose, and one connection needs no user."""
    async with (
        back_end() as it,
        connect(it.app, name="") as one,
        connect(it.app, name="") as two,
        connect(it.app, name="ann") as ann,
    ):
        for method in ("subscribe", "unsubscribe", "disconnect", "refresh"):
            code, words = await it.refused(method, channel="tick:a")
            assert (code, words.partition(";")[0]) == (107, "user is missing")
        await it.get("disconnect", client=one.id)
        assert (await one.closed()).code == 3503
        assert set(it.hub.sessions) == {two.id, ann.id}
        await it.get("disconnect", client=ann.id, user="")  # as the reference reads: of those without a user
        assert set(it.hub.sessions) == {two.id, ann.id}
        await it.get("disconnect", user="")
        assert (await two.closed()).code == 3503
        assert set(it.hub.sessions) == {ann.id}


@pytest.mark.parametrize("method", ["subscribe", "unsubscribe", "refresh", "disconnect"])
async def test_a_connection_is_found_by_its_id_alone(method: str) -> None:
    """Whoever its user is: no call does nothing in silence because a user was not said."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="bob") as bob:
        await ann.subscribe("news:a")
        params = {"channel": "tick:a" if method == "subscribe" else "news:a"}
        await it.get(method, client=ann.id, expire_at=4_000_000_000, **params)
        if method == "disconnect":
            assert (await ann.closed()).code == 3503
        else:
            assert method in await ann.push()
        assert bob.id in it.hub.sessions


async def test_who_is_taken_out_of_all_channels_does_not_enter_one_meanwhile() -> None:
    """A join on which the app still decides comes to nothing."""
    asked, decided = asyncio.Semaphore(0), asyncio.Event()
    hub = house_hub()
    slow = hub.channel("slow:{name}")

    @slow.on_subscribe
    async def decide() -> None:
        asked.release()
        await decided.wait()

    async with back_end(hub) as it, connect(it.app, name="ann") as ann, connect(it.app, name="bob") as bob:
        joins = [asyncio.create_task(client.subscribe("slow:a")) for client in (ann, bob)]
        await asked.acquire()
        await asked.acquire()
        await it.get("unsubscribe", user="ann", channel="")
        decided.set()
        failed, _ = await asyncio.gather(*joins, return_exceptions=True)
        assert "103" in str(failed)
        assert (await it.get("channels"))["channels"] == {"slow:a": {"num_clients": 1}}


# --- refresh ----------------------------------------------------------------------------------------------------------


async def test_a_connection_is_given_an_end_and_told() -> None:
    """And a later one, or none at all."""
    clock = VirtualClock()
    async with back_end(house_hub(clock=clock)) as it, connect(it.app, name="ann") as ann:
        now = int(clock.wall())
        assert await it.get("refresh", user="ann", expire_at=now + 5) == {}
        assert (await ann.push())["refresh"] == {"expires": True, "ttl": 5}
        await it.get("refresh", user="ann", expire_at=now + 20)
        assert (await ann.push())["refresh"]["ttl"] == 20
        await clock.advance(10)
        await it.get("refresh", user="ann")
        assert (await ann.push())["refresh"] == {}
        await clock.advance(20)
        assert await ann.push() == {"ping": {}}
        assert ann.id in it.hub.sessions
        await it.get("refresh", user="ann", expire_at=int(clock.wall()) + 5)
        assert "refresh" in await ann.push()
        await clock.advance(6)
        assert (await ann.closed()).code == 3005


@pytest.mark.parametrize("params", [{"expired": True}, {"expire_at": 1}])
async def test_a_connection_that_has_expired_ends_now(params: dict[str, Any]) -> None:
    """With 3005: the client comes back with a new token."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="ann") as tab:
        assert await it.get("refresh", user="ann", client=ann.id, **params) == {}
        assert (await ann.closed()).code == 3005
        assert set(it.hub.sessions) == {tab.id}


async def test_what_others_see_of_a_user_may_be_changed() -> None:
    """In presence at once, and in what is published from then on."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await ann.subscribe("tick:a")
        await ann.subscribe("news:a")
        await it.get("refresh", user="ann", info={"name": "Ann B."})
        assert (await ann.push())["refresh"] == {}
        assert (await it.get("presence", channel="tick:a"))["presence"][ann.id]["conn_info"] == {"name": "Ann B."}
        await ann.publish("news:a", 1)
        assert (await ann.publication("news:a"))["info"]["conn_info"] == {"name": "Ann B."}
