"""The end of a server whose clients do not take part in it: it comes in time, and by itself."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.abuse.guest import NARROW_BYTES, PATH, Guest
from tests.abuse.process import Process
from tests.wires.client import TEXT, Client, request
from tests.wires.reader import Reader
from tests.wires.reader import request as http_request

#: Of each kind.
FROZEN = 25
#: How long a socket has for its end, and what a busy machine may add.
DEADLINE_SECONDS = 5 + 5
#: More than the system takes for a client that does not read.
PLENTY_KIB = 8_192
POURED_KIB = 60
#: Of the answer of `/large`.
LARGE_BYTES = 16 << 20


@pytest.fixture
def server() -> Iterator[Process]:
    """A server."""
    with Process() as server:
        yield server


def ended_well(server: Process, seconds: float) -> None:
    """Ask a server to end, and see that it does so by itself, in its own order, without an error."""
    assert server.stop(seconds) == -signal.SIGTERM  # uvicorn ends by the signal it was asked with, once it is done
    assert "Application shutdown complete." in server.log
    assert "Finished server process" in server.log
    assert "ERROR" not in server.log
    assert "Traceback" not in server.log


def fill_lines(stack: ExitStack, server: Process, asker: Guest) -> None:
    """Open lines of the hub that read nothing, and publish to them until all their wires are full."""
    for _ in range(FROZEN):
        stack.enter_context(Guest(server.port, receive_bytes=NARROW_BYTES)).subscribe("flood")
    for _ in range(PLENTY_KIB // POURED_KIB):
        if asker.rpc("state")["behind"] == FROZEN:
            return
        asker.rpc("pour", POURED_KIB)
    raise AssertionError("they do not freeze")


def open_raw(stack: ExitStack, server: Process, data: bytes) -> None:
    """Send this on a connection of its own, and read nothing."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW_BYTES)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(data)


def opening(channel: str) -> bytes:
    """Give the request that opens a line over HTTP and enters a channel."""
    body = f'{{"id":1,"connect":{{}}}}\n{{"id":2,"subscribe":{{"channel":"{channel}"}}}}'
    return http_request("/connection/http_stream", body.encode())


def test_frozen_sockets_do_not_keep_a_server_from_ending(server: Process) -> None:
    """Full lines of the hub and full sockets of an ordinary route; those that never answer; those not there yet."""
    with ExitStack() as stack:
        for _ in range(FROZEN):
            stack.enter_context(Client(server.port, "/flood", receive_bytes=NARROW_BYTES))
            stack.enter_context(Client(server.port, "/silence"))
            stack.enter_context(Client(server.port, PATH))
            amid = stack.enter_context(Client(server.port, PATH))
            amid.send_frame(TEXT, b'{"id":1,', fin=False)
            open_raw(stack, server, request(PATH)[:-2])
            open_raw(stack, server, request(PATH))
        asker = stack.enter_context(Guest(server.port))
        fill_lines(stack, server, asker)
        while asker.rpc("state")["sending"] < FROZEN:
            pass
        ended_well(server, DEADLINE_SECONDS)


def test_frozen_readers_of_an_answer_do_not_keep_a_server_from_ending(server: Process) -> None:
    """An ordinary HTTP answer, larger than what the system takes for a client that does not read it."""
    with ExitStack() as stack:
        for _ in range(FROZEN):
            open_raw(stack, server, b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n")
        with Guest(server.port) as asker:  # which takes longer than a request that came before
            asker.rpc("state")
        ended_well(server, DEADLINE_SECONDS)


def test_who_reads_an_answer_gets_all_of_it_while_the_server_ends(server: Process) -> None:
    """What is cut off is only who does not read."""
    with Reader(server.port, b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n") as reader:
        server.ask_to_stop()
        assert len(reader.rest()) == LARGE_BYTES
    ended_well(server, DEADLINE_SECONDS)


def test_frozen_streams_do_not_keep_a_server_from_ending(server: Process) -> None:
    """Lines over HTTP whose clients read nothing; those that do are told that the server ends."""
    with ExitStack() as stack:
        for _ in range(FROZEN):
            open_raw(stack, server, opening("flood"))
        reader = stack.enter_context(Reader(server.port, opening("news")))
        asker = stack.enter_context(Guest(server.port))
        while asker.rpc("state")["sessions"] < FROZEN + 2:
            pass
        for _ in range(PLENTY_KIB // POURED_KIB):
            if asker.rpc("state")["behind"] == FROZEN:
                break
            asker.rpc("pour", POURED_KIB)
        assert asker.rpc("state")["behind"] == FROZEN
        server.ask_to_stop()
        assert reader.rest().endswith(b'{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}\n')
        ended_well(server, DEADLINE_SECONDS)
