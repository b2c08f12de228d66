"""The app on every node: a channel with history, one route to publish and one that says how the node is."""
# Annotations are types here, not text: FastAPI reads them.

import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import FileResponse, HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from openline import Accept, Channel, Heartbeat, History, Hub, Limits
from tests.deploy.node import BROKER, CONNECTIONS, ORIGINS, ROOT

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(asctime)s: %(message)s")

hub = Hub(
    os.environ.get(BROKER, "memory://"),
    origins=json.loads(os.environ.get(ORIGINS, "[]")),
    heartbeat=Heartbeat(ping_seconds=5, pong_seconds=3),
    limits=Limits(connections=int(os.environ.get(CONNECTIONS, "0")) or None),
)
room: Channel[int] = hub.channel("room:{name}", int, history=History(size=1_000, seconds=600), publish=True)

#: Requests that this node was given, by path.
requests: Counter[str] = Counter()

SDK = Path(ROOT / "web/node_modules/centrifuge/dist/centrifuge.js")


class Counting:
    """Counts requests before anything answers them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count and pass on."""
        if scope["type"] in ("http", "websocket"):
            requests[scope["path"]] += 1
        await self._app(scope, receive, send)


app = FastAPI()
app.add_middleware(Counting)
app.include_router(hub.router)


@hub.on_connect
def connect() -> Accept:
    """Let everyone in, under one name."""
    return Accept(user="anybody")


@app.post("/publish/{channel}/{number}")
async def publish(channel: str, number: int) -> None:
    """Publish a number."""
    await hub.publish(channel, number, idempotency_key=str(number))


@app.get("/state")
async def state(request: Request) -> dict[str, Any]:
    """Tell how this node is, and who asks."""
    return {
        "id": hub.nodes[0].id,
        "nodes": [node.id for node in hub.nodes],
        "requests": requests,
        "sessions": len(hub.sessions),
        "client": request.client.host if request.client else None,
        "address": str(request.url),
    }


@app.get("/health")
async def health(response: Response) -> dict[str, list[str]]:
    """Say what keeps this node from working."""
    problems = list(hub.problems)
    if problems:
        response.status_code = 503
    return {"problems": problems}


@app.get("/page")
async def page() -> HTMLResponse:
    """A page with the SDK on it, and nothing else."""
    return HTMLResponse('<!doctype html><title>page</title><script src="/centrifuge.js"></script>')


@app.get("/centrifuge.js")
async def sdk() -> FileResponse:
    """The released package, unmodified."""
    return FileResponse(SDK)


@app.websocket("/plain/{name}")
async def plain(websocket: WebSocket, name: str) -> None:
    """A channel without an envelope, for a client without an SDK."""
    async with hub.plain(websocket, channels=[f"room:{name}"]) as line:
        async for message in line:
            await room.publish(int(message), name=name)
