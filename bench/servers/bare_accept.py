"""The least a FastAPI app can do with a WebSocket: accept it and wait. What a handshake is compared with."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/ws")
async def accept(websocket: WebSocket) -> None:
    """Accept, then wait until the client goes."""
    await websocket.accept()
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass
