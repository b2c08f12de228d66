"""The encoding of publications for those who follow a channel within the app: nothing of it leaves the process.

All followers of a node share the bytes of a publication, and how many wait for each is counted as for any client.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, final

import msgspec

from openline.protocol.codec import DecodeError
from openline.protocol.messages import Command, Reply
from openline.publication import Message, Publication

_SIZE_BYTES: Final = 4
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Publication)


@final
class PackedCodec:
    """Whole publications, each behind its size; replies and other pushes have no words."""

    name: Final = "packed"
    binary: Final = True

    def pack(self, message: Message) -> bytes:
        """Encode a publication with all that is known of it; joins and leaves say nothing."""
        return _encoder.encode(message) if isinstance(message, Publication) else b""

    def unpack(self, chunk: bytes) -> Iterator[Publication]:
        """Give the publications of a chunk, in order."""
        start = 0
        while start < len(chunk):
            end = start + _SIZE_BYTES + int.from_bytes(chunk[start : start + _SIZE_BYTES])
            yield _decoder.decode(chunk[start + _SIZE_BYTES : end])
            start = end

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Say that there are no commands.

        Raises:
            DecodeError: always.
        """
        raise DecodeError("a follower has no commands")

    def encode(self, reply: Reply) -> bytes:
        """Say nothing."""
        return b""

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put encoded messages behind each other."""
        return b"".join([len(message).to_bytes(_SIZE_BYTES) + message for message in messages if message])

    def quote(self, payload: bytes) -> bytes:
        """Give the payload: nothing is quoted here."""
        return payload

    def carries(self, payload: bytes) -> bool:
        """Tell that anything can be carried."""
        return True


PACKED: Final = PackedCodec()
