"""A broker on a network of the test's own making: it waits where a real one does, and loses what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from openline.brokers.base import Page, Recipient
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable
from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position


class RemoteBroker:
    """A memory broker behind a network: every call suspends, and what it carries arrives later, if at all.

    Attributes:
        holding: arrivals wait for `release` while this is set.
        lose: says of a message whether it never arrives.
        before_history, after_history: awaited around each reading, so that a test can act in between.
        away: calls fail with `BrokerUnavailable`.
    """

    immediate = False
    is_open = False

    def __init__(self, inner: MemoryBroker) -> None:
        self.inner = inner
        self.holding = False
        self.away = False
        self.held: list[tuple[str, Message]] = []
        self.lose: Callable[[Message], bool] = lambda message: False
        self.before_history: Callable[[], Any] = _nothing
        self.after_history: Callable[[], Any] = _nothing
        self.node = ""
        self._recipient: Recipient | None = None

    @property
    def problem(self) -> str:
        """What is wrong."""
        return "the test has taken the broker away" if self.away else self.inner.problem

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Begin."""
        self.node, self._recipient = node, recipient
        await self.inner.start(node, self)

    def deliver(self, channel: str, message: Message) -> None:
        """Take what the memory broker carries: lose it, hold it or let it arrive."""
        if self.lose(message):
            return
        if self.holding:
            self.held.append((channel, message))
        elif self._recipient is not None:
            self._recipient.deliver(channel, message)

    def doubt(self, channels: Iterable[str]) -> None:
        """Let the node doubt channels, as after a cut."""
        if self._recipient is not None:
            self._recipient.doubt(channels)

    def hear(self, word: bytes) -> None:
        """Let a word arrive."""
        if self._recipient is not None:
            self._recipient.hear(word)

    def release(self, count: int | None = None) -> None:
        """Let held messages arrive, in their order."""
        arriving, self.held = self.held[:count], self.held[len(self.held) if count is None else count :]
        for channel, message in arriving:
            if self._recipient is not None:
                self._recipient.deliver(channel, message)

    async def stop(self) -> None:
        """End."""
        await self.inner.stop()

    async def follow(self, channel: str) -> None:
        """Follow, after a moment."""
        await self._travel()
        await self.inner.follow(channel)

    async def unfollow(self, channel: str) -> None:
        """Unfollow, after a moment."""
        await self._travel()
        await self.inner.unfollow(channel)

    async def publish(
        self,
        channel: str,
        data: bytes,
        *,
        history: History | None,
        info: ClientInfo | None = None,
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Publish, after a moment."""
        await self._travel()
        return await self.inner.publish(
            channel,
            data,
            history=history,
            info=info,
            tags=tags,
            idempotency_key=idempotency_key,
            version=version,
            version_epoch=version_epoch,
        )

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Announce, after a moment."""
        await self._travel()
        await self.inner.announce(channel, arrival)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Tell, after a moment."""
        await self._travel()
        await self.inner.tell(word, node)

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read, after a moment."""
        await self._travel()
        await self.before_history()
        page = await self.inner.history(channel, history=history, since=since, limit=limit, reverse=reverse)
        await self.after_history()
        return page

    async def forget(self, channel: str) -> None:
        """Forget, after a moment."""
        await self._travel()
        await self.inner.forget(channel)

    async def _travel(self) -> None:
        if self.away:
            raise BrokerUnavailable(self.problem)
        await asyncio.sleep(0)


async def _nothing() -> None:
    """Nothing happens."""
