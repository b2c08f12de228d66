"""How encoded messages are wrapped for each kind of wire.

A *chunk* is what an outbox holds and a wire writes: bytes that are whole on their wire, so any two can follow each
other. Framing happens once per message or batch, codec and kind of wire, never per client.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, Protocol, final

from openline.protocol.codec import Codec

#: What compression makes of less is hardly shorter, and costs the client as much to read.
COMPRESSED_FROM_BYTES: Final = 256
#: The window, as a power of two: for messages like ours 4 KiB compress as well as zlib's own 32 KiB, which take
#: ten times as long to set up.
WINDOW_BITS: Final = 12
#: Of zlib's working memory; it goes with the window.
MEMORY_LEVEL: Final = 5


class Framing(Protocol):
    """Wraps encoded messages for one kind of wire."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give one chunk that holds these messages of a codec in order, at least one."""


class WebSocketFrames:
    """Unmasked server frames of RFC 6455, ready for the transport: several messages share one."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give one whole frame, text or binary."""
        return whole_frame(codec.join(messages), binary=codec.binary)


class SeparateFrames:
    """Server frames with one message in each, for clients that look no further than that.

    Where a server below does the framing, `unpacked` gives it the messages again.
    """

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give a whole frame for each message, text or binary."""
        return b"".join([whole_frame(message, binary=codec.binary) for message in messages])


class DeflatedFrames:
    """Server frames with compressed payloads (RFC 7692), where that makes them shorter.

    Nothing is taken over from one message to the next, and the window is the same for all: so one frame serves every
    client that has agreed to compression.
    """

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give one whole frame, text or binary, compressed or not."""
        payload = codec.join(messages)
        if len(payload) >= COMPRESSED_FROM_BYTES:
            compressor = zlib.compressobj(wbits=-WINDOW_BITS, memLevel=MEMORY_LEVEL)
            compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
            if len(compressed) - len(FLUSHED) < len(payload):
                return _frame(0xC2 if codec.binary else 0xC1, compressed[: -len(FLUSHED)])
        return whole_frame(payload, binary=codec.binary)


class WholeMessages:
    """The messages as they are: a server below does the framing, a chunk at a time."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give the payload itself."""
        return codec.join(messages)


class Records:
    """The body of an HTTP stream: a line for each message of a text codec; those of a binary one say their length."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give whole records."""
        return codec.join(messages) if codec.binary else codec.join(messages) + b"\n"


class Events:
    """The body of an event stream: an event for each message, which is text on one line."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give whole events."""
        return b"".join([b"data: %b\n\n" % message for message in messages])


#: How a flush of zlib ends. RFC 7692 has senders leave it out and receivers put it back.
FLUSHED: Final = b"\x00\x00\xff\xff"


def whole_frame(payload: bytes, *, binary: bool) -> bytes:
    """Give the WebSocket frame of a server that holds a whole message."""
    return _frame(0x82 if binary else 0x81, payload)


def _frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def unpacked(chunk: bytes) -> Iterator[bytes]:
    """Give the messages in a chunk of `SeparateFrames`."""
    start = 0
    while start < len(chunk):
        size, start = chunk[start + 1], start + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(chunk[start : start + width]), start + width
        yield chunk[start : start + size]
        start += size


def close_frame(code: int, reason: str) -> bytes:
    """Give the WebSocket close frame of a server; its reason is at most `codes.MAX_REASON_BYTES` of UTF-8.

    1005 stands for a close without a code: the answer to one names none either.
    """
    return _frame(0x88, b"" if code == 1005 else struct.pack("!H", code) + reason.encode())


#: An empty ping: what a peer answers with a pong.
PING_FRAME: Final = _frame(0x89, b"")

WEBSOCKET: Final = WebSocketFrames()
DEFLATED: Final = DeflatedFrames()
SEPARATE: Final = SeparateFrames()
MESSAGES: Final = WholeMessages()
RECORDS: Final = Records()
EVENTS: Final = Events()


@final
class Encoding:
    """A codec and a framing: everything that decides which bytes a client gets for a message.

    Compared by identity, and used as a key in the hot path: make one per kind of wire, not one per client.

    Attributes:
        raw: the encoding of the publications of raw channels; nearly always this one.
    """

    __slots__ = ("codec", "framing", "raw")

    def __init__(self, codec: Codec, framing: Framing, raw: Encoding | None = None) -> None:
        self.codec = codec
        self.framing = framing
        self.raw = self if raw is None else raw

    def wrap(self, messages: Sequence[bytes]) -> bytes:
        """Give one chunk that holds these encoded messages in order."""
        return self.framing.wrap(messages, self.codec)

    def __repr__(self) -> str:
        return f"Encoding({self.codec.name}, {type(self.framing).__name__})"


_encodings: Final[dict[tuple[Codec, Framing], Encoding]] = {}


def encoding(codec: Codec, framing: Framing) -> Encoding:
    """Give the one encoding of a codec and a framing."""
    key = (codec, framing)
    found = _encodings.get(key)
    if found is None:
        found = _encodings[key] = Encoding(codec, framing)
    return found
