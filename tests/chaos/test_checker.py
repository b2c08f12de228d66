"""The checker of the chaos runs finds what it is there to find: each kind of fault, planted in a run without fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from tests.chaos.checker import Kind, Verdict, judge
from tests.chaos.record import Entered, Event, Left, Name, Place, Record, Saw, Written

ROOM = "room:ash"
FIRST = "first"
SECOND = "second"
JUMP = 1 << 32


def message(number: int, offset: int | None, *, epoch: str = FIRST, publisher: int = 0) -> Written:
    """Give a message that was acknowledged at this offset a moment after it was sent; None: it was given up."""
    place = None if offset is None else Place(epoch, offset)
    return Written(ROOM, Name(publisher, number), float(number), number + 0.1 if place else 0.0, place, 1)


def messages(count: int, *, epoch: str = FIRST, first: int = 1) -> list[Written]:
    """Give so many of one publisher, each acknowledged at the offset that is its number."""
    return [message(number, number, epoch=epoch) for number in range(first, first + count)]


def entered(offset: int = 0, *, epoch: str = FIRST) -> Entered:
    """Enter for the first time."""
    return Entered(0.5, Place(epoch, offset), False, False)


def recovered(offset: int, *, epoch: str = FIRST) -> Entered:
    """Come back, and be told that nothing was lost."""
    return Entered(3.0, Place(epoch, offset), True, True)


def told(offset: int, *, epoch: str = FIRST) -> Entered:
    """Come back, and be told that something may be lost; go on from here."""
    return Entered(3.0, Place(epoch, offset), True, False)


def saw(*numbers: int, at_offset: int | None = None, publisher: int = 0) -> list[Event]:
    """See these messages, each at the offset that is its number."""
    return [
        Saw(number + 0.2, Name(publisher, number), number if at_offset is None else at_offset) for number in numbers
    ]


def run(written: Sequence[Written], events: Iterable[Event], **excuses: bool) -> Verdict:
    """Judge one subscriber of one channel."""
    return judge(written, [Record("s1", ROOM, list(events))], **excuses)


def found(verdict: Verdict) -> dict[Kind, int]:
    """Give what is wrong, and how often."""
    assert bool(verdict.findings) is not verdict.right
    return {kind: count for kind, count in verdict.counts.items() if count}


def test_a_run_in_which_all_is_seen_once_and_in_order_is_right() -> None:
    """Also when connections ended in between and were recovered."""
    verdict = run(messages(6), [entered(), *saw(1, 2), Left(2.5, 1), recovered(2), *saw(3, 4, 5, 6)])
    assert verdict.right
    assert (verdict.acknowledged, verdict.given_up, verdict.told) == (6, 0, 0)


@pytest.mark.parametrize("missing", range(1, 7))
def test_a_message_that_was_not_seen_is_lost(missing: int) -> None:
    """Be it the first, the last or one between."""
    verdict = run(messages(6), [entered(), *saw(*(number for number in range(1, 7) if number != missing))])
    assert found(verdict) == {"lost": 1}


def test_a_gap_that_a_recovery_passes_over_in_silence_is_lost() -> None:
    """The client was told that it had recovered, and had not."""
    assert found(run(messages(6), [entered(), *saw(1, 2), recovered(2), *saw(5, 6)])) == {"lost": 2}


def test_what_was_published_before_a_subscriber_came_is_not_lost() -> None:
    """It begins where it enters."""
    assert run(messages(6), [entered(4), *saw(5, 6)]).right


def test_who_never_got_in_has_lost_everything() -> None:
    """Somebody without any event is no proof that all is well."""
    assert found(run(messages(6), [])) == {"lost": 1}


@pytest.mark.parametrize("again", [1, 3, 6])
def test_a_message_that_is_seen_twice_is_repeated(again: int) -> None:
    """At its own offset, or published a second time at another."""
    everything = [entered(), *saw(1, 2, 3, 4, 5, 6)]
    assert found(run(messages(6), [*everything, *saw(again)])) == {"repeated": 1}
    assert found(run(messages(6), [*everything, *saw(again, at_offset=7)])) == {"repeated": 1}


def test_a_message_that_comes_too_late_is_out_of_order() -> None:
    """Two that changed places; and one that comes again is not excused by that."""
    assert found(run(messages(4), [entered(), *saw(1, 3, 2, 4)])).keys() == {"out of order"}


def test_the_messages_of_one_publisher_keep_their_order() -> None:
    """Even where every offset grows: then the publisher was told so too."""
    swapped = [message(1, 1), message(2, 3), message(3, 2)]
    events = [entered(), *saw(1), *saw(3, at_offset=2), *saw(2, at_offset=3)]
    assert found(run(swapped, events)) == {"out of order": 2}


def test_the_messages_of_two_publishers_have_the_order_of_their_offsets() -> None:
    """And no other."""
    written = [message(1, 2), message(2, 4), message(1, 1, publisher=1), message(2, 3, publisher=1)]
    one, two = saw(1, at_offset=1, publisher=1), saw(1, at_offset=2)
    three, four = saw(2, at_offset=3, publisher=1), saw(2, at_offset=4)
    assert run(written, [entered(), *one, *two, *three, *four]).right
    assert found(run(written, [entered(), *two, *one, *three, *four])) == {"out of order": 1}


def test_a_place_that_is_given_twice_is_found_at_the_publishers() -> None:
    """A rolled-back offset: whoever saw the first of the two never sees the second, and nobody tells them."""
    written = [*messages(4), message(5, 4)]
    assert found(run(written, [entered(), *saw(1, 2, 3, 4)])) == {"repeated": 1, "out of order": 1, "lost": 1}


def test_a_message_that_stands_elsewhere_than_was_acknowledged_is_out_of_order() -> None:
    """What was seen is not what was acknowledged."""
    written = [message(1, 1), message(2, 7)]
    assert found(run(written, [entered(), *saw(1, 2)])) == {"out of order": 1}


def test_what_nobody_wrote_is_found() -> None:
    """As when messages of another run or channel arrive."""
    assert found(run(messages(2), [entered(), *saw(1, 2, 9)])) == {"never written": 1}


def test_a_message_that_was_given_up_may_be_seen_or_not_and_once() -> None:
    """Nobody knows whether it is out."""
    written = [message(1, 1), message(2, None), message(3, 3)]
    assert run(written, [entered(), *saw(1, 2, 3)]).right
    assert run(written, [entered(), *saw(1, 3)]).right
    assert run(written, [entered(), *saw(1, 3)]).given_up == 1
    assert found(run(written, [entered(), *saw(1, 2, 2, 3)])) == {"repeated": 1}


def test_who_is_told_without_need_is_counted_and_that_is_wrong() -> None:
    """History covered the gap."""
    verdict = run(messages(6), [entered(), *saw(1, 2), told(4), *saw(5, 6)])
    assert found(verdict) == {"told": 1}
    assert (verdict.told, verdict.told_lost_tail) == (1, 0)


def test_who_is_told_because_may_be_told_misses_what_lies_between_and_nothing_else() -> None:
    """Before the last one seen and after the place they go on from everything has to be there."""
    assert run(messages(6), [entered(), *saw(1, 2), told(4), *saw(5, 6)], may_be_told=True).right
    before = run(messages(6), [entered(), *saw(2), told(4), *saw(5, 6)], may_be_told=True)
    after = run(messages(6), [entered(), *saw(1, 2), told(4), *saw(6)], may_be_told=True)
    assert found(before) == found(after) == {"lost": 1}


def test_who_stood_on_a_tail_that_a_failover_lost_is_told_rightly() -> None:
    """They saw 3, which nobody acknowledged there; it was written anew after the tail and is seen again."""
    written = [message(1, 1), message(2, 2), message(3, JUMP), message(4, JUMP + 1)]
    after = [*saw(3, at_offset=JUMP), *saw(4, at_offset=JUMP + 1)]
    lost_tail = [entered(), *saw(1, 2, 3), told(2), *after]
    verdict = run(written, lost_tail, tail_may_be_lost=True)
    assert verdict.right
    assert (verdict.told, verdict.told_lost_tail) == (1, 1)
    assert found(run(written, lost_tail)) == {"told": 1}

    stayed = [entered(), *saw(1, 2), *after]
    assert run(written, stayed, tail_may_be_lost=True).right
    told_without_need = [entered(), *saw(1, 2), told(2), *after]
    assert found(run(written, told_without_need, tail_may_be_lost=True)) == {"told": 1}


def test_who_stood_on_a_lost_tail_and_was_not_told_is_found() -> None:
    """It saw 3 where nobody acknowledged it, and then once more."""
    written = [message(1, 1), message(2, 2), message(3, JUMP)]
    verdict = run(written, [entered(), *saw(1, 2, 3), *saw(3, at_offset=JUMP)], tail_may_be_lost=True)
    assert found(verdict) == {"out of order": 1, "repeated": 1}


def test_another_epoch_that_nobody_was_told_of_has_to_be_whole() -> None:
    """What was acknowledged in both counts."""
    written = [*messages(2), *messages(3, epoch=SECOND, first=3)]
    whole = [entered(), *saw(1, 2), *saw(3, 4, 5)]
    assert run(written, whole).right
    for missing in range(1, len(whole)):
        verdict = run(written, [event for number, event in enumerate(whole) if number != missing])
        assert found(verdict) == {"lost": 1}


def test_another_epoch_that_a_subscriber_was_told_of_is_seen_from_there_on() -> None:
    """What came before is excused, what comes after is not."""
    written = [*messages(2), message(3, 1, epoch=SECOND), message(4, 2, epoch=SECOND)]
    second = saw(4, at_offset=2)
    assert run(written, [entered(), *saw(1), told(1, epoch=SECOND), *second], may_be_told=True).right
    verdict = run(written, [entered(), *saw(1), told(1, epoch=SECOND)], may_be_told=True)
    assert found(verdict) == {"lost": 1}


def test_each_channel_is_judged_by_its_own_messages() -> None:
    """The same numbers in another channel are others' messages."""
    other = [replace(one, channel="room:elm") for one in messages(2)]
    seen = Record("s1", ROOM, [entered(), *saw(1, 2)])
    missed = Record("s1", "room:elm", [entered(), *saw(1)])
    assert found(judge([*messages(2), *other], [seen, missed])) == {"lost": 1}


def test_the_longest_silence_is_between_two_sights_or_before_the_end() -> None:
    """Also where somebody sees nothing any more while others are acknowledged."""
    assert run(messages(3), [entered(), *saw(1, 2, 3)]).silence == pytest.approx(1)
    assert run(messages(9), [entered(), *saw(1, 2, 9)]).silence == pytest.approx(7)
    assert run(messages(9), [entered(), *saw(1)]).silence == pytest.approx(7.9)
