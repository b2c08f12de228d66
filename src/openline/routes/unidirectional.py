"""The line for clients that only listen: over WebSocket, as an event stream, as a stream of lines.

What such a client wants it says in one request. Whoever cannot put JSON into a URL needs none: ``?channel=a`` names a
channel, as often as there are channels, and a token is a header or a parameter like any other.

Invariants of this file:

1. A browser's `EventSource` comes back by itself after a stream that ended and never after an answer that is none. So
   what may be better in a moment is an answer with a stream that ends, and what would be the same again is none.
2. Until it is decided whether the client is let in, nothing is answered: a refusal has a status of HTTP.
"""

from __future__ import annotations

import random
import re
from typing import Any, Final, final

from fastapi import Request, Response, WebSocket
from fastapi.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from openline.codes import DisconnectCode
from openline.framing import RECORDS, SEPARATE, encoding
from openline.outbox import Receiver, Wire
from openline.protocol.codec import DecodeError, NestedTooDeep
from openline.protocol.messages import ConnectRequest, SubscribeRequest
from openline.protocol.pushes import disconnect_push
from openline.protocol.unidirectional import (
    EVENT,
    FINAL,
    TOO_MANY,
    UNIDIRECTIONAL,
    WHOLE_EVENTS,
    EventIds,
    Opening,
    opening,
    read_opening,
    read_positions,
)
from openline.routes.cors import answer, cors_headers
from openline.routes.door import Door, Refused, close_dependencies
from openline.routes.refusing import end_status, error_status
from openline.routes.stream import read_body, refusal
from openline.routes.websocket import answer as answer_websocket
from openline.wires import websocket as plain_wire
from openline.wires.fast import DETACH
from openline.wires.stream import StreamKind, StreamResponse, StreamWire

UNI_HTTP_STREAM: Final = StreamKind("uni_http_stream", "application/x-ndjson")
UNI_SSE: Final = StreamKind("uni_sse", "text/event-stream")

#: How long a browser waits before it comes back, in milliseconds: each another time, so that they do not come at once.
_RETRY_MS: Final = (1_000, 4_000)
#: The same, where there was no place for it.
_LATER_MS: Final = (5_000, 15_000)

_DISCONNECT: Final = re.compile(rb'(?:retry: \d+\n)?(?:id: [^\n]*\n)?(?:data: )?\{"disconnect":\{"code":(\d{4})')


@final
class UnidirectionalRoutes:
    """Opens lines for clients that only listen."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    async def http_stream(self, request: Request) -> Response:
        """Answer a request, which is the body or in the URL, by a stream of lines."""
        door = self._door
        try:
            wanted = await self._admit(request)
        except Refused as refused:
            return refusal(door, request, refused)
        return self._stream(request, wanted, UNI_HTTP_STREAM)

    async def sse(self, request: Request) -> Response:
        """Answer a request, which is the body or in the URL, by a stream of events that can be taken up again."""
        door = self._door
        last = request.headers.get("last-event-id", "")
        try:
            if last.startswith(FINAL):
                door.check(request)
                return answer(204, "", cors_headers(door, request))  # it was told to stay away: now its browser is
            wanted = await self._admit(request)
        except Refused as refused:
            return self._refuse_events(request, refused)
        wanted.positioned = True
        if last:
            wanted.since = None if last == TOO_MANY else read_positions(last)
            wanted.lost = wanted.since is None
            wanted.deferred = True
        return self._stream(request, wanted, UNI_SSE)

    async def websocket(self, websocket: WebSocket) -> None:
        """Accept or refuse a handshake. The request is in the URL, or else the first message."""
        door = self._door
        try:
            door.check(websocket)
            wanted = wanted_by(door, websocket, websocket.query_params.get("cf_connect", "").encode(errors="replace"))
            await close_dependencies(websocket)
            door.take_place(websocket)
        except Refused as refused:
            await answer_websocket(websocket, refused)
            return
        try:
            await self._hold(websocket, wanted)
        finally:
            door.leave_place(websocket)

    async def _hold(self, websocket: WebSocket, wanted: Opening | None) -> None:
        door = self._door
        handshake = door.handshake(websocket)

        def open_session(wire: Wire) -> Receiver:
            door.leave_place(websocket)
            session = door.commands.open(wire, handshake)
            if wanted is not None:
                session.begin(wanted)
            return session

        limits = door.commands.limits
        frames = encoding(UNIDIRECTIONAL, SEPARATE)
        detach = websocket.scope.get("extensions", {}).get(DETACH)
        if detach is not None:
            # Not compressed: frames that hold one message each are too short for it.
            detach(open_session, frames, None, limits.message_bytes, limits.close_seconds)
            return
        await plain_wire.serve(
            websocket,
            open_session,
            encoding=frames,
            subprotocol=None,
            message_bytes=limits.message_bytes,
            close_seconds=limits.close_seconds,
        )

    async def _admit(self, request: Request) -> Opening:
        """Do all that comes before a stream: a place is kept for it from here on.

        Raises:
            Refused: there will be none.
        """
        door = self._door
        door.check(request)
        await close_dependencies(request)
        if request.method == "POST":
            frame = await read_body(door, request, door.commands.limits.message_bytes)
        else:
            frame = request.query_params.get("cf_connect", "").encode(errors="replace")
        wanted = wanted_by(door, request, frame)
        door.take_place(request)
        return opening(ConnectRequest()) if wanted is None else wanted

    def _stream(self, request: Request, wanted: Opening, kind: StreamKind) -> Response:
        door = self._door
        handshake = door.handshake(request)
        events = kind is UNI_SSE

        def open_session(wire: StreamWire) -> Receiver:
            door.leave_place(request)
            session = door.commands.open(wire, handshake)
            session.begin(wanted)
            return session

        stream = StreamResponse(
            open_session,
            kind=kind,
            encoding=encoding(EVENT, WHOLE_EVENTS) if events else encoding(UNIDIRECTIONAL, RECORDS),
            more_headers=cors_headers(door, request),
            rewrite=EventIds(random.randint(*_RETRY_MS)) if events else None,  # noqa: S311  # spread, not a secret
        )
        return _Decided(stream, wanted, events=events)

    def _refuse_events(self, request: Request, refused: Refused) -> Response:
        """Refuse a request for events: a browser that asks for them would take 503 as the end of all trying."""
        if refused.status < 500 or "text/event-stream" not in request.headers.get("accept", ""):
            return refusal(self._door, request, refused)
        last = disconnect_push(DisconnectCode(3000, refused.cause[:100]))
        retry = random.randint(*_LATER_MS)  # noqa: S311  # spread, not a secret
        body = b"retry: %d\n%b" % (retry, WHOLE_EVENTS.wrap((EVENT.encode(last),), EVENT))
        response = Response(body, media_type="text/event-stream")
        response.raw_headers += [(b"cache-control", b"no-store"), *cors_headers(self._door, request)]
        return response


@final
class _Decided(Response):
    """A stream that begins once its client is let in. One that is not gets a status that says so, and the last push."""

    def __init__(self, stream: StreamResponse, wanted: Opening, *, events: bool) -> None:
        super().__init__()
        self.raw_headers = stream.raw_headers
        self._stream = stream
        self._wanted = wanted
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and hold the stream until the conversation is over."""
        start: Message | None = None

        async def decided(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                begin, start = start, None
                begin["status"] = self._status(message.get("body", b""))
                await send(begin)
            await send(message)

        await self._stream(scope, receive, decided)

    def _status(self, first: bytes) -> int:
        found = _DISCONNECT.match(first)
        if found is None:
            return 200
        refusal = self._wanted.refusal
        status = end_status(DisconnectCode(int(found[1]), "")) if refusal is None else error_status(refusal)
        return 200 if self._events and status in _MAY_PASS else status


#: What may be better in a moment.
_MAY_PASS: Final = (429, 503)


def wanted_by(door: Door, connection: HTTPConnection, frame: bytes) -> Opening | None:
    """Say what a client that only listens wants by the request of HTTP; None where it says nothing of the kind.

    Args:
        frame: the connect request as it came, b"" for none.
    Raises:
        Refused: it is none.
    """
    if len(frame) > door.commands.limits.message_bytes:
        raise door.refused(413, "the connect request is too large")
    try:
        wanted = read_opening(frame) if frame else opening(ConnectRequest())
    except DecodeError as error:
        excess: Any = "messages_too_deep" if isinstance(error, NestedTooDeep) else "messages_malformed"
        door.commands.node.notices.take(excess, "what was sent to open a line is no connect request: %s", error)
        raise Refused(
            400, 'what was sent is no connect request: it is a JSON object such as {"subs": {"a": {}}}'
        ) from None
    channels = connection.query_params.getlist("channel")
    token = bearer(connection) or connection.query_params.get("token", "")
    for channel in channels:
        wanted.subs.setdefault(channel, SubscribeRequest(channel=channel, recoverable=True))
    wanted.token = wanted.token or token
    return wanted if frame or channels or token else None


def bearer(connection: HTTPConnection) -> str:
    """Give the token in the Authorization header; "" for none."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
