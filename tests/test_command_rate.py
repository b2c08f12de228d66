"""How fast a client may ask, and how much it may have waiting: on a line, with all that is there in production."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openline import History, Hub, Limits
from openline.testing import Refused, VirtualClock, connect, line
from tests.serving import refused, serving

both_codecs = pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])


def hub_with(limits: Limits, *, clock: VirtualClock | None = None) -> Hub:
    """Give a hub with a room, something that answers, and something that listens."""
    hub = Hub(limits=limits, clock=clock)
    hub.channel("room:{name}", history=History(size=1000), publish=True)

    @hub.rpc("echo")
    async def echo(message: Any) -> Any:
        return message

    @hub.on_message
    async def take(message: Any) -> None:
        """Take anything."""

    return hub


# --- commands ---------------------------------------------------------------------------------------------------------


@both_codecs
async def test_a_command_too_many_is_refused_with_111_and_not_carried_out(protobuf: bool) -> None:
    """A burst is let through; connect is not counted."""
    clock = VirtualClock()
    hub = hub_with(Limits(commands_per_second=1, commands_burst=4, channels=1), clock=clock)
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        for _ in range(4):
            await client.publish("room:a", 1)
        with pytest.raises(Refused) as caught:
            await client.publish("room:a", 1)
        assert (caught.value.code, caught.value.temporary) == (111, True)
        assert hub.counters.publications == 0  # nobody was in the room
        assert await kept(hub) == 4
        await clock.advance(2)
        await client.publish("room:a", 1)

    assert hub.counters.commands_too_fast == 1


async def kept(hub: Hub) -> int:
    """Say how many publications the room has kept."""
    page = await hub._node.broker.history("room:a", history=History(size=1000), since=None)
    return len(page.publications)


async def test_a_message_too_many_is_dropped_and_counted() -> None:
    """It has no id to be answered by. The connection stays."""
    hub = Hub(limits=Limits(commands_per_second=1, commands_burst=2, channels=1), clock=VirtualClock())
    taken: list[int] = []

    @hub.on_message
    async def take(message: Any) -> None:
        taken.append(message)

    async with serving(hub) as app, connect(app) as client:
        for number in range(5):
            client.send(number)
        assert await refused(client.rpc("echo")) == 111
        assert taken == [0, 1]
        assert not client.is_closed
        assert hub.counters.commands_too_fast == 4


async def test_a_client_that_floods_is_closed_with_3013(caplog: pytest.LogCaptureFixture) -> None:
    """It may come back. The other clients are served as ever, and the log has two lines of it."""
    hub = hub_with(Limits(commands_per_second=10, commands_burst=20, channels=1), clock=VirtualClock())
    async with serving(hub) as app, connect(app) as other, connect(app) as client:
        client.send_frame("\n".join(['{"send":{"data":1}}'] * 2000))
        assert (await client.closed()).code == 3013
        assert await other.rpc("echo", 1) == 1
        async with connect(app) as back:
            assert await back.rpc("echo", 1) == 1

    assert hub.counters.floods == 1
    assert hub.counters.commands_too_fast < 200  # nothing is looked at after the end
    assert len(caplog.messages) == 2


async def test_pongs_and_connect_are_not_counted() -> None:
    """One is asked for by the server, the other comes once."""
    clock = VirtualClock()
    hub = hub_with(Limits(commands_per_second=0.001, commands_burst=1, channels=1), clock=clock)
    async with serving(hub) as app, connect(app) as client:
        await clock.advance(200)
        assert client.pings > 5
        assert not client.is_closed
        assert hub.counters.commands_too_fast == 0
        await client.publish("room:a", 1)
        assert await refused(client.publish("room:a", 1)) == 111


async def test_a_client_that_comes_back_may_subscribe_to_everything_in_one_frame() -> None:
    """128 channels and their history, by default."""
    hub = hub_with(Limits(), clock=VirtualClock())
    async with serving(hub) as app, line(app) as client:
        subscribes = [{"subscribe": {"channel": f"room:{number}"}} for number in range(128)]
        histories = [{"history": {"channel": f"room:{number}", "limit": 1}} for number in range(128)]
        for answer in client.batch({"connect": {}}, *subscribes, *histories):
            await client.answer(answer)


async def test_a_session_that_asked_nothing_holds_no_bucket() -> None:
    """One number, and before the first command one that all share."""
    hub = hub_with(Limits())
    async with serving(hub) as app, connect(app) as one, connect(app) as two:
        assert hub.sessions[one.id].asked_until is hub.sessions[two.id].asked_until
        await one.publish("room:a", 1)
        assert hub.sessions[one.id].asked_until > hub.sessions[two.id].asked_until


async def test_commands_that_wait_stop_the_reading() -> None:
    """Past `waiting_commands` nothing more is taken from the client, until it is its turn; nothing is lost."""
    hub = hub_with(Limits(waiting_commands=3))
    go = asyncio.Event()

    @hub.rpc("slow")
    async def slow() -> None:
        await go.wait()

    async with serving(hub) as app, connect(app) as client:
        answers = client.batch({"rpc": {"method": "slow"}}, *[{"rpc": {"method": "echo", "data": 1}}] * 2)
        await asyncio.sleep(0)
        assert hub.counters.readings_paused == 0
        answers += client.batch(*[{"rpc": {"method": "echo", "data": 1}}] * 5)
        for _ in range(20):
            await asyncio.sleep(0)
        go.set()
        for answer in answers:
            await client.answer(answer)
        assert hub.counters.readings_paused == 1
