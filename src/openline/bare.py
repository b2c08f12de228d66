"""Messages without any protocol around them: one WebSocket message for each, text or binary.

A publication of JSON goes out as its JSON text, a text as itself, without quotes; one of a raw channel as the binary
message that it is. Whatever else the protocol would say has no words here, and is left out.

An encoded message of `BareCodec` begins with the first byte of its frame, so that text and binary travel together; an
empty one says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, final

import msgspec

from openline.framing import Encoding, whole_frame
from openline.protocol.codec import Codec, DecodeError
from openline.protocol.messages import Command, Reply

_TEXT: Final = b"\x81"
_BINARY: Final = b"\x82"
_text_decoder: Final = msgspec.json.Decoder(str)


@final
class BareCodec:
    """Publications, and messages outside every channel, as they are.

    Args:
        raw: the payloads are those of raw channels: any bytes, and binary.
    """

    name: Final = "plain"
    binary: Final = True

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Say that there are no commands.

        Raises:
            DecodeError: always.
        """
        raise DecodeError("a plain line has no commands")

    def encode(self, reply: Reply) -> bytes:
        """Give the payload of a publication or message, behind the first byte of its frame; of all else nothing."""
        push = reply.push
        if push is None:
            return b""
        said = push.pub or push.message
        if said is None:
            return b""
        payload = bytes(said.data)
        return _BINARY + payload if self._raw else _TEXT + _unquoted(payload)

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put encoded messages behind each other, as frames."""
        return b"".join([whole_frame(message[1:], binary=message[:1] == _BINARY) for message in messages if message])

    def quote(self, payload: bytes) -> bytes:
        """Give the payload: nothing is quoted here."""
        return payload

    def carries(self, payload: bytes) -> bool:
        """Tell that anything can be carried."""
        return True


@final
class BareFrames:
    """Server frames with one message in each, text or binary as the message is."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give a whole frame for each message that says something."""
        return codec.join(messages)


def _unquoted(payload: bytes) -> bytes:
    """Give the text that JSON holds, where it is a text."""
    if payload[:1] != b'"':
        return payload
    try:
        return _text_decoder.decode(payload).encode()
    except (msgspec.MsgspecError, UnicodeError):
        return payload  # put into the channel from outside: it goes out as it came


def bare(message: str | bytes) -> bytes:
    """Give the chunk of one message."""
    return whole_frame(message.encode() if isinstance(message, str) else message, binary=isinstance(message, bytes))


def unframed(chunk: bytes) -> Iterator[str | bytes]:
    """Give the messages in a chunk, where a server below does the framing."""
    start = 0
    while start < len(chunk):
        head, size, start = chunk[start : start + 1], chunk[start + 1], start + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(chunk[start : start + width]), start + width
        payload = chunk[start : start + size]
        yield payload if head == _BINARY else payload.decode()
        start += size


_FRAMES: Final = BareFrames()

#: What chunks of plain lines are made with.
BARE: Final = Encoding(BareCodec(raw=False), _FRAMES, raw=Encoding(BareCodec(raw=True), _FRAMES))
