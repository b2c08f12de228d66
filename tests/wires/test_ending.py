"""How streams learn that a server ends which does not tell the app: by its handler of signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from openline.wires import ending
from openline.wires.ending import begins_to_end, forget, has_ended, server_is_ending, watch


class Handler:
    """A server that handles signals as uvicorn does."""

    def __init__(self) -> None:
        self.should_exit = False

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        """Begin to end."""
        self.should_exit = True


class Stream:
    """Waits for the end."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def server_ends(self) -> None:
        """Be told."""
        self.told.set()
        forget(self)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Handler]:
    """A server that has its handler in place; nobody waits long for a look."""
    monkeypatch.setattr(ending, "_LOOK_SECONDS", 0.01)
    handler = Handler()
    before = signal.signal(signal.SIGTERM, handler.handle_exit)
    yield handler
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("handler", [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None])
def test_any_other_handler_says_nothing(handler: signal.Handlers) -> None:
    """Of a program without a server, or with one that works otherwise."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert not server_is_ending()
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_streams_are_told_when_the_server_ends(server: Handler) -> None:
    """All that are open then, and none that was forgotten."""
    streams = [Stream() for _ in range(3)]
    for stream in streams:
        watch(stream)
    forget(streams[0])
    assert not server_is_ending()
    signal.raise_signal(signal.SIGTERM)
    assert server_is_ending()
    async with asyncio.timeout(5):
        await streams[1].told.wait()
        await streams[2].told.wait()
    assert not streams[0].told.is_set()


async def test_nobody_looks_while_there_are_no_streams(server: Handler) -> None:
    """The timer ends with the last stream, and begins with the next."""
    stream = Stream()
    watch(stream)
    forget(stream)
    forget(stream)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        while loop in ending._watched:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)
    watch(stream)
    server.should_exit = True
    async with asyncio.timeout(5):
        await stream.told.wait()


@pytest.mark.usefixtures("server")
async def test_a_connection_may_say_so() -> None:
    """Of whichever server: until it is gone, whoever is open is told, and whoever comes late too."""
    connection, streams = Handler(), [Stream() for _ in range(3)]
    has_ended(connection)  # which it may, without its server
    watch(streams[0])
    begins_to_end(connection)
    async with asyncio.timeout(5):
        await streams[0].told.wait()
        watch(streams[1])
        await streams[1].told.wait()
    has_ended(connection)
    watch(streams[2])
    await asyncio.sleep(0.05)  # some looks
    assert not streams[2].told.is_set()
    forget(streams[2])
