"""A broker on a network whose readings are watched and go wrong when told to, and what its subscribers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from openline.brokers.base import Page
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable
from openline.options import History
from openline.publication import Position, Publication
from openline.session import Session
from tests.engine import RecordingWire, send
from tests.remote_broker import RemoteBroker


class WatchedBroker(RemoteBroker):
    """A broker whose readings are watched, and go wrong when told to.

    Attributes:
        reads: the channels that were read, in order.
        most_at_once: how many readings were under way at the same time at most.
        unreadable: channels whose reading fails.
        top: where every stream is said to stand, with nothing in it; None for the truth.
    """

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.reads: list[str] = []
        self.most_at_once = 0
        self.unreadable: set[str] = set()
        self.top: Position | None = None
        self._under_way = 0

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read, and note it."""
        self.reads.append(channel)
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            if channel in self.unreadable:
                await asyncio.sleep(0)
                raise BrokerUnavailable("as the test wants")
            page = await super().history(channel, history=history, since=since, limit=limit, reverse=reverse)
            return page if self.top is None else Page([], self.top)
        finally:
            self._under_way -= 1

    def loses(self, *data: bytes) -> None:
        """Lose these publications on their way here."""
        self.lose = lambda message: isinstance(message, Publication) and message.data in data

    async def begin_anew(self) -> None:
        """Be a store that lost everything: every stream has another epoch from now on."""
        followed = set(self.inner._followed)
        await self.inner.stop()
        await self.inner.start(self.node, self)
        for channel in followed:
            await self.inner.follow(channel)

    def once_read(self, act: Callable[[], Awaitable[None]]) -> None:
        """Act once, between the next reading and its reader."""

        async def first() -> None:
            self.after_history = lambda: asyncio.sleep(0)
            await act()

        self.after_history = first


def subscribe(session: Session, channel: str = "a", **wish: Any) -> None:
    """Have a client subscribe."""
    send(session, id=9, subscribe={"channel": channel, **wish})


def unsubscribes(wire: RecordingWire) -> list[int]:
    """Give the codes of the ends of subscriptions that a client was told."""
    pushes = [message.get("push", {}) for message in wire.messages()]
    return [push["unsubscribe"]["code"] for push in pushes if "unsubscribe" in push]
