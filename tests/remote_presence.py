"""Presence on a network of the test's own making: it waits where a real one does, and fails when told to."""

from __future__ import annotations

import asyncio

from openline.errors import BrokerUnavailable
from openline.presence.base import Announce, PresenceStats
from openline.presence.memory import MemoryPresence
from openline.publication import ClientInfo


class RemotePresence:
    """Memory presence behind a network.

    Attributes:
        removing: taking out waits while this is not set.
        starts: starting fails where this is False.
        away: calls fail with `BrokerUnavailable`.
        announce: what the node gave to `start`: a test announces with it what became of another node.
    """

    immediate = False

    def __init__(self, *, starts: bool = True) -> None:
        self.inner = MemoryPresence()
        self.removing = asyncio.Event()
        self.removing.set()
        self.announce: Announce = lambda channel, arrival: None
        self.starts = starts
        self.away = False

    @property
    def problem(self) -> str:
        """What is wrong."""
        return "the test has taken presence away" if self.away else self.inner.problem

    async def start(self, node: str, announce: Announce) -> None:
        """Begin, or fail."""
        if not self.starts:
            raise BrokerUnavailable("as the test wants")
        self.announce = announce
        await self.inner.start(node, announce)

    async def stop(self) -> None:
        """End."""
        await self.inner.stop()

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Enter, after a moment."""
        await asyncio.sleep(0)
        await self.inner.add(channel, info, announced=announced)

    async def remove(self, channel: str, client: str) -> None:
        """Take out, once let through."""
        await self.removing.wait()
        if self.away:
            raise BrokerUnavailable(self.problem)
        await self.inner.remove(channel, client)

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone, after a moment."""
        await asyncio.sleep(0)
        return await self.inner.members(channel)

    async def stats(self, channel: str) -> PresenceStats:
        """Count, after a moment."""
        await asyncio.sleep(0)
        return await self.inner.stats(channel)
