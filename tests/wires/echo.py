"""Servers that send back what they get: an ordinary route, and lines as hub sessions have them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from openline.framing import WEBSOCKET, Encoding
from openline.outbox import Receiver, Wire
from openline.protocol.codec import Codec
from openline.protocol.json import JSON
from openline.protocol.protobuf import PROTOBUF
from openline.wires.fast import DETACH, Detach
from tests.wires.client import BINARY, TEXT, Client
from tests.wires.servers import Served, uvicorn_server


@final
class Echo:
    """A receiver that sends every message back: as text or as binary, as its codec has it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def receive(self, frame: bytes) -> None:
        """Send it back."""
        self._wire.write(self._wire.encoding.wrap([frame]))

    def pause(self) -> None:
        """Who sends has to read."""

    def resume(self) -> None:
        """See `pause`."""

    def ponged(self) -> None:
        """Nobody pinged."""

    def too_large(self) -> None:
        """It is closed for it."""

    def closed(self, code: int, reason: str) -> None:
        """Nothing is left to do."""

    def shutdown(self) -> None:
        """End with the server."""
        self._wire.close(1001, "", deadline_seconds=1)


async def route(websocket: WebSocket) -> None:
    """Send back what comes, as any app would."""
    await websocket.accept()
    try:
        while (message := await websocket.receive())["type"] == "websocket.receive":
            if (text := message.get("text")) is not None:
                await websocket.send_text(text)
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass  # the client broke the protocol before it had its answer


def line(codec: Codec, message_bytes: int, *, compression: bool) -> WebSocketRoute:
    """Make a route that hands its sockets over, as the one of a hub does."""
    encoding = Encoding(codec, WEBSOCKET)

    async def endpoint(websocket: WebSocket) -> None:
        detach: Detach = websocket.scope["extensions"][DETACH]
        open_echo: type[Receiver] = Echo
        detach(open_echo, encoding, None, message_bytes, compression=compression)

    return WebSocketRoute(f"/{codec.name}/{'compressed' if compression else 'plain'}", endpoint)


def app(message_bytes: int) -> Starlette:
    """Make the app: `/route`, and `/CODEC/plain` and `/CODEC/compressed`.

    Args:
        message_bytes: the largest message that a line takes; for the route the server's `ws_max_size` says it.
    """
    lines = [
        line(codec, message_bytes, compression=compression)
        for codec in (JSON, PROTOBUF)
        for compression in (False, True)
    ]
    return Starlette(routes=[WebSocketRoute("/route", route), *lines])


class EchoServer:
    """One of the ways to have a message sent back, whose clients a test does not tell apart."""

    def __init__(self, served: Served, *, text: str, binary: str) -> None:
        self.served = served
        self._paths = {TEXT: text, BINARY: binary}

    @contextmanager
    def client(self, kind: int = TEXT, offer: str | None = None) -> Iterator[Client]:
        """Connect to where messages of this kind come back as what they were.

        Args:
            kind: TEXT or BINARY.
            offer: what is said of compression.
        """
        with Client(self.served.port, self._paths[kind], {"Sec-WebSocket-Extensions": offer}) as client:
            assert client.status == 101
            yield client

    def knows(self, client: Client) -> bool:
        """Tell whether uvicorn counts a client's connection."""
        address = client.socket.getsockname()

        def look() -> bool:
            connections: set[Any] = self.served.server.server_state.connections
            return any(one._transport.get_extra_info("peername") == address for one in connections)

        return self.served.call(look)


@contextmanager
def echo_servers(loop: str, message_bytes: int) -> Iterator[dict[str, EchoServer]]:
    """Run a server, and give the ways into it by name."""
    with uvicorn_server(app(message_bytes), loop=loop, ws_max_size=message_bytes) as served:
        yield {
            "route": EchoServer(served, text="/route", binary="/route"),
            "line": EchoServer(served, text="/json/plain", binary="/protobuf/plain"),
            "compressed line": EchoServer(served, text="/json/compressed", binary="/protobuf/compressed"),
        }
