"""Patches: whatever the two payloads are, applying gives the second, and a text stays a text."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import centrifuge.fossil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from openline.protocol import delta
from openline.protocol.delta import Patches
from openline.publication import Publication
from tests.protocol.fossil import Broken, apply, checksum

#: Characters of one to four bytes, few enough that copies are found and cut everywhere.
LETTERS = 'ab,"{яюßé€漢字🙂🙃👍🏽'


def check(source: bytes, target: bytes) -> bytes | None:
    """Patch, and see that every decoder makes the target of it."""
    patch = delta.encode(source, target)
    if patch is not None:
        assert apply(source, patch) == target
        assert centrifuge.fossil.apply_delta(source, patch) == target
        assert len(patch) < len(target)
    return patch


@st.composite
def edited(draw: st.DrawFn, units: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    """Draw something long and repetitive, and the same with a few edits: inserted, deleted, replaced, moved."""
    source = draw(units) * draw(st.integers(1, 40)) + draw(units)
    target = source
    for _ in range(draw(st.integers(0, 6))):
        begin = draw(st.integers(0, len(target)))
        end = draw(st.integers(begin, min(len(target), begin + 60)))
        kind = draw(st.sampled_from(["replace", "insert", "move"]))
        if kind == "replace":
            target = target[:begin] + draw(units) + target[end:]
        elif kind == "insert":
            target = target[:begin] + draw(units) + target[begin:]
        else:
            target = target[:begin] + target[end:] + target[begin:end]
    return source, target


@settings(max_examples=500)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_two_payloads(source: bytes, target: bytes) -> None:
    """With nothing in common, or little by chance, there is no patch or a right one."""
    check(source, target)


@settings(max_examples=500)
@given(edited(st.binary(max_size=80)))
def test_edited_bytes(pair: tuple[bytes, bytes]) -> None:
    """Bytes that change in places: the patch makes them what they became."""
    check(*pair)


@settings(max_examples=1_000)
@given(edited(st.text(st.sampled_from(LETTERS), max_size=80)))
@example(("я" * 40, "я" * 20 + "ю" + "я" * 19))
@example(("🙂" * 30, "🙂" * 10 + "🙃" + "🙂" * 19))
@example(("漢" * 30 + "a", "漢" * 29 + "字" + "a"))
def test_the_patch_of_a_text_is_a_text(pair: tuple[str, str]) -> None:
    """No copy begins or ends within a character, so the patch fits into a JSON string; whatever the alphabet."""
    source, target = (text.encode() for text in pair)
    patch = check(source, target)
    if patch is not None:
        patch.decode()


@settings(max_examples=300)
@given(st.text(st.sampled_from(LETTERS), max_size=300), st.text(st.sampled_from(LETTERS), max_size=300))
def test_two_texts_that_were_never_one(source: str, target: str) -> None:
    """The same for texts that have only their alphabet in common."""
    patch = check(source.encode(), target.encode())
    if patch is not None:
        patch.decode()


@given(st.binary(max_size=3_000))
def test_the_checksum_is_that_of_the_format(payload: bytes) -> None:
    """Added up in columns it is the same as in words, whatever the length."""
    assert delta.checksum(payload) == checksum(payload)


def test_the_checksum_of_what_is_large() -> None:
    """Nothing runs over where many bytes are large."""
    payload = b"\xff" * 100_003
    assert delta.checksum(payload) == checksum(payload)


# --- how good patches are --------------------------------------------------------------------------------------------


def prices(count: int) -> list[dict[str, Any]]:
    """Give a payload as apps have them."""
    return [{"id": number, "symbol": f"EUR{number:04d}", "price": 100 + number * 1.37} for number in range(count)]


def written(value: object) -> bytes:
    """Write it as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize("count", [5, 50, 1_500])
def test_small_changes_make_small_patches(count: int) -> None:
    """One number of many, one entry in front, some at the end: what is sent is about what has changed."""
    before = prices(count)
    changed = prices(count)
    changed[count // 2]["price"] = 55.5
    in_front = [{"id": -1, "symbol": "NEW", "price": 1}, *before[:-1]]
    gone = before[: count // 3] + before[count // 3 + 1 :]
    for after in (changed, in_front, gone, before):
        patch = check(written(before), written(after))
        assert patch is not None
        assert len(patch) < 110


def test_changes_in_many_places_are_found_one_by_one() -> None:
    """Each tenth of many entries: the rest is copied."""
    before, after = prices(500), prices(500)
    for entry in after[::10]:
        entry["price"] += 1
    patch = check(written(before), written(after))
    assert patch is not None
    assert len(patch) < len(written(before)) / 10


@pytest.mark.parametrize("size", [20, 2_000, 60_000])
def test_what_has_nothing_in_common_is_sent_whole(size: int) -> None:
    """A patch that is no shorter is none."""
    draw = random.Random(size)
    assert delta.encode(draw.randbytes(size), draw.randbytes(size)) is None


@pytest.mark.parametrize(
    ("source", "target"), [(b"", b"x" * 100), (b"x" * 100, b""), (b"[1,2,3]", b"[1,2,4]"), (b"a" * 14, b"a" * 15)]
)
def test_what_is_too_short_to_save_anything_is_sent_whole(source: bytes, target: bytes) -> None:
    """The frame of a patch takes a dozen bytes itself."""
    assert delta.encode(source, target) is None


def test_the_shortest_that_saves_something() -> None:
    """An unchanged payload from 16 bytes on."""
    assert check(b"\0" * 16, b"\0" * 16) is not None


# --- the decoder of the tests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (b"4\n4@0,0", "ends too early"),
        (b"4:", "newline"),
        (b"4\n5@0,0;", "past the source"),
        (b"4\n4@0;0;", "comma"),
        (b"4\n9:abcd0;", "past the patch"),
        (b"4\n4!", "no command"),
        (b"5\n4@0,1XLYNZ;", "length"),
        (b"4\n4@0,0;", "checksum"),
        (b"4\n4@0,0;0;", "follows"),
    ],
)
def test_broken_patches_are_found_out(patch: bytes, words: str) -> None:
    """The decoder that the properties lean on takes no nonsense."""
    with pytest.raises(Broken, match=words):
        apply(b"abcd", patch)


# --- patches that are kept ----------------------------------------------------------------------------------------


def publication(offset: int, payload: str, epoch: str = "e") -> Publication:
    """Give a publication of a stream that counts by one."""
    return Publication(payload.encode(), offset, offset - 1, epoch)


def stream(count: int, size: int = 100) -> list[Publication]:
    """Give publications of which the end changes."""
    return [publication(offset, "x" * size + str(offset)) for offset in range(1, count + 1)]


def steps(patches: Patches, publications: list[Publication]) -> list[bytes | None]:
    """Go through a stream as a recovery does."""
    return [patches.between(before, after) for before, after in pairwise(publications)]


def same(first: list[bytes | None], second: list[bytes | None]) -> int:
    """Count what was not made anew."""
    return sum(one is other for one, other in zip(first, second, strict=True))


def test_a_patch_is_made_once() -> None:
    """The next who recovers is given the same; one of another epoch is another."""
    patches = Patches(10, 10_000)
    first, second = (publication(offset, "x" * 100 + str(offset)) for offset in (1, 2))
    patch = patches.between(first, second)
    assert patch is not None
    assert patches.between(first, second) is patch
    assert apply(first.data, patch) == second.data
    elsewhere = patches.between(publication(1, "y" * 100, "f"), publication(2, "y" * 101, "f"))
    assert elsewhere != patch
    assert patches.between(publication(3, "a"), publication(4, "b")) is None


def test_as_many_as_a_recovery_takes_are_made_once() -> None:
    """The second client costs no patch at all, and what is published meanwhile only its own."""
    patches = Patches(300, 500_000)
    publications = stream(301)
    made = steps(patches, publications[:300])
    assert same(made, steps(patches, publications[:300])) == 299
    live = patches.live(publications[299], publications[300])
    assert same([*made, live], steps(patches, publications)) == 300


def test_of_a_recovery_past_the_bounds_the_newest_are_kept() -> None:
    """Every recovery ends with the newest: only what is farthest from it is made anew, each time."""
    patches = Patches(100, 500_000)
    publications = stream(151)
    assert same(steps(patches, publications), steps(patches, publications)) == 100
    assert same(steps(patches, publications[100:]), steps(patches, publications[100:])) == 50


def test_patches_do_not_pile_up() -> None:
    """However long a stream goes on, only so much of it is kept."""
    patches = Patches(300, 60_000)
    draw = random.Random(1)
    before = publication(1, "")
    for offset in range(2, 300):
        after = publication(offset, "x" * 2_000 + draw.randbytes(500).hex())
        patches.between(before, after)
        before = after
        assert sum(len(patch or b"") for patch in patches._kept.values()) < 60_000
    assert 0 < len(patches._kept) < 100


def test_where_nobody_recovers_nothing_is_kept() -> None:
    """Nor is a patch of what is in no history: the next publication with that place in the stream is another."""
    patches = Patches(10, 10_000)
    first, second, third = stream(3)
    assert patches.live(first, second) is not None
    assert not patches._kept
    patches.between(first, second)
    aside = Publication(b"x" * 100)
    patch = patches.live(aside, third)
    assert patch is not None
    assert apply(aside.data, patch) == third.data
    assert list(patches._kept) == [2]
    assert patches.live(second, third) is patches.between(second, third)
    assert list(patches._kept) == [2, 3]
