"""The program a user writes, word for word as the design has it; only what it leaves open is filled in here.

Whoever may not enter and which rooms there are is in `Database`, the part of the program that is not about Openline.
"""

from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from openline import JWT, History, Hub, PermissionDenied, Session

SECRET = "change me"


class Database:
    """Rooms and their members."""

    async def is_member(self, user: str, room: str) -> bool:
        """Tell whether a user may enter a room: anyone may, save where a room is somebody's own."""
        owner, _, _ = room.rpartition("-owned-")
        return owner in ("", user)


async def get_db() -> Database:
    """Give the database."""
    return Database()


app = FastAPI()
hub = Hub("memory://", auth=JWT(secret=SECRET, anonymous=True))
app.include_router(hub.router)  # routes /connection/…, start and stop come with it


class Said(BaseModel):
    """What is said in a room."""

    author: str
    text: str


room = hub.channel("room:{name}", Said, history=History(size=100, seconds=300), presence=True)


@room.on_subscribe
async def may_enter(name: str, session: Session, db: Annotated[Database, Depends(get_db)]) -> None:
    """Let members in."""
    if not await db.is_member(session.user, name):
        raise PermissionDenied


@room.on_publish
async def said(name: str, message: Said, session: Session) -> Said:
    """Nobody speaks in another's name."""
    return message.model_copy(update={"author": session.user})


@hub.rpc("rooms.list")
async def rooms() -> list[str]:
    """Which rooms there are."""
    return ["lobby", "attic"]


@app.post("/rooms/{name}")
async def announce(name: str, message: Said) -> None:
    """Publish to a room from a route."""
    await room.publish(message, name=name)
