"""The program a user writes, as the design promises it, with a tiny database in place of a real one."""
# Annotations are types here, not text: as a user writes them.

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from openline import JWT, History, Hub, PermissionDenied, Session


class Database:
    """Knows who is a member of which room, and whether somebody has it open."""

    members = {("ann", "lobby"), ("bob", "lobby"), ("", "hall")}  # noqa: RUF012  # one for the whole test
    opened = 0

    async def is_member(self, user: str, room: str) -> bool:
        """Tell whether a user is a member of a room."""
        return (user, room) in self.members


async def get_db() -> AsyncIterator[Database]:
    """Lend a database connection."""
    Database.opened += 1
    try:
        yield Database()
    finally:
        Database.opened -= 1


app = FastAPI()
hub = Hub("memory://", auth=JWT(secret="change me", anonymous=True))
app.include_router(hub.router)


class Said(BaseModel):
    """What somebody said."""

    author: str
    text: str


room = hub.channel("room:{name}", Said, history=History(size=100, seconds=300), presence=True)


@room.on_subscribe
async def may_enter(name: str, session: Session, db: Annotated[Database, Depends(get_db)]) -> None:
    """Let members in."""
    if not await db.is_member(session.user, name):
        raise PermissionDenied()


@room.on_publish
async def said(name: str, message: Said, session: Session) -> Said:
    """Nobody speaks in another's name."""
    return message.model_copy(update={"author": session.user})


@hub.rpc("rooms.list")
async def rooms() -> list[str]:
    """List the rooms."""
    return ["lobby", "hall"]


@app.post("/rooms/{name}")
async def announce(name: str, message: Said) -> None:
    """Publish from a route."""
    await room.publish(message, name=name)
