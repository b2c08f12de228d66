"""Commands: what each is answered with. Connecting, subscribing and refreshing have files of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import pytest
from pydantic import BaseModel

from openline import History, Hub, Session
from openline.testing import Client, Refused, connect
from tests.serving import answered, refused, serving


class Said(BaseModel):
    """A message of the tests."""

    text: str


def open_hub() -> Hub:
    """Give a hub with channels that allow everything."""
    hub = Hub()
    hub.channel("room:{name}", history=History(), presence=True, publish=True)
    return hub


# --- unsubscribe ------------------------------------------------------------------------------------------------------


async def test_leaving_a_channel_one_is_not_in_succeeds() -> None:
    """Also one that nobody declared: the client is not in it, as it asked."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert await client.unsubscribe("room:a") == {}
        assert await client.unsubscribe("nowhere") == {}


async def test_unsubscribing_without_a_channel_closes_with_3501() -> None:
    """An empty name is a fault of the client's program."""
    async with serving(open_hub()) as app, connect(app) as client:
        client.batch({"unsubscribe": {"channel": ""}})

        assert (await client.closed()).code == 3501


async def test_nothing_of_a_channel_comes_after_the_reply_to_unsubscribe() -> None:
    """Not even what was published in the same turn."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        publish = {"publish": {"channel": "room:a", "data": "mine"}}
        *_, left, last = client.batch(publish, {"unsubscribe": {"channel": "room:a"}}, publish)
        await client.answer(last)
        await hub.publish("room:a", "late")
        await client.unsubscribe("room:a")  # a round trip: what was to come has come

        assert left.done()
        assert [push["pub"]["data"] for push in client.waiting()] in ([], ["mine"])


# --- publish ----------------------------------------------------------------------------------------------------------


async def test_publishing_needs_no_subscription_and_tells_the_others_who_it_was() -> None:
    """The publisher's info goes with it; a publication of the app itself has none."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as reader, connect(app) as writer:
        await reader.subscribe("room:a")
        await writer.publish("room:a", {"x": 1})
        await hub.publish("room:a", "from the app")

        assert (await reader.publication())["info"] == {"user": "", "client": writer.id}
        assert "info" not in await reader.publication()


async def test_a_publisher_gets_its_own_publication_like_any_subscriber() -> None:
    """With the same offset as everybody."""
    async with serving(open_hub()) as app, connect(app) as client, connect(app) as other:
        await client.subscribe("room:a")
        await other.subscribe("room:a")
        await client.publish("room:a", "hi")

        assert await client.publication() == await other.publication()


async def test_without_a_handler_and_without_publish_no_client_may() -> None:
    """The default is no."""
    hub = Hub()
    hub.channel("room:{name}")
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")

        assert await refused(client.publish("room:a", "hi")) == 103


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({"channel": "nowhere", "data": 1}, 102, id="unknown channel"),
        pytest.param({"channel": "nowhere"}, 102, id="unknown channel, before the missing data"),
        pytest.param({"channel": "room:" + "a" * 251, "data": 1}, 107, id="a name of 256"),
        pytest.param({"channel": "room:ä", "data": 1}, 107, id="a name that is not ASCII"),
        pytest.param({"channel": "room:a b", "data": 1}, 107, id="a name with a space"),
        pytest.param({"channel": "", "data": 1}, 107, id="no name"),
        pytest.param({"channel": "room:a"}, 107, id="no data"),
        pytest.param({"channel": "closed"}, 107, id="no data, before the missing right"),
        pytest.param({"channel": "room:a", "data": 1, "type": 1}, 107, id="a map publication"),
        pytest.param({"channel": "typed", "data": {"text": 5}}, 107, id="data that does not fit"),
    ],
)
async def test_what_cannot_be_published_is_refused(request_: dict[str, object], code: int) -> None:
    """By the first check that fails: the name, the channel, the data, the right, the type."""
    hub = open_hub()
    hub.channel("closed")
    hub.channel("typed", Said, publish=True)
    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.command("publish", **request_)) == code
        assert await client.publish("room:a", 1) == {}


async def test_data_may_be_any_json_value_null_among_them() -> None:
    """Only data that is not there is missing."""
    async with serving(open_hub()) as app, connect(app) as client:
        await client.subscribe("room:a")
        values: tuple[object, ...] = (None, 0, "", False, [], {}, "ä\n€🙂", 1.5)
        for value in values:
            await client.publish("room:a", value)
            assert (await client.publication())["data"] == value


async def test_the_refusal_of_a_message_names_the_field() -> None:
    """So that whoever wrote the client sees what to mend."""
    hub = Hub()
    hub.channel("typed", Said, publish=True)
    async with serving(hub) as app, connect(app) as client:
        await answered(client, '{"id":2,"publish":{"channel":"typed","data":{"text":5}}}')

        assert client.frames[-1] == ('{"id":2,"error":{"code":107,"message":"text: Input should be a valid string"}}')


# --- presence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["presence", "presence_stats", "history"])
async def test_what_a_channel_does_not_offer_is_not_available(command: str) -> None:
    """Not even to its subscribers; and an unknown channel is unknown."""
    hub = Hub()
    hub.channel("plain")
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("plain")

        assert await refused(client.command(command, channel="plain")) == 108
        assert await refused(client.command(command, channel="nowhere")) == 102
        assert await refused(client.command(command, channel="")) == 107


@pytest.mark.parametrize("command", ["presence", "presence_stats", "history"])
async def test_only_who_may_enter_a_guarded_channel_may_look_into_it(command: str) -> None:
    """Where `on_subscribe` decides, being subscribed is the right to look; elsewhere everybody has it."""
    hub = Hub()
    guarded = hub.channel("guarded", history=History(), presence=True)
    hub.channel("open", history=History(), presence=True)

    @guarded.on_subscribe
    async def may_enter() -> None:
        """Anyone who asks."""

    async with serving(hub) as app, connect(app) as client:
        assert await client.command(command, channel="open") is not None
        assert await refused(client.command(command, channel="guarded")) == 103
        await client.subscribe("guarded")
        assert await client.command(command, channel="guarded") is not None
        await client.unsubscribe("guarded")
        assert await refused(client.command(command, channel="guarded")) == 103


async def test_presence_of_an_empty_channel_is_an_empty_map() -> None:
    """Written out: SDKs look into it."""
    async with serving(open_hub()) as app, connect(app) as client:
        await answered(client, '{"id":2,"presence":{"channel":"room:a"}}')
        await answered(client, '{"id":3,"presence_stats":{"channel":"room:a"}}')

        assert client.frames[-2:] == [
            '{"id":2,"presence":{"presence":{}}}',
            '{"id":3,"presence_stats":{"num_clients":0,"num_users":0}}',
        ]


# --- rpc and send -----------------------------------------------------------------------------------------------------


async def test_calling_where_nothing_is_registered_is_not_available() -> None:
    """108 for the hub without procedures, 104 for a method among others."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert await refused(client.rpc("anything")) == 108

    hub = Hub()

    @hub.rpc("known")
    def known() -> None:
        """Nothing."""

    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.rpc("unknown")) == 104
        assert await refused(client.rpc("")) == 104
        assert await client.rpc("known") is None


async def test_a_procedure_gets_the_data_and_what_it_returns_is_the_reply() -> None:
    """Typed by its annotation; data that does not fit is a bad request."""
    hub = Hub()

    @hub.rpc("shout")
    async def shout(message: Said) -> Said:
        return Said(text=message.text.upper())

    async with serving(hub) as app, connect(app) as client:
        assert await client.rpc("shout", {"text": "hi"}) == {"text": "HI"}
        assert await refused(client.rpc("shout", {"text": 5})) == 107
        assert await refused(client.rpc("shout")) == 107


async def test_a_message_reaches_the_handler_and_is_not_answered() -> None:
    """With or without an id, which nobody needs."""
    hub = open_hub()
    heard: asyncio.Queue[object] = asyncio.Queue()

    @hub.on_message
    async def hear(message: str, session: Session) -> str:
        heard.put_nowait((session.id, message))
        return "goes nowhere"

    async with serving(hub) as app, connect(app) as client:
        client.send("hello")
        client.send_frame('{"id":9,"send":{"data":"again"}}')
        assert await asyncio.wait_for(heard.get(), 5) == (client.id, "hello")
        assert await asyncio.wait_for(heard.get(), 5) == (client.id, "again")
        await client.publish("room:a", 1)

        assert client.waiting() == []


async def test_a_message_that_nobody_takes_closes_with_3508() -> None:
    """There is no reply that could say so."""
    async with serving(open_hub()) as app, connect(app) as client:
        client.send("hello")

        closed = await client.closed()
        assert (closed.code, closed.reason) == (3508, "not available")


async def test_a_message_that_does_not_fit_is_dropped_and_counted() -> None:
    """It has no reply to carry the refusal; the connection stays."""
    hub = open_hub()

    @hub.on_message
    async def hear(message: int) -> None:
        """Take numbers."""

    async with serving(hub) as app, connect(app) as client:
        client.send("no number")
        await client.publish("room:a", 1)

        assert hub.counters.refusals == 1
        assert client.waiting() == []


# --- both encodings ---------------------------------------------------------------------------------------------------


async def everything(client: Client) -> list[Any]:
    """Have a client do a bit of everything, and give what it was told, without what is different every time."""
    told: list[Any] = []

    async def note(command: Awaitable[Any]) -> None:
        try:
            told.append(await command)
        except Refused as error:
            told.append((error.code, error.message, error.temporary))

    await note(client.subscribe("room:a", recover=True, data={"x": 1}))
    await note(client.subscribe("room:a"))
    await note(client.subscribe("nowhere"))
    await note(client.publish("room:a", {"text": "grüß dich 🙂", "number": 1.5}))
    await note(client.publish("room:a", None))
    await note(client.command("publish", channel="room:a"))
    told += [await client.publication(), await client.publication()]
    await note(client.presence("room:a"))
    await note(client.command("presence_stats", channel="room:a"))
    await note(client.history("room:a", reverse=True, limit=1))
    await note(client.history("room:a", since={"offset": 1, "epoch": "other"}))
    await note(client.command("history", channel="room:a"))
    await note(client.rpc("nothing"))
    await note(client.unsubscribe("room:a"))
    text = json.dumps(told).replace(client.id, "the client").replace(client.positions["room:a"].epoch, "the epoch")
    return [without_zeros(item) for item in json.loads(text)]


def without_zeros(value: Any) -> Any:
    """Leave out the zeros, which Protobuf does not write."""
    if isinstance(value, list):
        return [without_zeros(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: without_zeros(item) for key, item in value.items() if item not in (0, "", [], {})}


async def test_json_and_protobuf_are_told_the_same() -> None:
    """Results, refusals and pushes; only the bytes differ."""
    told = []
    for protobuf in (False, True):
        async with serving(open_hub()) as app, connect(app, protobuf=protobuf) as client:
            told.append(await everything(client))

    assert told[0] == told[1]
    assert len(told[0]) == 15
