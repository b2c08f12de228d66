"""How a stream learns that its server is about to end, where the server does not say so to the app.

Uvicorn waits for every response before it ends the app's lifespan, and tells a response nothing: a stream that waits
for the lifespan would keep it from ending for ever. But its handler of signals is a method of the server, which knows.
So while there are streams, one timer looks twice a second. Other servers cancel what has not ended in time.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Final, Protocol
from weakref import WeakKeyDictionary

#: Between two looks.
_LOOK_SECONDS: Final = 0.5


class Ending(Protocol):
    """What has to know."""

    def server_ends(self) -> None:
        """The server is about to end."""


#: Those that are open, by their event loop: in one process there may be several.
_watched: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Ending, None]]] = WeakKeyDictionary()


def watch(stream: Ending) -> None:
    """Tell a stream of the running event loop when the server ends, until it is forgotten."""
    loop = asyncio.get_running_loop()
    streams = _watched.get(loop)
    if streams is None:
        streams = _watched[loop] = {}
        loop.call_later(_LOOK_SECONDS, _look, loop)
    streams[stream] = None


def forget(stream: Ending) -> None:
    """Tell a stream nothing any more. Idempotent."""
    _watched.get(asyncio.get_running_loop(), {}).pop(stream, None)


def server_is_ending() -> bool:
    """Tell whether whatever handles the signal to end is a server that has begun to."""
    handler = signal.getsignal(signal.SIGTERM)
    return getattr(getattr(handler, "__self__", None), "should_exit", False) is True


def _look(loop: asyncio.AbstractEventLoop) -> None:
    streams = _watched.get(loop)
    if not streams:
        _watched.pop(loop, None)
        return
    loop.call_later(_LOOK_SECONDS, _look, loop)
    if server_is_ending():
        for stream in tuple(streams):
            stream.server_ends()
