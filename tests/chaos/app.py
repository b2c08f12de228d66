"""The program on every node: a few channels, a route to publish by, and one that says how the node is.

The engine's address is in the environment variable that `BROKER` names.
"""
# Annotations are types here, not text: FastAPI reads them.

import logging
import os
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, HTTPException, Query

from openline import BrokerUnavailable, Channel, History, Hub
from tests.chaos.node import BROKER

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(asctime)s: %(message)s")

app = FastAPI()
hub = Hub(os.environ.get(BROKER, "memory://"))
app.include_router(hub.router)

KEPT: Final = History(size=2_000, seconds=600)

#: History covers any absence of a run.
room: Channel[dict[str, Any]] = hub.channel("room:{name}", dict[str, Any], history=KEPT, presence=True, join_leave=True)
#: It reaches back less than a second or two.
brief: Channel[dict[str, Any]] = hub.channel("brief:{name}", dict[str, Any], history=History(size=5, seconds=600))
#: For large messages, which fill sockets.
flood: Channel[dict[str, Any]] = hub.channel("flood:{name}", dict[str, Any], history=KEPT)


@hub.on_connect
async def connect(name: str) -> str:
    """Let everyone in, under the name they give."""
    return name


@app.post("/publish/{channel}")
async def publish(channel: str, key: str, message: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """Publish a message once, however often it is sent under its key."""
    try:
        position = await hub.publish(channel, message, idempotency_key=key)
    except BrokerUnavailable as error:
        raise HTTPException(503, str(error)) from None
    return {"epoch": position.epoch, "offset": position.offset}


@app.get("/survey")
async def survey() -> dict[str, int]:
    """Ask all nodes for the subscribers of each channel."""
    return (await hub.survey()).channels


@app.get("/state")
async def state(rooms: Annotated[list[str] | None, Query()] = None) -> dict[str, Any]:
    """Tell how this node is, and whom it sees in these rooms."""
    return {
        "id": hub.nodes[0].id,
        "nodes": [node.id for node in hub.nodes],
        "problems": hub.problems,
        "counters": hub.counters.as_dict(),
        "sessions": list(hub.sessions),
        "presence": {name: list(await room.presence(name=name)) for name in rooms or ()},
    }
