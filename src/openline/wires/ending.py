"""How what is open learns that its server is about to end, where the server does not say so to the app.

Uvicorn waits for every response before it ends the app's lifespan, and tells a response nothing: a stream that waits
for the lifespan would keep it from ending for ever. Two things show that it has begun to:

- Its handler of signals is a method of the server, which knows. Uvicorn has none in place in a thread.
- A connection that `openline.uvicorn_http` has is told by the server, and says so here.

So while there are streams, one timer looks twice a second. Other servers cancel what has not ended in time.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Final, Protocol
from weakref import WeakKeyDictionary, WeakSet

#: Between two looks.
_LOOK_SECONDS: Final = 0.5


class Ending(Protocol):
    """What has to know."""

    def server_ends(self) -> None:
        """The server is about to end."""


#: Those that are open, by their event loop: in one process there may be several.
_watched: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Ending, None]]] = WeakKeyDictionary()
#: Connections that are still there, of servers that have begun to end.
_left: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[object]]] = WeakKeyDictionary()


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


def begins_to_end(connection: object) -> None:
    """A server of the running event loop ends, says one of its connections; true until that `has_ended`."""
    _left.setdefault(asyncio.get_running_loop(), WeakSet()).add(connection)


def has_ended(connection: object) -> None:
    """A connection is gone, whether or not its server was ending. Idempotent."""
    left = _left.get(asyncio.get_running_loop())
    if left is not None:
        left.discard(connection)


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
    if _left.get(loop) or server_is_ending():
        for stream in tuple(streams):
            stream.server_ends()
