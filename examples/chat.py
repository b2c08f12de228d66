"""The chat of FastAPI's tutorial on WebSockets, with a hub for its `ConnectionManager`: any WebSocket client will do.

    openline run examples.chat:app

Two lines to it from two terminals, `wscat -c ws://localhost:8000/ws/1`, and what is typed in one shows in both. There
is no protocol around the messages, and no loop over sockets behind them: a client that does not read is closed with
3008 and holds up nobody.
"""

from fastapi import FastAPI, WebSocket

from openline import Hub

app = FastAPI()
hub = Hub()
app.include_router(hub.router)
chat = hub.channel("chat", str)


@app.websocket("/ws/{client_id}")
async def talk(websocket: WebSocket, client_id: int) -> None:
    async with hub.plain(websocket, channels=["chat"]) as line:
        async for text in line:
            line.send(f"You wrote: {text}")
            await chat.publish(f"Client #{client_id} says: {text}")
    await chat.publish(f"Client #{client_id} left the chat")
