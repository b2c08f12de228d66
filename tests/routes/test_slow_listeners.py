"""Clients that only listen, and do not even read: they are dealt with as any slow client, on each of their wires."""

from __future__ import annotations

import asyncio

import pytest

from openline import Heartbeat, History, Hub, Limits
from openline.testing import VirtualClock
from tests.bare_client import bare_line
from tests.listeners import LINES, SSE, events, lines
from tests.serving import serving


def a_hub() -> Hub:
    """Give a hub that is short of patience."""
    hub = Hub(limits=Limits(outbox_bytes=50_000, close_seconds=0.2))
    hub.channel("news:{name}", history=History(size=1_000, seconds=300))
    return hub


async def too_much(hub: Hub) -> None:
    """Publish until nobody can be behind and still there, each message in a turn of its own."""
    for number in range(300):
        await hub.publish("news:a", [number, "x" * 2_000])
        await asyncio.sleep(0)
    assert not hub.sessions


@pytest.mark.parametrize("path", [SSE, LINES])
async def test_a_stream_nobody_reads_is_ended_and_can_be_taken_up_again(path: str) -> None:
    """With 3008, and its response ends in time."""
    hub = a_hub()
    opened = events if path == SSE else lines
    async with serving(hub) as app:
        async with opened(app, f"{path}?channel=news:a") as client:
            await client.push()
            last_id = client.last_id
            client.request.reads.clear()
            await too_much(hub)
            assert hub.counters.slow_clients == 1
        if path == SSE:
            async with events(app, f"{path}?channel=news:a", last_id=last_id) as client:
                assert [(await client.publication())[0] for _ in range(300)] == list(range(300))


async def test_a_websocket_nobody_reads_is_ended() -> None:
    """As one that speaks the protocol."""
    hub = a_hub()
    async with serving(hub) as app, bare_line(app, "/connection/uni_websocket?channel=news:a") as client:
        await client.next()
        client.reading.clear()
        await too_much(hub)
        assert hub.counters.slow_clients == 1


async def test_pings_to_somebody_who_is_gone_do_not_pile_up_for_ever() -> None:
    """A line whose client stopped reading has a bound, and TCP ends it; nobody waits for a pong."""
    clock = VirtualClock()
    hub = Hub(clock=clock, heartbeat=Heartbeat(ping_seconds=10, pong_seconds=5))
    async with serving(hub) as app, lines(app, LINES, {}) as client:
        await client.push()
        for _ in range(5):
            await clock.advance(20)
        assert len(hub.sessions) == 1
