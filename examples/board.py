"""A board that several people draw on: who is here, and strokes that are gone once they are drawn.

    openline run examples.board:app

Strokes keep no history: at most once, to whoever is there. What has to stay is saved by a call.
"""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from openline import Accept, BadRequest, Hub, Session

Point = tuple[Annotated[int, Field(ge=0, le=1000)], Annotated[int, Field(ge=0, le=1000)]]


class Stroke(BaseModel):
    points: Annotated[list[Point], Field(min_length=1, max_length=100)]
    by: str = ""


class Saved(BaseModel):
    board: str
    strokes: list[Stroke]


app = FastAPI()
hub = Hub()
app.include_router(hub.router)
board = hub.channel("board:{name}", Stroke, presence=True, join_leave=True)
saved: dict[str, list[Stroke]] = {}


@hub.on_connect
async def enter(name: Annotated[str, Query(min_length=1, max_length=20)]) -> Accept:
    return Accept(user=name, info={"colour": f"hsl({hash(name) % 360} 70% 50%)"})


@board.on_publish
async def drawn(message: Stroke, session: Session) -> Stroke:
    return message.model_copy(update={"by": session.user})


@hub.rpc("board.save")
async def save(picture: Saved, session: Session) -> int:
    if board.name(name=picture.board) not in session.channels:
        raise BadRequest("you are not at that board")
    saved[picture.board] = picture.strokes
    return len(picture.strokes)


@hub.rpc("board.load")
async def load(message: str) -> list[Stroke]:
    return saved.get(message, [])
