"""A presence made to be obviously right: one table, several nodes on it, leases, nothing fast.

The contract suite is tried on it: as it is, and broken in one place at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from openline.errors import BrokerUnavailable
from openline.presence.base import Presence, PresenceStats
from openline.publication import ClientInfo
from openline.testing.presence import PresenceNodes

LEASE_SECONDS = 30.0


class PlainTable:
    """What the nodes share.

    Args:
        now: the clock leases are measured on.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.nodes: list[PlainPresence] = []
        self.rows: dict[tuple[str, str], tuple[float, PlainPresence, ClientInfo]] = {}
        self.cut_off = False


class PlainPresence:
    """One node on a `PlainTable`. Each method is one rule, to be overridden by a presence that breaks it."""

    immediate = False

    def __init__(self, table: PlainTable) -> None:
        self.table = table
        self.running = False
        table.nodes.append(self)

    async def start(self) -> None:
        """Begin."""
        self.running = True

    async def stop(self) -> None:
        """End."""
        self.running = False
        for key in [key for key, (_, node, _) in self.table.rows.items() if node is self]:
            del self.table.rows[key]

    async def add(self, channel: str, info: ClientInfo) -> None:
        """Enter a session."""
        await self.reach()
        self.table.rows[channel, info.client] = (self.table.now(), self, info)

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out."""
        await asyncio.sleep(0)
        self.table.rows.pop((channel, client), None)

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone in a channel."""
        await self.reach()
        return {info.client: info for info in self.seen(channel)}

    async def stats(self, channel: str) -> PresenceStats:
        """Count who is in a channel."""
        await self.reach()
        seen = self.seen(channel)
        return PresenceStats(len(seen), len({info.user for info in seen}))

    def seen(self, channel: str) -> list[ClientInfo]:
        """Give everyone in a channel whose lease holds."""
        return [
            info for (there, _), (added, _, info) in self.table.rows.items() if there == channel and self.holds(added)
        ]

    def holds(self, added: float) -> bool:
        """Tell whether a lease still holds."""
        return self.table.now() - added <= LEASE_SECONDS

    async def reach(self) -> None:
        """Get through to the table."""
        await asyncio.sleep(0)
        if not self.running or self.table.cut_off:
            raise BrokerUnavailable("the table does not answer")


def plain_nodes(
    make_presence: type[PlainPresence] = PlainPresence, *, nodes: int = 2
) -> Callable[[], AbstractAsyncContextManager[PresenceNodes]]:
    """Make a factory for the contract suite, with every hook and a clock that stands still."""

    @asynccontextmanager
    async def make() -> AsyncIterator[PresenceNodes]:
        moment = [1000.0]

        async def advance(seconds: float) -> None:
            moment[0] += seconds

        async def crash(presence: Presence) -> None:
            assert isinstance(presence, PlainPresence)
            presence.running = False

        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            table.cut_off = True
            yield
            table.cut_off = False

        table = PlainTable(lambda: moment[0])
        yield PresenceNodes(
            presences=[make_presence(table) for _ in range(nodes)],
            advance=advance,
            lease_seconds=LEASE_SECONDS,
            crash=crash,
            outage=outage,
        )

    return make
