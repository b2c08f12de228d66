"""One client of the herd: a WebSocket in the raw protocol, counts what it hears and comes back when cut off.

Payloads are numbered from 1 in each channel, so whatever the engine's offsets look like, a client knows what it missed.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast, final

import msgspec

_REQUEST: Final = (
    "GET /connection/websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: b3BlbmxpbmUgbG9hZCE9IQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_SWITCHED: Final = b"HTTP/1.1 101"
_PONG: Final = b"{}"
_PING: Final = b"{}"
_RETRY_SECONDS: Final = 0.05
_CLOSE: Final = 8


class _Publication(msgspec.Struct, frozen=True):
    data: int
    offset: int = 0


class _Subscribed(msgspec.Struct, frozen=True):
    epoch: str = ""
    offset: int = 0
    recovered: bool = False
    publications: list[_Publication] = []


class _Push(msgspec.Struct, frozen=True):
    pub: _Publication | None = None


class _Heard(msgspec.Struct, frozen=True):
    subscribe: _Subscribed | None = None
    push: _Push | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_read: Final = msgspec.json.Decoder(_Heard).decode


class Herd(Protocol):
    """Whom a client tells."""

    def live(self, client: Client) -> None:
        """It is subscribed, and has what it missed."""

    def cut_off(self, client: Client) -> int:
        """Its connection has ended, and it is live still if it was. Have it connect again; give the port."""


@final
class Client(asyncio.Protocol):
    """A client of one channel.

    Attributes:
        channel: it has subscribed to.
        live: it is subscribed, and has what it missed.
        number: of the newest publication it has heard of.
        lost: publications that it was not told of, and should have been.
        repeated: publications that it was told of again, or late.
        unrecovered: how often it was told that history does not reach back to where it was.
        refused: how often it could not connect.
    """

    __slots__ = (
        "_buffer",
        "_herd",
        "_loop",
        "_offset",
        "_open",
        "_port",
        "_transport",
        "channel",
        "epoch",
        "leaving",
        "live",
        "lost",
        "number",
        "refused",
        "repeated",
        "unrecovered",
    )

    def __init__(self, channel: str, port: int, herd: Herd) -> None:
        self.channel = channel
        self.number = self.lost = self.repeated = self.unrecovered = self.refused = 0
        self.epoch = ""
        self.leaving = self.live = False
        self._offset = 0
        self._port = port
        self._herd = herd
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._buffer = b""

    async def connect(self) -> None:
        """Connect, however long it takes; it is live once the herd is told so."""
        while not self.leaving:
            try:
                await self._loop.create_connection(lambda: self, "127.0.0.1", self._port)
            except OSError:
                self.refused += 1
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def leave(self) -> None:
        """Go, for good."""
        self.leaving = True
        if self._transport is not None:
            self._transport.abort()

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = cast("asyncio.Transport", transport)  # asyncio's promise for stream sockets
        self._open, self._buffer = False, b""
        self._transport.write(_REQUEST.format(port=self._port).encode())

    def connection_lost(self, error: Exception | None) -> None:
        """Come back, to another node."""
        self._transport = None
        if not self.leaving:
            self._port = self._herd.cut_off(self)
            self.live = False

    def data_received(self, data: bytes) -> None:
        """Read what is whole of what has come."""
        data = self._buffer + data
        if not self._open:
            head, end, data_behind = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = data
                return
            if not head.startswith(_SWITCHED):
                self.refused += 1
                if self._transport is not None:
                    self._transport.abort()
                return
            self._open, data = True, data_behind
            self._say(self._greeting())
        start, size = 0, len(data)
        while size - start >= 2:  # a header: one byte for the kind, one or more for the size
            length, begin = data[start + 1], start + 2
            if length >= 126:
                begin += 2 if length == 126 else 8
                length = int.from_bytes(data[start + 2 : begin], "big")
            if begin > size or begin + length > size:
                break
            if data[start] & 0x0F < _CLOSE:
                self._take(data[begin : begin + length])
            start = begin + length
        self._buffer = data[start:]

    def _greeting(self) -> bytes:
        recover = f',"recover":true,"epoch":"{self.epoch}","offset":{self._offset}' if self.epoch else ""
        return f'{{"id":1,"connect":{{}}}}\n{{"id":2,"subscribe":{{"channel":"{self.channel}"{recover}}}}}'.encode()

    def _say(self, text: bytes) -> None:
        # The mask is zero: the payload stays as it is, and the server unmasks all the same.
        size = len(text)
        header = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")
        if self._transport is not None:
            self._transport.write(header + b"\0\0\0\0" + text)

    # --- what is heard --------------------------------------------------------------------------------------------

    def _take(self, message: bytes) -> None:
        for line in message.split(b"\n"):
            if line == _PING:
                self._say(_PONG)
                continue
            heard = _read(line)
            if heard.push is not None and heard.push.pub is not None:
                self._count(heard.push.pub)
            elif heard.subscribe is not None:
                self._begin(heard.subscribe)
            elif heard.error and self._transport is not None:
                self._transport.abort()  # it comes back

    def _begin(self, subscribed: _Subscribed) -> None:
        if self.epoch:
            self.unrecovered += not subscribed.recovered
        for publication in subscribed.publications:
            self._count(publication)
        self.epoch, self._offset = subscribed.epoch, max(self._offset, subscribed.offset)
        self.live = True
        self._herd.live(self)

    def _count(self, publication: _Publication) -> None:
        if publication.data <= self.number:
            self.repeated += 1
            return
        # Nobody publishes before all of the herd are subscribed: the first it hears is the first there is.
        self.lost += publication.data - self.number - 1
        self.number, self._offset = publication.data, publication.offset
