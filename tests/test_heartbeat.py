"""Heartbeats: the server pings, the client answers, and who does not is gone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest

from openline import DeclarationError, Heartbeat, History, Hub, Limits
from openline.testing import Client, VirtualClock, connect, line
from tests.serving import serving


def hub_with_clock(heartbeat: Heartbeat | None = None) -> tuple[Hub, VirtualClock]:
    """Give a hub with a room, and its time."""
    clock = VirtualClock()
    hub = Hub(clock=clock, heartbeat=heartbeat)
    hub.channel("room:{name}", history=History(), publish=True)
    return hub, clock


async def first_ping(client: Client, clock: VirtualClock) -> float:
    """Let time pass in steps of the wheel until a ping comes; give the time of the step."""
    while not client.pings:
        await clock.advance(0.25)
    return clock.monotonic()


@pytest.mark.parametrize("protobuf", [False, True])
async def test_a_ping_is_an_empty_reply_and_its_answer_an_empty_command(protobuf: bool) -> None:
    """In either encoding the shortest message there is."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        await first_ping(client, clock)

        assert client.frames[-1] == (b"\0" if protobuf else "{}")
        await clock.advance(200)
        assert not client.is_closed


async def test_the_first_ping_comes_between_half_an_interval_and_a_whole_one() -> None:
    """At a random moment: the clients of one reconnect wave are not pinged in one moment for ever."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(app)) for _ in range(200)]
        await clock.advance(12.25)
        assert sum(client.pings for client in clients) == 0
        seen = []
        for _ in range(13):
            await clock.advance(1)
            seen.append(sum(client.pings for client in clients))

        assert seen[-1] == 200
        assert max(later - earlier for earlier, later in pairwise([0, *seen])) < 60  # 16 on average


async def test_pings_keep_their_interval() -> None:
    """One every 25 seconds, a step of the wheel late at most."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        moments = []
        while client.pings < 10:
            before = client.pings
            await clock.advance(0.25)
            moments += [clock.monotonic()] * (client.pings - before)

        assert {later - earlier for earlier, later in pairwise(moments)} <= {25, 25.25}


async def test_a_busy_line_is_pinged_as_punctually_as_an_idle_one() -> None:
    """Some clients count on the ping alone, whatever else they hear."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        for _ in range(200):
            await client.publish("room:a", "busy")
            await clock.advance(0.5)

        assert client.pings in (3, 4)


async def test_a_client_that_does_not_answer_within_ten_seconds_is_closed_with_3012() -> None:
    """It may come back: its line was dead."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        client.answers_pings = False
        await first_ping(client, clock)
        await clock.advance(9.5)
        assert not client.is_closed
        await clock.advance(1)

        closed = await client.closed()
        assert (closed.code, closed.reason) == (3012, "no pong")
        assert client.pings == 1


async def test_talking_is_no_answer() -> None:
    """Only a pong is one: what a client sends may have been on its way for long."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        client.answers_pings = False
        await first_ping(client, clock)
        for _ in range(11):
            if not client.is_closed:
                client.batch({"publish": {"channel": "room:a", "data": 1}})
            await clock.advance(1)

        assert (await client.closed()).code == 3012


@pytest.mark.parametrize("frame", ["{}", "{}\n{}", '{"id":3}'])
async def test_a_pong_too_many_closes_with_3501(frame: str) -> None:
    """Exactly one answers each ping."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        await first_ping(client, clock)
        await clock.advance(1)
        client.send_frame(frame)

        assert (await client.closed()).code == 3501


async def test_two_pongs_to_one_ping_are_one_too_many() -> None:
    """Also in one frame."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        client.answers_pings = False
        await first_ping(client, clock)
        client.send_frame("{}\n{}")

        assert (await client.closed()).code == 3501


async def test_a_pong_may_come_together_with_commands() -> None:
    """It is a command like any in the frame."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        client.answers_pings = False
        await first_ping(client, clock)
        client.send_frame('{"id":9,"publish":{"channel":"room:a","data":1}}\n{}')
        assert {"id": 9, "publish": {}} in [await client.push(), await client.push()]
        await clock.advance(11)

        assert not client.is_closed


async def test_the_server_never_answers_a_pong() -> None:
    """Nothing more than pings and answers is sent on an idle line."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, connect(app) as client:
        await clock.advance(100)

        assert len(client.frames) == 1 + client.pings


async def test_a_client_may_leave_heartbeats_to_the_socket() -> None:
    """It is told of no pings then and sent none; where the server offers none of its own, nobody is closed for it."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app, line(app, query="cf_ws_frame_ping_pong=true") as client:
        assert set(await client.connect()) == {"client", "version"}
        await clock.advance(600)

        assert (client.pings, client.is_closed) == (0, False)
        client.send_frame("{}")
        assert (await client.closed()).code == 3501


async def test_interval_and_patience_can_be_chosen() -> None:
    """Shorter for lines behind impatient proxies."""
    hub, clock = hub_with_clock(Heartbeat(ping_seconds=4, pong_seconds=1))
    async with serving(hub) as app, connect(app) as client:
        await clock.advance(1.75)
        assert client.pings == 0
        await clock.advance(2.5)
        assert client.pings == 1
        client.answers_pings = False
        await clock.advance(5.5)

        assert (await client.closed()).code == 3012


@pytest.mark.parametrize(
    "options",
    [{"ping_seconds": 0}, {"ping_seconds": 10, "pong_seconds": 10}, {"pong_seconds": 0}, {"ping_seconds": 2.5}],
)
def test_a_heartbeat_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """Two pings would be unanswered at once, or clients told half seconds."""
    with pytest.raises(DeclarationError, match="Heartbeat"):
        Heartbeat(**options)


async def test_the_wheel_stands_still_while_nobody_waits() -> None:
    """A hub without clients costs nothing."""
    hub, clock = hub_with_clock()
    async with serving(hub) as app:
        async with connect(app):
            assert clock.waiting == 1
        await clock.advance(1)

        assert clock.waiting == 0


async def test_a_handler_that_takes_long_to_let_in_sends_nobody_away() -> None:
    """Connect came in time: 3502, after which a client stays away, is for those who never ask."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    gate, thinking = asyncio.Event(), asyncio.Event()

    @hub.on_connect
    async def slow() -> None:
        thinking.set()
        await gate.wait()

    async with serving(hub) as app, line(app) as client:
        answer = client.batch({"connect": {}})[0]
        await asyncio.wait_for(thinking.wait(), 5)
        await clock.advance(60)
        gate.set()
        assert (await client.answer(answer))["ping"] == 25


async def test_a_client_that_is_not_read_is_not_missed() -> None:
    """While its own commands keep the server from reading on, its pong may wait behind them."""
    clock = VirtualClock()
    hub = Hub(clock=clock, limits=Limits(waiting_commands=2))
    gate = asyncio.Event()

    @hub.rpc("slow")
    async def slow() -> None:
        await gate.wait()

    async with serving(hub) as app, connect(app) as client:
        answers = client.batch(*({"rpc": {"method": "slow"}} for _ in range(4)))
        client.answers_pings = False
        await clock.advance(120)
        assert not client.is_closed
        gate.set()
        for answer in answers:
            await client.answer(answer)
        await clock.advance(60)
        assert (await client.closed()).code == 3012
