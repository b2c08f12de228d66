"""Checks of failing: brokers that hide a failure, a problem or what they missed are caught."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from openline.brokers.base import Page
from openline.errors import BrokerUnavailable
from openline.options import History
from openline.publication import Arrival, Position
from tests.brokers.plain import PlainBroker, PlainStore
from tests.testing.broken import problems_of


class _FailsInSilence(PlainBroker):
    """Swallows what it cannot do."""

    async def publish(self, channel: str, data: bytes, **options: Any) -> Position:
        try:
            return await super().publish(channel, data, **options)
        except BrokerUnavailable:
            return Position.NONE

    async def history(self, channel: str, **options: Any) -> Page:
        try:
            return await super().history(channel, **options)
        except BrokerUnavailable:
            return Page([], Position.NONE)


class _FailsInItsOwnWords(PlainBroker):
    """Lets the exception of its client through."""

    async def reach(self) -> None:
        try:
            await super().reach()
        except BrokerUnavailable as error:
            raise ConnectionError(str(error)) from error


class _NeverComesBack(PlainBroker):
    """Stays cut off once it was."""

    async def reach(self) -> None:
        try:
            await super().reach()
        except BrokerUnavailable:
            self.running = False
            raise


class _HearsNothingAfterAnOutage(PlainBroker):
    """Connects anew, and forgets what it followed."""

    async def reach(self) -> None:
        if self.store.cut_off:
            self.followed.clear()
        await super().reach()


class _UnfollowNeedsTheStore(PlainBroker):
    async def unfollow(self, channel: str) -> None:
        await self.reach()
        await super().unfollow(channel)


class _CarriesIntoTheVoid(PlainBroker):
    """Takes what is not kept for sent once it has left."""

    async def publish(self, channel: str, data: bytes, *, history: History | None, **options: Any) -> Position:
        try:
            return await super().publish(channel, data, history=history, **options)
        except BrokerUnavailable:
            if history is None:
                return Position.NONE
            raise


class _AnnouncesIntoTheVoid(PlainBroker):
    async def announce(self, channel: str, arrival: Arrival) -> None:
        if not self.problem:
            await super().announce(channel, arrival)


class _TellsIntoTheVoid(PlainBroker):
    async def tell(self, word: bytes, node: str = "") -> None:
        if not self.problem:
            await super().tell(word, node)


class _ForgetsIntoTheVoid(PlainBroker):
    async def forget(self, channel: str) -> None:
        if not self.problem:
            await super().forget(channel)


class _FollowsInItsHeadOnly(PlainBroker):
    """Takes an interest down, for when the store is back."""

    async def follow(self, channel: str) -> None:
        self.followed.add(channel)


class _WorksUnstarted(PlainBroker):
    async def reach(self) -> None:
        await asyncio.sleep(0)
        if self.cut or self.store.cut_off:
            raise BrokerUnavailable("cut off")


class _WaitsForEver(PlainBroker):
    """Waits for the store however long it takes."""

    async def reach(self) -> None:
        if self.running and self.problem:
            await asyncio.Event().wait()
        await super().reach()


class _SeesNoProblem(PlainBroker):
    @property
    def problem(self) -> str:
        return ""

    async def reach(self) -> None:
        if super().problem:
            raise BrokerUnavailable("but no problem")


class _SeesAProblemEverywhere(PlainBroker):
    """Tells of a problem nobody has."""

    @property
    def problem(self) -> str:
        return super().problem or "it may rain"

    async def reach(self) -> None:
        if super().problem:
            raise BrokerUnavailable(self.problem)


class _SeesTheLastProblemForEver(PlainBroker):
    """Tells of a problem until the next call works."""

    last = ""

    @property
    def problem(self) -> str:
        self.last = super().problem or self.last
        return self.last

    async def reach(self) -> None:
        self.last = ""
        await super().reach()


class _FailsWithTheOthers(PlainBroker):
    """Has a problem when another node has one."""

    @property
    def problem(self) -> str:
        return super().problem or ("another is cut off" if any(node.cut for node in self.store.nodes) else "")


class _FollowsOnceItCan(PlainBroker):
    """Raises, but keeps the interest, and follows later."""

    async def follow(self, channel: str) -> None:
        self.followed.add(channel)
        await super().follow(channel)


@pytest.mark.parametrize(
    "broken",
    [
        _FailsInSilence,
        _FailsInItsOwnWords,
        _NeverComesBack,
        _HearsNothingAfterAnOutage,
        _UnfollowNeedsTheStore,
        _CarriesIntoTheVoid,
        _AnnouncesIntoTheVoid,
        _TellsIntoTheVoid,
        _ForgetsIntoTheVoid,
        _FollowsInItsHeadOnly,
        _WorksUnstarted,
        _WaitsForEver,
        _SeesNoProblem,
        _SeesAProblemEverywhere,
        _SeesTheLastProblemForEver,
        _FailsWithTheOthers,
        _FollowsOnceItCan,
    ],
)
async def test_silent_failure_is_caught(broken: type[PlainBroker]) -> None:
    """What is not done raises `BrokerUnavailable`, in time, a problem is told, and both end when it is over."""
    assert await problems_of("7 loud failure", broken)


class _DoubtsNothing(PlainBroker):
    def doubted(self) -> Iterable[str]:
        return ()


class _DoubtsOneChannel(PlainBroker):
    def doubted(self) -> Iterable[str]:
        return sorted(self.followed)[:1]


class _DoubtsAllItEverFollowed(PlainBroker):
    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.ever: set[str] = set()

    async def follow(self, channel: str) -> None:
        await super().follow(channel)
        self.ever.add(channel)

    def doubted(self) -> Iterable[str]:
        return self.ever


class _DoubtsBeforeItFollows(PlainBroker):
    """Is back in a channel a moment after it said so."""

    def come_back(self) -> None:
        followed = set(self.followed)
        super().come_back()
        self.followed.clear()
        asyncio.get_running_loop().call_later(0.05, self.followed.update, followed)


class _ComesBackToWhatItLeft(PlainBroker):
    """Takes no notice of an `unfollow` while it is cut off."""

    async def unfollow(self, channel: str) -> None:
        if not self.cut:
            await super().unfollow(channel)


class _ReadsWhatItHeard(PlainBroker):
    """Answers from a copy that knows nothing of what came while it was cut off."""

    async def history(self, channel: str, **options: Any) -> Page:
        page = await super().history(channel, **options)
        return Page([one for one in page.publications if not one.data.startswith(b"missed")], page.top)


class _HearsItTwice(PlainBroker):
    """Hears what comes after the cut on the old line and on the new one."""

    lines = 1

    def come_back(self) -> None:
        super().come_back()
        self.lines += 1

    def send(self, channel: str, message: Any) -> None:
        for _ in range(self.lines):
            super().send(channel, message)


class _IsLateAndDoubtsNothing(PlainBroker):
    """Is back in its channels a moment after the store is, and never tells."""

    def come_back(self) -> None:
        followed = set(self.followed)
        self.followed.clear()
        asyncio.get_running_loop().call_later(0.05, self.followed.update, followed)


@pytest.mark.parametrize(
    "broken",
    [
        _DoubtsNothing,
        _DoubtsOneChannel,
        _DoubtsAllItEverFollowed,
        _DoubtsBeforeItFollows,
        _ComesBackToWhatItLeft,
        _ReadsWhatItHeard,
        _HearsItTwice,
        _IsLateAndDoubtsNothing,
    ],
)
async def test_what_is_passed_over_in_silence_is_caught(broken: type[PlainBroker]) -> None:
    """Who was cut off doubts exactly what it follows, once it follows it again, and can read what it missed."""
    assert await problems_of("5 doubt", broken)


async def test_an_outage_alone_shows_what_is_passed_over() -> None:
    """Where nobody can be cut off alone, a node that is back late and does not say so is caught all the same."""
    problems = await problems_of("5 doubt", _IsLateAndDoubtsNothing)
    assert any("outage" in problem for problem in problems)


async def test_doubting_all_is_right_after_an_outage() -> None:
    """A node that is back late, and doubts what it follows once it is, passes."""

    class _IsLate(_IsLateAndDoubtsNothing):
        def come_back(self) -> None:
            super().come_back()
            asyncio.get_running_loop().call_later(0.06, PlainBroker.come_back, self)

    assert await problems_of("5 doubt", _IsLate) == []
    assert await problems_of("7 loud failure", _IsLate) == []
