"""What one who comes back is told: all, or that it was not all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.brokers.base import Page
from openline.options import ChannelOptions, History, Limits
from openline.protocol.messages import SubscribeRequest
from openline.publication import Position, Publication
from openline.recovery import BrokenTail, Wish, decide, join_tail, wish_of
from tests.engine import KEPT, PLAIN

LIMITS = Limits(recovery_publications=5, outbox_bytes=3000)


def stream(*offsets: int, previous: int = 0, epoch: str = "e") -> list[Publication]:
    """A chain of publications with these offsets, the first after `previous`."""
    publications = []
    for offset in offsets:
        publications.append(Publication(b"%d" % offset, offset, previous, epoch))
        previous = offset
    return publications


def tagged(offset: int) -> Publication:
    """A publication that is small but for its tags."""
    return Publication(b"1", offset, offset - 1, "e", tags={"long": "x" * 600})


def asked(offset: int, epoch: str = "e") -> Wish:
    """A wish to recover from an offset."""
    return Wish("stream", True, Position(epoch, offset))


@pytest.mark.parametrize(
    ("wish", "page", "whole", "offsets"),
    [
        (asked(2), Page(stream(3, 4, previous=2), Position("e", 4)), True, [3, 4]),
        (asked(4), Page([], Position("e", 4)), True, []),
        (asked(0), Page(stream(1, 2), Position("e", 2)), True, [1, 2]),
        (asked(0, ""), Page(stream(1, 2), Position("e", 2)), True, [1, 2]),
        (asked(1), Page(stream(3, 4, previous=2), Position("e", 4)), False, []),
        (asked(1), Page([], Position("e", 4)), False, []),
        (asked(9), Page([], Position("e", 4)), False, []),
        (asked(2, "old"), Page(stream(3, previous=2), Position("e", 3)), False, []),
        (asked(2), Page(stream(7, 12, previous=2), Position("e", 12)), True, [7, 12]),
    ],
    ids=[
        "what was missed is kept",
        "nothing was missed",
        "from the beginning",
        "from the beginning, epoch unknown",
        "the first missed is gone",
        "all missed are gone",
        "ahead of the stream",
        "another epoch",
        "offsets with steps",
    ],
)
def test_stream_recovery(wish: Wish, page: Page, whole: bool, offsets: list[int]) -> None:
    """It succeeds exactly if the asked offset is the top or precedes the first entry kept."""
    recovered = decide(wish, page, [], LIMITS)
    assert recovered.whole is whole
    assert [publication.offset for publication in recovered.publications] == offsets
    assert recovered.position == page.top


@pytest.mark.parametrize(
    "page",
    [
        Page(stream(1, 2, 3, 4, 5, 6), Position("e", 6)),
        Page(stream(1, 2, 3, 4, 5), Position("e", 9)),
        Page([Publication(b"x" * 600, number, number - 1, "e") for number in (1, 2, 3)], Position("e", 3)),
        Page([tagged(number) for number in (1, 2, 3)], Position("e", 3)),
    ],
    ids=["more than is sent at a time", "more than is read at a time", "more bytes than half an outbox", "tags of it"],
)
def test_what_does_not_fit_in_one_reply_follows(page: Page) -> None:
    """The first part is there, and where the client stands then; that is no decision on the rest."""
    recovered = decide(asked(0), page, [], LIMITS)
    assert recovered.whole
    assert recovered.follows
    assert recovered.publications == page.publications[: len(recovered.publications)]
    assert 1 <= len(recovered.publications) <= LIMITS.recovery_publications
    assert sum(publication.size_bytes for publication in recovered.publications[:-1]) < LIMITS.outbox_bytes // 4
    assert recovered.position == Position("e", len(recovered.publications))


def test_what_is_sent_as_a_string_counts_with_its_quotes() -> None:
    """On a JSON line with deltas a payload grows by each quote and backslash in it: the reply has to hold that."""
    page = Page([Publication(b'"' * 400, number, number - 1, "e") for number in (1, 2)], Position("e", 2))
    wish = Wish("stream", True, Position("e", 0), quoted=True)
    assert not decide(asked(0), page, [], LIMITS).follows
    assert decide(wish, page, [], LIMITS).follows


def test_one_publication_is_never_too_large_to_be_recovered() -> None:
    """Whatever the bound of an outbox is: it was sent to others, too."""
    large = Publication(b"x" * 2000, 1, 0, "e")
    recovered = decide(asked(0), Page([large], Position("e", 1)), [], LIMITS)
    assert (recovered.whole, recovered.publications, recovered.position) == (True, [large], Position("e", 1))


def test_a_hole_in_what_is_read_first_is_no_recovery() -> None:
    """However much comes after it."""
    page = Page([*stream(1, 2), *stream(4, 5, previous=3)], Position("e", 9))
    assert not decide(asked(0), page, [], LIMITS).whole


@pytest.mark.parametrize(
    ("wish", "page", "whole", "offsets"),
    [
        (Position("e", 2), Page(stream(4, previous=3), Position("e", 4)), True, [4]),
        (Position("", 0), Page(stream(4, previous=3), Position("e", 4)), True, [4]),
        (Position("e", 4), Page(stream(4, previous=3), Position("e", 4)), True, []),
        (Position("e", 2), Page([], Position("e", 4)), False, []),
        (Position("", 0), Page([], Position("e", 0)), False, []),
    ],
    ids=["behind", "from nothing", "there already", "the newest is gone", "there was never one"],
)
def test_cache_recovery(wish: Position, page: Page, whole: bool, offsets: list[int]) -> None:
    """Only the newest publication counts, and only if it is the stream's top."""
    recovered = decide(Wish("cache", True, wish), page, [], LIMITS)
    assert recovered.whole is whole
    assert [publication.offset for publication in recovered.publications] == offsets


def test_the_tail_continues_history() -> None:
    """What arrived while history was read is part of the answer, and what is in both counts once."""
    page = Page(stream(1, 2, 3), Position("e", 3))
    publications, top = join_tail(page, stream(2, 3, 4, 5, previous=1))
    assert [publication.offset for publication in publications] == [1, 2, 3, 4, 5]
    assert top == Position("e", 5)


def test_a_hole_between_history_and_tail_is_an_error() -> None:
    """Nobody is told of a recovery that has a hole in it."""
    with pytest.raises(BrokenTail):
        join_tail(Page(stream(1), Position("e", 1)), stream(3, previous=2))


@given(st.data())
def test_recovered_is_always_the_unbroken_rest(data: st.DataObject) -> None:
    """Whatever is kept and asked: a whole recovery is exactly what came after the asked offset, in order."""
    steps = data.draw(st.lists(st.integers(1, 3), max_size=12))
    offsets = [sum(steps[: count + 1]) for count in range(len(steps))]
    everything = stream(*offsets)
    kept = data.draw(st.integers(0, len(everything)))
    read = data.draw(st.integers(0, len(everything)))
    offset = data.draw(st.integers(0, (offsets[-1] if offsets else 0) + 2))
    top = Position("e", offsets[read - 1] if read else 0)
    page = Page([p for p in everything[:read][max(0, read - kept) :] if p.offset > offset], top)
    recovered = decide(asked(offset), page, everything[read:], Limits())
    if recovered.whole:
        assert recovered.publications == [p for p in everything if p.offset > offset]
        assert offset in (0, *offsets)
    else:
        assert recovered.publications == []


@pytest.mark.parametrize(
    ("request_", "options", "expected"),
    [
        (SubscribeRequest(recoverable=True, recover=True), PLAIN, None),
        (SubscribeRequest(), KEPT, Wish("stream", True, None)),
        (SubscribeRequest(recover=True, offset=3, epoch="e"), KEPT, Wish("stream", True, Position("e", 3))),
        (SubscribeRequest(), ChannelOptions(history=History(), recovery="asked"), None),
        (
            SubscribeRequest(positioned=True),
            ChannelOptions(history=History(), recovery="asked"),
            Wish("asked", False, None),
        ),
        (
            SubscribeRequest(recoverable=True),
            ChannelOptions(history=History(), recovery="asked"),
            Wish("asked", True, None),
        ),
    ],
    ids=["no history", "forced", "forced and recovering", "nothing asked", "positioned", "recoverable"],
)
def test_wishes(request_: SubscribeRequest, options: ChannelOptions, expected: Wish | None) -> None:
    """What a request gets of positions depends on the channel first, then on what it asks for."""
    assert wish_of(request_, options) == expected
