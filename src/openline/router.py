"""The routes of a hub, put together, with its start and stop."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, Final

from fastapi import APIRouter, WebSocket

from openline.routes.door import Door
from openline.routes.websocket import WebSocketRoute

_log: Final = logging.getLogger("openline")


def connection_router(
    door: Door, running: Callable[[], AbstractAsyncContextManager[None]], *, compression: bool
) -> APIRouter:
    """Make the router of a hub.

    Args:
        running: runs the hub; entered by the app's lifespan, once for each time the router is included.
        compression: see `WebSocketRoute`.
    """

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with running():
            if "openline.uvicorn" not in sys.modules:
                _tell_of_the_plain_wire()
            yield

    router = APIRouter(lifespan=lifespan)
    over_websocket = WebSocketRoute(door, compression=compression)

    @router.websocket("/connection/websocket")
    async def connection(websocket: WebSocket) -> None:
        """Hold a line open over WebSocket."""
        await over_websocket.serve(websocket)

    return router


@cache
def _tell_of_the_plain_wire() -> None:
    """Say how to get the fast wire: once, however many hubs there are. A warning shows where no logging is set up."""
    _log.warning(
        "connections run on the plain wire, which costs more per message; "
        "`openline run` or `uvicorn --ws openline.uvicorn:WebSocketProtocol` is the fast one"
    )
