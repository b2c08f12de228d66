"""What a client's message is made of: told from what is no text, in one piece and in fragments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.wires.message import Fragments, is_utf8


def test_utf8_is_told_from_other_bytes() -> None:
    """Of any length, ASCII or not."""
    assert all(is_utf8(text.encode()) for text in ("", "ascii", "grün", "🙂"))
    assert not any(is_utf8(data) for data in (b"\xff", b"\xc3(", b"\xed\xa0\x80", b"ok\xf0\x9f"))


@given(st.text(), st.lists(st.integers(0, 20)))
def test_fragments_of_a_text_are_cut_anywhere(text: str, cuts: list[int]) -> None:
    """Within a character, too."""
    left = text.encode()
    fragments = Fragments(binary=False)
    for cut in cuts:
        fragments.add(left[:cut])
        left = left[cut:]
    fragments.add(left)
    assert fragments.payload == text.encode()


@pytest.mark.parametrize("fragment", [b"\xff", b"\xf4\x90", b"(", b"\xa9\xa9"])
def test_a_text_is_refused_with_the_fragment_that_spoils_it(fragment: bytes) -> None:
    """By itself, or by what it follows."""
    fragments = Fragments(binary=False)
    fragments.add(b"gr\xc3")
    with pytest.raises(UnicodeDecodeError):
        fragments.add(fragment)


def test_binary_fragments_are_any_bytes() -> None:
    """Nothing is looked for in them."""
    fragments = Fragments(binary=True)
    fragments.add(b"\xff")
    fragments.add(bytearray(b"\x00"))
    assert bytes(fragments.payload) == b"\xff\x00"
