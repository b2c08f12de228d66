"""The client of the kit: it speaks as an SDK does, waits no longer than its limit, and hides nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import WebSocket

from openline import Accept, History, Hub, Position, Session
from openline.testing import Client, Closed, Refused, VirtualClock, connect, line
from tests.serving import serving


def hub_with_rooms() -> Hub:
    """Give a hub with rooms in which everything is allowed."""
    hub = Hub()
    hub.channel("room:{name}", history=History(), presence=True, join_leave=True, publish=True)
    return hub


@pytest.mark.parametrize("protobuf", [False, True])
async def test_every_command_has_its_method(protobuf: bool) -> None:
    """In either encoding, with the same results."""
    hub = hub_with_rooms()
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @hub.rpc("double")
    def double(message: int) -> int:
        return message * 2

    @hub.on_message
    async def hear(message: str) -> None:
        heard.put_nowait(message)

    async with serving(hub) as app, connect(app, protobuf=protobuf, name="kit") as client:
        assert (await client.subscribe("room:a"))["recoverable"]
        assert await client.publish("room:a", {"x": 1}) == {}
        assert (await client.publication("room:a"))["data"] == {"x": 1}
        assert set(await client.presence("room:a")) == {client.id}
        assert (await client.command("presence_stats", channel="room:a"))["num_clients"] == 1
        assert (await client.history("room:a"))["offset"] == 1
        assert await client.rpc("double", 21) == 42
        client.send("hello")
        assert await asyncio.wait_for(heard.get(), 5) == "hello"
        assert await client.unsubscribe("room:a") == {}
        assert await client.presence("room:a") == {}


async def test_a_refusal_is_raised_with_code_message_and_whether_to_try_again() -> None:
    """By whatever method."""
    async with serving(hub_with_rooms()) as app, connect(app) as client:
        with pytest.raises(Refused, match="102 unknown channel") as caught:
            await client.subscribe("nowhere")

        assert (caught.value.code, caught.value.message, caught.value.temporary) == (102, "unknown channel", False)


async def test_the_end_of_the_connection_is_raised_wherever_something_is_waited_for() -> None:
    """At a command under way, at a new one, at a push; `closed` gives it."""
    hub = hub_with_rooms()
    gate = asyncio.Event()

    @hub.rpc("slow")
    async def slow(session: Session) -> None:
        session.disconnect()
        await gate.wait()

    async with serving(hub) as app, connect(app) as client:
        with pytest.raises(Closed, match="3503 force disconnect"):
            await client.rpc("slow")
        for wait in (client.subscribe("room:a"), client.push(), client.publication()):
            with pytest.raises(Closed) as caught:
                await wait
            assert caught.value.code == 3503
        assert (await client.closed()).reason == "force disconnect"
        assert client.is_closed
        gate.set()


async def test_pushes_before_the_end_are_given_first() -> None:
    """Nothing that came is lost."""
    hub = hub_with_rooms()
    async with serving(hub) as app, connect(app) as client:
        session = hub.sessions[client.id]
        session.send(1)
        session.send(2)
        session.disconnect()
        await client.closed()

        assert await client.push() == {"message": {"data": 1}}
        assert client.waiting() == [{"message": {"data": 2}}]
        assert client.waiting() == []
        with pytest.raises(Closed):
            await client.push()


async def test_nothing_waits_longer_than_the_limit() -> None:
    """A test that waits for what never comes fails, and soon."""
    async with serving(hub_with_rooms()) as app, connect(app, limit_seconds=0.01) as client:
        for wait in (client.push(), client.publication(), client.closed()):
            with pytest.raises(TimeoutError):
                await wait


async def test_it_remembers_where_it_stands_as_an_sdk_does() -> None:
    """From the reply, through what is recovered, to what comes live; so that another can go on from there."""
    hub = hub_with_rooms()
    async with serving(hub) as app:
        async with connect(app) as client:
            assert client.positions == {}
            await client.subscribe("room:a")
            epoch = client.positions["room:a"].epoch
            assert client.positions == {"room:a": Position(epoch, 0)}
            await client.publish("room:a", 1)
            await client.publication()
            position = client.positions["room:a"]
            assert position == Position(epoch, 1)
        for number in (2, 3):
            await hub.publish("room:a", number)
        async with connect(app) as client:
            result = await client.recover("room:a", position)
            assert [publication["data"] for publication in result["publications"]] == [2, 3]
            assert client.positions["room:a"] == Position(epoch, 3)


async def test_channels_without_recovery_have_no_position() -> None:
    """Their publications carry none."""
    hub = Hub()
    hub.channel("plain", publish=True)
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("plain")
        await client.publish("plain", 1)
        await client.publication()

        assert client.positions == {}


async def test_server_side_subscriptions_have_positions_too() -> None:
    """Those of the connect reply, and those that begin later."""
    hub = hub_with_rooms()

    @hub.on_connect
    def let_in() -> Accept:
        return Accept(channels=["room:a"])

    async with serving(hub) as app, connect(app) as client:
        await hub.sessions[client.id].subscribe("room:b")
        await hub.publish("room:b", 1)
        await client.publication("room:b")

        assert {name: position.offset for name, position in client.positions.items()} == {"room:a": 0, "room:b": 1}


async def test_a_batch_is_one_frame_and_each_command_has_its_answer() -> None:
    """They may be waited for in any order."""
    async with serving(hub_with_rooms()) as app, line(app) as client:
        first, second, third = client.batch(
            {"connect": {}}, {"subscribe": {"channel": "room:a"}}, {"subscribe": {"channel": "nowhere"}}
        )

        with pytest.raises(Refused):
            await client.answer(third)
        assert (await client.answer(second))["positioned"]
        assert (await client.answer(first))["client"]


async def test_a_frame_sent_as_it_is_is_answered_by_a_push_with_its_id() -> None:
    """For what no SDK would send."""
    async with serving(hub_with_rooms()) as app, connect(app) as client:
        client.send_frame('{"id":77,"unsubscribe":{"channel":"x"}}')

        assert await client.push() == {"id": 77, "unsubscribe": {}}
        assert client.frames[-1] == '{"id":77,"unsubscribe":{}}'


async def test_pings_are_counted_answered_and_seen() -> None:
    """Unless it is told not to answer."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    async with serving(hub) as app, connect(app) as client:
        await clock.advance(60)
        assert client.pings == 2
        assert client.waiting() == [{"ping": {}}] * 2
        client.answers_pings = False
        await clock.advance(60)

        assert client.pings == 3
        assert (await client.closed()).code == 3012


async def test_a_client_that_closes_is_gone_with_its_code() -> None:
    """1000 unless told otherwise; a cut says nothing, which servers call 1006."""
    hub = Hub()
    heard: asyncio.Queue[int] = asyncio.Queue()

    @hub.on_disconnect
    async def left(code: int) -> None:
        heard.put_nowait(code)

    async with serving(hub) as app:
        for leave, code in ((Client.close, 1000), (Client.cut, 1006)):
            async with connect(app) as client:
                leave(client)
                assert (await client.closed()).code == code
                assert await asyncio.wait_for(heard.get(), 5) == code
        async with connect(app):
            pass
        assert await asyncio.wait_for(heard.get(), 5) == 1006


async def test_a_frozen_client_takes_nothing_until_it_thaws() -> None:
    """What was sent meanwhile comes then, in order."""
    hub = hub_with_rooms()
    async with serving(hub) as app, connect(app) as client:
        client.freeze()
        for number in range(5):
            hub.sessions[client.id].send(number)
            await asyncio.sleep(0)
        assert client.waiting() == []
        client.thaw()

        assert [(await client.push())["message"]["data"] for _ in range(5)] == [*range(5)]


@pytest.mark.parametrize("text", ['{"id":1,"connect":{}}\n', '{"push":\n{}}', "\n{}", "", "pong"])
async def test_what_an_sdk_cannot_read_fails_the_test(text: str) -> None:
    """A blank line, an object over two lines, an empty frame, no JSON."""

    async def careless(scope: Any, receive: Any, send: Any) -> None:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        await websocket.send_text(text)

    with pytest.raises(ValueError, match="Expecting value"):
        await one_push(careless)


async def one_push(app: Any) -> None:
    """Open a line and wait for something."""
    async with line(app) as client:
        await client.push()
