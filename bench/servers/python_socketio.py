"""python-socketio: an `AsyncServer` as an ASGI app on uvicorn, everyone in one room.

Chosen: WebSocket alone (no long-polling before it), as its docs advise where clients allow it; no packages beyond its
own. Compression is for HTTP long-polling only, and uvicorn compresses nothing for a client that offers nothing.
"""

from __future__ import annotations

from typing import Any

import socketio

server = socketio.AsyncServer(async_mode="asgi", transports=["websocket"])
app = socketio.ASGIApp(server)


async def connect(sid: str, environ: dict[str, Any], auth: object = None) -> None:
    """Put everyone into the one room."""
    await server.enter_room(sid, "room")


async def said(sid: str, message: str) -> None:
    """Tell everyone what one says."""
    await server.emit("said", message, room="room")


server.on("connect", connect)
server.on("say", said)
