"""The HTTP side of a connection, under uvicorn: uvicorn's own, with a deadline for what opens a connection.

`openline run` uses it; elsewhere it is ``uvicorn app:app --http openline.uvicorn_http:HTTPProtocol``. Uvicorn by itself
waits for ever for a client that connects and sends nothing, or half a request; and its faster parser, httptools, takes
headers of any size. Each such client keeps a socket of the server's, and the system lends it a limited number.

Invariants of this file:

1. From the first whole head of a request on, and until the server ends, nothing here matters that the app did not ask
   for. Uploads, downloads, streams and kept-alive connections are uvicorn's, and take the time they take.
2. An answer whose client reads nothing keeps nobody from ending. Closing a transport waits for ever for such a client;
   so once the server ends, or the app has given the answer a deadline, the connection is aborted.
3. What the app asks for one answer holds for that answer, however many requests a client has sent behind each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

from openline.wires import ending
from openline.wires.held import HELD

if TYPE_CHECKING:  # the two protocols of uvicorn have the same parts, and no base in common
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol

    _AnyHTTPProtocol = AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    _AnyHTTPProtocol = object

_log: Final = logging.getLogger("uvicorn.error")


class PromptRequests(_AnyHTTPProtocol):
    """What is put before a protocol of uvicorn's: it closes a connection whose first request does not come.

    Each request has a `HeldConnection` in its scope.

    Attributes:
        request_seconds: for the head of the first request, all of it; past it the connection is closed without a word.
        request_bytes: the largest head that is waited for; past it the same.
        stalled_seconds: once the server ends, a connection is aborted that has something to send and got rid of nothing
            of it for so long.
    """

    request_seconds: ClassVar[float] = 10.0
    request_bytes: ClassVar[int] = 65_536
    stalled_seconds: ClassVar[float] = 5.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Runs until the first request is here.
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self.app = _Introducing(self.app, self)
        #: Those that asked for something, which was not done yet.
        self.answers: dict[_Answer, None] = {}
        #: Whose bytes may be what is unsent.
        self.latest: _Answer | None = None
        self.is_ending = False
        self._progress: asyncio.TimerHandle | None = None
        self._has_drained = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.request_seconds, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        super().data_received(data)
        if self._deadline is None:
            return
        self._head_bytes += len(data)
        cycle: Any = self.cycle  # None before the first request, and never again
        if cycle is not None:
            self._drop_deadline()
        elif self._head_bytes > self.request_bytes:
            self._give_up()

    def handle_websocket_upgrade(self, *event: Any) -> None:
        """Hand the connection to the WebSocket protocol."""
        self._drop_deadline()
        self.app = self.config.loaded_app  # nothing that is let go with the handshake waits for the garbage collector
        super().handle_websocket_upgrade(*event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._drop_deadline()
        if self._progress is not None:
            self._progress.cancel()
        for answer in tuple(self.answers):
            answer.drop()
        if self.latest is not None:
            self.latest.leave()
            self.latest = None
        ending.has_ended(self)
        self.app = self.config.loaded_app
        super().connection_lost(exc)

    def _drop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """Close the connection: nothing was answered yet, so nothing is lost."""
        self._drop_deadline()
        _log.debug("%s - no request came, or too large a one: closed", self.client)
        self.transport.abort()

    # --- the end of the server ------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Uvicorn begins to end: answers under way are waited for as long as their clients read them."""
        self.is_ending = True
        ending.begins_to_end(self)
        super().shutdown()
        for answer in tuple(self.answers):
            answer.tell()
        if self._progress is None:
            self._look(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has read."""
        self._has_drained = True
        super().resume_writing()

    def _look(self, before: int) -> None:
        """Look whether the client has read something since it was looked at before."""
        self._has_drained = False
        self._progress = self.loop.call_later(self.stalled_seconds, self._look_again, before)

    def _look_again(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent >= before > 0 and not self._has_drained:
            _log.info("%s - reads nothing, and the server ends: aborted", self.client)
            self.transport.abort()
        else:
            self._look(unsent)


@final
class _Answer:
    """A `HeldConnection`: the connection, as far as one of its requests is concerned.

    Args:
        cycle: uvicorn's, of this request.
    """

    __slots__ = ("_call", "_connection", "_cycle", "_deadline")

    def __init__(self, connection: PromptRequests, cycle: Any) -> None:
        self._connection = connection
        self._cycle = cycle
        self._call: Callable[[], None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def end_within(self, seconds: float) -> None:
        """Give the client so many seconds for the rest of this answer; see `HeldConnection`."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._connection.loop.call_later(seconds, self._end)
        self._connection.answers[self] = None

    def _end(self) -> None:
        self._deadline = None
        self._settle()
        connection, transport = self._connection, self._connection.transport
        unsent = connection.latest is self and transport.get_write_buffer_size() > 0
        if not self._cycle.response_complete or unsent:
            _log.debug("%s - does not read its answer: aborted", connection.client)
            transport.abort()

    def when_server_ends(self, call: Callable[[], None] | None) -> None:
        """Call when the server begins to end; see `HeldConnection`."""
        self._call = call
        if call is None:
            self._settle()
            return
        self._connection.answers[self] = None
        if self._connection.is_ending:
            self._connection.loop.call_soon(self.tell)

    def tell(self) -> None:
        """The server ends."""
        if self._call is not None:
            self._call()

    def drop(self) -> None:
        """The connection is gone."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._call = self._deadline = None
        self._settle()

    def leave(self) -> None:
        """Say that the client is gone: uvicorn tells the last request only, and this may be before it."""
        if not self._cycle.response_complete:
            self._cycle.disconnected = True
        self._cycle.message_event.set()

    def _settle(self) -> None:
        if self._call is None and self._deadline is None:
            self._connection.answers.pop(self, None)


class _Introducing:
    """Puts what there is to say about its connection into the scope of each request."""

    __slots__ = ("_app", "_connection")

    def __init__(self, app: Any, connection: PromptRequests) -> None:
        self._app = app
        self._connection = connection

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        """Call the app."""
        # The connection's own cycle is that of the request that came last, and this may be one before it.
        answer = self._connection.latest = _Answer(self._connection, receive.__self__)
        extensions = scope.setdefault("extensions", {})
        extensions[HELD] = answer
        try:
            return await self._app(scope, receive, send)
        finally:
            extensions.pop(HELD, None)  # else the request would wait for the garbage collector


class HTTPProtocol(PromptRequests, AutoHTTPProtocol):
    """Uvicorn's own protocol, httptools where that is installed, else h11, with these deadlines. Made by uvicorn."""
