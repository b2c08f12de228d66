"""The stream wire: one way down, on any ASGI server. Real servers, real sockets."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from openline.framing import EVENTS, RECORDS, encoding
from openline.protocol.json import JSON
from openline.protocol.protobuf import PROTOBUF
from openline.uvicorn_http import HTTPProtocol, PromptRequests
from openline.wires.stream import StreamKind, StreamResponse
from tests.wires.client import WAIT_SECONDS
from tests.wires.reader import Reader, request
from tests.wires.receivers import Recorder
from tests.wires.servers import Served, hypercorn_server, uvicorn_server

CLOSE_SECONDS: Final = 0.2
TOO_MUCH: Final = b"x" * (16 << 20)

LINES: Final = StreamKind("http_stream", "application/x-ndjson")
EVENT_STREAM: Final = StreamKind("sse", "text/event-stream", b"\r\n")
JSON_LINES: Final = encoding(JSON, RECORDS)


class OnH11(PromptRequests, H11Protocol):
    """Ours on the parser that is always there."""


#: Those on which a client that reads nothing is cut off.
OURS: Final = ("openline", "openline-h11")
SERVERS: Final[dict[str, Callable[[Any], AbstractContextManager[Served]]]] = {
    "openline": lambda app: uvicorn_server(app, http=HTTPProtocol, loop="uvloop"),
    "openline-h11": lambda app: uvicorn_server(app, http=OnH11),
    "uvicorn": lambda app: uvicorn_server(app, http="httptools", loop="uvloop"),
    "uvicorn-h11": lambda app: uvicorn_server(app, http="h11"),
    "hypercorn": hypercorn_server,
}


class Stream:
    """A server whose one route answers with a stream, and the receiver its wires go to."""

    def __init__(self, served: Served, recorder: Recorder, returned: queue.SimpleQueue[str]) -> None:
        self.served = served
        self.recorder = recorder
        self._returned = returned

    @contextmanager
    def reader(self, body: bytes = b"", **options: Any) -> Iterator[Reader]:
        """Ask for the stream, and see the receiver opened."""
        with Reader(self.served.port, request(body=body, **options)) as reader:
            assert reader.status == 200
            assert self.recorder.next() == ("opened",)
            yield reader

    def write(self, *chunks: bytes) -> None:
        """Write as an outbox does: what follows the first chunk is only lent."""

        def write() -> None:
            first, *lent = chunks
            self.recorder.wire.write(first, lent)
            lent.clear()

        self.served.call(write)

    def close(self, code: int, reason: str, seconds: float = WAIT_SECONDS) -> None:
        """Close as a session does."""
        self.served.call(lambda: self.recorder.wire.close(code, reason, deadline_seconds=seconds))

    def take(self, *frames: bytes) -> list[bool]:
        """Bring what the client says elsewhere."""
        wire: Any = self.recorder.wire
        return self.served.call(lambda: [wire.take(frame) for frame in frames])

    def returned(self) -> str:
        """Wait for the response's call to be over and say how."""
        return self._returned.get(timeout=WAIT_SECONDS)


@contextmanager
def serving(
    server: str, kind: StreamKind = LINES, *, middleware: tuple[Middleware, ...] = (), **options: Any
) -> Iterator[Stream]:
    """Serve one route with a stream; `options` go to its response."""
    recorder, returned = Recorder(), queue.SimpleQueue[str]()

    async def route(asked: Request) -> Any:
        response = StreamResponse(
            recorder.open, kind=kind, first=await asked.body(), **{"encoding": JSON_LINES, **options}
        )

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            before = asyncio.all_tasks()
            try:
                await response(scope, receive, send)
            except BaseException as error:
                returned.put(repr(error))
                raise
            left = [task for task in asyncio.all_tasks() - before if task.get_name().startswith("openline")]
            returned.put(f"left {left}" if left else "in peace")

        return told

    app = Starlette(routes=[Route("/", route, methods=["GET", "POST"])], middleware=middleware)
    with SERVERS[server](app) as served:
        yield Stream(served, recorder, returned)


@pytest.fixture(params=SERVERS)
def stream(request: pytest.FixtureRequest) -> Iterator[Stream]:
    """Serve lines of JSON on each server."""
    with serving(request.param) as stream:
        yield stream


def test_the_answer_begins_at_once(stream: Stream) -> None:
    """With headers that have nobody on the way keep, change or collect it."""
    with stream.reader() as reader:
        assert reader.headers["content-type"] == "application/x-ndjson"
        assert reader.headers["x-accel-buffering"] == "no"
        assert "no-cache" in reader.headers["cache-control"]
        assert "no-transform" in reader.headers["cache-control"]
        assert reader.headers["x-content-type-options"] == "nosniff"
        assert stream.recorder.wire.name == "http_stream"


def test_what_came_with_the_request_is_the_first_frame(stream: Stream) -> None:
    """Given to the receiver once it stands; what it writes then is the body."""
    stream.recorder.on_receive = lambda frame: stream.recorder.wire.write(frame + b"!\n")
    with stream.reader(b"hello") as reader:
        assert stream.recorder.next() == ("received", b"hello")
        assert reader.line() == b"hello!"


def test_chunks_leave_in_order(stream: Stream) -> None:
    """Those that wait together in one piece."""
    with stream.reader() as reader:
        stream.write(b"1\n", b"2\n", b"3\n")
        stream.write(b"4\n")
        assert [reader.line() for _ in range(4)] == [b"1", b"2", b"3", b"4"]


def test_protobuf_and_events_are_framed_by_their_encoding() -> None:
    """The wire writes chunks as they are; an event stream begins with an empty line, so that its headers leave."""
    with serving("openline", EVENT_STREAM, encoding=encoding(JSON, EVENTS)) as stream, stream.reader() as reader:
        assert reader.headers["content-type"] == "text/event-stream"
        assert reader.read(2) == b"\r\n"
        stream.close(3001, "shutdown")
        assert reader.rest() == b'data: {"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}\n\n'
    with serving("openline", encoding=encoding(PROTOBUF, RECORDS)) as stream, stream.reader() as reader:
        stream.write(b"\x00")
        stream.close(3001, "shutdown")
        body = reader.rest()
        assert body[0] == 0
        assert body[1] == len(body) - 2
        assert b"shutdown" in body


def test_a_hook_rewrites_what_one_client_is_sent() -> None:
    """Chunk by chunk, in order, as they leave."""
    count = iter(range(10))
    rewrite = lambda chunk: b"%d:%b" % (next(count), chunk)  # noqa: E731
    with serving("openline", rewrite=rewrite) as stream, stream.reader() as reader:
        stream.write(b"a\n", b"b\n")
        assert [reader.line(), reader.line()] == [b"0:a", b"1:b"]
        assert stream.served.call(stream.recorder.wire.unsent_bytes) == 0


def test_closing_says_why_after_what_is_queued(stream: Stream) -> None:
    """Once; then the body ends, the call returns and nothing is left."""
    with stream.reader() as reader:

        def write_and_close() -> None:
            stream.recorder.wire.write(b"last words\n")
            stream.recorder.wire.close(3000, "enough", deadline_seconds=WAIT_SECONDS)
            stream.recorder.wire.close(3001, "again", deadline_seconds=WAIT_SECONDS)
            stream.recorder.wire.write(b"too late\n")

        stream.served.call(write_and_close)
        assert reader.rest() == b'last words\n{"push":{"disconnect":{"code":3000,"reason":"enough"}}}\n'
        assert stream.recorder.next() == ("closed", 3000, "enough")
        assert stream.returned() == "in peace"
        stream.close(3001, "again")
        assert stream.take(b"too late") == [True]
        assert stream.recorder.is_silent()


def test_a_receiver_that_closes_at_once(stream: Stream) -> None:
    """A close from inside its opening, and a write before it, are as good as later ones."""

    def refuse(wire: Any) -> None:
        wire.write(b"sorry\n")
        wire.close(3503, "not today", deadline_seconds=WAIT_SECONDS)

    stream.recorder.on_open = refuse
    with stream.reader(b"never heard") as reader:
        assert reader.rest() == b'sorry\n{"push":{"disconnect":{"code":3503,"reason":"not today"}}}\n'
        stream.recorder.next()
        assert stream.returned() == "in peace"


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_client_that_leaves_ends_the_response(stream: Stream, way: str) -> None:
    """However it left."""
    with stream.reader() as reader:
        reader.socket.close() if way == "close" else reader.reset()
        assert stream.recorder.next() == ("closed", 1006, "")
        assert stream.returned() == "in peace"


def test_a_slow_reader_pauses_its_receiver_until_it_reads(stream: Stream) -> None:
    """Once each way, and everything arrives in order."""
    with stream.reader() as reader:
        stream.write(b"1" * len(TOO_MUCH), b"2" * len(TOO_MUCH))
        assert stream.recorder.next() == ("paused",)
        assert reader.read(2 * len(TOO_MUCH)) == b"1" * len(TOO_MUCH) + b"2" * len(TOO_MUCH)
        assert stream.recorder.next() == ("resumed",)
        assert stream.served.call(stream.recorder.wire.unsent_bytes) == 0
        assert stream.recorder.is_silent()


def test_a_client_that_reads_nothing_is_given_up(stream: Stream) -> None:
    """Nobody waits for `send`: the receiver pauses, and a close ends at its deadline."""
    with stream.reader(headers={"Connection": "close"}) as reader:
        stream.write(TOO_MUCH, TOO_MUCH)
        assert stream.recorder.next() == ("paused",)
        assert stream.served.call(stream.recorder.wire.unsent_bytes) >= len(TOO_MUCH)
        stream.close(3008, "slow", CLOSE_SECONDS)
        assert stream.recorder.next() == ("closed", 3008, "slow")
        assert stream.returned() == "in peace"
        reader.reset()  # else some servers wait for it for ever


@pytest.mark.parametrize("server", OURS)
@pytest.mark.parametrize("size", [16 << 20, 64_000], ids=["more than fits", "all with the server"])
def test_the_socket_of_a_client_that_reads_nothing_ends_where_the_server_can(server: str, size: int) -> None:
    """At the deadline, whether the rest is here or with the server's transport already."""
    with serving(server) as stream:
        data = request()
        with Reader(stream.served.port, data, receive_bytes=1, answer=False):
            assert stream.recorder.next() == ("opened",)
            wire = stream.recorder.wire
            while not stream.served.call(_unwritten(stream)):  # the system's own buffers first
                stream.write(b"x" * 65_536)
            stream.served.call(lambda: wire.write(b"x" * size))
            stream.close(3008, "slow", CLOSE_SECONDS)
            assert stream.recorder.next()[0] in ("paused", "closed")
            assert stream.returned() == "in peace"
            while stream.served.call(lambda: len(stream.served.server.server_state.connections)):
                pass


def _unwritten(stream: Stream) -> Callable[[], int]:
    def unwritten() -> int:
        connections: Any = stream.served.server.server_state.connections
        return sum(connection.transport.get_write_buffer_size() for connection in connections)

    return unwritten


def test_frames_wait_while_reading_is_paused(stream: Stream) -> None:
    """In order; each pause holds from the next frame on."""
    recorder = stream.recorder
    recorder.on_receive = lambda frame: recorder.wire.pause_reading() if frame != b"third" else None
    with stream.reader(b"first"):
        assert recorder.next() == ("received", b"first")
        assert stream.take(b"second", b"third") == [True, True]
        assert stream.served.call(recorder.is_silent)
        for frame in (b"second", b"third"):
            stream.served.call(recorder.wire.resume_reading)
            assert recorder.next() == ("received", frame)


def test_too_many_frames_are_not_taken(stream: Stream) -> None:
    """One of any size waits, and more up to a bound; what was refused is not lost track of."""
    with stream.reader():
        stream.served.call(stream.recorder.wire.pause_reading)
        assert stream.take(b"x" * 60_000, b"y" * 1_000, b"z" * 10_000, b"small") == [True, True, False, True]
        stream.served.call(stream.recorder.wire.resume_reading)
        assert [stream.recorder.next()[1][:1] for _ in range(3)] == [b"x", b"y", b"s"]
        assert stream.take(b"z" * 100_000) == [True]
        stream.served.call(stream.recorder.wire.pause_reading)
        assert stream.take(b"z" * 100_000, b"z") == [True, False]


@pytest.mark.parametrize("server", [*OURS, "hypercorn"])
def test_the_servers_end_ends_the_stream(server: str) -> None:
    """Where the server tells the app, its client is told too; elsewhere the call is cancelled in time."""
    with serving(server) as stream, stream.reader() as reader:
        stream.served.call(stream.served.ask_to_stop)
        if server in OURS:
            assert stream.recorder.next() == ("shutdown",)
            assert reader.rest() == b'{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}\n'
        assert stream.recorder.next()[0] == "closed"
        stream.returned()
        stream.served.stop()
        assert stream.recorder.is_silent()


@pytest.mark.parametrize("middleware", ["gzip", "function"])
def test_middleware_neither_collects_nor_packs_a_stream(middleware: str) -> None:
    """Compression for each client would cost more than it spares; a function of the app is passed through."""

    async def dispatch(asked: Request, call_next: Any) -> Any:
        return await call_next(asked)

    one = Middleware(GZipMiddleware) if middleware == "gzip" else Middleware(BaseHTTPMiddleware, dispatch=dispatch)
    with serving("openline", middleware=(one,)) as stream:
        stream.recorder.on_receive = lambda _: stream.recorder.wire.write(b"1\n")
        with stream.reader(b"hello", headers={"Accept-Encoding": "gzip"}) as reader:
            assert reader.headers.get("content-encoding", "identity") == "identity"
            assert reader.line() == b"1"
            stream.write(b"2\n")
            assert reader.line() == b"2"
            assert stream.recorder.next() == ("received", b"hello")
            reader.reset()
            assert stream.recorder.next() == ("closed", 1006, "")


def test_a_receiver_that_raises_ends_its_own_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    """It breaks its promise; the error is the route's, and the receiver still hears the end."""

    def fail(_frame: bytes) -> None:
        raise LookupError("broken promise")

    with serving("openline") as stream:
        stream.recorder.on_receive = fail
        with Reader(stream.served.port, request(body=b"x")) as reader:
            assert reader.status == 500
            assert [stream.recorder.next()[0] for _ in range(3)] == ["opened", "received", "closed"]
            assert "LookupError" in stream.returned()
    assert "broken promise" in caplog.text
