"""The wires of lines without a protocol: text and binary both ways, and a listener that is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from openline.bare import BARE, bare
from openline.outbox import Receiver, Wire
from openline.wires.bare import BarePlainWire, BareWire, GoneWire
from openline.wires.fast import DETACH
from tests.wires.client import BINARY, CLOSE, TEXT, Client, close_payload, frame
from tests.wires.lines import BAD_UTF8
from tests.wires.receivers import WAIT_SECONDS, Recorder
from tests.wires.servers import Served, uvicorn_server


class Listening(Recorder):
    """A recorder that hears which messages are text."""

    def take(self, message: str | bytes) -> None:
        """Record a message."""
        self._events.put(("took", message))

    def closing(self) -> None:
        """Record it."""
        self._events.put(("closing",))


class Bare:
    """A server whose one route holds such a wire."""

    def __init__(self, served: Served, recorder: Listening) -> None:
        self.served = served
        self.recorder = recorder

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Connect, and see the listener opened."""
        with Client(self.served.port) as client:
            assert self.recorder.next() == ("opened",)
            yield client

    def call(self, act: Any) -> None:
        """Act on the wire, on the server's loop."""
        self.served.call(lambda: act(self.recorder.wire))


@pytest.fixture(params=["fast", "plain"])
def line(request: pytest.FixtureRequest, loop: str) -> Iterator[Bare]:
    """Each of the two, on either loop."""
    recorder = Listening()

    def opened(wire: Wire) -> Receiver:
        return recorder.open(wire)

    async def route(websocket: WebSocket) -> None:
        if request.param == "fast":
            websocket.scope["extensions"][DETACH](opened, BARE, None, 1000, 0.2, kind=BareWire)
        else:
            await websocket.accept()
            await BarePlainWire(websocket, BARE, 1000, 0.2).run(opened)

    with uvicorn_server(Starlette(routes=[WebSocketRoute("/", route)]), loop=loop) as served:
        yield Bare(served, recorder)


def test_text_and_binary_come_as_what_they_are(line: Bare) -> None:
    """In their order, whole or in fragments."""
    with line.client() as client:
        client.send(frame(TEXT, "é".encode()) + frame(BINARY, BAD_UTF8))
        client.send(frame(TEXT, b"in ", fin=False) + frame(0, b"fragments"))
        took = [line.recorder.next() for _ in range(3)]
    assert took == [("took", "é"), ("took", BAD_UTF8), ("took", "in fragments")]


def test_each_message_goes_out_in_a_frame_of_its_own(line: Bare) -> None:
    """However many are written at once."""
    with line.client() as client:
        line.call(lambda wire: wire.write(bare("one") + bare(b"two"), [bare("x" * 300)]))
        frames = [client.read_frame() for _ in range(3)]
    assert [(each.opcode, each.payload) for each in frames] == [(TEXT, b"one"), (BINARY, b"two"), (TEXT, b"x" * 300)]


def test_closing_is_told_at_once_and_the_end_when_it_is_there(line: Bare) -> None:
    """The listener need not wait for the client's answer."""
    with line.client() as client:
        line.call(lambda wire: wire.close(4000, "go", deadline_seconds=WAIT_SECONDS))
        assert line.recorder.next() == ("closing",)
        assert client.read_frame().payload == close_payload(4000, "go")
        client.send(frame(TEXT, b"too late") + frame(CLOSE, close_payload(4000)))
        assert line.recorder.next() == ("closed", 4000, "go")


def test_a_client_that_leaves(line: Bare) -> None:
    """What it said before is there first."""
    with line.client() as client:
        client.send(frame(TEXT, b"bye") + frame(CLOSE, close_payload(1000)))
        assert line.recorder.next() == ("took", "bye")
        end = line.recorder.next()
        assert end[:2] == ("closed", 1000)


def test_text_that_is_none(line: Bare) -> None:
    """It is closed with 1007, as RFC 6455 has it."""
    with line.client() as client:
        client.send(frame(TEXT, BAD_UTF8))
        assert client.read_frame().payload[:2] == close_payload(1007)


def test_too_large_a_message(line: Bare) -> None:
    """It is closed with 1009."""
    with line.client() as client:
        client.send(frame(TEXT, b"x" * 1001))
        assert client.read_frame().payload[:2] == close_payload(1009)
    while (event := line.recorder.next())[0] != "closed":
        assert event == ("closing",)
    assert line.recorder.refused == 1


def test_the_wire_of_a_client_that_is_gone() -> None:
    """Nothing comes and nothing goes."""
    wire = GoneWire()
    wire.write(b"x")
    wire.close(1000, "", deadline_seconds=1)
    wire.pause_reading()
    wire.resume_reading()
    assert (wire.unsent_bytes(), wire.ping(), wire.direct) == (0, False, None)
