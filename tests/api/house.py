"""A hub with the server API, a back end that asks it, and the clients the back end cares for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, final

import httpx2
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from openline import Accept, History, Hub, Limits
from openline.testing import VirtualClock, started
from tests.serving import nothing_is_left

KEY = "test-key"
ADDRESS = "http://test/api"


class Said(BaseModel):
    """What is said in a room."""

    text: str
    by: str = "nobody"


def house_hub(url: str = "memory://", *, limits: Limits | None = None, clock: VirtualClock | None = None) -> Hub:
    """Make a hub in which a client's name is its user."""
    hub = Hub(url, limits=limits, clock=clock)
    hub.channel("room:{name}", Said, history=History(size=10, seconds=60), presence=True, join_leave=True)
    hub.channel("news:{name}", history=History(size=10, seconds=60), publish=True)
    hub.channel("tick:{name}", presence=True)
    hub.channel("raw:{name}", bytes, history=History(size=10, seconds=60))

    @hub.on_connect
    def who(name: str) -> Accept:
        return Accept(user=name, info={"name": name})

    return hub


@final
class BackEnd:
    """A back end that has a key.

    Attributes:
        http: for what is no ordinary request.
    """

    def __init__(self, app: FastAPI, hub: Hub, http: httpx2.AsyncClient) -> None:
        self.app = app
        self.hub = hub
        self.http = http

    async def ask(self, method: str, /, **params: Any) -> Any:
        """Ask for something; give the whole answer, whose status is 200."""
        answer = await self.http.post(f"/{method}", json=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, method: str, /, **params: Any) -> Any:
        """Ask for something, and give its result."""
        answer = await self.ask(method, **params)
        assert list(answer) == ["result"], answer
        return answer["result"]

    async def refused(self, method: str, /, **params: Any) -> tuple[int, str]:
        """Ask for something in vain; give the code and the words."""
        answer = await self.ask(method, **params)
        assert list(answer) == ["error"], answer
        assert list(answer["error"]) == ["code", "message"]
        return answer["error"]["code"], answer["error"]["message"]


@asynccontextmanager
async def back_end(hub: Hub | None = None, **options: Any) -> AsyncIterator[BackEnd]:
    """Serve a hub and its API. Once the block is through, nothing of its clients may be left.

    Args:
        options: of `Hub.api`.
    """
    hub = house_hub() if hub is None else hub
    app = FastAPI()
    app.include_router(hub.router)
    app.include_router(hub.api(KEY, **options))
    async with (
        started(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=ADDRESS, headers={"X-API-Key": KEY}) as http,
    ):
        yield BackEnd(app, hub, http)
        if hub._node.broker.immediate:
            await nothing_is_left(hub)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a port of the system's choice; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:  # uvicorn has no event for it
                assert not serving.done()
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
