"""What the checks of a presence stand on: the set-up a factory yields, its nodes at work, and what they announced."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from openline.errors import BrokerUnavailable
from openline.presence.base import Announce, Presence, PresenceStats
from openline.publication import Arrival, ClientInfo
from openline.testing.contract import Check, ContractBroken, call, expect

Result = TypeVar("Result")

ANNA: Final = ClientInfo("anna", "session-1")
ANNA_AGAIN: Final = ClientInfo("anna", "session-2")
BEN: Final = ClientInfo("b\u00e9n", "session-3", b'{"name":"Ben"}', b"\x00\n\xff")
NOBODY: Final = ClientInfo("", "session-4")
NOBODY_ELSE: Final = ClientInfo("", "session-5", b"", b"{}")

#: No node may be taken for alive longer than this after its death.
_LONGEST_LEASE_SECONDS: Final = 10


@final
@dataclass(frozen=True, kw_only=True)
class PresenceNodes:
    """What a factory yields: presences that share a store, and what else can be done to it.

    The presences are not started: a check does that, and stops them. Some checks take a few times `node_lease_seconds`.
    """

    presences: Sequence[Presence]  #: one for each node; at least one
    advance: Callable[[float], Awaitable[None]] = asyncio.sleep  #: let so many seconds pass where leases are measured
    arrival_seconds: float = 5  #: what ended is over by then
    deadline_seconds: float = 10  #: how long a call may take to say that it cannot be done
    #: After this time the sessions of a node that died are gone, and those the store forgot are back; at most 10.
    #: None: there are no leases.
    node_lease_seconds: float | None = None
    #: Let a node die without a word, as a crash does; it is not touched after that. None: a node cannot die alone.
    #: Needs `node_lease_seconds`.
    crash: Callable[[Presence], Awaitable[None]] | None = None
    #: Make the store lose everything; None: it never does. Needs `node_lease_seconds`.
    forget: Callable[[], Awaitable[None]] | None = None
    #: While entered, this node is cut off from the store and lives, while the rest of the nodes work on; None: there
    #: is no way to cut one off alone. Needs `node_lease_seconds`.
    pause: Callable[[Presence], AbstractAsyncContextManager[object]] | None = None
    #: While entered, the store answers nobody; None: there is no way to cut it off.
    outage: Callable[[], AbstractAsyncContextManager[object]] | None = None


PresenceCheck = Check[PresenceNodes]


@final
class Stage:
    """The presences of one check, started, with channel names that no other check and no earlier run has used."""

    def __init__(self, setup: PresenceNodes) -> None:
        self.setup = setup
        self.nodes = setup.presences
        self.first = self.nodes[0]
        self.last = self.nodes[-1]  #: another node than `first` where there are two
        self.announced: list[tuple[str, Arrival]] = []  #: by any node, with its channel
        self._run = secrets.token_hex(8)
        self._named = 0

    @property
    def lease(self) -> float:
        """How long a node that died is taken for alive, in seconds."""
        lease = self.setup.node_lease_seconds
        expect(lease is not None, "the set-up gives no `node_lease_seconds`, which its other hooks need")
        lease = lease or 0.0
        expect(lease <= _LONGEST_LEASE_SECONDS, f"a lease of {lease} s: it may be {_LONGEST_LEASE_SECONDS} s at most")
        return lease

    def channel(self, suffix: str = "") -> str:
        """Make a new name."""
        self._named += 1
        return f"check-{self._run}:{self._named}{suffix}"

    async def do(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Await a call of a presence, held to its promise to be immediate if it makes it."""
        return await call(coroutine, immediate=self.first.immediate)

    async def start(self) -> None:
        """Start every presence."""

        def announce(channel: str, arrival: Arrival) -> None:
            self.announced.append((channel, arrival))

        listener: Announce = announce
        for number, node in enumerate(self.nodes):
            await self.do(node.start(f"check{self._run}{number}", listener))

    async def add(self, node: Presence, channel: str, *infos: ClientInfo, announced: bool = False) -> None:
        """Enter sessions."""
        for info in infos:
            await self.do(node.add(channel, info, announced=announced))

    async def try_to_remove(self, node: Presence, channel: str, client: str) -> None:
        """Take a session out while the store is away: it may raise, but not wait for ever."""
        limit = self.setup.deadline_seconds
        try:
            async with asyncio.timeout(limit):
                await self.do(node.remove(channel, client))
        except BrokerUnavailable:
            return
        except TimeoutError:
            raise ContractBroken(f"remove neither worked nor gave up in {limit} s") from None

    async def expect_seen(self, channel: str, *infos: ClientInfo) -> None:
        """Break off unless every node sees exactly these in a channel, and counts them."""
        expected = {info.client: info for info in infos}
        counted = PresenceStats(len(infos), len({info.user for info in infos}))
        for number, node in enumerate(self.nodes):
            members = await self.do(node.members(channel))
            expect(members == expected, f"node {number} sees {members}, there are {expected}")
            stats = await self.do(node.stats(channel))
            expect(stats == counted, f"node {number} counts {stats}, there are {counted}")

    async def expect_seen_in_time(self, channel: str, *infos: ClientInfo) -> None:
        """Break off unless within a lease every node comes to see exactly these."""
        expected = {info.client: info for info in infos}

        async def all_see_it() -> bool:
            return all([await self.do(node.members(channel)) == expected for node in self.nodes])

        await self.comes(all_see_it)
        await self.expect_seen(channel, *infos)

    async def expect_announced(self, *expected: tuple[str, Arrival]) -> None:
        """Break off unless within a lease exactly these were announced, by all nodes together."""

        async def all_are_told() -> bool:
            return len(self.announced) >= len(expected)

        await self.comes(all_are_told)
        told, due = (sorted(map(_words, arrivals)) for arrivals in (self.announced, expected))
        expect(told == due, f"announced were {told}, and due {due}")

    async def comes(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Let time pass until something holds, or a lease has passed."""
        steps = 20
        for _ in range(steps):
            if await holds():
                return
            await self.setup.advance(self.lease / steps)

    async def becomes(self, holds: Callable[[], bool]) -> bool:
        """Tell whether something that nobody is told of holds, or comes to within `arrival_seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.setup.arrival_seconds):
                while not holds():  # noqa: ASYNC110  # there is no event: a `problem` is only there to be read
                    await asyncio.sleep(0.01)
        return holds()

    async def stop(self) -> None:
        """Stop every presence."""
        for node in self.nodes:
            await self.do(node.stop())


def _words(announced: tuple[str, Arrival]) -> str:
    channel, arrival = announced
    return f"{'join' if arrival.joined else 'leave'} of {arrival.info} in {channel}"


def presence_check(
    guarantee: str, *, needs: str = "", started: bool = True
) -> Callable[[Callable[[Stage], Awaitable[None]]], PresenceCheck]:
    """Make a check of a function that takes a stage; unless `started`, it starts the nodes itself."""

    def make(function: Callable[[Stage], Awaitable[None]]) -> PresenceCheck:
        async def body(setup: PresenceNodes) -> None:
            stage = Stage(setup)
            try:
                if started:
                    await stage.start()
                await function(stage)
            except BaseException:
                # The failure that was found first is the one to tell.
                with suppress(Exception):
                    async with asyncio.timeout(setup.arrival_seconds):
                        await stage.stop()
                raise
            await stage.stop()

        return Check(function.__name__, guarantee, needs, body)

    return make
