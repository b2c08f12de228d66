"""Openline's plain lines: an ordinary route with a hub for the `ConnectionManager`. `openline run` serves it.

What one says is published as it came; nothing is sent to it alone, as in `connection_manager.py`.
"""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

from openline import Hub

app = FastAPI()
hub = Hub()
app.include_router(hub.router)
room = hub.channel("room", str)


@app.websocket("/ws")
async def talk(websocket: WebSocket) -> None:
    """Tell everyone what one says."""
    async with hub.plain(websocket, channels=["room"]) as line:
        async for text in line:
            await room.publish(str(text))
