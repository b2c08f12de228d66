"""Checks of positions and history: brokers that count, keep or show wrongly are caught, each by the right guarantee."""

from __future__ import annotations

import asyncio

import pytest

from openline.brokers.base import Page
from openline.options import History
from openline.publication import Message, Position, Publication
from openline.testing.broker_streams import STREAM_CHECKS, expected_page
from tests.brokers.plain import PlainBroker, PlainStore, PlainStream
from tests.testing.broken import problems_of

Kept = list[tuple[float, Publication]]


class _RepeatsAnOffset(PlainStore):
    def next_offset(self, stream: PlainStream) -> int:
        return 3 if stream.top == 3 else stream.top + 1


class _CountsDown(PlainStore):
    def next_offset(self, stream: PlainStream) -> int:
        return (stream.top or 1000) - 1


class _BeginsAtZero(PlainStore):
    def next_offset(self, stream: PlainStream) -> int:
        return len(stream.kept)


class _NamesNoPredecessor(PlainStore):
    def predecessor(self, stream: PlainStream) -> int:
        return 0


class _NamesItselfAsPredecessor(PlainStore):
    def predecessor(self, stream: PlainStream) -> int:
        return stream.top + 1


class _OneStreamForAll(PlainStore):
    """Counts all channels together and takes the predecessor from there too."""

    last = 0

    def next_offset(self, stream: PlainStream) -> int:
        self.last += 1
        return self.last

    def predecessor(self, stream: PlainStream) -> int:
        return self.last - 1


class _ChangesTheEpoch(PlainStore):
    def append(self, stream: PlainStream, publication: Publication, history: History) -> Publication:
        stream.epoch = self.new_epoch()
        return super().append(stream, publication, history)


class _NoEpoch(PlainStore):
    def new_epoch(self) -> str:
        return ""


class _OneEpochForAll(PlainStore):
    def new_epoch(self) -> str:
        return "epoch"


class _PlacesWhatIsNotKept(PlainBroker):
    async def publish(self, channel: str, data: bytes, *, history: History | None, **options: object) -> Position:
        position = await super().publish(channel, data, history=history or History(), **options)  # type: ignore[arg-type]
        return position if history else Position.NONE


class _CountsTwiceAtOnce(PlainBroker):
    """Reads the top and writes the next after others had their turn: two get the same position."""

    async def publish(self, channel: str, data: bytes, *, history: History | None, **options: object) -> Position:
        await self.reach()
        stream = self.store.stream(channel, history or History())
        top = stream.top
        await asyncio.sleep(0)
        stream.top = top
        return await super().publish(channel, data, history=history, **options)  # type: ignore[arg-type]

    async def reach(self) -> None:
        """Get through without a turn, so that what was read is still what is written."""
        if not self.running:
            await super().reach()


class _StartsOverWhenEmpty(PlainStore):
    def use(self, stream: PlainStream, history: History) -> None:
        super().use(stream, history)
        if not self.still_kept(stream.kept, history):
            stream.top = 0


class _NewEpochWhenEmpty(PlainStore):
    def use(self, stream: PlainStream, history: History) -> None:
        super().use(stream, history)
        if stream.kept and not self.still_kept(stream.kept, history):
            stream.epoch = self.new_epoch()


class _LosesTheTailUnnoticed(PlainStore):
    def lose(self, channel: str) -> None:
        stream = self.streams[channel]
        stream.kept = stream.kept[:-2]
        stream.top -= 2


class _LosesTheMiddleUnnoticed(PlainStore):
    def lose(self, channel: str) -> None:
        self.streams[channel].kept = self.streams[channel].kept[:-2]


@pytest.mark.parametrize(
    "broken",
    [
        _RepeatsAnOffset,
        _CountsDown,
        _BeginsAtZero,
        _NamesNoPredecessor,
        _NamesItselfAsPredecessor,
        _OneStreamForAll,
        _ChangesTheEpoch,
        _NoEpoch,
        _PlacesWhatIsNotKept,
        _CountsTwiceAtOnce,
        _StartsOverWhenEmpty,
        _NewEpochWhenEmpty,
        _LosesTheTailUnnoticed,
        _LosesTheMiddleUnnoticed,
    ],
)
async def test_wrong_positions_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """Positions that repeat, go back, or name a wrong predecessor, in quiet times or after a loss."""
    assert await problems_of("2 positions", broken)


class _CarriesWhatItDoesNotKeep(PlainStore):
    def append(self, stream: PlainStream, publication: Publication, history: History) -> Publication:
        placed = super().append(stream, publication, history)
        if placed.offset == 4:
            stream.kept.pop()
        return placed


class _KeepsWhatItDoesNotCarry(PlainStore):
    def carry(self, channel: str, message: Message) -> None:
        if not isinstance(message, Publication) or message.offset != 4:
            super().carry(channel, message)


class _KeepsWithoutTags(PlainStore):
    def append(self, stream: PlainStream, publication: Publication, history: History) -> Publication:
        placed = super().append(stream, publication, history)
        taken, last = stream.kept.pop()
        bare = Publication(last.data, last.offset, last.previous, last.epoch, last.info, None, last.time)
        stream.kept.append((taken, bare))
        return placed


class _KeepsNoTime(PlainStore):
    def append(self, stream: PlainStream, publication: Publication, history: History) -> Publication:
        now = self.now
        self.now = lambda: 0.0
        placed = super().append(stream, publication, History())
        self.now = now
        return placed


class _TopOfAnotherMoment(PlainBroker):
    """Reads the page, and the top a turn later."""

    async def history(self, channel: str, *, history: History, **options: object) -> Page:
        page = await super().history(channel, history=history, **options)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return Page(page.publications, self.store.top(self.store.stream(channel, history)))


@pytest.mark.parametrize(
    "broken",
    [_CarriesWhatItDoesNotKeep, _KeepsWhatItDoesNotCarry, _KeepsWithoutTags, _KeepsNoTime, _TopOfAnotherMoment],
)
async def test_history_unlike_what_is_heard_is_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """Kept but not carried, carried but not kept, or different in one field; a page beside its top."""
    assert await problems_of("3 atomic", broken)


class _SinceIsInclusive(PlainStore):
    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        moved = since and Position(since.epoch, since.offset + (1 if reverse else -1))
        return super().page(kept, moved, limit, reverse)


class _SinceComparesTheEpoch(PlainStore):
    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        if since and kept and since.epoch not in ("", kept[0].epoch):
            return []
        return super().page(kept, since, limit, reverse)


class _LimitZeroIsNoLimit(PlainStore):
    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        return super().page(kept, since, limit or -1, reverse)


class _ReverseIgnoresSince(PlainStore):
    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        return super().page(kept, None if reverse else since, limit, reverse)


class _ReverseIsOldestFirst(PlainStore):
    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        page = super().page(kept, since, limit, reverse)
        return page[::-1] if reverse else page


class _NewestOfALimit(PlainStore):
    """Cuts a page at its wrong end."""

    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        page = super().page(kept, since, -1, reverse)
        return page if limit < 0 else page[len(page) - min(limit, len(page)) :]


class _KeepsOneTooMany(PlainStore):
    def still_kept(self, kept: Kept, history: History) -> Kept:
        return super().still_kept(kept, History(size=history.size + 1, seconds=history.seconds))


class _NeverAges(PlainStore):
    def still_kept(self, kept: Kept, history: History) -> Kept:
        return kept[-history.size :]


class _AgesAllTogether(PlainStore):
    """Like a key whose time to live starts anew with each publication."""

    def still_kept(self, kept: Kept, history: History) -> Kept:
        young = [one for one in kept[-1:] if self.now() - one[0] <= history.seconds]
        return kept[-history.size :] if young else []


class _TopOfWhatIsKept(PlainStore):
    def top(self, stream: PlainStream) -> Position:
        return Position(stream.epoch, stream.kept[-1][1].offset if stream.kept else 0)


class _BornByPublishingOnly(PlainBroker):
    async def history(self, channel: str, *, history: History, **options: object) -> Page:
        await self.reach()
        if channel not in self.store.streams:
            return Page([], Position.NONE)
        return await super().history(channel, history=history, **options)  # type: ignore[arg-type]


class _BornAgainByEachReading(PlainBroker):
    async def history(self, channel: str, *, history: History, **options: object) -> Page:
        page = await super().history(channel, history=history, **options)  # type: ignore[arg-type]
        if not page.top.offset:
            del self.store.streams[channel]
        return page


class _NeverForgotten(PlainStore):
    def is_forgotten(self, channel: str, stream: PlainStream) -> bool:
        return False


class _ReadingIsNoUse(PlainStore):
    def use(self, stream: PlainStream, history: History) -> None:
        pass

    def append(self, stream: PlainStream, publication: Publication, history: History) -> Publication:
        super().use(stream, history)
        return super().append(stream, publication, history)


@pytest.mark.parametrize(
    "broken",
    [
        _SinceIsInclusive,
        _SinceComparesTheEpoch,
        _LimitZeroIsNoLimit,
        _ReverseIgnoresSince,
        _ReverseIsOldestFirst,
        _NewestOfALimit,
        _KeepsOneTooMany,
        _NeverAges,
        _AgesAllTogether,
        _BornByPublishingOnly,
        _BornAgainByEachReading,
        _OneEpochForAll,
        _NeverForgotten,
        _ReadingIsNoUse,
    ],
)
async def test_wrong_histories_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """Pages cut wrongly, streams kept too long or too much, births that are none."""
    assert await problems_of("history", broken)


class _ForgetsNothing(PlainStore):
    def forget(self, channel: str) -> None:
        pass


class _ForgetsTheStream(PlainStore):
    def forget(self, channel: str) -> None:
        self.streams.pop(channel, None)


class _ForgetFailsOnNothing(PlainStore):
    def forget(self, channel: str) -> None:
        self.streams[channel].kept = []


@pytest.mark.parametrize("broken", [_ForgetsNothing, _ForgetsTheStream, _ForgetFailsOnNothing, _TopOfWhatIsKept])
async def test_forgetting_too_little_or_too_much_is_caught(broken: type[PlainStore]) -> None:
    """`forget` drops the publications, and those only."""
    assert await problems_of("forget", broken)


def test_the_model_of_a_page() -> None:
    """The model that pages are compared with, by hand."""
    kept = [Publication(b"", offset) for offset in (4, 7, 9)]

    def offsets(since: int | None, limit: int, *, reverse: bool) -> list[int]:
        position = None if since is None else Position("", since)
        return [one.offset for one in expected_page(kept, position, limit, reverse=reverse)]

    assert offsets(None, -1, reverse=False) == [4, 7, 9]
    assert offsets(4, 1, reverse=False) == [7]
    assert offsets(None, 2, reverse=True) == [9, 7]
    assert offsets(9, -1, reverse=True) == [7, 4]
    assert offsets(0, -1, reverse=True) == []
    assert offsets(None, 0, reverse=False) == []
    assert len(STREAM_CHECKS) > 10
