"""The socket below a transport, borrowed: it sends, and closes nothing."""

from __future__ import annotations

import asyncio
import gc
import socket
from pathlib import Path

import pytest
import uvloop

from openline.wires.borrowed import BorrowedSocket, borrow
from tests.wires.lines import detaching_over_tls


class Held(asyncio.Protocol):
    """Keeps a transport open."""


async def connected(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Transport, socket.socket]:
    """Give the transport of one end of a line, and the other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    transport, _ = await loop.create_connection(Held, sock=ours)
    return transport, theirs


def fill(borrowed: BorrowedSocket) -> None:
    """Send until there is no room."""
    while True:
        borrowed.send(b"x" * 65_536)


@pytest.fixture(params=["asyncio", "uvloop"])
def any_loop(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """Each kind of loop."""
    return uvloop.new_event_loop() if request.param == "uvloop" else asyncio.new_event_loop()


def test_what_is_sent_arrives(any_loop: asyncio.AbstractEventLoop) -> None:
    """Past the transport, on its socket."""

    async def play() -> None:
        transport, theirs = await connected(any_loop)
        with theirs:
            borrowed = borrow(transport)
            assert borrowed is not None
            assert borrowed.send(b"straight") == 8
            assert theirs.recv(100) == b"straight"
            borrowed.detach()
            transport.abort()

    with asyncio.Runner(loop_factory=lambda: any_loop) as runner:
        runner.run(play())


def test_a_forgotten_one_closes_nothing(any_loop: asyncio.AbstractEventLoop) -> None:
    """The descriptor is the transport's: when the borrower is collected, the line stands."""

    async def play() -> None:
        transport, theirs = await connected(any_loop)
        with theirs:
            borrowed = borrow(transport)
            del borrowed
            gc.collect()
            transport.write(b"still here")
            await asyncio.sleep(0)
            assert theirs.recv(100) == b"still here"
            transport.abort()

    with asyncio.Runner(loop_factory=lambda: any_loop) as runner:
        runner.run(play())


def test_a_send_never_waits(any_loop: asyncio.AbstractEventLoop) -> None:
    """Whatever default an app has set for its sockets: a full one says so at once."""

    async def play() -> None:
        transport, theirs = await connected(any_loop)
        with theirs:
            borrowed = borrow(transport)
            assert borrowed is not None
            with pytest.raises(BlockingIOError):
                fill(borrowed)
            borrowed.detach()
            transport.abort()

    socket.setdefaulttimeout(60)
    try:
        with asyncio.Runner(loop_factory=lambda: any_loop) as runner:
            runner.run(play())
    finally:
        socket.setdefaulttimeout(None)


def test_nothing_is_borrowed_where_bytes_are_encrypted(loop: str, tmp_path: Path) -> None:
    """Under TLS everything goes through the transport."""
    with detaching_over_tls(loop, tmp_path) as (line, context), line.client(tls=context):
        assert line.recorder.wire.direct is None


def test_nothing_is_borrowed_where_there_is_no_socket() -> None:
    """A transport of another kind is written to."""

    class Nothing(asyncio.Transport):
        """Has no socket."""

    assert borrow(Nothing()) is None
