"""A WebSocket client in the raw: it sends the bytes a test wants, right or wrong, and reads frames one by one."""

from __future__ import annotations

import secrets
import socket
import ssl
import struct
import zlib
from types import TracebackType
from typing import NamedTuple, Self

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: Past it a server that should have sent something has not.
WAIT_SECONDS = 5
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Frame(NamedTuple):
    """One frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv1: bool = False


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """Give the bytes of a client's frame."""
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    head = bytes((fin << 7 | reserved << 4 | opcode,))
    if size < 126:
        head += bytes((mask_bit | size,))
    elif size < 65_536:
        head += struct.pack("!BH", mask_bit | 126, size)
    else:
        head += struct.pack("!BQ", mask_bit | 127, size)
    if not masked:
        return head + payload
    key = secrets.token_bytes(4)
    stretched = (key * (size // 4 + 1))[:size]
    xored = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return head + key + xored.to_bytes(size, "big")


def compressed(message: bytes) -> bytes:
    """Compress a message as clients do that keep no context."""
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def close_payload(code: int, reason: str = "") -> bytes:
    """Give the payload of a close frame."""
    return struct.pack("!H", code) + reason.encode()


def request(path: str = "/", headers: dict[str, str | None] | None = None, method: str = "GET") -> bytes:
    """Give the bytes of a handshake; a header of None is left out."""
    merged: dict[str, str | None] = {
        "Host": "test",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **(headers or {}),
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in merged.items() if value is not None)]
    return "\r\n".join((*lines, "", "")).encode()


class Client:
    """A TCP connection that speaks WebSocket.

    Attributes:
        status: of the answer to the handshake.
        headers: of the answer, names in lower case.
        body: of the answer, where it refused.
    """

    def __init__(
        self,
        port: int,
        path: str = "/",
        headers: dict[str, str | None] | None = None,
        *,
        method: str = "GET",
        tls: ssl.SSLContext | None = None,
        receive_bytes: int | None = None,
        answer: bool = True,
    ) -> None:
        raw = socket.socket()
        if receive_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.settimeout(WAIT_SECONDS)
        raw.connect(("127.0.0.1", port))
        self.socket = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._buffer = b""
        self.send(request(path, headers, method))
        if answer:
            self.read_answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def read_answer(self) -> None:
        """Read the answer to the handshake."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(": ")
            self.headers[name.lower()] = value
        if self.status != 101:
            self.body = self._read(int(self.headers["content-length"]))

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0
    ) -> None:
        """Send one frame."""
        self.send(frame(opcode, payload, fin=fin, masked=masked, reserved=reserved))

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self.send_frame(TEXT, text.encode())

    def send_close(self, code: int, reason: str = "") -> None:
        """Send a close frame."""
        self.send_frame(CLOSE, close_payload(code, reason))

    def read_frame(self) -> Frame:
        """Read the next frame."""
        head, size = self._read(2)
        assert not size & 0x80, "a server masks nothing"
        if size == 126:
            size = int.from_bytes(self._read(2), "big")
        elif size == 127:
            size = int.from_bytes(self._read(8), "big")
        return Frame(head & 0x0F, self._read(size), bool(head & 0x80), bool(head & 0x40))

    def read_text(self) -> str:
        """Read a text message."""
        received = self.read_frame()
        assert received.opcode == TEXT
        return received.payload.decode()

    def read_close(self) -> tuple[int, str]:
        """Read a close frame and give its code and reason."""
        received = self.read_frame()
        assert received.opcode == CLOSE, received
        return int.from_bytes(received.payload[:2], "big"), received.payload[2:].decode()

    def read_end(self) -> None:
        """See the server close TCP, with nothing more sent."""
        assert self._buffer == b""
        assert self.socket.recv(1) == b""

    def reset(self) -> None:
        """Vanish: the kernel tells the server that the connection is gone, and nothing else."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _fill(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            raise EOFError("the server closed the connection")
        self._buffer += data
