"""The JSON codec: one object a line.

What `decode` gives out is UTF-8 on one line throughout, embedded payloads included. What reaches `encode` has to be
JSON on one line already: see `one_line`, and the places where payloads come in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from openline.options import DEEPEST_JSON
from openline.protocol.codec import DecodeError, NestedTooDeep
from openline.protocol.messages import Command, Reply

_decoder: Final = msgspec.json.Decoder(Command)
_encoder: Final = msgspec.json.Encoder()
_any_decoder: Final = msgspec.json.Decoder()
_MALFORMED: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

#: How deep a line may nest: a payload and what is around it. Whatever reads JSON goes down the stack with it, and where
#: that ends depends on who called; with a raised recursion limit it is the end of the process.
DEEPEST_LINE: Final = DEEPEST_JSON + 8

_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = [(byte == ord("[")) - (byte == ord("]")) for byte in range(256)]
#: Brackets with nothing between them are taken away this often before those that are left are counted one by one.
_PASSES: Final = 4
#: Bytes that are looked at in one go, which is some milliseconds at worst.
_SLICE: Final = 65_536

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
            DecodeError: at the first line that is no command, or nests too deep to be read as one; at once where the
                frame is not UTF-8.
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
        may_be_deep = _has_brackets(frame, DEEPEST_LINE)
        for line in lines:
            if may_be_deep and (depth := depth_past(line, DEEPEST_LINE)):
                raise NestedTooDeep(f"a command nests {depth} deep, and {DEEPEST_LINE} is the most that is read")
            yield _decode_line(line)

    def encode(self, reply: Reply) -> bytes:
        """Encode one message as one line, without the newline."""
        return _encoder.encode(reply)

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Put encoded messages into one frame, a newline between two."""
        return b"\n".join(messages) if len(messages) > 1 else messages[0]

    def quote(self, payload: bytes) -> bytes:
        """Give the JSON string that holds a payload or patch."""
        return _encoder.encode(payload.decode())

    def carries(self, payload: bytes) -> bool:
        """Tell whether a payload is JSON on one line."""
        return b"\n" not in payload and b"\r" not in payload and is_json(payload)


def _decode_line(line: bytes) -> Command:
    try:
        return _decoder.decode(line)
    except _MALFORMED as error:
        mended = whole_characters(line)
        if mended != line:
            return _decode_line(mended)
        raise DecodeError(f"no JSON command: {error}") from error


def whole_characters(text: bytes) -> bytes:
    """Replace each half of a surrogate pair by U+FFFD."""
    return _ESCAPE.sub(lambda match: b"\\ufffd" if match[1] else match[0], text)


def is_json(payload: bytes) -> bool:
    """Tell whether bytes are one JSON value that every client can read: nested no deeper than a line may be."""
    if depth_past(payload, DEEPEST_LINE):
        return False  # before the decoder goes down the stack with it
    try:
        _any_decoder.decode(payload)
    except _MALFORMED:
        return False
    return True


def depth_past(text: bytes, limit: int) -> int:
    """Say how deep arrays and objects lie within each other, if that is deeper than a limit; else 0.

    Never goes down the stack. For ordinary payloads it costs two counts of a byte; past that, at worst a third more
    than reading them. What is past the limit is not looked at to its end: a text of more than 64 KiB may nest deeper
    still than is said.

    Args:
        text: JSON; of anything else the answer means nothing.
        limit: the depth that is still 0: ``1`` has depth 0, ``[]`` 1, ``[{"a": []}]`` 3.
    """
    return max(depths_past(text, limit), default=0)


def depths_past(text: bytes, limit: int) -> Iterator[int]:
    """Do the same slice by slice, so that others may have their turn in between.

    Yields:
        0 for each slice of 64 KiB that does not get past the limit; the depth for the one that does, which is the last.
    """
    if not _has_brackets(text, limit):
        return
    depth, start, within_quotes = 0, 0, False
    while start < len(text):
        piece = text[start : start + _SLICE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece += text[start + len(piece) : start + len(piece) + 1]  # an escape stays in one piece
        start += len(piece)
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = piece.split(b'"')  # by turns outside of quotes and within
        brackets = b"".join(parts[within_quotes::2]).translate(_BRACKETS, _NO_BRACKETS)
        within_quotes ^= len(parts) % 2 == 0
        deepest = depth + _deepest(brackets, limit - depth)
        yield deepest if deepest > limit else 0
        if deepest > limit:
            return
        depth += 2 * brackets.count(b"[") - len(brackets)


def _deepest(brackets: bytes, limit: int) -> int:
    """Say how deep brackets lie within each other; where that is not past the limit, it may be any number that is not.

    Those that open or close outside of these may be missing.
    """
    left, passes = brackets, 0
    while passes < _PASSES and b"[]" in left:
        left = left.replace(b"[]", b"")
        passes += 1
    at_most = passes + max(accumulate(map(_STEPS.__getitem__, left), initial=0))
    if at_most <= limit or not passes:
        return at_most
    # What was taken away need not have lain where the others lie deepest.
    return max(accumulate(map(_STEPS.__getitem__, brackets), initial=0))


def _has_brackets(text: bytes, limit: int) -> bool:
    """Tell whether there are enough brackets to nest deeper than a limit."""
    return len(text) > limit and text.count(b"[") + text.count(b"{") > limit


def one_line(payload: bytes) -> bytes:
    """Give the same JSON value without raw newlines, which would break the framing.

    Half a surrogate pair becomes U+FFFD, as in a command.

    Raises:
        ValueError: the payload is no JSON.
    """
    if not is_json(payload):
        payload = whole_characters(payload)
        if not is_json(payload):
            raise ValueError("payload is not JSON")
    if b"\n" in payload or b"\r" in payload:
        return msgspec.json.format(payload, indent=-1)
    return payload


JSON: Final = JSONCodec()
