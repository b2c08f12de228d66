"""A WebSocket client with no manners: it says what no library would, and may stop reading for good."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Final, Self, final

from tests.servers.people import LIMIT_SECONDS
from tests.servers.server import Server

_TEXT, _CLOSE = 0x81, 0x88  # first bytes of whole frames
_REQUEST: Final = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
)


@final
class RawClient:
    """One connection, with the handshake done.

    Args:
        server: which one.
        path: where its hub is.
        extra: lines of the handshake's header, each with its end.
        narrow: take little at a time, so that what is sent to a client that does not read soon waits in the server.
    Attributes:
        answer: the head of the answer to the handshake.
    """

    def __init__(
        self, server: Server, *, path: str = "/connection/websocket", extra: str = "", narrow: bool = False
    ) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(LIMIT_SECONDS)
        if narrow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self._socket.connect(("127.0.0.1", server.port))
        self._socket.sendall(_REQUEST.format(path=path, extra=extra).encode())
        self._early = b""
        while b"\r\n\r\n" not in self._early:
            self._early += self._socket.recv(4096)
        head, _, self._early = self._early.partition(b"\r\n\r\n")
        self.answer = head.decode().splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._socket.close()

    def send_text(self, payload: bytes) -> None:
        """Send up to 125 bytes as text, whatever they are."""
        self._socket.sendall(bytes((_TEXT, 0x80 | len(payload))) + bytes(4) + payload)

    def read_to(self, words: bytes) -> None:
        """Read until these words came, and not much further."""
        while words not in self._early:
            data = self._socket.recv(4096)
            assert data, f"the connection ended before {words!r}"
            self._early += data

    def close_frame(self) -> tuple[int, str]:
        """Read on to a close frame that comes in one piece; give its code and reason."""
        data = self._early
        while not data or data[0] != _CLOSE:
            data = self._socket.recv(4096)
            assert data, "the connection ended without a close frame"
        length = data[1]
        return int.from_bytes(data[2:4], "big"), data[4 : 2 + length].decode()
