"""A WebSocket client without any protocol, in the test's own process: the server's side of one ASGI WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from openline.testing import HandshakeRefused
from openline.testing.beside import beside

#: Seconds that anything here waits at most.
LIMIT_SECONDS = 5.0


class BareClient:
    """One connection. Make it with `bare_line`.

    Attributes:
        reading: cleared, the client has stopped reading: the server waits with what it sends.
        error: what the app raised.
    """

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.error: BaseException | None = None
        self.subprotocol: str | None = None
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._returned = asyncio.Event()
        self._status = 0

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        """Be the server of this connection."""
        self._to_app.put_nowait({"type": "websocket.connect"})
        try:
            await app(scope, self._to_app.get, self._take)
        except Exception as error:  # noqa: BLE001  # for the test to look at
            self.error = error
            if not self._opened.done():
                self._opened.set_exception(error)
        finally:
            self._returned.set()

    async def _take(self, message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            self.subprotocol = message.get("subprotocol")
            self._opened.set_result(None)
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
        elif kind == "websocket.http.response.body":
            self._opened.set_exception(HandshakeRefused(self._status, message["body"].decode()))
        else:
            await self.reading.wait()
            if kind == "websocket.send":
                text = message.get("text")
                self._messages.put_nowait(message["bytes"] if text is None else text)
            elif not self._closed.done():
                self._closed.set_result((message.get("code", 1000), message.get("reason") or ""))
                self._to_app.put_nowait({"type": "websocket.disconnect", "code": message.get("code", 1000)})

    def send(self, message: str | bytes) -> None:
        """Send one message."""
        kind = "text" if isinstance(message, str) else "bytes"
        self._to_app.put_nowait({"type": "websocket.receive", kind: message})

    async def next(self) -> str | bytes:
        """Wait for the next message."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._messages.get()

    async def each(self, count: int) -> list[str | bytes]:
        """Wait for this many messages."""
        return [await self.next() for _ in range(count)]

    @property
    def waiting(self) -> int:
        """How many messages have come and were not asked for."""
        return self._messages.qsize()

    def leave(self, code: int = 1000) -> None:
        """Close, as a page does that is left."""
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code})

    async def closed(self) -> tuple[int, str]:
        """Wait for the server to close; give code and reason."""
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self._closed

    async def returned(self) -> None:
        """Wait for the route to return."""
        async with asyncio.timeout(LIMIT_SECONDS):
            await self._returned.wait()

    @property
    def read_so_far(self) -> bool:
        """Whether the app has asked for everything that was sent."""
        return self._to_app.empty()


@asynccontextmanager
async def bare_line(
    app: Any,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    denial: bool = True,
    accepted: bool = True,
) -> AsyncIterator[BareClient]:
    """Open a WebSocket to a started app; it is left when the block ends, and its route waited for.

    Args:
        denial: the server can refuse a handshake with an HTTP answer.
        accepted: wait until the handshake is answered.
    Raises:
        HandshakeRefused: the app did not accept it.
    """
    path, _, query = path.partition("?")
    pairs = {"host": "test", **(headers or {})}
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs.items()],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}} if denial else {},
    }
    client = BareClient()
    async with beside(client.run(app, scope)):
        async with asyncio.timeout(LIMIT_SECONDS):
            if accepted:
                await client._opened
        try:
            yield client
        finally:
            client.reading.set()
            client.leave()
            await client.returned()
