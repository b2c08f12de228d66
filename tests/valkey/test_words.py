"""Commands as they go over the line."""

from __future__ import annotations

from openline.valkey.words import pack


def test_words_of_any_kind_are_written_by_their_length() -> None:
    """Bytes as they are, text as UTF-8, numbers in decimal."""
    assert pack((b"a\r\n", "é", 12, 1.5)) == b"*4\r\n$3\r\na\r\n\r\n$2\r\n\xc3\xa9\r\n$2\r\n12\r\n$3\r\n1.5\r\n"
