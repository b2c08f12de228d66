"""A client over HTTP in the test's own process: it opens a stream on one app, and posts to whichever app it is told.

It is an ASGI server's side of each request: the app's middleware, the router's dependencies, the wire and the whole
engine run as they do in production. Nothing waits longer than a limit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, final

#: Seconds that anything here waits at most.
LIMIT_SECONDS: Final = 15.0

STREAM: Final = "/connection/http_stream"
SSE: Final = "/connection/sse"
EMULATION: Final = "/emulation"


def http_scope(method: str, path: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Give the scope of a request; a query may stand behind the path."""
    path, _, query = path.partition("?")
    given = {"host": "test", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
        "extensions": {},
    }


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes


@final
class Request:
    """One request that is being answered.

    Attributes:
        status: of the answer; 0 before it has begun.
        headers: of the answer.
        reads: the answer is taken while this is set.
    """

    def __init__(self, scope: dict[str, Any], *pieces: bytes) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.scope = scope
        self.reads = asyncio.Event()
        self.reads.set()
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for index, piece in enumerate(pieces):
            more = index < len(pieces) - 1
            self._to_app.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        self._body: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._began = asyncio.Event()

    async def run(self, app: Any) -> None:
        """Have the app answer."""
        try:
            await app(self.scope, self._to_app.get, self._take)
        finally:
            self._began.set()
            self._body.put_nowait(None)

    async def _take(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            self._began.set()
        else:
            self._body.put_nowait(message.get("body", b""))
            if not message.get("more_body"):
                self._body.put_nowait(None)

    def leave(self) -> None:
        """Be gone."""
        self._to_app.put_nowait({"type": "http.disconnect"})

    async def began(self) -> None:
        """Wait until there is an answer."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._began.wait()

    async def piece(self) -> bytes | None:
        """Wait for the next piece of the body; None at its end."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._body.get()


async def ask(app: Any, method: str, path: str, *pieces: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Send a request and read its whole answer."""
    request = Request(http_scope(method, path, headers), *(pieces or (b"",)))
    async with asyncio.timeout(LIMIT_SECONDS):
        await request.run(app)
    body = b""
    while (piece := await request.piece()) is not None:
        body += piece
    return Answer(request.status, request.headers, body)


@final
class StreamClient:
    """One connection over HTTP, in JSON.

    Attributes:
        request: that is answered by the stream.
        session: the secret.
        node: that holds the stream.
    """

    def __init__(self, app: Any, request: Request) -> None:
        self.app = app
        self.request = request
        self.id = self.session = self.node = ""
        self._lines: list[dict[str, Any]] = []
        self._text = b""
        self._next_id = 2

    async def line(self) -> dict[str, Any]:
        """Wait for the next message of the server."""
        while not self._lines:
            piece = await self.request.piece()
            if piece is None:
                raise EOFError("the stream has ended")
            *lines, self._text = (self._text + piece).split(b"\n")
            told = (line.removeprefix(b"data: ").strip() for line in lines)
            self._lines += [json.loads(line) for line in told if line]
        return self._lines.pop(0)

    async def push(self) -> dict[str, Any]:
        """Wait for the next push; what else comes before it is passed over."""
        while "push" not in (line := await self.line()):
            pass
        push: dict[str, Any] = line["push"]
        return push

    async def end(self) -> tuple[int, str]:
        """Wait until the stream ends; give the code and reason it ended with."""
        code, reason = 1006, ""
        try:
            while True:
                disconnect = (await self.line()).get("push", {}).get("disconnect")
                if disconnect:
                    code, reason = disconnect["code"], disconnect["reason"]
        except EOFError:
            return code, reason

    async def post(self, frame: str, app: Any = None, **headers: str) -> int:
        """Send a frame beside the stream; give the status of the answer."""
        body = json.dumps({"session": self.session, "node": self.node, "data": frame}).encode()
        return (await ask(app or self.app, "POST", EMULATION, body, headers=headers)).status

    async def command(self, kind: str, app: Any = None, **request: Any) -> dict[str, Any]:
        """Send a command beside the stream; give what it is answered with."""
        identifier = self._next_id
        self._next_id += 1
        assert await self.post(json.dumps({"id": identifier, kind: request}), app) == 204
        passed = []
        while (line := await self.line()).get("id") != identifier:
            passed.append(line)
        self._lines[:0] = passed
        return line

    async def subscribe(self, channel: str, app: Any = None, **wish: Any) -> dict[str, Any]:
        """Enter a channel; give the result."""
        reply = await self.command("subscribe", app, channel=channel, **wish)
        result: dict[str, Any] = reply["subscribe"]
        return result


@asynccontextmanager
async def requested(app: Any, request: Request) -> AsyncIterator[Request]:
    """Have an app answer while the block runs; then the client leaves, and the call has to end."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(request.run(app))
        try:
            await request.began()
            yield request
        finally:
            request.reads.set()
            request.leave()
            await asyncio.wait([running], timeout=LIMIT_SECONDS)
            assert running.done(), "the response did not end"


@asynccontextmanager
async def streaming(
    app: Any, path: str = STREAM, headers: Mapping[str, str] | None = None, **connect: Any
) -> AsyncIterator[StreamClient]:
    """Open a stream and connect on it."""
    command = json.dumps({"id": 1, "connect": connect}).encode()
    async with requested(app, Request(http_scope("POST", path, headers), command)) as request:
        client = StreamClient(app, request)
        assert request.status == 200, (request.status, await request.piece())
        reply = await client.line()
        result = reply["connect"]
        client.id, client.session, client.node = result["client"], result["session"], result["node"]
        yield client
