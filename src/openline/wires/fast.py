"""The fast wire: a WebSocket handed over whole, with nothing between an outbox and the transport.

A server that can let go of a socket says so in the ASGI scope, under `extensions`: the value at `DETACH` is a `Detach`.
The route calls it and returns. What was made for the handshake (task, scope, queue, protocol) is let go then, and the
socket lives on as a `FastWire` and its receiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, final

from websockets.extensions import Extension

from openline.framing import PING_FRAME, Encoding
from openline.outbox import Direct, Receiver, Wire
from openline.wires.borrowed import borrow
from openline.wires.connection import BINARY, COMPRESSED, TEXT, Connection
from openline.wires.deflate import inflate, reading
from openline.wires.message import is_utf8

#: The key of the scope's extensions.
DETACH: Final = "openline.detach"


class Detach(Protocol):
    """Takes the socket out of the server's hands, from inside the route's call."""

    def __call__(
        self,
        open_receiver: Callable[[Wire], Receiver],
        encoding: Encoding,
        subprotocol: str | None,
        message_bytes: int,
        close_seconds: float = 5.0,
        *,
        compression: bool = False,
        kind: type[FastWire] | None = None,
    ) -> None:
        """Accept the handshake at once and hand the socket to a receiver.

        When the client has gone already nothing happens and no receiver is made. When the route raises later on, the
        socket is closed with 1011.

        Args:
            open_receiver: makes the receiver of the wire; called once, before anything is received.
            encoding: what the chunks will be made with: framed for WebSocket.
            subprotocol: named in the answer; one the client offered.
            message_bytes: the largest message taken, fragments together; past it the socket is closed with 1009.
            close_seconds: for a close that the wire begins: an answer to the client's, or to a broken frame.
            compression: compress messages for a client that offers it. Its wire has another encoding then, the one that
                framing `DEFLATED` makes with the same codec: each message is compressed once for all clients.
            kind: of the wire; by default the one of the protocol. Another is not compressed.

        Raises:
            RuntimeError: the handshake was answered already.
        """


class _Nobody:
    """The receiver of a wire before it has one, and after the end."""

    def receive(self, frame: bytes) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def ponged(self) -> None:
        pass

    def too_large(self) -> None:
        pass

    def closed(self, code: int, reason: str) -> None:
        pass

    def shutdown(self) -> None:
        pass


NOBODY: Final = _Nobody()


class FastWire(Connection):
    """A `Wire` straight on the socket: what the kernel does not take at once goes to the transport.

    `closed` comes when the client has closed or has broken the protocol, or the connection is lost, with the code and
    reason of whoever began the close. A message that is not UTF-8 where it has to be closes the socket with 1007.
    """

    __slots__ = ("_receiver", "_socket", "direct", "encoding")

    name = "websocket"

    def __init__(
        self,
        transport: asyncio.Transport,
        connections: set[Any],
        *,
        encoding: Encoding,
        message_bytes: int,
        close_seconds: float,
    ) -> None:
        super().__init__(transport, connections, message_bytes=message_bytes, close_seconds=close_seconds)
        self.encoding = encoding
        self._receiver: Receiver = NOBODY
        self._socket = borrow(transport)
        #: Not yet: the transport may hold the answer to the handshake.
        self.direct: Direct | None = None

    def open(self, open_receiver: Callable[[Wire], Receiver]) -> None:
        """Make the receiver. The wire is the transport's protocol by now."""
        self._receiver = open_receiver(self)

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Send these chunks in one go; nothing after `close`."""
        if not self.is_open:
            return
        if more:
            chunk = b"".join((chunk, *more))
        direct = self.direct or self._direct_again()
        if direct is not None:
            try:
                sent = direct.send(chunk)
            except OSError:  # no room, or a broken connection: the transport finds out which
                sent = 0
            if sent == len(chunk):
                return
            chunk = chunk[sent:]
        self._write(chunk)

    def _direct_again(self) -> Direct | None:
        if self._socket is not None and not self._transport.get_write_buffer_size():
            self.direct = self._socket
        return self.direct

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        # What is sent past the transport would overtake what it holds.
        self.direct = None

    def _shut(self) -> None:
        super()._shut()
        if self._socket is not None:
            self._socket.detach()
            self._socket = self.direct = None

    def unsent_bytes(self) -> int:
        """How much of what was written the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def ping(self) -> bool:
        """Send a ping frame, behind what was written."""
        if self.is_open:
            self._write(PING_FRAME)
        return self.is_open

    def _ponged(self, payload: bytes) -> None:
        self._receiver.ponged()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        super().pause_writing()
        self._receiver.pause()

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        super().resume_writing()
        self._receiver.resume()

    def shutdown(self) -> None:
        """The server is about to end: the receiver closes, the deadline is its own."""
        self._receiver.shutdown()

    def _take(self, payload: bytes, *, binary: bool) -> None:
        if not (binary and self.encoding.codec.binary) and not is_utf8(payload):
            self.close(1007, "invalid UTF-8", deadline_seconds=self._close_seconds)
        else:
            self._receiver.receive(payload)

    def _too_large(self) -> None:
        self._receiver.too_large()

    def _ended(self, code: int, reason: str) -> None:
        receiver, self._receiver = self._receiver, NOBODY
        receiver.closed(code, reason)


@final
class DeflatedWire(FastWire):
    """A `FastWire` whose client compresses, and is sent compressed frames.

    What is received is decompressed message by message, with nothing kept in between.
    """

    __slots__ = ()

    _ordinary = FastWire._ordinary | {TEXT | COMPRESSED, BINARY | COMPRESSED}

    def _inflate(self, payload: bytes) -> bytes | None:
        return inflate(payload, self._message_bytes)

    def _extensions(self) -> list[Extension]:
        return [reading()]
