"""Checks of words: brokers that lose, double, mix up or mislead what nodes tell each other are caught."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openline.brokers.base import Page, Recipient
from openline.errors import BrokerUnavailable
from openline.publication import Position
from tests.brokers.plain import PlainBroker, PlainStore
from tests.testing.broken import problems_of


class _AllHearAll(PlainStore):
    def tell(self, word: bytes, node: str) -> None:
        super().tell(word, "")


class _NobodyIsTold(PlainStore):
    def tell(self, word: bytes, node: str) -> None:
        pass


class _NamesArePrefixes(PlainStore):
    """Takes a name for the beginning of one."""

    def tell(self, word: bytes, node: str) -> None:
        for one in self.nodes:
            if one.name.startswith(node):
                one.send_word(word)


class _FailsOnNobody(PlainStore):
    def tell(self, word: bytes, node: str) -> None:
        if node and node not in {one.name for one in self.nodes}:
            raise BrokerUnavailable(f"there is no {node}")
        super().tell(word, node)


class _TellerHearsNothing(PlainBroker):
    """Takes what it told itself for an echo."""

    async def tell(self, word: bytes, node: str = "") -> None:
        await self.reach()
        for one in self.store.nodes:
            if one is not self and node in ("", one.name):
                one.send_word(word)


class _WordsComeTwice(PlainBroker):
    def send_word(self, word: bytes) -> None:
        super().send_word(word)
        super().send_word(word)


class _WordsComeAgainLater(PlainBroker):
    """Repeats every word once the next is there."""

    earlier = b""

    def hear(self, word: bytes) -> None:
        super().hear(word)
        if self.earlier:
            super().hear(self.earlier)
        self.earlier = word


class _WordsAreText(PlainBroker):
    def hear(self, word: bytes) -> None:
        super().hear(word.decode(errors="replace").encode())


class _WordsAreLines(PlainBroker):
    def hear(self, word: bytes) -> None:
        super().hear(word.strip())


class _WordsToOneAreFaster(PlainBroker):
    """Sends what is for all over another line, that is slower."""

    async def tell(self, word: bytes, node: str = "") -> None:
        await self.reach()
        if node:
            self.store.tell(word, node)
        else:
            asyncio.get_running_loop().call_later(0.005, self.store.tell, word, node)


class _WordsOvertake(PlainBroker):
    def send_word(self, word: bytes) -> None:
        if word.endswith(b"7"):
            asyncio.get_running_loop().call_later(0.005, self.hear, word)
        else:
            super().send_word(word)


class _HearsOn(PlainBroker):
    """Hears words for ever."""

    async def stop(self) -> None:
        self.running = False


class _StoppedNodesAreMissed(PlainStore):
    """Fails once a node that is told does not listen."""

    def tell(self, word: bytes, node: str) -> None:
        if any(one.recipient is None for one in self.nodes if node in ("", one.name)):
            raise BrokerUnavailable("somebody does not listen")
        super().tell(word, node)


@pytest.mark.parametrize(
    "broken",
    [
        _AllHearAll,
        _NobodyIsTold,
        _NamesArePrefixes,
        _FailsOnNobody,
        _TellerHearsNothing,
        _WordsComeTwice,
        _WordsComeAgainLater,
        _WordsAreText,
        _WordsAreLines,
        _WordsToOneAreFaster,
        _WordsOvertake,
        _HearsOn,
        _StoppedNodesAreMissed,
    ],
)
async def test_wrong_words_are_caught(broken: type[PlainStore] | type[PlainBroker]) -> None:
    """A word comes whole and once to whom it is for, in its teller's order, and to no one else."""
    assert await problems_of("8 words", broken)


class _NeedsARecipient(PlainBroker):
    async def start(self, node: str, recipient: Recipient | None) -> None:
        if recipient is None:
            raise ValueError("nobody to deliver to")
        await super().start(node, recipient)


class _DeafIsNotStarted(PlainBroker):
    """Takes a missing recipient for a missing start."""

    @property
    def problem(self) -> str:
        return super().problem or ("" if self.recipient else "nobody listens")


class _DeafCannotRead(PlainBroker):
    async def history(self, channel: str, **options: Any) -> Page:
        if self.recipient is None:
            return Page([], Position.NONE)
        return await super().history(channel, **options)


class _DeafIsMute(PlainBroker):
    async def tell(self, word: bytes, node: str = "") -> None:
        if self.recipient is not None:
            await super().tell(word, node)


@pytest.mark.parametrize("broken", [_NeedsARecipient, _DeafIsNotStarted, _DeafCannotRead, _DeafIsMute])
async def test_a_recipient_that_is_needed_is_caught(broken: type[PlainBroker]) -> None:
    """Who only publishes, reads and tells needs nobody to listen."""
    assert await problems_of("start", broken)
