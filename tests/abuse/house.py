"""A hub on a real server in this process, and what has to be so once its clients have gone: as if none had come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar, final

from fastapi import FastAPI

from openline import Hub
from openline.uvicorn import WebSocketProtocol
from tests.serving import nothing_is_left
from tests.wires.servers import Served, uvicorn_server

T = TypeVar("T")

#: Anything that takes longer will not come.
PATIENCE_SECONDS: Final = 15
#: Between two looks at what tells nobody when it changes.
_LOOK_SECONDS: Final = 0.005

#: More than the system takes for a client that does not read, and an outbox on top of it.
PLENTY_KIB: Final = 12_288

#: The implementations of WebSocket under which a hub has its two wires.
WIRES: Final[dict[str, Any]] = {"fast": WebSocketProtocol, "plain": "auto"}


@final
class House:
    """A served hub.

    Attributes:
        hub: the hub.
        served: its server.
        port: where that listens.
    """

    def __init__(self, hub: Hub, served: Served) -> None:
        self.hub = hub
        self.served = served
        self.port = served.port

    def call(self, function: Callable[[], T]) -> T:
        """Call on the server's loop."""
        return self.served.call(function)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.served.loop).result(PATIENCE_SECONDS)

    def publish(self, channel: str, *messages: Any) -> None:
        """Publish to a channel, one message after the other."""

        async def publish() -> None:
            for message in messages:
                await self.hub.publish(channel, message)

        self.run(publish())

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so on the server's loop, for which there is no event."""
        self.run(_until(condition))

    def behind(self) -> int:
        """Count the sessions whose wires are full."""
        return self.call(lambda: sum(session.outbox.is_paused for session in self.hub.sessions.values()))

    def fill(self, channel: str, count: int) -> None:
        """Publish to a channel until the wires of so many sessions are full."""
        for _ in range(PLENTY_KIB // 32):
            if self.behind() >= count:
                return
            self.publish(channel, "x" * 32_768)
        raise AssertionError("they do not freeze")


@contextmanager
def serving(hub: Hub, app: FastAPI | None = None, *, wire: str = "fast", **options: Any) -> Iterator[House]:
    """Serve a hub; once the block is through and its clients have gone, nothing may be left of them.

    Args:
        app: with more routes than the hub's.
        wire: one of `WIRES`.
        options: of uvicorn.
    """
    app = app or FastAPI()
    app.include_router(hub.router)
    options = {"loop": "uvloop", "ws": WIRES[wire], "http": "httptools", **options}
    with uvicorn_server(app, lifespan="on", **options) as served:
        house = House(hub, served)
        tasks = house.call(lambda: asyncio.all_tasks(served.loop))
        yield house
        state = served.server.server_state
        house.wait_until(lambda: not hub.sessions)
        house.wait_until(lambda: not state.connections and not state.tasks)
        house.run(nothing_is_left(hub))
        assert not hub._node.places
        house.wait_until(lambda: not asyncio.all_tasks() - tasks - {asyncio.current_task()})


async def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS - 1
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(_LOOK_SECONDS)
