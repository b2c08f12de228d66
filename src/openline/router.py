"""The routes of a hub: where its clients open their line."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, lru_cache
from typing import Any, Final

from fastapi import APIRouter, WebSocket
from fastapi.responses import PlainTextResponse

from openline.commands import Commands
from openline.errors import MissingExtra
from openline.framing import MESSAGES, WEBSOCKET, Encoding
from openline.handshake import Handshake
from openline.node import Node
from openline.origins import Origins, is_origin
from openline.outbox import Receiver, Wire
from openline.protocol.codec import Codec
from openline.protocol.json import JSON
from openline.wires import websocket as plain_wire
from openline.wires.fast import DETACH

_log: Final = logging.getLogger("openline")

_NOT_RUNNING: Final = (
    "the hub is not running: the lifespan of its router never started. Either the app is mounted in another app "
    "(lifespans of mounted apps are not run: enter hub.running() in the outer app's lifespan), or the router was "
    "included after the app had started, or the server runs with its lifespan off"
)

#: Of what a client wrote, this many characters stand in a line of the log.
_TOLD: Final = 200

_STOPPING: Final = "the hub is stopping"
_ELSEWHERE: Final = "the hub runs in another event loop than the server of this request: a hub belongs to one at a time"

_encodings: dict[tuple[str, bool], Encoding] = {}


def encoding(codec: Codec, *, fast: bool) -> Encoding:
    """Give the one encoding of a codec for the fast or the plain wire."""
    key = (codec.name, fast)
    found = _encodings.get(key)
    if found is None:
        found = _encodings[key] = Encoding(codec, WEBSOCKET if fast else MESSAGES)
    return found


def connection_router(
    commands: Commands,
    running: Callable[[], AbstractAsyncContextManager[None]],
    reads_handshake: Callable[[], bool],
    origins: Origins,
    *,
    compression: bool,
) -> APIRouter:
    """Make the router of a hub.

    Args:
        commands: begins sessions.
        running: runs the hub; entered by the app's lifespan, once for each time the router is included.
        reads_handshake: says whether a handler needs what stood in the opening request; else it is let go.
        origins: the pages that may open a line.
        compression: where the wire is the fast one, messages are compressed for clients that offer it.
    """

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with running():
            if "openline.uvicorn" not in sys.modules:
                _tell_of_the_plain_wire()
            yield

    router = APIRouter(lifespan=lifespan)

    @router.websocket("/connection/websocket")
    async def connection(websocket: WebSocket) -> None:
        """Hold a line open over WebSocket."""
        node = commands.node
        if not node.accepts:
            cause = _STOPPING if node.runs_here else _ELSEWHERE if node.started else _NOT_RUNNING
            await _refuse(websocket, node, 503, cause)
            return
        if not origins.allows(websocket.headers.getlist("origin"), websocket.headers.getlist("host")):
            await _refuse_origin(websocket, node)
            return
        try:
            codec, subprotocol = _choose(websocket)
        except MissingExtra as error:
            await _refuse(websocket, node, 501, str(error))
            return
        await _close_dependencies(websocket)
        if not node.places.expect(websocket):
            await _refuse_one_too_many(websocket, node)
            return
        try:
            await _hold(
                websocket, commands, codec, subprotocol, keep_handshake=reads_handshake(), compression=compression
            )
        finally:
            node.places.expected(websocket)

    return router


@cache
def _tell_of_the_plain_wire() -> None:
    """Say how to get the fast wire: once, however many hubs there are. A warning shows where no logging is set up."""
    _log.warning(
        "connections run on the plain wire, which costs more per message; "
        "`openline run` or `uvicorn --ws openline.uvicorn:WebSocketProtocol` is the fast one"
    )


async def _hold(
    websocket: WebSocket,
    commands: Commands,
    codec: Codec,
    subprotocol: str | None,
    *,
    keep_handshake: bool,
    compression: bool,
) -> None:
    """Accept the handshake and hand the line to a session: at once on the fast wire, for its whole life on the plain.

    It has a place among the connections until it is a session.
    """
    scope = websocket.scope
    app = scope.get("app")
    # A dependency that a test overrides may read what the declared one does not.
    keep_handshake = keep_handshake or bool(getattr(app, "dependency_overrides", None))
    handshake = Handshake.of(scope) if keep_handshake else _bare(app)
    native_heartbeat = websocket.query_params.get("cf_ws_frame_ping_pong") == "true"

    def open_session(wire: Wire) -> Receiver:
        commands.node.places.expected(websocket)
        return commands.open(wire, handshake, native_heartbeat=native_heartbeat)

    limits = commands.limits
    detach = scope.get("extensions", {}).get(DETACH)
    if detach is not None:
        detach(
            open_session,
            encoding(codec, fast=True),
            subprotocol,
            limits.message_bytes,
            limits.close_seconds,
            compression=compression,
        )
        return
    await plain_wire.serve(
        websocket,
        open_session,
        encoding=encoding(codec, fast=False),
        subprotocol=subprotocol,
        message_bytes=limits.message_bytes,
        close_seconds=limits.close_seconds,
    )


@lru_cache(maxsize=1)
def _bare(app: Any) -> Handshake:
    """Give the one handshake that serves all connections of an app none of whose handlers reads it."""
    return Handshake.bare(app)


async def _refuse(websocket: WebSocket, node: Node, status: int, cause: str) -> None:
    """Refuse a handshake, and say why: to the log and, where the server can, to the client."""
    node.notices.take("handshakes_refused", f"a handshake was refused: {cause}")
    await _answer(websocket, status, cause)


async def _refuse_origin(websocket: WebSocket, node: Node) -> None:
    """Refuse a handshake of a page from elsewhere. Anybody may send as many as they like: the log has some of them."""
    origins = websocket.headers.getlist("origin")
    origin, host = (", ".join(websocket.headers.getlist(name))[:_TOLD] for name in ("origin", "host"))
    values = [origin, host]
    words = "a handshake was refused with 403: its page is of origin %r, and it went to host %r"
    if len(origins) > 1:
        words = "a handshake was refused with 403: it has several Origin headers, %r, and went to host %r"
    elif origin == "null":
        words = (
            "a handshake was refused with 403: its page has no origin, %r (a file, a sandboxed frame), and it went to "
            "host %r. Hub(origins=['null']) would let in every such page, whoever's it is"
        )
    elif is_origin(origins[0]) and origin == origins[0]:
        values.append(origin)
        words += (
            ". If the page is yours, list it, Hub(origins=[%r]), or have the proxy in front pass the Host header on "
            "as it came"
        )
    node.notices.take("origins_refused", words, *values)
    await _answer(websocket, 403, "pages of this origin may not connect here")


async def _refuse_one_too_many(websocket: WebSocket, node: Node) -> None:
    """Refuse a handshake where every place is taken: the client comes back, or a load balancer goes elsewhere."""
    limit = node.limits.connections
    words = "a handshake was refused with 503: there are as many connections as Limits.connections allows (%d)"
    node.notices.take("connections_refused", words, limit)
    await _answer(websocket, 503, "too many connections")


async def _answer(websocket: WebSocket, status: int, cause: str) -> None:
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(PlainTextResponse(cause, status_code=status))
    else:
        await websocket.close(1011, cause[:120])


async def _close_dependencies(websocket: WebSocket) -> None:
    """Close what the router's dependencies opened: a database connection lasts as long as the handshake.

    One that fails to close refuses the handshake; one that hangs holds nothing but itself.
    """
    for key in ("fastapi_function_astack", "fastapi_inner_astack"):
        stack = websocket.scope.get(key)
        if isinstance(stack, AsyncExitStack):
            await stack.aclose()


def _choose(websocket: WebSocket) -> tuple[Codec, str | None]:
    """Choose the codec, and the subprotocol to answer with.

    Raises:
        MissingExtra: Protobuf is asked for and its library is not installed.
    """
    offered = websocket.scope.get("subprotocols", ())
    query = websocket.query_params
    if "centrifuge-protobuf" in offered:
        return _protobuf(), "centrifuge-protobuf"
    if "protobuf" in (query.get("format"), query.get("cf_protocol")):
        return _protobuf(), None
    return JSON, "centrifuge-json" if "centrifuge-json" in offered else None


def _protobuf() -> Codec:
    from openline.protocol.protobuf import PROTOBUF  # noqa: PLC0415  # an optional part: loaded when it is asked for

    return PROTOBUF
