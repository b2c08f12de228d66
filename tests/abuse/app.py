"""The app of the server that is a process of its own: it tells how it is, and publishes as much as it is told to."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

from openline import Heartbeat, Hub, Limits

#: Seconds that the hub waits for the answer to a close.
CLOSE_SECONDS = 1.0

app = FastAPI()
#: Nobody is pinged: a client that reads nothing is to be found by what it is not read, and by nothing else.
hub = Hub(heartbeat=Heartbeat(ping_seconds=600), limits=Limits(close_seconds=CLOSE_SECONDS))
app.include_router(hub.router)
hub.channel("news", publish=True)
hub.channel("flood")
#: The ordinary sockets that are being sent to.
sending: set[WebSocket] = set()


def open_files() -> int:
    """Count them."""
    return len(list(Path("/dev/fd").iterdir()))


@hub.rpc("state")
async def state() -> dict[str, int]:
    """Tell how many sessions there are, how many are behind or were closed for it, and how many routes wait to send.

    And how many files are open, sockets among them.
    """
    return {
        "sessions": len(hub.sessions),
        "behind": sum(session.outbox.is_paused for session in hub.sessions.values()),
        "slow": hub.counters.slow_clients,
        "sending": len(sending),
        "files": open_files(),
    }


@hub.rpc("pour")
async def pour(message: int) -> None:
    """Publish a message of so many KiB to those in the flood."""
    await hub.publish("flood", "x" * 1024 * message)


@app.websocket("/flood")
async def pour_out(websocket: WebSocket) -> None:
    """Send without an end, as an ordinary route would."""
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            sending.add(websocket)
            await websocket.send_bytes(bytes(65_536))
            sending.discard(websocket)
            await asyncio.sleep(0)


@app.websocket("/silence")
async def be_silent(websocket: WebSocket) -> None:
    """Wait for what does not come, as an ordinary route would."""
    await websocket.accept()
    await websocket.receive()


@app.get("/large")
def give_much() -> Response:
    """Answer with more than fits on the way."""
    return Response(bytes(16 << 20))
