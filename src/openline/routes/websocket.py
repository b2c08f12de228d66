"""The line over WebSocket: on the fast wire where the server lets go of the socket, else on the plain one."""

from __future__ import annotations

from typing import final

from fastapi import WebSocket
from fastapi.responses import PlainTextResponse

from openline.errors import MissingExtra
from openline.framing import MESSAGES, WEBSOCKET, encoding
from openline.outbox import Receiver, Wire
from openline.protocol.codec import Codec
from openline.protocol.json import JSON
from openline.routes.door import Door, Refused, close_dependencies
from openline.wires import websocket as plain_wire
from openline.wires.fast import DETACH


@final
class WebSocketRoute:
    """Opens lines over WebSocket.

    Args:
        compression: where the wire is the fast one, messages are compressed for clients that offer it.
    """

    __slots__ = ("_compression", "_door")

    def __init__(self, door: Door, *, compression: bool) -> None:
        self._door = door
        self._compression = compression

    async def serve(self, websocket: WebSocket) -> None:
        """Accept or refuse a handshake; on the plain wire, hold the line until it ends."""
        door = self._door
        try:
            door.check(websocket)
            codec, subprotocol = self._choose(websocket)
            await close_dependencies(websocket)
            door.take_place(websocket)
        except Refused as refused:
            await answer(websocket, refused)
            return
        try:
            await self._hold(websocket, codec, subprotocol)
        finally:
            door.leave_place(websocket)

    async def _hold(self, websocket: WebSocket, codec: Codec, subprotocol: str | None) -> None:
        """Accept the handshake and hand the line to a session: at once on the fast wire, for its whole life else.

        It has a place among the connections until it is a session.
        """
        door = self._door
        handshake = door.handshake(websocket)
        native_heartbeat = websocket.query_params.get("cf_ws_frame_ping_pong") == "true"

        def open_session(wire: Wire) -> Receiver:
            door.leave_place(websocket)
            return door.commands.open(wire, handshake, native_heartbeat=native_heartbeat)

        limits = door.commands.limits
        detach = websocket.scope.get("extensions", {}).get(DETACH)
        if detach is not None:
            detach(
                open_session,
                encoding(codec, WEBSOCKET),
                subprotocol,
                limits.message_bytes,
                limits.close_seconds,
                compression=self._compression,
            )
            return
        await plain_wire.serve(
            websocket,
            open_session,
            encoding=encoding(codec, MESSAGES),
            subprotocol=subprotocol,
            message_bytes=limits.message_bytes,
            close_seconds=limits.close_seconds,
        )

    def _choose(self, websocket: WebSocket) -> tuple[Codec, str | None]:
        """Choose the codec, and the subprotocol to answer with.

        Raises:
            Refused: Protobuf is asked for and its library is not installed.
        """
        offered = websocket.scope.get("subprotocols", ())
        query = websocket.query_params
        if "centrifuge-protobuf" in offered:
            return protobuf(self._door), "centrifuge-protobuf"
        if "protobuf" in (query.get("format"), query.get("cf_protocol")):
            return protobuf(self._door), None
        return JSON, "centrifuge-json" if "centrifuge-json" in offered else None


def protobuf(door: Door) -> Codec:
    """Give the Protobuf codec.

    Raises:
        Refused: its library is not installed.
    """
    try:
        from openline.protocol.protobuf import PROTOBUF  # noqa: PLC0415  # an optional part: loaded when it is asked for
    except MissingExtra as error:
        raise door.refused(501, str(error)) from None
    return PROTOBUF


async def answer(websocket: WebSocket, refused: Refused) -> None:
    """Refuse a handshake, and say why, where the server can."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(PlainTextResponse(refused.cause, status_code=refused.status))
    else:
        await websocket.close(1011, refused.cause[:120])
