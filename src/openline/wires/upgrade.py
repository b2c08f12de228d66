"""The opening handshake of a WebSocket as bytes: the request a server hands over, the answers, the refusals.

The HTTP server has parsed the request already and gives it on as bytes again, whole and well formed: names, a colon, a
space, values, one header a line. So reading it here is a few splits, and answering it one join.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, final
from urllib.parse import unquote

Headers = Sequence[tuple[bytes, bytes]]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: "
)
_UPGRADE: Final = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"))


class Refusal(NamedTuple):
    """Why a handshake cannot be: the HTTP answer for it."""

    status: int
    headers: Headers
    text: str


@final
class UpgradeRequest:
    """A request to switch to WebSocket.

    Args:
        data: the request line and the headers, up to the empty line.

    Raises:
        ValueError: this is no HTTP request with an ASCII path.
    """

    __slots__ = ("headers", "method", "path", "query", "raw_path")

    def __init__(self, data: bytes) -> None:
        first, *lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
        method, target, _version = first.split(b" ")
        raw_path, _, query = _origin_form(target).partition(b"?")
        path = raw_path.decode("ascii")
        self.method = method
        self.raw_path = raw_path
        self.path = unquote(path) if "%" in path else path
        self.query = query
        self.headers: list[tuple[bytes, bytes]] = []
        for line in lines:
            name, _, value = line.partition(b": ")
            self.headers.append((name.lower(), value))

    def refusal(self) -> Refusal | None:
        """Say why this handshake cannot be accepted; None when it can. (RFC 6455, 4.2.1)."""
        if self.method != b"GET":
            return Refusal(405, ((b"allow", b"GET"),), "A WebSocket handshake is a GET request.")
        if b"websocket" not in self.tokens(b"upgrade") or b"upgrade" not in self.tokens(b"connection"):
            return Refusal(426, _UPGRADE, "This is no WebSocket handshake.")
        if self.values(b"sec-websocket-version") != [b"13"]:
            wanted = (*_UPGRADE, (b"sec-websocket-version", b"13"))
            return Refusal(426, wanted, "The WebSocket version spoken here is 13.")
        if not _is_key(self.values(b"sec-websocket-key")):
            return Refusal(400, (), "Sec-WebSocket-Key has to be 16 bytes in base64, once.")
        return None

    def values(self, name: bytes) -> list[bytes]:
        """Give every value of a header, in order; `name` is lower-case."""
        return [value for key, value in self.headers if key == name]

    def tokens(self, name: bytes) -> list[bytes]:
        """Give the comma-separated parts of a header, in lower case, without empty ones."""
        return [token for value in self.values(name) for part in value.lower().split(b",") if (token := part.strip())]

    def subprotocols(self) -> list[str]:
        """Give the subprotocols the client offers, in its order.

        An empty header offers none: one released client sends it so.
        """
        offered = b",".join(self.values(b"sec-websocket-protocol")).decode("latin-1")
        return [name for part in offered.split(",") if (name := part.strip())]


def _origin_form(target: bytes) -> bytes:
    """Cut scheme and authority off a target written for a proxy."""
    if target.startswith(b"/"):
        return target
    _scheme, separator, rest = target.partition(b"://")
    if not separator:
        raise ValueError(f"{target!r} is no path")
    return b"/" + rest.partition(b"/")[2]


def _is_key(values: list[bytes]) -> bool:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == 16
    except binascii.Error:
        return False


def switching_response(request: UpgradeRequest, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Give the answer that accepts: status 101 and these headers besides those of the handshake.

    The request is one without `refusal`.

    Raises:
        ValueError: a header would break out of its line.
    """
    (key,) = request.values(b"sec-websocket-key")
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    parts = [_SWITCHING, base64.b64encode(digest), b"\r\n"]
    _add_headers(parts, headers)
    return b"".join(parts)


def http_response(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> bytes:
    """Give an ordinary HTTP answer, after which the connection ends.

    Raises:
        ValueError: a header would break out of its line.
    """
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    parts = [b"HTTP/1.1 %d %s\r\n" % (status, phrase)]
    given = list(headers)
    names = {name.lower() for name, _ in given}
    if b"connection" not in names:
        given.append((b"connection", b"close"))
    if b"content-length" not in names and b"transfer-encoding" not in names:
        given.append((b"content-length", b"%d" % len(body)))
    if body and b"content-type" not in names:
        given.append((b"content-type", b"text/plain; charset=utf-8"))
    _add_headers(parts, given)
    parts.append(body)
    return b"".join(parts)


def _add_headers(parts: list[bytes], headers: Iterable[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if b"\n" in name or b"\r" in name or b"\n" in value or b"\r" in value:
            raise ValueError(f"header {name!r} holds a line break")
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
