"""The routes of a hub, put together, with its start and stop."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any, Final

from fastapi import APIRouter, WebSocket

from openline.routes.cors import add_preflight
from openline.routes.door import Door
from openline.routes.poll import PollRoute
from openline.routes.stream import StreamRoute
from openline.routes.unidirectional import UnidirectionalRoutes
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

    _add_streams(router, door)
    _add_unidirectional(router, door)
    return router


def _add_streams(router: APIRouter, door: Door) -> None:
    """Add the line where WebSocket does not get through."""
    streams = StreamRoute(door)
    for path, endpoint, methods in (
        ("/connection/http_stream", streams.http_stream, ("POST",)),
        ("/connection/sse", streams.sse, ("GET", "POST")),
        ("/emulation", streams.emulation, ("POST",)),
    ):
        router.add_api_route(path, endpoint, methods=list(methods), include_in_schema=False, response_model=None)
        add_preflight(router, door, path, methods)


def _add_unidirectional(router: APIRouter, door: Door) -> None:
    """Add the lines of clients that only listen."""
    routes = UnidirectionalRoutes(door)

    @router.websocket("/connection/uni_websocket")
    async def uni_websocket(websocket: WebSocket) -> None:
        """Hold a line open over WebSocket, for a client that only listens."""
        await routes.websocket(websocket)

    for path, endpoint, methods in (
        ("/connection/uni_http_stream", routes.http_stream, ("GET", "POST")),
        ("/connection/uni_sse", routes.sse, ("GET", "POST")),
        ("/connection/poll", PollRoute(door).poll, ("GET",)),
    ):
        router.add_api_route(path, endpoint, methods=list(methods), include_in_schema=False, response_model=None)
        add_preflight(router, door, path, methods)


@cache
def _tell_of_the_plain_wire() -> None:
    """Say how to get the fast wire: once, however many hubs there are. A warning shows where no logging is set up."""
    _log.warning(
        "connections run on the plain wire, which costs more per message; "
        "`openline run` or `uvicorn --ws openline.uvicorn:WebSocketProtocol` is the fast one"
    )
