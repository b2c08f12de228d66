"""A server whose one route detaches its sockets, and what a test does with it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from openline.framing import Encoding
from openline.wires.fast import DETACH, Detach
from tests.wires.certificates import make_certificate
from tests.wires.client import (
    Client,
)
from tests.wires.receivers import TEXT_FRAMES, Recorder
from tests.wires.servers import Served, uvicorn_server

#: Short enough to be waited for, long enough for a peer that answers.
CLOSE_SECONDS = 0.2
#: More than the kernel takes off a server's hands for a client that does not read.
TOO_MUCH = b"x" * (16 << 20)
BAD_UTF8 = b"\xc3("


class Line:
    """A server whose one route detaches its sockets, and the receiver they go to."""

    def __init__(self, served: Served, recorder: Recorder, *, close_seconds: float = CLOSE_SECONDS) -> None:
        self.served = served
        self.recorder = recorder
        self._close_seconds = close_seconds

    @contextmanager
    def client(self, **options: Any) -> Iterator[Client]:
        """Connect, and see the receiver opened."""
        with Client(self.served.port, **options) as client:
            assert client.status == 101
            assert self.recorder.next() == ("opened",)
            yield client

    def write(self, *chunks: bytes) -> None:
        """Write as an outbox does: what follows the first chunk is only lent."""

        def write() -> None:
            first, *lent = chunks
            self.recorder.wire.write(first, lent)
            lent.clear()

        self.served.call(write)

    def close(self, code: int, reason: str, seconds: float | None = None) -> None:
        """Close as a session does."""
        deadline = self._close_seconds if seconds is None else seconds
        self.served.call(lambda: self.recorder.wire.close(code, reason, deadline_seconds=deadline))

    def connections(self) -> list[Any]:
        """Give what uvicorn counts as connections."""
        return self.served.call(lambda: list(self.served.server.server_state.connections))


@contextmanager
def detaching(
    encoding: Encoding = TEXT_FRAMES,
    *,
    loop: str = "asyncio",
    subprotocol: str | None = None,
    compression: bool = False,
    **options: Any,
) -> Iterator[Line]:
    """Serve one route that detaches."""
    recorder = Recorder()

    async def route(websocket: WebSocket) -> None:
        detach: Detach = websocket.scope["extensions"][DETACH]
        detach(recorder.open, encoding, subprotocol, 1000, CLOSE_SECONDS, compression=compression)

    with uvicorn_server(Starlette(routes=[WebSocketRoute("/", route)]), loop=loop, **options) as served:
        yield Line(served, recorder)


@contextmanager
def detaching_over_tls(loop: str, folder: Path) -> Iterator[tuple[Line, ssl.SSLContext]]:
    """Serve one route that detaches, over TLS."""
    certificate, key, context = make_certificate(folder)
    with detaching(loop=loop, ssl_certfile=certificate, ssl_keyfile=key) as line:
        yield line, context


def freeze_over_tls(line: Line) -> None:
    """Fill every buffer up to the client. TLS hands the first write on to TCP, uncounted; the second it keeps."""
    line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
    line.write(TEXT_FRAMES.wrap([TOO_MUCH]))
    assert line.recorder.next() == ("paused",)
