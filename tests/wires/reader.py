"""An HTTP client in the raw: it sends one request, and reads the answer as slowly as a test wants."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Self

from tests.wires.client import WAIT_SECONDS


def request(
    path: str = "/", body: bytes = b"", headers: dict[str, str] | None = None, method: str = "POST", host: str = "test"
) -> bytes:
    """Give the bytes of a request."""
    merged = {"Host": host, "Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in merged.items())]
    return "\r\n".join((*lines, "", "")).encode() + body


class Reader:
    """A TCP connection with one request on it, whose answer comes in chunks.

    Attributes:
        status: of the answer.
        headers: of the answer, names in lower case.
    """

    def __init__(self, port: int, data: bytes, *, receive_bytes: int | None = None, answer: bool = True) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(WAIT_SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self.status = 0
        self.headers: dict[str, str] = {}
        self._raw = bytearray()
        self._body = b""
        self._is_complete = False
        self.socket.sendall(data)
        if answer:
            self.read_answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def read_answer(self) -> None:
        """Read up to where the body begins."""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self._is_complete = False
        self.status = int(head[0].split(" ")[1])
        pairs = (line.partition(":") for line in head[1:])
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    def read(self, size: int) -> bytes:
        """Read so many bytes of the body."""
        while len(self._body) < size:
            self._read_chunk()
        data, self._body = self._body[:size], self._body[size:]
        return data

    def line(self) -> bytes:
        """Read a line of the body; give it without its end."""
        while b"\n" not in self._body:
            self._read_chunk()
        line, _, self._body = self._body.partition(b"\n")
        return line

    def rest(self) -> bytes:
        """Read the body to its end, which is the server's word and not that of TCP."""
        if "content-length" in self.headers:
            while len(self._raw) < int(self.headers["content-length"]):
                self._fill()
            size = int(self.headers["content-length"])
            body = bytes(self._raw[:size])
            del self._raw[:size]
            return body
        while not self._is_complete and self.status != 204:
            self._read_chunk()
        data, self._body = self._body, b""
        return data

    def reset(self) -> None:
        """Vanish: the other side gets an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read_chunk(self) -> None:
        if self._is_complete:
            raise EOFError("the body has ended")
        size = int(self._until(b"\r\n"), 16)
        while len(self._raw) < size + 2:
            self._fill()
        self._body += self._raw[:size]
        del self._raw[: size + 2]
        self._is_complete = size == 0

    def _until(self, end: bytes) -> bytes:
        while end not in self._raw:
            self._fill()
        place = self._raw.index(end)
        before = bytes(self._raw[:place])
        del self._raw[: place + len(end)]
        return before

    def _fill(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the connection ended in the middle of an answer")
        self._raw += data
