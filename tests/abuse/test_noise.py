"""Whatever bytes clients send, at the decoders, at the handshake and at an open line: nothing fails, nothing is left.

What hypothesis found is told with the failure, and the blob that has it tried again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal, get_args

import pytest
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from hypothesis import given, settings
from hypothesis import strategies as st

from openline import Accept, History, Hub, Limits, PermissionDenied
from openline.protocol.codec import Codec, DecodeError
from openline.protocol.json import JSON
from openline.protocol.protobuf import PROTOBUF
from openline.testing.binary import encode_commands
from tests.abuse import noise
from tests.abuse.conftest import Errors
from tests.abuse.guest import PATH, Guest
from tests.abuse.house import WIRES, House, serving
from tests.wires.client import BINARY, CLOSE, TEXT, Client, close_payload, frame, request
from tests.wires.servers import QuickProtocol

pytestmark = pytest.mark.timeout(120)

#: Long enough for an answer, short enough for the many that get none.
ANSWER_SECONDS = 0.1
#: Past it a server that should have ended a connection has not.
END_SECONDS = 10
COMPRESSING: dict[str, str | None] = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}

#: How a client ends: with a close, of TCP in one direction or both, or as if it had been cut off.
End = Literal["close frame", "half", "whole", "reset"]
ends: st.SearchStrategy[End] = st.sampled_from(get_args(End))
cuts = st.lists(st.integers(1, 300), max_size=4)


def busy_hub() -> Hub:
    """Give a hub with channels and handlers of every kind."""
    limits = Limits(channels=4, message_bytes=4_096, outbox_bytes=20_000, waiting_commands=3, close_seconds=0.2)
    hub = Hub(limits=limits, compression=True)
    hub.channel("stream:{name}", history=History(size=3), presence=True, join_leave=True, publish=True)
    hub.channel("cache:{name}", history=History(size=3), recovery="cache", publish=True)
    hub.channel("asked:{name}", bytes, history=History(size=3), recovery="asked", publish=True)
    hub.channel("plain:{name}", presence=True, publish=True, slow="drop_oldest")
    hub.channel("hall", join_leave=True, publish=True, slow="latest_only")
    guarded = hub.channel("guarded:{name}", dict[str, int], presence=True, join_leave=True)
    count = itertools.count()

    @hub.on_connect
    async def let_in(data: Any = None) -> Accept:
        await asyncio.sleep(0)
        return Accept(user=str(data)[:20], info=data, channels=["hall"])

    @guarded.on_subscribe
    async def decide() -> None:
        await asyncio.sleep(0)
        if next(count) % 3 == 0:
            raise PermissionDenied

    @guarded.on_publish
    def said(message: dict[str, int]) -> dict[str, int]:
        return message

    @hub.rpc("slow")
    async def echo(message: Any = None) -> Any:
        await asyncio.sleep(0.001)
        return message

    @hub.on_message
    async def take(message: Any) -> None:
        """Take anything."""

    return hub


def app_with_echo() -> FastAPI:
    """Give an app with an ordinary socket."""
    app = FastAPI()

    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            while (event := await websocket.receive())["type"] == "websocket.receive":
                await websocket.send_bytes(event.get("bytes") or b"")

    return app


class Target:
    """A server that is talked to, and one client who means it.

    Args:
        log: of what no error is tolerated.
    """

    def __init__(self, house: House, honest: Guest, log: logging.Logger) -> None:
        self.port = house.port
        self._house = house
        self._honest = honest
        self._count = 0
        self._log = log
        self._errors = Errors()
        log.addHandler(self._errors)

    def close(self) -> None:
        """Let go of the log."""
        self._log.removeHandler(self._errors)

    def is_unharmed(self) -> None:
        """See that the client who means it is served, that nobody else is left, and that nothing failed."""
        self._count += 1
        assert self._honest.rpc("slow", self._count) == self._count
        self._house.wait_until(lambda: set(self._house.hub.sessions) == {self._honest.id})
        found, self._errors.found = self._errors.found, []
        assert found == []


def targets(*, plain: bool = False, **options: Any) -> Iterator[Target]:
    """Serve the hub, and have a client connected."""
    options["ws"] = WIRES["plain"] if plain else QuickProtocol
    with serving(busy_hub(), app_with_echo(), **options) as house, Guest(house.port) as honest:
        # Other servers log what their clients do wrong.
        target = Target(house, honest, logging.getLogger("openline" if plain else None))
        yield target
        target.close()


@pytest.fixture(scope="module", params=[("fast", "uvloop"), ("fast", "asyncio"), ("plain", "uvloop")], ids="-".join)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server, for all examples of a test."""
    wire, loop = request.param
    yield from targets(plain=wire == "plain", loop=loop)


@pytest.fixture(scope="module", params=["h11", "httptools"])
def door(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A server with one of the parsers of HTTP."""
    yield from targets(http=request.param)


def end(connection: socket.socket, way: End) -> None:
    """End a connection; where the client only says that it will say no more, the server has to end it."""
    with connection:
        if way == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way == "close frame":
            with suppress(OSError):  # the server may have had enough by now
                connection.sendall(frame(CLOSE, close_payload(1000)))
                connection.settimeout(ANSWER_SECONDS)
                connection.recv(65_536)
        elif way == "half":
            try:
                connection.settimeout(END_SECONDS)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):
                    pass
            except TimeoutError:
                raise AssertionError("the server has not ended the connection") from None
            except OSError:
                pass  # it was the first to end it


def send_in_pieces(connection: socket.socket, data: bytes, sizes: list[int]) -> None:
    """Send bytes cut into pieces of these sizes, and the rest at once."""
    with suppress(OSError):
        for size in sizes:
            connection.sendall(data[:size])
            data = data[size:]
        connection.sendall(data)


# --- the decoders -----------------------------------------------------------------------------------------------------


def decode(codec: Codec, data: bytes) -> None:
    """Read a frame, or have it refused."""
    with suppress(DecodeError):
        for command in codec.decode(data):
            command.request()


@given(noise.texts)
@settings(max_examples=300, print_blob=True)
def test_whatever_stands_in_a_field_is_a_command_or_refused(text: bytes) -> None:
    """JSON with any value in any field, with fields twice, with numbers of any size: `DecodeError`, nothing else."""
    decode(JSON, text)


@given(noise.protobufs, st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=2)), max_size=3))
@settings(max_examples=300, print_blob=True)
def test_whatever_stands_in_a_message_is_a_command_or_refused(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    """The same of Protobuf with bytes changed here and there."""
    changed = bytearray(data)
    for index, piece in changes:
        changed[index : index + len(piece)] = piece
    decode(PROTOBUF, bytes(changed))


# --- a line -----------------------------------------------------------------------------------------------------------


@given(st.data(), cuts, ends, st.booleans())
@settings(max_examples=80, print_blob=True)
def test_whatever_is_said_on_a_line_harms_nobody(
    target: Target, data: st.DataObject, sizes: list[int], way: End, connects: bool
) -> None:
    """Frames right and wrong, in pieces, compressed or not, in either encoding; broken off at any place."""
    protobuf = data.draw(st.booleans(), label="protobuf")
    path = data.draw(st.sampled_from([PATH, PATH, PATH, "/echo"]), label="path")
    said = b"".join(data.draw(st.lists(noise.frames(protobuf=protobuf), max_size=8), label="said"))
    if connects:
        command = {"id": 1, "connect": {"data": {"a": "guest"}}}
        opcode, text = (BINARY, encode_commands([command])) if protobuf else (TEXT, json.dumps(command).encode())
        said = frame(opcode, text) + said
    headers = COMPRESSING if data.draw(st.booleans(), label="compressing") else None
    client = Client(target.port, f"{path}?format=protobuf" if protobuf else path, headers)
    send_in_pieces(client.socket, said, sizes)
    end(client.socket, way)
    target.is_unharmed()


# --- a handshake ------------------------------------------------------------------------------------------------------


@given(noise.handshakes(), cuts, ends)
@settings(max_examples=80, print_blob=True)
def test_whatever_is_said_at_the_door_harms_nobody(door: Target, data: bytes, sizes: list[int], way: End) -> None:
    """Handshakes right and wrong, in pieces, broken off at any place."""
    connection = socket.create_connection(("127.0.0.1", door.port))
    connection.settimeout(ANSWER_SECONDS)
    send_in_pieces(connection, data, sizes)
    with suppress(OSError):
        connection.recv(65_536)
    end(connection, way)
    door.is_unharmed()


@given(ends, st.integers(0, 400))
@settings(max_examples=40, print_blob=True)
def test_wherever_a_client_breaks_off_it_harms_nobody(door: Target, way: End, sent: int) -> None:
    """Anywhere in its handshake, before or after the answer, in its connect."""
    data = request(PATH) + frame(
        TEXT, b'{"id":1,"connect":{"data":{"a":"guest"}}}\n{"id":2,"subscribe":{"channel":"plain:a"}}'
    )
    connection = socket.create_connection(("127.0.0.1", door.port))
    connection.settimeout(ANSWER_SECONDS)
    send_in_pieces(connection, data[:sent], [len(request(PATH))])
    end(connection, way)
    door.is_unharmed()
