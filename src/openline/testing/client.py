"""A client in the test's own process, that speaks the real protocol through the app's real route.

It is an ASGI server's side of one WebSocket: the app's middleware, the router's dependencies, the plain wire and the
whole engine run as they do in production. Nothing waits longer than a limit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, final

from openline.errors import OpenlineError
from openline.testing.beside import beside

#: Seconds that anything here waits at most.
LIMIT_SECONDS: Final = 5.0

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}


class Refused(OpenlineError):
    """The server answered a command with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error['code']} {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.temporary: bool = error.get("temporary", False)


class Closed(OpenlineError):
    """The connection has ended."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class HandshakeRefused(OpenlineError):
    """The connection was not accepted."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


@asynccontextmanager
async def started(app: Any, *, limit_seconds: float = LIMIT_SECONDS) -> AsyncIterator[dict[str, Any]]:
    """Run an app's lifespan around a block; give the lifespan's state.

    Raises:
        RuntimeError: the app failed to start or to stop.
    """
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": _ASGI, "state": state}
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def step(event: str) -> None:
        to_app.put_nowait({"type": f"lifespan.{event}"})
        async with asyncio.timeout(limit_seconds):
            answer = await from_app.get()
        if answer["type"] != f"lifespan.{event}.complete":
            raise RuntimeError(f"lifespan {event} failed: {answer.get('message', answer)}")

    async with beside(app(scope, to_app.get, from_app.put)):
        await step("startup")
        try:
            yield state
        finally:
            await step("shutdown")


@final
class Client:
    """One connection. Make it with `connect`.

    Pings are answered as they come. What a command is answered with is given to who sent it, everything else waits in
    order for `push`.

    Attributes:
        id: the session's id, once connected.
        pings: how many pings have come.
        answers_pings: set it to False for a client that has frozen.
    """

    def __init__(self, *, limit_seconds: float) -> None:
        self.id = ""
        self.pings = 0
        self.answers_pings = True
        self.subprotocol: str | None = None
        self._limit_seconds = limit_seconds
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._pushes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.Event()
        self._reading.set()
        self._next_id = 1
        self._denied = (0, "")

    # --- the server's side of ASGI --------------------------------------------------------------------------------

    async def _run(self, app: Any, scope: dict[str, Any]) -> None:
        self._to_app.put_nowait({"type": "websocket.connect"})
        try:
            await app(scope, self._to_app.get, self._take)
        finally:
            self._end(1006, "")

    async def _take(self, message: Mapping[str, Any]) -> None:
        """Take what the app sends; wait while the test does not read."""
        await self._reading.wait()
        kind = message["type"]
        if kind == "websocket.accept":
            self.subprotocol = message.get("subprotocol")
            self._opened.set_result(None)
        elif kind == "websocket.send":
            text = message.get("text")
            for line in (text if text is not None else message["bytes"].decode()).split("\n"):
                self._sort(json.loads(line))
        elif kind == "websocket.http.response.start":
            self._denied = (message["status"], "")
        elif kind == "websocket.http.response.body":
            status, body = self._denied
            self._denied = (status, body + message.get("body", b"").decode())
            if not message.get("more_body"):
                self._opened.set_exception(HandshakeRefused(*self._denied))
        elif not self._opened.done():
            self._opened.set_exception(HandshakeRefused(403, message.get("reason") or ""))
        else:
            self._end(message.get("code", 1000), message.get("reason") or "")
            self._to_app.put_nowait({"type": "websocket.disconnect", "code": message.get("code", 1000)})

    def _sort(self, reply: dict[str, Any]) -> None:
        if not reply:
            self.pings += 1
            if self.answers_pings:
                self.send_frame("{}")
            self._pushes.put_nowait({"ping": {}})
        elif "id" in reply:
            self._replies[reply.pop("id")].set_result(reply)
        else:
            self._pushes.put_nowait(reply["push"])

    def _end(self, code: int, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(HandshakeRefused(500, "the app returned without an answer"))
        if self._closed.done():
            return
        closed = Closed(code, reason)
        self._closed.set_result(closed)
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(closed)
                reply.exception()  # looked at: a test that has stopped waiting is no error

    # --- what a client does ---------------------------------------------------------------------------------------

    def send_frame(self, frame: str | bytes) -> None:
        """Send one message as it is."""
        key = "text" if isinstance(frame, str) else "bytes"
        self._to_app.put_nowait({"type": "websocket.receive", key: frame})

    def batch(self, *requests: Mapping[str, Any]) -> list[asyncio.Future[dict[str, Any]]]:
        """Send several commands in one frame; give the answers to come, as `answer` takes them."""
        lines, replies = [], []
        for request in requests:
            reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._replies[self._next_id] = reply
            lines.append(json.dumps({"id": self._next_id, **request}))
            replies.append(reply)
            self._next_id += 1
        self.send_frame("\n".join(lines))
        return replies

    async def answer(self, reply: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """Wait for the result of a command.

        Raises:
            Refused: it was answered with an error.
            Closed: the connection ended instead.
            TimeoutError: neither came.
        """
        async with asyncio.timeout(self._limit_seconds):
            answer = await asyncio.shield(reply)
        if "error" in answer:
            raise Refused(answer["error"])
        result: dict[str, Any] = next(iter(answer.values()))
        return result

    async def command(self, method: str, **request: Any) -> dict[str, Any]:
        """Send one command and wait for its result; raises as `answer`."""
        return await self.answer(self.batch({method: request})[0])

    async def connect(self, **request: Any) -> dict[str, Any]:
        """Send the connect command."""
        result = await self.command("connect", **request)
        self.id = result["client"]
        return result

    async def subscribe(self, channel: str, **request: Any) -> dict[str, Any]:
        """Subscribe to a channel."""
        return await self.command("subscribe", channel=channel, **request)

    async def unsubscribe(self, channel: str) -> dict[str, Any]:
        """Leave a channel."""
        return await self.command("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: Any) -> dict[str, Any]:
        """Publish to a channel."""
        return await self.command("publish", channel=channel, data=data)

    async def rpc(self, method: str, data: Any = None) -> Any:
        """Call a remote procedure; give its data."""
        return (await self.command("rpc", method=method, data=data)).get("data")

    def send(self, data: Any) -> None:
        """Send a message outside every channel; it is not answered."""
        self.send_frame(json.dumps({"send": {"data": data}}))

    async def push(self) -> dict[str, Any]:
        """Wait for the next push: a dict with its kind as a key; a ping is ``{"ping": {}}``.

        Raises:
            TimeoutError: none came within the limit.
        """
        async with asyncio.timeout(self._limit_seconds):
            return await self._pushes.get()

    async def publication(self, channel: str | None = None) -> dict[str, Any]:
        """Wait for the next publication, of one channel or any; other pushes before it are dropped."""
        while True:
            push = await self.push()
            if "pub" in push and channel in (None, push["channel"]):
                publication: dict[str, Any] = push["pub"]
                return publication

    def waiting(self) -> list[dict[str, Any]]:
        """Give the pushes that have come and were not asked for yet, without waiting."""
        return [self._pushes.get_nowait() for _ in range(self._pushes.qsize())]

    def cut(self) -> None:
        """Lose the connection without a word, as when a network goes away."""
        self._end(1006, "")
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._reading.set()

    def freeze(self) -> None:
        """Stop reading: what the server sends piles up."""
        self._reading.clear()

    def thaw(self) -> None:
        """Read again."""
        self._reading.set()

    async def closed(self) -> Closed:
        """Wait for the end of the connection; give its code and reason."""
        async with asyncio.timeout(self._limit_seconds):
            return await asyncio.shield(self._closed)

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self._closed.done()


@asynccontextmanager
async def line(
    app: Any,
    *,
    path: str = "/connection/websocket",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
    limit_seconds: float = LIMIT_SECONDS,
) -> AsyncIterator[Client]:
    """Open a line to a started app, without the connect command; it is cut when the block ends.

    Raises:
        HandshakeRefused: the app did not accept it.
    """
    pairs = {"host": "test", **(headers or {})}
    scope = {
        "type": "websocket",
        "asgi": _ASGI,
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "subprotocols": list(subprotocols),
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }
    client = Client(limit_seconds=limit_seconds)
    async with beside(client._run(app, scope)):
        try:
            async with asyncio.timeout(limit_seconds):
                await client._opened
            yield client
        finally:
            client.cut()


@asynccontextmanager
async def connect(app: Any, **request: Any) -> AsyncIterator[Client]:
    """Open a line to a started app and connect on it.

    Args:
        request: fields of the connect command (``token``, ``data``, ``name``, ``subs``), and the options of `line`.
    Raises:
        HandshakeRefused: the app did not accept the line.
        Refused: connect was answered with an error.
        Closed: connect ended the connection.
    """
    options = {key: request.pop(key) for key in ("path", "query", "headers", "limit_seconds") if key in request}
    async with line(app, **options) as client:
        await client.connect(**request)
        yield client
