"""Prices over server-sent events, by a route of FastAPI's own: an `EventSource` that comes back misses nothing.

    openline run examples.prices:app

`curl -N localhost:8000/prices/TEA` shows them; `curl -X PUT 'localhost:8000/prices/TEA?cents=120'` sets one. The id of
each event is its position. A browser sends the last one it saw with every reconnect, and is given what follows it.
"""

from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel

from openline import History, Hub, Position, UnrecoverablePosition


class Price(BaseModel):
    cents: int


app = FastAPI()
hub = Hub()
app.include_router(hub.router)
price = hub.channel("price:{item}", Price, history=History(size=100, seconds=3600))


@app.put("/prices/{item}")
async def change(item: str, cents: int) -> None:
    await price.publish(Price(cents=cents), item=item)


@app.get("/prices/{item}", response_class=EventSourceResponse)
async def follow(item: str, last_event_id: Annotated[str, Header()] = "") -> AsyncIterable[ServerSentEvent]:
    try:
        if last_event_id:
            since = Position.parse(last_event_id)
        else:
            since = (await price.history(item=item, limit=0)).top
            # An id alone is no event: the browser only notes where it begins, and may lose the line right after.
            yield ServerSentEvent(id=str(since))
        async for publication in price.follow(since=since, item=item):
            yield ServerSentEvent(data=publication.message, id=str(publication.position))
    except UnrecoverablePosition:
        # Too much was missed. The page is told, and forgets its id, so that it begins anew when it comes back.
        yield ServerSentEvent(event="reset", data="", id="")
