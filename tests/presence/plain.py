"""A presence made to be obviously right: one table, several nodes on it, a lease for each node, nothing fast.

The contract suite is tried on it: as it is, and broken in one place at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from openline.errors import BrokerUnavailable
from openline.presence.base import Announce, Presence, PresenceStats
from openline.publication import Arrival, ClientInfo
from openline.testing.presence import PresenceNodes

#: A node whose lease was not renewed for this long is dead, and is buried a turn later.
LEASE_SECONDS = 8.0
TURN_SECONDS = 1.0
NODE_LEASE_SECONDS = LEASE_SECONDS + 2 * TURN_SECONDS

Key = tuple[str, str]  #: channel and session id


class Row(NamedTuple):
    """A session in a channel."""

    node: str
    info: ClientInfo
    announced: bool


class PlainTable:
    """What the nodes share.

    Args:
        now: the clock leases are measured on.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.nodes: list[PlainPresence] = []
        self.rows: dict[Key, Row] = {}
        self.renewed: dict[str, float] = {}  #: when each node last was
        self.mourned: set[Key] = set()  #: whose leave was announced as their node died
        self.cut_off = False

    def forget(self) -> None:
        """Lose everything."""
        self.rows.clear()
        self.renewed.clear()
        self.mourned.clear()


class PlainPresence:
    """One node on a `PlainTable`. Each method is one rule, to be overridden by a presence that breaks it."""

    immediate = False

    def __init__(self, table: PlainTable) -> None:
        self.table = table
        self.name = ""
        self.running = False
        self.cut = False
        self.announce: Announce = lambda channel, arrival: None
        self.own: dict[Key, Row] = {}
        table.nodes.append(self)

    @property
    def problem(self) -> str:
        """Say what is wrong."""
        return "" if self.reaches() else "the table does not answer"

    def reaches(self) -> bool:
        """Tell whether this node gets through to the table."""
        return self.running and not self.cut and not self.table.cut_off

    async def start(self, node: str, announce: Announce) -> None:
        """Begin."""
        self.name, self.announce = node, announce
        self.running = True
        self.renew()

    async def stop(self) -> None:
        """End."""
        self.running = False
        self.own.clear()
        self.leave_table()

    def leave_table(self) -> None:
        """Take this node and its sessions out."""
        self.table.renewed.pop(self.name, None)
        self.drop_rows_of(self.name)

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Enter a session."""
        await self.reach()
        self.own[channel, info.client] = self.table.rows[channel, info.client] = Row(self.name, info, announced)

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out; if the table is away, at the next turn."""
        await asyncio.sleep(0)
        self.own.pop((channel, client), None)
        if self.running:
            await self.reach()
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
        """Give everyone in a channel whose node lives."""
        return [row.info for (there, _), row in self.table.rows.items() if there == channel and self.lives(row.node)]

    def lives(self, node: str) -> bool:
        """Tell whether the lease of a node holds."""
        return self.table.now() - self.table.renewed.get(node, float("-inf")) <= LEASE_SECONDS

    # --- each turn ---

    def turn(self) -> None:
        """Do what a node does from time to time."""
        if self.reaches():
            self.renew()
            self.enter_again()
            self.bury()

    def renew(self) -> None:
        """Renew the lease of this node."""
        self.table.renewed[self.name] = self.table.now()

    def enter_again(self) -> None:
        """Make the table say of this node what is so: enter who is missing, take out who left."""
        left = [key for key, row in self.table.rows.items() if row.node == self.name and key not in self.own]
        for key in left:
            del self.table.rows[key]
        for key, row in self.own.items():
            self.table.rows[key] = row
            if key in self.table.mourned:
                self.table.mourned.discard(key)
                self.announce(key[0], Arrival(row.info, joined=True))

    def bury(self) -> None:
        """Take out the nodes that died."""
        for node in [node for node in self.table.renewed if not self.lives(node)]:
            del self.table.renewed[node]
            for key, row in self.drop_rows_of(node).items():
                self.mourn(key, row)

    def mourn(self, key: Key, row: Row) -> None:
        """Tell that a session died with its node, if its coming was told."""
        if row.announced:
            self.table.mourned.add(key)
            self.announce(key[0], Arrival(row.info, joined=False))

    def drop_rows_of(self, node: str) -> dict[Key, Row]:
        """Take out the sessions of a node, and give them."""
        return {key: self.table.rows.pop(key) for key, row in list(self.table.rows.items()) if row.node == node}

    async def reach(self) -> None:
        """Get through to the table."""
        await asyncio.sleep(0)
        if not self.reaches():
            raise BrokerUnavailable("the table does not answer")


def plain_nodes(
    make_presence: type[PlainPresence] = PlainPresence, *, nodes: int = 2, arrival_seconds: float = 5
) -> Callable[[], AbstractAsyncContextManager[PresenceNodes]]:
    """Make a factory for the contract suite, with every hook and a clock that stands still."""

    @asynccontextmanager
    async def make() -> AsyncIterator[PresenceNodes]:
        moment = [1000.0]

        async def advance(seconds: float) -> None:
            while seconds > 0:
                moment[0] += min(seconds, TURN_SECONDS)
                seconds -= TURN_SECONDS
                for node in table.nodes:
                    node.turn()

        async def crash(presence: Presence) -> None:
            assert isinstance(presence, PlainPresence)
            presence.running = False

        async def forget() -> None:
            table.forget()

        @asynccontextmanager
        async def pause(presence: Presence) -> AsyncIterator[None]:
            assert isinstance(presence, PlainPresence)
            presence.cut = True
            yield
            presence.cut = False

        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            table.cut_off = True
            yield
            table.cut_off = False

        table = PlainTable(lambda: moment[0])
        yield PresenceNodes(
            presences=[make_presence(table) for _ in range(nodes)],
            advance=advance,
            arrival_seconds=arrival_seconds,
            deadline_seconds=arrival_seconds,
            node_lease_seconds=NODE_LEASE_SECONDS,
            crash=crash,
            forget=forget,
            pause=pause,
            outage=outage,
        )

    return make
