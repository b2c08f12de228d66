"""What a client's message is made of: bytes, in one piece or in fragments, and UTF-8 where it is text."""

from __future__ import annotations

import codecs
from typing import Final, final

_Utf8Decoder: Final = codecs.getincrementaldecoder("utf-8")


@final
class Fragments:
    """A message that is coming in fragments.

    Args:
        binary: it is binary; else it is text, and has to be UTF-8.
    """

    __slots__ = ("_decoder", "binary", "payload")

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        self.payload = bytearray()
        self._decoder = None if binary else _Utf8Decoder()

    def add(self, fragment: bytes | bytearray | memoryview) -> None:
        """Take the next one.

        Raises:
            UnicodeDecodeError: whatever follows, this will not be UTF-8.
        """
        self.payload += fragment
        if self._decoder is not None:
            self._decoder.decode(fragment)


def is_utf8(payload: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
