"""What a codec is: the two encodings of the protocol behind one face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from openline.protocol.messages import Command, Reply


class DecodeError(ValueError):
    """A frame from a client is not of the protocol; commands before the broken one were given out already."""


class NestedTooDeep(DecodeError):
    """A frame is not read at all, because of how deep it nests."""


class Codec(Protocol):
    """Encodes replies and decodes commands. Stateless: one instance serves every connection."""

    @property
    def name(self) -> str:
        """Give "json" or "protobuf"."""

    @property
    def binary(self) -> bool:
        """Tell whether its WebSocket frames are binary."""

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Give the commands of one frame, in order.

        Raises:
            DecodeError: at the first piece that is no command.
        """

    def encode(self, reply: Reply) -> bytes:
        """Encode one message so that `join` can put it beside others."""

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put encoded messages into one frame, in order."""

    def quote(self, payload: bytes) -> bytes:
        """Give what stands for a payload, or a patch, in the publications of a subscription with delta.

        Raises:
            UnicodeDecodeError: the codec is text, and this is none.
        """

    def carries(self, payload: bytes) -> bool:
        """Tell whether a raw channel's payload can be embedded in a message of this codec."""
