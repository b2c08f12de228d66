"""What is measured: an app on Openline, and the broadcast a FastAPI tutorial would write."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from openline import History, Hub

openline_app = FastAPI()
hub = Hub()
openline_app.include_router(hub.router)
hub.channel("plain:{name}", publish=True)
hub.channel("kept:{name}", publish=True, history=History(size=100, seconds=300))

manager_app = FastAPI()
connections: list[WebSocket] = []


@manager_app.websocket("/ws")
async def broadcast(websocket: WebSocket) -> None:
    """Send what one client says to every client, one after the other."""
    await websocket.accept()
    connections.append(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            for connection in tuple(connections):
                await connection.send_text(text)
    except WebSocketDisconnect:
        connections.remove(websocket)
