"""The line where WebSocket does not get through: a stream downwards, and posts for what the client says.

The stream stays with the node that answered; the posts may come to any node of the cluster.
"""

from __future__ import annotations

import asyncio
from typing import Final, final

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from openline.emulation import Fate
from openline.errors import MissingExtra
from openline.framing import EVENTS, RECORDS, Framing, encoding
from openline.outbox import Receiver
from openline.protocol.codec import Codec, DecodeError
from openline.protocol.emulation import read_emulation
from openline.protocol.json import JSON
from openline.protocol.messages import SubscribeRequest
from openline.routes.cors import answer, cors_headers
from openline.routes.door import Door, Refused, close_dependencies
from openline.routes.websocket import protobuf
from openline.wires.stream import StreamKind, StreamResponse, StreamWire

JSON_STREAM: Final = StreamKind("http_stream", "application/x-ndjson")
BINARY_STREAM: Final = StreamKind("http_stream", "application/octet-stream")
#: The first bytes are an empty line, which means nothing there.
SSE: Final = StreamKind("sse", "text/event-stream", b"\r\n")

#: What becomes of a posted frame, as an HTTP status. A client that is told 404, or 500 and above, gives its stream up.
_STATUSES: Final = {
    Fate.TAKEN: (204, ""),
    Fate.GONE: (204, ""),
    Fate.FULL: (429, "too much waits to be carried out"),
    Fate.TOO_LARGE: (413, "the message is too large"),
    Fate.NOWHERE: (404, "there is no such node"),
    Fate.AWAY: (429, "the node that holds the stream cannot be reached for now"),
}
#: Of requests whose body may not have come to its end.
_UNREAD: Final = (408, 413)
#: Of the JSON around a frame in a post, beside what its quotes and backslashes add to it.
_AROUND_BYTES: Final = 1_024
#: Of a body that is too large so much is read and thrown away, so that its client gets to reading why it was refused.
_DISCARDED_BYTES: Final = 1_048_576


@final
class StreamRoute:
    """Opens streams, and takes what their clients post."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    async def http_stream(self, request: Request) -> Response:
        """Answer the first command, which is the body of the request, by a stream of lines or of Protobuf."""
        kind = BINARY_STREAM if is_binary(request) else JSON_STREAM
        return await self._open(request, kind, RECORDS)

    async def sse(self, request: Request) -> Response:
        """Answer the first command, which is in the URL or is the body, by a stream of events."""
        return await self._open(request, SSE, EVENTS)

    async def emulation(self, request: Request) -> Response:
        """Take what a client says beside its stream, on whichever node that is."""
        door = self._door
        try:
            door.check(request)
            await close_dependencies(request)
            body = await read_body(door, request, 2 * door.commands.limits.message_bytes + _AROUND_BYTES)
            posted = read_emulation(body, binary=is_binary(request))
        except Refused as refused:
            stops = refused.status == 503 and door.commands.node.runs_here
            return refusal(door, request, Refused(429, refused.cause) if stops else refused)
        except DecodeError as error:
            door.commands.node.notices.take("messages_malformed", "what was posted beside a stream is none: %s", error)
            return answer(400, "no frame of a client", cors_headers(door, request))
        except MissingExtra as error:
            return refusal(door, request, door.refused(400, str(error)))
        fate = await door.commands.emulation.bring(*posted)
        return answer(*_STATUSES[fate], cors_headers(door, request))

    async def _open(self, request: Request, kind: StreamKind, framing: Framing) -> Response:
        door = self._door
        try:
            door.check(request)
            codec = protobuf(door) if kind is BINARY_STREAM else JSON
            await close_dependencies(request)
            first = await read_first(door, request)
            check_first(door, codec, first)
            door.take_place(request)
        except Refused as refused:
            return refusal(door, request, refused)
        handshake = door.handshake(request)

        def open_session(wire: StreamWire) -> Receiver:
            door.leave_place(request)
            return door.commands.open(wire, handshake, upstream=wire)

        headers = cors_headers(door, request)
        return StreamResponse(
            open_session, kind=kind, encoding=encoding(codec, framing), first=first, more_headers=headers
        )


def refusal(door: Door, request: Request, refused: Refused) -> Response:
    """Answer a request that comes to nothing. What is left of a body that was not read to its end is not waited for."""
    headers = cors_headers(door, request)
    if refused.status in _UNREAD and request.scope["http_version"].startswith("1"):
        headers.append((b"connection", b"close"))
    return answer(refused.status, refused.cause, headers)


def is_binary(request: Request) -> bool:
    """Tell whether a request speaks Protobuf."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/octet-stream"


async def read_first(door: Door, request: Request) -> bytes:
    """Read the frame a client opens a stream with: the body of a POST, in the URL of a GET.

    Raises:
        Refused: there is none, or it is too large.
    """
    limit = door.commands.limits.message_bytes
    if request.method == "GET":
        frame = request.query_params.get("cf_connect", "").encode(errors="replace")
        if len(frame) > limit:
            raise door.refused(413, "the first message is too large")
    else:
        frame = await read_body(door, request, limit)
    if not frame:
        raise door.refused(400, "a stream begins with a connect command: as the body of a POST, or as ?cf_connect=")
    return frame


def check_first(door: Door, codec: Codec, frame: bytes) -> None:
    """See that nothing is done by the request that opens a stream, but to connect and to subscribe.

    A page of another site can have a browser send it with its user's cookies, unasked, where ``origins`` lets in all
    pages. It cannot read the answer, and what is not in there it cannot post. What is no command is not looked at here:
    the stream says so.

    Raises:
        Refused: there is more in it.
    """
    try:
        for number, command in enumerate(codec.decode(frame)):
            if number and not isinstance(command.request(), SubscribeRequest):
                raise door.refused(400, "a stream begins with connect, and subscribes at most; all else is posted")
    except DecodeError:
        pass


async def read_body(door: Door, request: Request, limit: int) -> bytes:
    """Read the body of a request, which is here in time, or refuse it.

    Args:
        limit: in bytes.
    Raises:
        Refused: it is too large, came too late, or its client went away.
    """
    length = request.headers.get("content-length", "")
    body = bytearray()
    size = 0
    try:
        if length.isdecimal() and int(length[:20]) > _DISCARDED_BYTES:
            raise door.refused(413, "the body is too large")
        async with asyncio.timeout(door.commands.limits.connect_seconds):
            async for piece in request.stream():
                size += len(piece)
                if size <= limit:
                    body += piece
                elif size > _DISCARDED_BYTES:
                    break
    except TimeoutError:
        if size <= limit:
            raise door.refused(408, "the body did not come in time") from None
    except ClientDisconnect:
        raise Refused(400, "the client went away") from None
    if size > limit:
        raise door.refused(413, "the body is too large")
    return bytes(body)
