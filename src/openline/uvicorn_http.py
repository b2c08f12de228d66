"""The HTTP side of a connection, under uvicorn: uvicorn's own, with a deadline for what opens a connection.

`openline run` uses it; elsewhere it is ``uvicorn app:app --http openline.uvicorn_http:HTTPProtocol``. Uvicorn by itself
waits for ever for a client that connects and sends nothing, or half a request; and its faster parser, httptools, takes
headers of any size. Each such client keeps a socket of the server's, and the system lends it a limited number.

Invariant: from the first whole head of a request on nothing here matters any more. Uploads, downloads, streams and
kept-alive connections are uvicorn's, and take the time they take.
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
    """What is put before a protocol of uvicorn's: it closes a connection whose first request does not come.

    Attributes:
        request_seconds: for the head of the first request, all of it; past it the connection is closed without a word.
        request_bytes: the largest head that is waited for; past it the same.
    """

    request_seconds: ClassVar[float] = 10.0
    request_bytes: ClassVar[int] = 65_536

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Runs until the first request is here.
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0

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
        super().handle_websocket_upgrade(*event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._drop_deadline()
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


class HTTPProtocol(PromptRequests, AutoHTTPProtocol):
    """Uvicorn's own protocol, httptools where that is installed, else h11, with these deadlines. Made by uvicorn."""
