"""How encoded messages are wrapped for each kind of wire.

A *chunk* is what an outbox holds and a wire writes: bytes that are whole on their wire, so any two can follow each
other. Framing happens once per message or batch, codec and kind of wire, never per client.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, Protocol, final

from openline.protocol.codec import Codec


class Framing(Protocol):
    """Wraps the payload of one frame for one kind of wire."""

    def wrap(self, payload: bytes, *, binary: bool) -> bytes:
        """Give the chunk that carries this payload."""


class WebSocketFrames:
    """Unmasked server frames of RFC 6455, ready for the transport."""

    def wrap(self, payload: bytes, *, binary: bool) -> bytes:
        """Give one whole frame, text or binary."""
        return _frame(0x82 if binary else 0x81, payload)


class WholeMessages:
    """The payload as it is: a server below does the framing, a message at a time."""

    def wrap(self, payload: bytes, *, binary: bool) -> bytes:
        """Give the payload itself."""
        return payload


def _frame(head: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", head, 126, size) + payload
    return struct.pack("!BBQ", head, 127, size) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Give the WebSocket close frame of a server; its reason is at most `codes.MAX_REASON_BYTES` of UTF-8."""
    return _frame(0x88, struct.pack("!H", code) + reason.encode())


#: An empty ping: what a peer answers with a pong.
PING_FRAME: Final = _frame(0x89, b"")

WEBSOCKET: Final = WebSocketFrames()
MESSAGES: Final = WholeMessages()


@final
class Encoding:
    """A codec and a framing: everything that decides which bytes a client gets for a message.

    Compared by identity, and used as a key in the hot path: make one per kind of wire, not one per client.
    """

    __slots__ = ("codec", "framing")

    def __init__(self, codec: Codec, framing: Framing) -> None:
        self.codec = codec
        self.framing = framing

    def wrap(self, messages: Sequence[bytes]) -> bytes:
        """Give one chunk that holds these encoded messages in order."""
        codec = self.codec
        return self.framing.wrap(codec.join(messages), binary=codec.binary)

    def __repr__(self) -> str:
        return f"Encoding({self.codec.name}, {type(self.framing).__name__})"
