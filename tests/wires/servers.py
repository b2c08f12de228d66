"""Real servers on loopback, each in a thread with an event loop of its own, so that a test can be a plain client."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import hypercorn.asyncio
import hypercorn.config
import uvicorn
import uvloop

from openline.uvicorn import WebSocketProtocol

T = TypeVar("T")

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
#: Past it a server that should have stopped has not.
STOP_SECONDS = 10


class QuickProtocol(WebSocketProtocol):
    """The fast wire with a close deadline short enough for a test to wait for."""

    close_seconds = 0.2


class Served:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        loop: the event loop it runs on.
        server: uvicorn's, where it is uvicorn.
        app: that it runs, where a test has put it here.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.loop: asyncio.AbstractEventLoop
        self.server: uvicorn.Server
        self.app: Any = None
        self.ask_to_stop: Callable[[], None]
        self._thread: threading.Thread
        self._ready = threading.Event()

    def call(self, function: Callable[[], T]) -> T:
        """Run a function on the server's loop and give what it returns."""
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(function())
            except BaseException as error:  # noqa: BLE001  # handed to the caller
                result.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return result.result(STOP_SECONDS)

    def stop(self) -> None:
        """Ask the server to end, and wait until it has."""
        with suppress(RuntimeError):  # it has ended already, and its loop is closed
            self.loop.call_soon_threadsafe(self.ask_to_stop)
        self._thread.join(STOP_SECONDS)
        assert not self._thread.is_alive(), "the server did not end"

    def run(self, main: Callable[[], Any], loop: str) -> None:
        """Start the thread and wait until the server listens."""

        def body() -> None:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                runner.run(main())

        self._thread = threading.Thread(target=body, name="server", daemon=True)
        self._thread.start()
        assert self._ready.wait(STOP_SECONDS), "the server did not start"


@contextmanager
def uvicorn_server(app: Any, *, loop: str = "asyncio", ws: Any = QuickProtocol, **options: Any) -> Iterator[Served]:
    """Run uvicorn; `options` go to its configuration."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = Served(listener.getsockname()[1])
    options = {"lifespan": "off", "log_config": None, "http": "h11", **options}

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            served._ready.set()

    async def main() -> None:
        served.loop = asyncio.get_running_loop()
        served.server = Server(uvicorn.Config(app, ws=ws, **options))
        served.ask_to_stop = lambda: setattr(served.server, "should_exit", True)
        await served.server.serve(sockets=[listener])

    with listener:
        served.run(main, loop)
        try:
            yield served
        finally:
            served.stop()


@contextmanager
def hypercorn_server(app: Any, *, loop: str = "asyncio") -> Iterator[Served]:
    """Run Hypercorn."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = Served(listener.getsockname()[1])
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 0.2

    async def main() -> None:
        served.loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        served.ask_to_stop = stopping.set

        async def until_stopped() -> None:
            served._ready.set()
            await stopping.wait()

        await hypercorn.asyncio.serve(app, config, shutdown_trigger=until_stopped)

    served.run(main, loop)
    try:
        yield served
    finally:
        served.stop()
