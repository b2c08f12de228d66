"""Applies Fossil deltas, as clients do: what our patches are read with in the tests."""

from __future__ import annotations

import string

DIGITS = string.digits + string.ascii_uppercase + "_" + string.ascii_lowercase + "~"


class Broken(AssertionError):
    """A patch that no client could apply."""


def apply(source: bytes, patch: bytes) -> bytes:
    """Make the payload that a patch describes.

    Raises:
        Broken: the patch is none of this source.
    """
    size, sign, at = _number(patch, 0)
    _check(sign == "\n", "the length is not followed by a newline")
    made = bytearray()
    while True:
        number, sign, at = _number(patch, at)
        if sign == "@":
            begin, comma, at = _number(patch, at)
            _check(comma == ",", "a copy does not end with a comma")
            _check(number > 0 and begin + number <= len(source), "a copy reaches past the source")
            made += source[begin : begin + number]
        elif sign == ":":
            _check(number > 0 and at + number <= len(patch), "a literal reaches past the patch")
            made += patch[at : at + number]
            at += number
        else:
            _check(sign == ";", f"{sign!r} is no command")
            break
    _check(at == len(patch), "something follows the checksum")
    _check(len(made) == size, "the length is wrong")
    _check(checksum(bytes(made)) == number, "the checksum is wrong")
    return bytes(made)


def checksum(payload: bytes) -> int:
    """Add up the words of a payload, as the format describes it."""
    padded = payload + bytes(-len(payload) % 4)
    words = (int.from_bytes(padded[at : at + 4], "big") for at in range(0, len(padded), 4))
    return sum(words) % 2**32


def _number(patch: bytes, at: int) -> tuple[int, str, int]:
    """Read a number and the sign behind it; give where to go on."""
    value = 0
    while True:
        _check(at < len(patch), "the patch ends too early")
        sign = chr(patch[at])
        at += 1
        if sign not in DIGITS:
            return value, sign, at
        value = value * 64 + DIGITS.index(sign)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
