"""The HTTP side of a connection, under uvicorn: uvicorn's own, with a deadline for what opens a connection.

`openline run` uses it; elsewhere it is ``uvicorn app:app --http openline.uvicorn_http:HTTPProtocol``. Uvicorn by itself
waits for ever for a client that connects and sends nothing, or half a request; and its faster parser, httptools, takes
headers of any size. Each such client keeps a socket of the server's, and the system lends it a limited number.

Invariant: while a connection neither has a request that is being answered nor a keep-alive timer of uvicorn's, a timer
of this file runs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:  # the two protocols of uvicorn have the same parts, and no base in common
    from uvicorn.protocols.http.h11_impl import H11Protocol as AutoHTTPProtocol

    _AnyHTTPProtocol = AutoHTTPProtocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    _AnyHTTPProtocol = object

_log: Final = logging.getLogger("uvicorn.error")


class PromptRequests(_AnyHTTPProtocol):
    """What is put before a protocol of uvicorn's: it closes a connection whose request does not come.

    Attributes:
        request_seconds: for the head of a request, all of it; past it the connection is closed without a word.
        request_bytes: the largest head that is waited for; past it the same.
    """

    request_seconds: ClassVar[float] = 10.0
    request_bytes: ClassVar[int] = 65_536

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._has_left = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Read on; wait for the rest of a request's head."""
        self._head_bytes += len(data)
        super().data_received(data)
        if self._has_left or self.transport.is_closing():
            return
        if self._is_answering():
            self._head_bytes = 0
            self._wait_no_more()
        elif self._head_bytes > self.request_bytes and not self._may_be_body():
            self._give_up()
        elif self._waiting is None:
            self._wait()

    def handle_websocket_upgrade(self, *event: Any) -> None:
        """Hand the connection to the WebSocket protocol."""
        self._has_left = True
        self._wait_no_more()
        super().handle_websocket_upgrade(*event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._has_left = True
        self._wait_no_more()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        """Tell whether a request is here that waits for its answer."""
        cycle: Any = self.cycle  # None before the first
        return cycle is not None and not cycle.response_complete

    def _may_be_body(self) -> bool:
        """Tell whether what comes may be the rest of a request that was answered before it was read."""
        cycle: Any = self.cycle
        return cycle is not None and cycle.more_body

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.request_seconds, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        """Close the connection, unless a request came meanwhile that is still to be answered."""
        self._wait_no_more()
        if not self._is_answering():
            _log.debug("%s - no request came, or too large a one: closed", self.client)
            self.transport.abort()


class HTTPProtocol(PromptRequests, AutoHTTPProtocol):
    """Uvicorn's own protocol, httptools where that is installed, else h11, with these deadlines. Made by uvicorn."""
