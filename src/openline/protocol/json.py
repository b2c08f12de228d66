"""The JSON codec: one object a line.

What `decode` gives out is UTF-8 on one line throughout, embedded payloads included. What reaches `encode` has to be
JSON on one line already: see `one_line`, and the places where payloads come in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from openline.protocol.codec import DecodeError
from openline.protocol.messages import Command, Reply

_decoder: Final = msgspec.json.Decoder(Command)
_encoder: Final = msgspec.json.Encoder()
_any_decoder: Final = msgspec.json.Decoder()
_MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

# Every escape of a text in its turn, so that an escaped backslash before a "u" is not taken for one; only half a
# surrogate pair ends up in the group.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


class JSONCodec:
    """Replies and commands as JSON text."""

    name: Final = "json"
    binary: Final = False

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Give the commands of one frame, one a line.

        Half a surrogate pair, which JavaScript writes when a text is cut inside an emoji, is read as U+FFFD.

        Raises:
            DecodeError: at the first line that is no command; at once where the frame is not UTF-8.
        """
        if not frame.isascii():
            try:
                frame.decode()
            except UnicodeDecodeError as error:
                raise DecodeError(f"no UTF-8: {error}") from error
        # Between tokens a raw carriage return is white space, and in a payload it would end a line on an event stream.
        # Within a text it is an error; that is not worth looking for, it becomes a space as well.
        frame = frame.replace(b"\r", b" ")
        # A client may end a frame with a newline; an empty frame is no command at all.
        lines = frame.rstrip().split(b"\n") if b"\n" in frame else (frame,)
        for line in lines:
            yield _decode_line(line)

    def encode(self, reply: Reply) -> bytes:
        """Encode one message as one line, without the newline."""
        return _encoder.encode(reply)

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put encoded messages into one frame, a newline between two."""
        return b"\n".join(messages) if len(messages) > 1 else messages[0]

    def carries(self, payload: bytes) -> bool:
        """Tell whether a payload is JSON on one line."""
        return b"\n" not in payload and b"\r" not in payload and is_json(payload)


def _decode_line(line: bytes) -> Command:
    try:
        return _decoder.decode(line)
    except _MALFORMED as error:
        mended = _whole_characters(line)
        if mended != line:
            return _decode_line(mended)
        raise DecodeError(f"no JSON command: {error}") from error


def _whole_characters(text: bytes) -> bytes:
    """Replace each half of a surrogate pair by U+FFFD."""
    return _ESCAPE.sub(lambda match: b"\\ufffd" if match[1] else match[0], text)


def is_json(payload: bytes) -> bool:
    """Tell whether bytes are one JSON value that every client can read."""
    try:
        _any_decoder.decode(payload)
    except _MALFORMED:
        return False
    return True


def one_line(payload: bytes) -> bytes:
    """Give the same JSON value without raw newlines, which would break the framing.

    Half a surrogate pair becomes U+FFFD, as in a command.

    Raises:
        ValueError: the payload is no JSON.
    """
    if not is_json(payload):
        payload = _whole_characters(payload)
        if not is_json(payload):
            raise ValueError("payload is not JSON")
    if b"\n" in payload or b"\r" in payload:
        return msgspec.json.format(payload, indent=-1)
    return payload


JSON: Final = JSONCodec()
