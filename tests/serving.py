"""An app around hubs, run in the test's own process, and the one thing every test of it checks: nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from openline import Hub
from openline.presence.memory import MemoryPresence
from openline.testing import Client, Closed, Refused, started


@asynccontextmanager
async def serving(*hubs: Hub, left_open: bool = False, **include: Any) -> AsyncIterator[FastAPI]:
    """Run an app with the hubs' routers. Once the block is through, nothing of its clients may be left in the hubs.

    Args:
        left_open: the app stops while clients are still there.
        include: options of `include_router`, such as ``prefix`` or ``dependencies``.
    """
    app = FastAPI()
    for hub in hubs:
        app.include_router(hub.router, **include)
    async with started(app):
        yield app
        for hub in hubs:
            if not left_open:
                await nothing_is_left(hub)
    for hub in hubs:
        assert not hub.sessions
        assert not hub._node._topics


async def nothing_is_left(hub: Hub) -> None:
    """Wait for the farewells of clients that have gone; then the hub has to be as it was before they came."""
    node, commands = hub._node, hub._commands
    assert isinstance(node.presence, MemoryPresence)
    while node._tasks._running:
        _, late = await asyncio.wait(node._tasks._running, timeout=5)
        assert not late
    assert not hub.sessions
    assert not node._users
    assert not node.places
    assert not node._topics
    assert not node._interest._followed
    assert not node._interest._locks
    assert not node.timers._ticks
    assert not node.presence._channels
    assert not commands.emulation._sessions
    assert not commands._membership._joining
    assert not commands._membership._revocable
    assert not commands._membership._locks


async def refused(command: Awaitable[object]) -> int:
    """Give the code of the error that a command is answered with."""
    with pytest.raises(Refused) as caught:
        await command
    assert caught.value.message
    return caught.value.code


async def answered(client: Client, frame: str, *, count: int = 1) -> list[dict[str, object]]:
    """Send a frame as it is and give what it is answered with."""
    client.send_frame(frame)
    return [await client.push() for _ in range(count)]


async def ended(command: Awaitable[object]) -> int:
    """Give the code with which a connection is closed instead of answering a command."""
    with pytest.raises(Closed) as caught:
        await command
    assert caught.value.reason
    return caught.value.code
