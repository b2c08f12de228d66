"""Clients that only listen, in the test's own process: a reader of event streams as browsers have one, and of lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, final
from urllib.parse import quote

from tests.streaming import Request, http_scope, requested

SSE = "/connection/uni_sse"
LINES = "/connection/uni_http_stream"


@final
class Events:
    """Reads an event stream, byte for byte as browsers do: an event counts once the empty line behind it is there.

    Attributes:
        last_id: of the last event that counted.
        retry_ms: what the server said of coming back.
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_ms = 0
        self._text = b""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, piece: bytes) -> list[tuple[dict[str, Any], str]]:
        """Take bytes; give the pushes of the events that are whole with them, each with the id that is in force."""
        *lines, self._text = (self._text + piece).split(b"\n")
        pushes = []
        for line in lines:
            name, _, value = line.decode().partition(": ")
            if name == "data":
                self._data.append(value)
            elif name == "id":
                self._id = value
            elif name == "retry":
                self.retry_ms = int(value)
            elif not name:
                self.last_id = self.last_id if self._id is None else self._id
                if self._data:
                    pushes.append((json.loads("\n".join(self._data)), self.last_id))
                self._data, self._id = [], None
        return pushes


@final
class Listener:
    """One line of a client that only listens.

    Attributes:
        last_id: of the event that was given out last.
    """

    def __init__(self, request: Request, events: Events | None) -> None:
        self.request = request
        self.events = events
        self.last_id = ""
        self._pushes: list[tuple[dict[str, Any], str]] = []
        self._text = b""

    async def push(self) -> dict[str, Any]:
        """Wait for the next push; pings are passed over."""
        while True:
            while not self._pushes:
                piece = await self.request.piece()
                if piece is None:
                    raise EOFError("the stream has ended")
                self._pushes += self._read(piece)
            push, self.last_id = self._pushes.pop(0)
            if push:
                return push

    def _read(self, piece: bytes) -> list[tuple[dict[str, Any], str]]:
        if self.events is not None:
            return self.events.feed(piece)
        *lines, self._text = (self._text + piece).split(b"\n")
        return [(json.loads(line), "") for line in lines]

    async def publication(self) -> Any:
        """Wait for the next publication; give its data."""
        while "pub" not in (push := await self.push()):
            pass
        return push["pub"].get("data")

    async def end(self) -> tuple[int, str]:
        """Wait until the line ends; give the code and reason it ended with."""
        while "disconnect" not in (push := await self.push()):
            pass
        assert not await self.request.piece()
        return push["disconnect"]["code"], push["disconnect"]["reason"]


def url(path: str, request: Mapping[str, Any] | None = None, **query: str) -> str:
    """Give a path with a connect request in its query."""
    if request is not None:
        query["cf_connect"] = json.dumps(request)
    return path + "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())


@asynccontextmanager
async def events(app: Any, where: str, *, last_id: str = "", **headers: str) -> AsyncIterator[Listener]:
    """Open an event stream as a browser does; one that comes back has the id of its last event."""
    given = {"accept": "text/event-stream", **headers} | ({"last-event-id": last_id} if last_id else {})
    async with requested(app, Request(http_scope("GET", where, given), b"")) as request:
        yield Listener(request, Events(last_id))


@asynccontextmanager
async def lines(
    app: Any, where: str = LINES, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Listener]:
    """Open a stream of lines, by POST where there is a body."""
    method, content = ("GET", b"") if body is None else ("POST", json.dumps(body).encode())
    async with requested(app, Request(http_scope(method, where, headers), content)) as request:
        yield Listener(request, None)
