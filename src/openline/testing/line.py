"""An app that runs in the test's own process, and lines to it: see `Client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from openline.testing.beside import beside
from openline.testing.client import LIMIT_SECONDS, Client

_ASGI: Final = {"version": "3.0", "spec_version": "2.4"}

#: What the lifespans of started apps left for their connections, by the app's identity.
_states: Final[dict[int, dict[str, Any]]] = {}


@asynccontextmanager
async def started(app: Any, *, limit_seconds: float = LIMIT_SECONDS) -> AsyncIterator[dict[str, Any]]:
    """Run an app's lifespan around a block; give the lifespan's state, which every line to the app sees too.

    Raises:
        RuntimeError: the app failed to start or to stop.
    """
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": _ASGI, "state": state}
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run() -> None:
        try:
            await app(scope, to_app.get, from_app.put)
        except Exception as error:  # noqa: BLE001  # whoever waits for the next step raises it
            from_app.put_nowait({"type": "failed", "message": repr(error), "error": error})

    async def step(event: str) -> None:
        to_app.put_nowait({"type": f"lifespan.{event}"})
        async with asyncio.timeout(limit_seconds):
            answer = await from_app.get()
        if answer["type"] != f"lifespan.{event}.complete":
            message = f"lifespan {event} failed: {answer.get('message', answer)}"
            raise RuntimeError(message) from answer.get("error")

    async with beside(run()):
        await step("startup")
        _states[id(app)] = state
        try:
            yield state
        finally:
            del _states[id(app)]
            await step("shutdown")


@asynccontextmanager
async def line(
    app: Any,
    *,
    path: str = "/connection/websocket",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    protobuf: bool = False,
    limit_seconds: float = LIMIT_SECONDS,
) -> AsyncIterator[Client]:
    """Open a line to a started app, without the connect command; it is cut when the block ends.

    Args:
        app: any ASGI app.
        protobuf: speak Protobuf, asked for by its subprotocol.
        limit_seconds: of every wait.
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
        "subprotocols": [*subprotocols, "centrifuge-protobuf"] if protobuf else list(subprotocols),
        "state": dict(_states.get(id(app), {})),
        "extensions": {"websocket.http.response": {}},
    }
    client = Client(protobuf=protobuf, limit_seconds=limit_seconds)
    async with beside(client._run(app, scope)):
        try:
            async with asyncio.timeout(limit_seconds):
                await client._opened
            yield client
        finally:
            client.cut()


@asynccontextmanager
async def connect(
    app: Any,
    *,
    path: str = "/connection/websocket",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    protobuf: bool = False,
    limit_seconds: float = LIMIT_SECONDS,
    **request: Any,
) -> AsyncIterator[Client]:
    """Open a line to a started app and connect on it.

    Args:
        app: any ASGI app.
        protobuf: speak Protobuf.
        limit_seconds: of every wait.
        request: fields of the connect command: ``token``, ``data``, ``name``, ``version``, ``subs``.
    Raises:
        HandshakeRefused: the app did not accept the line.
        Refused: connect was answered with an error.
        Closed: connect ended the connection.
    """
    opened = line(app, path=path, query=query, headers=headers, protobuf=protobuf, limit_seconds=limit_seconds)
    async with opened as client:
        await client.connect(**request)
        yield client
