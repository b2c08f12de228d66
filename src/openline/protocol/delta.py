"""Fossil deltas: a payload said as a patch of the one before it.

A patch is the length of the payload and a newline; then, in the order of the payload, copies from the one before
(``size@offset,``) and literal bytes (``size:bytes``); then a checksum (``sum;``). Numbers are in base 64.

Where changes are few, patches are made of slices and searches that run in C: what agrees at both ends is found by
comparing ever longer slices; between the ends the two are brought back into step after each change by looking for a
block of the one nearby in the other. Work is bounded by the length of the two: what has little in common with what was
before it is soon given up.

Copies begin and end between the characters of the payload, so the patch of a text is a text and can be embedded in a
JSON string.

Source: docs/reference/protocol.md, "Delta".
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final, NamedTuple, final
from zlib import adler32

from openline.publication import Publication

#: Bytes that have to agree for two places to be taken for the same.
BLOCK: Final = 16
#: A shorter copy is said in about as many bytes as it has.
LEAST_COPY: Final = 9
#: The patch of so short a payload would never be shorter.
LEAST_PAYLOAD: Final = 16
#: How far from where they were in step two payloads are searched at first; it doubles with each try.
NEARBY: Final = 512
#: How many bytes may be searched in all: in any case, and for each byte of the two payloads.
SEARCHED_AT_LEAST: Final = 65_536
SEARCHED_PER_BYTE: Final = 4
#: What a search costs beside that, said in bytes.
SEARCH_COST: Final = 1_024

#: About what a patch that is kept takes beside itself.
KEPT_WITH_EACH_BYTES: Final = 200

_DIGITS: Final = tuple(bytes((digit,)) for digit in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")
#: What is compared at once: at first, and at most where two differ and the place is to be found.
_FIRST_STEP: Final = 128
_WHOLE_STEP: Final = 512
#: So many bytes have a sum that Adler-32 keeps whole.
_SUMMED: Final = 256


class _Copy(NamedTuple):
    """What of the payload stands in the one before it."""

    source: int  #: where it begins there
    target: int  #: where it begins here
    size: int


def encode(source: bytes, target: bytes) -> bytes | None:
    """Say a payload as a patch of another; None where that would not be shorter.

    If both are UTF-8 the patch is UTF-8 too.

    Args:
        source: what whoever applies the patch has.
        target: what is to be made of it.
    """
    if len(target) < LEAST_PAYLOAD or not source:
        return None
    parts = [_number(len(target)), b"\n"]
    said = 0
    for copy in _copies(source, target):
        if copy.target > said:
            parts += (_number(copy.target - said), b":", target[said : copy.target])
        parts += (_number(copy.size), b"@", _number(copy.source), b",")
        said = copy.target + copy.size
    if said < len(target):
        parts += (_number(len(target) - said), b":", target[said:])
    if sum(map(len, parts)) + 2 >= len(target):
        return None
    parts += (_number(checksum(target)), b";")
    patch = b"".join(parts)
    return patch if len(patch) < len(target) else None


@final
class Patches:
    """The patches between the publications of one stream, kept for the next client that recovers the same.

    When a server comes back, so do all its clients. Every recovery goes up to the newest publication: so what is past
    the bounds goes from the other end of the stream, and one that is longer than they allow makes only the rest anew.

    Args:
        most: patches kept.
        most_bytes: kept at most.
    """

    __slots__ = ("_epoch", "_kept", "_most", "_most_bytes", "_offsets", "_size_bytes")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._begin("")

    def _begin(self, epoch: str) -> None:
        self._epoch = epoch
        #: By the offset of the publication that each makes of its predecessor.
        self._kept: dict[int, bytes | None] = {}
        self._offsets: list[int] = []  #: the same offsets, as a heap
        self._size_bytes = 0

    def between(self, before: Publication, after: Publication) -> bytes | None:
        """Give the patch that makes one publication's payload of another's; None where that would not be shorter."""
        if not before.offset or (before.epoch, before.offset) != (after.epoch, after.previous):
            return encode(before.data, after.data)  # no recovery brings one right after the other
        if after.epoch != self._epoch:
            self._begin(after.epoch)
        if after.offset in self._kept:
            return self._kept[after.offset]
        patch = encode(before.data, after.data)
        self._keep(after.offset, patch)
        return patch

    def live(self, before: Publication, after: Publication) -> bytes | None:
        """Give the same for those who are there: it is kept only where somebody has recovered, and others may follow.

        Most streams are never recovered, and what were kept of all of them would add up.
        """
        return self.between(before, after) if self._kept else encode(before.data, after.data)

    def _keep(self, offset: int, patch: bytes | None) -> None:
        self._kept[offset] = patch
        heappush(self._offsets, offset)
        self._size_bytes += KEPT_WITH_EACH_BYTES + len(patch or b"")
        while len(self._kept) > self._most or self._size_bytes > self._most_bytes:
            oldest = self._kept.pop(heappop(self._offsets))
            self._size_bytes -= KEPT_WITH_EACH_BYTES + len(oldest or b"")


def _copies(source: bytes, target: bytes) -> Iterator[_Copy]:
    """Give what is worth copying, in the order of the target, cut between its characters."""
    head = _agreeing(source, 0, target, 0)
    shorter = min(len(source), len(target))
    tail = _agreeing_before(source, len(source), target, len(target), shorter - head) if head < shorter else 0
    for found in _found(source, target, head, tail):
        source_at, target_at, size = found
        for _ in range(3):
            if size and target[target_at] & 0xC0 == 0x80:
                source_at, target_at, size = source_at + 1, target_at + 1, size - 1
            if size and target_at + size < len(target) and target[target_at + size] & 0xC0 == 0x80:
                size -= 1
        if size >= LEAST_COPY:
            yield _Copy(source_at, target_at, size)


def _found(source: bytes, target: bytes, head: int, tail: int) -> Iterator[_Copy]:
    yield _Copy(0, 0, head)
    if head + tail < len(target):
        yield from _between(source, target, head, len(target) - tail)
    yield _Copy(len(source) - tail, len(target) - tail, tail)


def _between(source: bytes, target: bytes, begin: int, end: int) -> Iterator[_Copy]:
    """Give what of the target, between two places, is found again in the source."""
    source_at = target_at = begin
    work = SEARCHED_AT_LEAST + SEARCHED_PER_BYTE * (len(source) + len(target))
    while True:
        # Both are out of step here. Step by step a block further on is looked for, ever farther around.
        step, reach = 0, NEARBY
        while True:
            at = target_at + step
            if at + BLOCK > end or work < 0:
                return
            block = target[at : at + BLOCK]
            there = source.find(block, source_at, source_at + reach)
            if there < 0 and step:
                # It may have been moved here from before.
                there = source.rfind(block, max(0, source_at - reach), source_at)
            if there >= 0:
                break
            if source_at + step + BLOCK <= len(source):
                # It may be the target that has more: what comes next in the source comes later in it.
                there = source_at + step
                at = target.find(source[there : there + BLOCK], target_at, min(end, target_at + reach))
                if at >= 0:
                    break
            work -= SEARCH_COST + 3 * min(reach, len(source))
            step += BLOCK
            reach *= 2
        before = _agreeing_before(source, there, target, at, min(there, at - target_at))
        size = before + min(_agreeing(source, there, target, at), end - at)
        yield _Copy(there - before, at - before, size)
        source_at, target_at = there - before + size, at - before + size
        work -= SEARCH_COST


def _agreeing(source: bytes, source_at: int, target: bytes, target_at: int) -> int:
    """Count the bytes that are the same from two places on."""
    most = min(len(source) - source_at, len(target) - target_at)
    count, step, growth = 0, _FIRST_STEP, 4
    while count < most:
        step = min(step, most - count)
        i, j = source_at + count, target_at + count
        here, there = source[i : i + step], target[j : j + step]
        if here == there:
            count += step
            step *= growth
        elif step <= _WHOLE_STEP:
            return count + step - _bytes_of(int.from_bytes(here, "big") ^ int.from_bytes(there, "big"))
        else:
            step, growth = step // 4, 1
    return count


def _agreeing_before(source: bytes, source_end: int, target: bytes, target_end: int, most: int) -> int:
    """Count the bytes that are the same up to two places."""
    count, step, growth = 0, _FIRST_STEP, 4
    while count < most:
        step = min(step, most - count)
        i, j = source_end - count, target_end - count
        here, there = source[i - step : i], target[j - step : j]
        if here == there:
            count += step
            step *= growth
        elif step <= _WHOLE_STEP:
            return count + step - _bytes_of(int.from_bytes(here, "little") ^ int.from_bytes(there, "little"))
        else:
            step, growth = step // 4, 1
    return count


def _bytes_of(number: int) -> int:
    """Say how many bytes of a number there are from its first that is not zero."""
    return (number.bit_length() + 7) // 8


def checksum(payload: bytes) -> int:
    """Add a payload up as big-endian words of 32 bits, the last one filled up with zeros; keep 32 bits of it."""
    total = 0
    for place in range(4):
        column = payload[place::4]
        total <<= 8
        for begin in range(0, len(column), _SUMMED):
            # The lower half of Adler-32 is the sum of the bytes, below 65,521.
            total += adler32(column[begin : begin + _SUMMED], 0) & 0xFFFF
    return total & 0xFFFFFFFF


def _number(value: int) -> bytes:
    if value < 64:
        return _DIGITS[value]
    digits = []
    while value:
        digits.append(_DIGITS[value & 63])
        value >>= 6
    return b"".join(reversed(digits))
