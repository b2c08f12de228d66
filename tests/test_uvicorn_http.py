"""The HTTP side under `openline run`: who does not send a whole request in time is let go. Real servers and sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from fastapi import FastAPI, Request, Response, WebSocket
from starlette.responses import StreamingResponse
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openline.uvicorn_http import HTTPProtocol, PromptRequests
from openline.wires.ending import forget, watch
from openline.wires.held import held_connection
from tests.wires.client import TEXT, WAIT_SECONDS, Client, request
from tests.wires.reader import Reader
from tests.wires.reader import request as http_request
from tests.wires.servers import Served, uvicorn_server


class Hasty(PromptRequests):
    """One that waits no longer than a test does."""

    request_seconds = 0.2
    request_bytes = 10_000
    stalled_seconds = 0.2


class HastyH11(Hasty, H11Protocol):
    """On the parser that is always there."""


class HastyHttpTools(Hasty, HttpToolsProtocol):  # type: ignore[misc]  # mypy takes the first's base for the other parser
    """On the parser that uvicorn prefers."""


class Told:
    """What is open without a request of its own, such as one who follows a channel."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def server_ends(self) -> None:
        """Be told."""
        self.ended.set()


def echo() -> FastAPI:
    """Give an app that answers over HTTP and over WebSocket."""
    app = FastAPI()
    app.state.gone = threading.Event()

    @app.post("/length")
    async def length(received: Request) -> int:
        return len(await received.body())

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.5)  # longer than a request may take to come
        return "slow"

    @app.get("/large")
    async def large(asked: Request, seconds: float | None = None) -> Response:
        if seconds is not None:
            held = held_connection(asked.scope)
            assert held is not None
            held.end_within(seconds)
        return Response(LARGE)

    @app.get("/until-the-end")
    async def until_the_end(asked: Request) -> str:
        held, ended, again = held_connection(asked.scope), asyncio.Event(), asyncio.Event()
        assert held is not None
        held.when_server_ends(ended.set)
        await ended.wait()
        held.when_server_ends(again.set)  # at once, as it is ending
        await again.wait()
        held.when_server_ends(again.clear)
        held.when_server_ends(None)
        await asyncio.sleep(0)
        assert again.is_set()
        return "the end"

    @app.get("/short")
    async def short(asked: Request) -> str:
        held = held_connection(asked.scope)
        assert held is not None
        held.when_server_ends(lambda: None)
        held.end_within(0.1)
        held.when_server_ends(None)
        return "short"

    @app.get("/gone")
    async def gone() -> StreamingResponse:
        async def until_gone() -> AsyncIterator[str]:
            yield "here"
            try:
                await asyncio.Event().wait()
            finally:
                app.state.gone.set()

        return StreamingResponse(until_gone())

    @app.get("/watch")
    async def watching(asked: Request) -> str:
        told = Told()
        watch(told)
        await told.ended.wait()
        forget(told)
        return "the end"

    @app.websocket("/ws")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    return app


@pytest.fixture(params=[(HastyH11, "asyncio"), (HastyHttpTools, "uvloop")], ids=["h11", "httptools"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A server on each of uvicorn's own protocols, with the deadline before it."""
    protocol, loop = request.param
    app = echo()
    with uvicorn_server(app, loop=loop, http=protocol) as running:
        running.app = app
        yield running


@contextmanager
def opened(served: Served, *data: bytes) -> Iterator[socket.socket]:
    """Connect and send."""
    with socket.create_connection(("127.0.0.1", served.port), WAIT_SECONDS) as connection:
        for piece in data:
            connection.sendall(piece)
        yield connection


def left(connection: socket.socket) -> bytes:
    """Read to the end of a connection: in time, or the test fails."""
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    return received


#: More than the system takes for a client that does not read.
LARGE = bytes(16 << 20)


HEAD = b"POST /length HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    "data", [b"", b"G", HEAD[:30], request("/ws")[:-2]], ids=["nothing", "a byte", "half", "upgrade"]
)
def test_who_sends_no_whole_request_is_closed(served: Served, data: bytes) -> None:
    """Without a word: there is nothing to answer."""
    with opened(served, data) as connection:
        assert left(connection) == b""
    assert served.call(lambda: list(served.server.server_state.connections)) == []


def test_an_answer_that_comes_before_the_whole_upload_is_not_cut_off(served: Served) -> None:
    """Refused at its head: the client sends the rest at leisure, and reads the answer after that."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: test\r\nContent-Length: 20\r\n\r\n"
    with opened(served, head) as connection:
        for _ in range(2):
            with opened(served) as other:
                assert left(other) == b""  # as long as a request may take to come
            connection.sendall(b"x" * 10)
        assert b" 404 " in connection.recv(65_536)


def test_a_later_request_may_take_its_time(served: Served) -> None:
    """Only the first has this deadline: what a connection does after an answer is for uvicorn to judge."""
    with opened(served, HEAD + b"hello") as connection:
        answer = connection.recv(65_536)
        while not answer.endswith(b"5"):
            answer += connection.recv(65_536)
        connection.sendall(HEAD[:30])
        with opened(served) as other:
            assert left(other) == b""  # as long as a request may take to come
        connection.sendall(HEAD[30:] + b"again")
        assert b" 200 " in connection.recv(65_536)


def test_a_head_without_an_end_is_closed(served: Served) -> None:
    """Whatever the parser would put up with."""
    endless = b"GET /slow HTTP/1.1\r\n" + b"X: " + b"y" * 20_000
    with opened(served, endless) as connection:
        assert b" 200 " not in left(connection)


def test_a_request_that_is_being_answered_may_take_its_time(served: Served) -> None:
    """The deadline is for what the client sends."""
    with opened(served, b"GET /slow HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n") as connection:
        assert left(connection).endswith(b'"slow"')


def test_a_large_body_may_follow(served: Served) -> None:
    """Only the head is bounded."""
    head = b"POST /length HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
    with opened(served, head, b"x" * 1_000_000) as connection:
        assert left(connection).endswith(b"1000000")


def test_a_websocket_lives_on(served: Served) -> None:
    """It has other deadlines: this one ends with the handshake."""
    with Client(served.port, "/ws") as client:
        assert client.status == 101
        client.send_text("one")
        assert client.read_text() == "one"
        with opened(served) as connection:
            assert left(connection) == b""  # as long as a request may take to come
        client.send_frame(TEXT, b"two")
        assert client.read_text() == "two"


# --- the end ----------------------------------------------------------------------------------------------------------


def connections(served: Served) -> int:
    """Count the connections that the server still has."""
    return served.call(lambda: len(served.server.server_state.connections))


def test_an_answer_with_a_deadline_is_cut_off_if_nobody_reads_it(served: Served) -> None:
    """At the deadline, even where the app has handed all of it over; one that was read is left alone."""
    with (
        Reader(served.port, http_request("/large?seconds=0.3", method="GET"), answer=False),
        Reader(served.port, http_request("/large?seconds=5", method="GET")) as reader,
    ):
        assert len(reader.rest()) == len(LARGE)
        while connections(served) > 1:
            pass
        reader.socket.sendall(http_request("/slow", method="GET"))  # the connection is of use still
        reader.read_answer()
        assert reader.status == 200


def test_a_later_answer_has_nothing_to_do_with_the_deadline_of_one_before(served: Served) -> None:
    """The first was read in time; the second may take what it takes."""
    with Reader(served.port, http_request("/large?seconds=0.2", method="GET")) as reader:
        assert len(reader.rest()) == len(LARGE)
        reader.socket.sendall(http_request("/slow", method="GET"))
        reader.read_answer()
        assert reader.rest() == b'"slow"'


def test_an_answer_hears_that_the_server_ends(served: Served) -> None:
    """So it can end too; nothing else would make it."""
    with Reader(served.port, http_request("/until-the-end", method="GET"), answer=False) as reader:
        while not connections(served):
            pass
        served.call(served.ask_to_stop)
        reader.read_answer()
        assert reader.rest() == b'"the end"'
        served.stop()


def test_who_reads_nothing_does_not_keep_the_server_from_ending(served: Served) -> None:
    """And who reads slowly gets all of it."""
    with (
        Reader(served.port, http_request("/large", method="GET"), answer=False),
        Reader(served.port, http_request("/large", method="GET")) as reader,
    ):
        served.call(served.ask_to_stop)
        assert len(reader.rest()) == len(LARGE)
        served.stop()


def pipelined(*paths: str) -> bytes:
    """Give requests that are sent behind each other, without waiting for an answer."""
    return b"".join(http_request(path, method="GET") for path in paths)


def test_a_later_answer_on_its_way_already_has_nothing_to_do_with_one_before(served: Served) -> None:
    """Its deadline aborts nobody, and calling off its call calls off no other."""
    with Reader(served.port, pipelined("/short", "/until-the-end")) as reader:
        assert reader.rest() == b'"short"'
        with opened(served) as other:
            assert left(other) == b""  # longer than the deadline
        served.call(served.ask_to_stop)
        reader.read_answer()
        assert reader.rest() == b'"the end"'
        served.stop()


def test_an_answer_under_way_hears_that_its_client_is_gone(served: Served) -> None:
    """Also where there is a request behind it, which is the only one that uvicorn tells."""
    with Reader(served.port, pipelined("/gone", "/slow")) as reader:
        assert reader.read(4) == b"here"
    assert served.app.state.gone.wait(WAIT_SECONDS)
    while connections(served):
        pass


def test_what_has_no_request_hears_that_the_server_ends(served: Served) -> None:
    """In a thread, where no signal is handled: the connections tell."""
    with Reader(served.port, pipelined("/watch"), answer=False) as reader:
        while not connections(served):
            pass
        served.call(served.ask_to_stop)
        reader.read_answer()
        assert reader.rest() == b'"the end"'
        served.stop()


def test_openline_run_has_the_deadlines_on_the_parser_uvicorn_would_take() -> None:
    """Ten seconds, for 64 KiB at most."""
    assert issubclass(HTTPProtocol, AutoHTTPProtocol)
    assert issubclass(HTTPProtocol, PromptRequests)
    assert (HTTPProtocol.request_seconds, HTTPProtocol.request_bytes) == (10, 65_536)
