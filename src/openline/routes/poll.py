"""Long polling over history: where channels stand goes in; what was published since and where they stand now comes out.

Each request is a short connection that only looks. Nothing of it is kept between two requests, so the next may go to
any node; what follows on what the client has is found in history, as for anybody who comes back.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, final

import msgspec
from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from openline import codes
from openline.codes import DisconnectCode
from openline.handshake import Handshake
from openline.protocol.messages import ConnectRequest, Pub, SubscribeRequest
from openline.protocol.unidirectional import Opening, opening, read_positions, write_positions
from openline.publication import Position
from openline.routes.cors import Headers, cors_headers
from openline.routes.door import Door, Refused, close_dependencies
from openline.routes.refusing import end_status, error_status
from openline.routes.unidirectional import bearer
from openline.wires.ending import forget, watch
from openline.wires.poll import Found, PollWire

#: Seconds a poll waits for something to say, by default and at most.
DEFAULT_WAIT: Final = 25.0
LONGEST_WAIT: Final = 60.0

#: The code of the protocol nearest to a status the door refuses with.
_CODES: Final = {400: 107, 403: 103, 413: 107, 429: 111}
#: Ends after which the same request would be refused. Any other that is not for good is answered with what there is.
_ENDED: Final = (3005, 3006)


@final
class PollRoute:
    """Answers polls."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    async def poll(self, request: Request) -> Response:
        """Answer what was published since the positions of a request, or wait for it."""
        door = self._door
        headers = cors_headers(door, request)
        try:
            door.check(request)
            await close_dependencies(request)
            wanted, seconds = self._read(request)
            door.take_place(request)
        except Refused as refused:
            return _refusal(refused.status, _CODES.get(refused.status, 100), refused.cause, headers)
        return _PollResponse(door, request, wanted, seconds, headers)

    def _read(self, request: Request) -> tuple[Opening, float]:
        """Read what a request asks.

        Raises:
            Refused: it cannot be read; what is wrong is named.
        """
        query = request.query_params
        channels = dict.fromkeys(query.getlist("channel"))
        if not channels:
            raise self._door.refused(400, "channel is missing: name one, or several by repeating it")
        limit = self._door.commands.limits.channels
        if len(channels) > limit:
            raise self._door.refused(400, f"channel is there {len(channels)} times: {limit} are the most")
        since = read_positions(query.get("since", ""))
        if since is None:
            raise Refused(
                400, "since is not what an answer gave: take it from there as it is, and encode it for the URL"
            )
        wanted = opening(ConnectRequest(token=bearer(request) or query.get("token", "")))
        wanted.subs = {channel: SubscribeRequest(channel=channel) for channel in channels}
        wanted.since = since
        wanted.positioned = wanted.quiet = True
        return wanted, self._seconds(query.get("wait", ""))

    def _seconds(self, text: str) -> float:
        try:
            seconds = float(text or DEFAULT_WAIT)
        except ValueError:
            seconds = -1
        if not 0 <= seconds <= LONGEST_WAIT:
            raise self._door.refused(400, f"wait is {text[:20]!r}: it must be seconds from 0 to {LONGEST_WAIT:g}")
        return seconds


@final
class _PollResponse(Response):
    """The answer to one poll, as soon as there is one."""

    def __init__(self, door: Door, request: Request, wanted: Opening, seconds: float, headers: Headers) -> None:
        super().__init__()
        self._door = door
        self._request = request
        self._handshake: Handshake = door.handshake(request)
        self._wanted = wanted
        self._seconds = seconds
        self._more_headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look, wait, and answer. Nothing is left behind, however this ends."""
        wire = PollWire()
        self._door.leave_place(self._request)
        session = self._door.commands.open(wire, self._handshake)
        wire.belong(session)
        watch(wire)
        gone = False

        async def listen() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            wire.gone()

        try:
            session.begin(self._wanted)
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(listen(), name="openline.poll.listen")
                await wire.wait(self._seconds)
                listening.cancel()
        finally:
            forget(wire)
            ended = wire.end
            session.end(codes.CLOSED_NORMAL)
        if not gone:
            await self._answer(wire, ended)(scope, receive, send)

    def _answer(self, wire: PollWire, ended: tuple[int, str] | None) -> Response:
        refusal = self._wanted.refusal
        if refusal is not None:
            return _refusal(error_status(refusal), refusal.number, refusal.message, self._more_headers)
        if ended is not None:
            code = DisconnectCode(*ended)
            if not wire.found or not code.reconnect or code.number in _ENDED:
                return _refusal(end_status(code), code.number, code.reason, self._more_headers)
        return _json(200, _told(wire.found), self._more_headers)


def _told(found: dict[str, Found]) -> dict[str, Any]:
    """Write what was found."""
    positions: dict[str, Position] = {channel: each.position for channel, each in found.items()}
    channels = {channel: _channel(each) for channel, each in found.items()}
    return {"channels": channels, "since": write_positions(positions)}


def _channel(found: Found) -> dict[str, list[Pub] | str | int | bool]:
    told: dict[str, list[Pub] | str | int | bool] = {
        "publications": found.publications,
        "epoch": found.position.epoch,
        "offset": found.position.offset,
    }
    if found.recovered is not None:
        told["recovered"] = found.recovered
    return told


def _refusal(status: int, code: int, message: str, headers: Headers) -> Response:
    return _json(status, {"error": {"code": code, "message": message}}, headers)


def _json(status: int, content: dict[str, Any], headers: Headers) -> Response:
    response = Response(msgspec.json.encode(content), status_code=status, media_type="application/json")
    response.raw_headers += [(b"cache-control", b"no-store"), *headers]
    return response
