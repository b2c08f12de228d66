"""The chat's hub: rooms that remember, a sign that somebody types, and news of new rooms."""

import time
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints

from openline import JWT, BadRequest, History, Hub, Session
from openline.demo.rooms import Rooms
from openline.demo.visitors import SECRET

hub = Hub("memory://", auth=JWT(secret=SECRET))
rooms = Rooms()


class Said(BaseModel):
    """One message in a room."""

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
    key: Annotated[str, StringConstraints(max_length=64)] = ""  #: the page's own mark: it knows its message by it
    user: str = ""  #: who said it, stamped here: what a client claims is not believed
    author: str = ""
    at_ms: int = 0


class Typing(BaseModel):
    """Somebody is typing; the hub says who, and the page forgets it after a moment."""


class Opened(BaseModel):
    """A room is new."""

    name: str


room = hub.channel("room:{name}", Said, history=History(size=100, seconds=3600), presence=True, join_leave=True)
typing = hub.channel("typing:{name}", Typing, publish=True)
opened = hub.channel("rooms", Opened)


@room.on_subscribe
async def enter(name: str) -> None:
    """Anyone may enter; the first to enter a room opens it."""
    try:
        new = rooms.open(name)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    if new:
        await opened.publish(Opened(name=name))


@room.on_publish
async def said(message: Said, session: Session) -> Said:
    """Stamp who said it and when."""
    stamp = {"user": session.user, "author": session.info["name"], "at_ms": time.time_ns() // 1_000_000}
    return message.model_copy(update=stamp)


@hub.rpc("rooms.list")
async def list_rooms() -> list[str]:
    """Every open room, oldest first."""
    return rooms.names()


@hub.rpc("ping")
async def ping() -> dict[str, Any]:
    """Nothing, at once: the page measures how long the way there and back takes."""
    return {}
