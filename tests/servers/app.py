"""The program, and what the scenarios need beside it: more channels, a second hub, a way to tell the server what to do.

Everything under ``/control`` is for tests alone.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Header, HTTPException, WebSocket
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from openline import JWT, Heartbeat, History, Hub, Limits, Position, Session, UnsubscribeCode
from tests.servers.program import SECRET, app, hub, room

__all__ = ["app"]

hall = hub.channel("hall:{name}", presence=True, join_leave=True, publish=True)
brief = hub.channel("brief:{name}", history=History(size=3, seconds=300), publish=True)  # it forgets soon
vault = hub.channel("vault:{name}", history=History(size=100, seconds=300), publish=True, protected=True)
inbox = hub.channel("inbox:{user}", history=History(size=100, seconds=300), publish=True)  # the server subscribes
board = hub.channel("board:{name}", history=History(size=100, seconds=300), publish=True, delta=True, filters=True)

blob = hub.channel("blob:{name}", bytes, publish=True)

#: A hub short of patience: it waits neither for late tokens nor for peers that do not answer a close.
hasty = Hub(auth=JWT(secret=SECRET, anonymous=True), limits=Limits(expiry_grace_seconds=0, close_seconds=0.5))
app.include_router(hasty.router, prefix="/hasty")
flood = hasty.channel("flood:{name}")
safe = hasty.channel("safe:{name}", protected=True)

#: How often the door of the guarded hub was opened and closed again.
door_counts = {"opened": 0, "closed": 0}


async def door(key: Annotated[str | None, Header()] = None) -> AsyncIterator[None]:
    """Let in those with a key."""
    door_counts["opened"] += 1
    try:
        if key != "sesame":
            raise HTTPException(403, "no key")
        yield
    finally:
        door_counts["closed"] += 1


guarded = Hub()
app.include_router(guarded.router, prefix="/guarded", dependencies=[Depends(door)])

#: A hub that lets in the pages of another site.
neighbourly = Hub(origins=["https://*.example.com"])
app.include_router(neighbourly.router, prefix="/neighbourly")

#: A hub of quick heartbeats, for the plain lines below.
beating = Hub(heartbeat=Heartbeat(ping_seconds=1, pong_seconds=0.5), limits=Limits(close_seconds=0.5))
app.include_router(beating.router, prefix="/beating")
beating.channel("beat:{name}")


@app.websocket("/plain/{name}")
async def plain(websocket: WebSocket, name: str) -> None:
    """A line without a protocol: what its client says goes to the hall and a text to the blob of this name."""
    async with hub.plain(websocket, channels=[f"hall:{name}", f"blob:{name}"], user=name) as line:
        async for message in line:
            if message == "fail":
                raise ValueError("as the client wants")
            if message == "return":
                return
            line.send("heard")
            if isinstance(message, bytes):
                await hub.publish(f"blob:{name}", message)
            else:
                await line.publish(f"hall:{name}", message)


@app.websocket("/beating/{name}")
async def beat(websocket: WebSocket, name: str) -> None:
    """A line whose client is pinged every second."""
    async with beating.plain(websocket, channels=[f"beat:{name}"]) as line:
        async for message in line:
            line.send(message)


@app.get("/feed/{name}", response_class=EventSourceResponse)
async def feed(name: str, last_event_id: Annotated[str, Header()] = "") -> AsyncIterator[ServerSentEvent]:
    """What is said in a room, as events that say where they stand."""
    since = Position.parse(last_event_id) if last_event_id else (await room.history(name=name, limit=0)).top
    yield ServerSentEvent(event="begun", data="", id=str(since))
    async for publication in room.follow(name=name, since=since):
        yield ServerSentEvent(data=publication.message, id=str(publication.position))


@hub.rpc("echo")
async def echo(message: dict[str, Any]) -> dict[str, Any]:
    """Give back what came."""
    return message


@hub.rpc("fail")
async def fail() -> None:
    """Fail, as an app with a fault does."""
    raise RuntimeError("nobody's business")


@hub.on_message
async def answer(message: dict[str, Any], session: Session) -> None:
    """Answer what is sent outside every channel."""
    session.send({"heard": message})


@app.get("/control/door")
async def show_door() -> dict[str, int]:
    """Tell how often the guarded hub's door was opened and closed."""
    return {**door_counts, "sessions": len(guarded.sessions)}


@app.get("/control/sessions")
async def count_sessions() -> int:
    """Tell how many clients the program's hub has."""
    return len(hub.sessions)


class Publish(BaseModel):
    """What to publish."""

    channel: str
    data: Any
    tags: dict[str, str] = {}


class End(BaseModel):
    """With which code to end something."""

    code: int
    reason: str


@app.post("/control/publish")
async def publish(order: Publish) -> dict[str, Any]:
    """Publish to a channel of the program's hub."""
    position = await hub.publish(order.channel, order.data, tags=order.tags)
    return {"epoch": position.epoch, "offset": position.offset}


@app.post("/control/flood/{name}")
async def pour(name: str, kibibytes: int) -> int:
    """Publish a large message to a channel of the hasty hub; tell how many sessions that has."""
    await flood.publish("x" * 1024 * kibibytes, name=name)
    return len(hasty.sessions)


@app.post("/control/users/{user}/send")
async def send(user: str, data: dict[str, Any]) -> None:
    """Send a message to everything a user has open."""
    await hub.user(user).send(data)


@app.post("/control/users/{user}/subscribe/{channel}")
async def subscribe(user: str, channel: str) -> None:
    """Put a user into a channel."""
    await hub.user(user).subscribe(channel)


@app.post("/control/users/{user}/unsubscribe/{channel}")
async def unsubscribe(user: str, channel: str, end: End) -> None:
    """Take a user out of a channel."""
    await hub.user(user).unsubscribe(channel, UnsubscribeCode(end.code, end.reason))


@app.post("/control/users/{user}/disconnect")
async def disconnect(user: str, end: End) -> None:
    """Close everything a user has open."""
    await hub.user(user).disconnect(end.code, end.reason)
