"""Checks of carrying: brokers that change, mix up, lose, double or leak what they carry are caught."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from openline.brokers.base import Recipient
from openline.options import History
from openline.publication import Arrival, Message, Position, Publication
from tests.brokers.plain import PlainBroker, PlainStore
from tests.testing.broken import problems_of


def _changed(publication: Publication, **changes: Any) -> Publication:
    fields = {field: getattr(publication, field) for field in Publication.__struct_fields__}
    return Publication(**(fields | changes))


class _ChangesPublications(PlainStore):
    """Sends what `change` makes of each publication."""

    def change(self, publication: Publication) -> Publication:
        raise NotImplementedError

    def carry(self, channel: str, message: Message) -> None:
        super().carry(channel, self.change(message) if isinstance(message, Publication) else message)


class _TakesDataForText(_ChangesPublications):
    def change(self, publication: Publication) -> Publication:
        return _changed(publication, data=publication.data.decode(errors="replace").encode())


class _StripsData(_ChangesPublications):
    def change(self, publication: Publication) -> Publication:
        return _changed(publication, data=publication.data.strip())


class _DropsInfo(_ChangesPublications):
    def change(self, publication: Publication) -> Publication:
        return _changed(publication, info=None)


class _DropsTags(_ChangesPublications):
    def change(self, publication: Publication) -> Publication:
        return _changed(publication, tags=None)


class _KeepsTheCallersTags(PlainBroker):
    """Carries the caller's own dictionary, which the caller may still change."""

    async def publish(
        self, channel: str, data: bytes, *, history: History | None, tags: dict[str, str] | None = None, **options: Any
    ) -> Position:
        await self.reach()
        publication = Publication(data, info=options["info"], tags=tags)
        return self.store.publish(self, channel, publication, history)


class _ChannelsArePatterns(PlainStore):
    """Takes a star in a channel that is followed for anything."""

    def wants(self, node: PlainBroker, channel: str) -> bool:
        patterns = (re.escape(followed).replace(r"\*", ".*") for followed in node.followed)
        return any(re.fullmatch(pattern, channel) for pattern in patterns)


class _ChannelsIgnoreCase(PlainStore):
    def wants(self, node: PlainBroker, channel: str) -> bool:
        return channel.lower() in {followed.lower() for followed in node.followed}


class _ShortNamesOnly(PlainBroker):
    async def follow(self, channel: str) -> None:
        if len(channel) > 200:
            raise ValueError(channel)
        await super().follow(channel)


@pytest.mark.parametrize(
    "broken",
    [
        _TakesDataForText,
        _StripsData,
        _DropsInfo,
        _DropsTags,
        _KeepsTheCallersTags,
        _ChannelsArePatterns,
        _ChannelsIgnoreCase,
        _ShortNamesOnly,
    ],
)
async def test_changed_publications_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """Bytes, info, tags and the channel's name arrive as they were given."""
    assert await problems_of("publish", broken)


class _AnnouncesToAll(PlainStore):
    def wants(self, node: PlainBroker, channel: str) -> bool:
        return True


class _AnnouncesNothing(PlainBroker):
    async def announce(self, channel: str, arrival: Arrival) -> None:
        pass


class _AnnouncesJoinsOnly(PlainBroker):
    async def announce(self, channel: str, arrival: Arrival) -> None:
        await super().announce(channel, Arrival(arrival.info, joined=True))


class _KeepsAnnouncements(PlainBroker):
    async def announce(self, channel: str, arrival: Arrival) -> None:
        await super().announce(channel, arrival)
        await self.publish(channel, b"join", history=History())


@pytest.mark.parametrize("broken", [_AnnouncesToAll, _AnnouncesNothing, _AnnouncesJoinsOnly, _KeepsAnnouncements])
async def test_wrong_announcements_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """Joins and leaves go to those who follow, as what they are, and are not kept."""
    assert await problems_of("announce", broken)


class _NewestFirst(PlainBroker):
    """Delivers all that came in one turn of the loop, the newest first."""

    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.waiting: list[tuple[str, Message]] = []

    def send(self, channel: str, message: Message) -> None:
        self.waiting.append((channel, message))
        asyncio.get_running_loop().call_later(0.005, self.empty)

    def empty(self) -> None:
        while self.waiting:
            self.arrive(*self.waiting.pop())


class _OvertakesAtTheSecondNode(PlainBroker):
    """One node hears every fifth publication late."""

    def send(self, channel: str, message: Message) -> None:
        late = isinstance(message, Publication) and message.offset % 5 == 0 and self is self.store.nodes[1]
        call: Callable[..., object] = asyncio.get_running_loop().call_soon
        if late:
            asyncio.get_running_loop().call_later(0.005, self.arrive, channel, message)
        else:
            call(self.arrive, channel, message)


class _PublishersOvertakeThemselves(PlainBroker):
    """Returns before the publication is on its way."""

    async def publish(self, channel: str, data: bytes, **options: Any) -> Position:
        if data.endswith(b"7"):
            asyncio.get_running_loop().call_later(
                0.005, lambda: self.store.publish(self, channel, Publication(data), options["history"])
            )
            return Position.NONE
        return await super().publish(channel, data, **options)


@pytest.mark.parametrize("broken", [_NewestFirst, _OvertakesAtTheSecondNode, _PublishersOvertakeThemselves])
async def test_lost_order_is_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """On every node, publications come in the order of their offsets and of their publisher."""
    assert await problems_of("1 order", broken)


class _DeliversAll(PlainStore):
    def wants(self, node: PlainBroker, channel: str) -> bool:
        return True


class _NeverUnfollows(PlainBroker):
    async def unfollow(self, channel: str) -> None:
        pass


class _FollowsLater(PlainBroker):
    """Returns from `follow` before it holds."""

    async def follow(self, channel: str) -> None:
        asyncio.get_running_loop().call_later(0.005, self.followed.add, channel)


class _CountsFollowers(PlainBroker):
    """Needs as many `unfollow` as there were `follow`."""

    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.counts: dict[str, int] = {}

    async def follow(self, channel: str) -> None:
        self.counts[channel] = self.counts.get(channel, 0) + 1
        await super().follow(channel)

    async def unfollow(self, channel: str) -> None:
        self.counts[channel] = self.counts.get(channel, 1) - 1
        if not self.counts[channel]:
            await super().unfollow(channel)


class _DeliversPerFollow(PlainBroker):
    """Delivers as often as the channel was followed."""

    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.times: dict[str, int] = {}

    async def follow(self, channel: str) -> None:
        self.times[channel] = self.times.get(channel, 0) + 1
        await super().follow(channel)

    async def unfollow(self, channel: str) -> None:
        self.times.pop(channel, None)
        await super().unfollow(channel)

    def send(self, channel: str, message: Message) -> None:
        for _ in range(self.times.get(channel, 1)):
            super().send(channel, message)


class _UnfollowsForAll(PlainBroker):
    async def unfollow(self, channel: str) -> None:
        for node in self.store.nodes:
            node.followed.discard(channel)


class _UnfollowFailsOnNothing(PlainBroker):
    async def unfollow(self, channel: str) -> None:
        self.followed.remove(channel)


class _FollowsFromTheStart(PlainBroker):
    """Gives a follower what is kept already."""

    async def follow(self, channel: str) -> None:
        await super().follow(channel)
        for _, publication in self.store.stream(channel, History()).kept:
            self.send(channel, publication)


@pytest.mark.parametrize(
    "broken",
    [
        _DeliversAll,
        _NeverUnfollows,
        _FollowsLater,
        _CountsFollowers,
        _DeliversPerFollow,
        _UnfollowsForAll,
        _UnfollowFailsOnNothing,
        _FollowsFromTheStart,
    ],
)
async def test_wrong_interest_is_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """Who follows hears, from the moment `follow` returns, once; who does not, hears nothing."""
    assert await problems_of("4 interest", broken)


class _SendsTwice(PlainStore):
    def carry(self, channel: str, message: Message) -> None:
        super().carry(channel, message)
        super().carry(channel, message)


class _SendsAgainLater(PlainBroker):
    """Repeats the first publication once the next one is through, as a retry does that took a slow answer for none."""

    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.earlier: dict[str, Message] = {}

    def send(self, channel: str, message: Message) -> None:
        super().send(channel, message)
        if channel in self.earlier:
            super().send(channel, self.earlier.pop(channel))
        else:
            self.earlier[channel] = message


class _PublisherHearsItselfAtOnce(PlainBroker):
    """Delivers its own publications itself, and then again when they come back."""

    async def publish(self, channel: str, data: bytes, **options: Any) -> Position:
        position = await super().publish(channel, data, **options)
        self.arrive(channel, Publication(data, position.offset, epoch=position.epoch))
        return position


@pytest.mark.parametrize("broken", [_SendsTwice, _SendsAgainLater, _PublisherHearsItselfAtOnce])
async def test_what_is_delivered_twice_is_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """A publication comes once, its copies neither at once nor later."""
    assert await problems_of("5 at most once", broken)


class _StopsOnce(PlainBroker):
    async def stop(self) -> None:
        if not self.running:
            raise RuntimeError("not running")
        await super().stop()


class _HearsOn(PlainBroker):
    """Delivers for ever."""

    def __init__(self, store: PlainStore) -> None:
        super().__init__(store)
        self.first: Recipient | None = None

    async def start(self, node: str, recipient: Recipient | None) -> None:
        self.first = recipient
        await super().start(node, recipient)

    def arrive(self, channel: str, message: Message) -> None:
        if self.first is not None:
            self.first.deliver(channel, message)

    async def stop(self) -> None:
        self.running = False


class _StopsAll(PlainBroker):
    async def stop(self) -> None:
        for node in self.store.nodes:
            node.running = False
            node.recipient = None


@pytest.mark.parametrize("broken", [_StopsOnce, _HearsOn, _StopsAll])
async def test_wrong_stops_are_caught(broken: type[PlainBroker]) -> None:
    """`stop` ends one node, wholly, as often as it is called."""
    assert await problems_of("stop", broken)


class _OnlySeemsImmediate(PlainBroker):
    immediate = True


async def test_a_suspended_call_of_an_immediate_broker_is_caught() -> None:
    """Who says that no coroutine of it suspends is held to that in every call."""
    problems = await problems_of("4 interest", _OnlySeemsImmediate)
    assert all("immediate" in problem for problem in problems)
    assert problems
