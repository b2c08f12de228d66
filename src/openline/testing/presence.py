"""`check_presence`: the guarantees of `openline.presence.base`, checked against any presence.

Write a factory and give it to every check, as tests of their own so that a failure names the guarantee:

    @asynccontextmanager
    async def nodes() -> AsyncIterator[PresenceNodes]:
        async with my_server() as address:
            yield PresenceNodes(presences=[MyPresence(address), MyPresence(address)])

    @pytest.mark.parametrize("check", PRESENCE_CHECKS, ids=str)
    async def test_my_presence_keeps_the_contract(check):
        await check(nodes)

or run them all at once with ``await check_presence(nodes)``. Two presences on one store check what one cannot: give
two wherever there can be more than one node.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from openline.errors import BrokerUnavailable
from openline.presence.base import Presence, PresenceStats
from openline.publication import ClientInfo
from openline.testing.contract import Check, call, expect

Result = TypeVar("Result")


@final
@dataclass(frozen=True, kw_only=True)
class PresenceNodes:
    """What a factory yields: presences that share a store, and what else can be done to it.

    The presences are not started: a check does that, and stops them.
    """

    presences: Sequence[Presence]  #: one for each node; at least one
    advance: Callable[[float], Awaitable[None]] = asyncio.sleep  #: let so many seconds pass where leases are measured
    lease_seconds: float | None = None  #: how long a session is seen that nobody renews; None: for ever
    #: Let a node die without a word, as a crash does; None: a node cannot die alone. Needs `lease_seconds`.
    crash: Callable[[Presence], Awaitable[None]] | None = None
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
        self._run = secrets.token_hex(8)
        self._named = 0

    def channel(self, suffix: str = "") -> str:
        """Make a new name."""
        self._named += 1
        return f"check-{self._run}:{self._named}{suffix}"

    async def do(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Await a call of a presence, held to its promise to be immediate if it makes it."""
        return await call(coroutine, immediate=self.first.immediate)

    async def add(self, node: Presence, channel: str, *infos: ClientInfo) -> None:
        """Enter sessions."""
        for info in infos:
            await self.do(node.add(channel, info))

    async def expect_seen(self, channel: str, *infos: ClientInfo) -> None:
        """Break off unless every node sees exactly these in a channel, and counts them."""
        expected = {info.client: info for info in infos}
        counted = PresenceStats(len(infos), len({info.user for info in infos}))
        for number, node in enumerate(self.nodes):
            members = await self.do(node.members(channel))
            expect(members == expected, f"node {number} sees {members}, there are {expected}")
            stats = await self.do(node.stats(channel))
            expect(stats == counted, f"node {number} counts {stats}, there are {counted}")

    async def stop(self) -> None:
        """Stop every presence."""
        for node in self.nodes:
            await self.do(node.stop())


def _check(guarantee: str, *, needs: str = "") -> Callable[[Callable[[Stage], Awaitable[None]]], PresenceCheck]:
    """Make a check of a function that takes a stage."""

    def make(function: Callable[[Stage], Awaitable[None]]) -> PresenceCheck:
        async def body(setup: PresenceNodes) -> None:
            stage = Stage(setup)
            for node in stage.nodes:
                await stage.do(node.start())
            try:
                await function(stage)
            except BaseException:
                # The failure that was found first is the one to tell.
                with suppress(Exception):
                    async with asyncio.timeout(5):
                        await stage.stop()
                raise
            await stage.stop()

        return Check(function.__name__, guarantee, needs, body)

    return make


_ANNA: Final = ClientInfo("anna", "session-1")
_ANNA_AGAIN: Final = ClientInfo("anna", "session-2")
_BEN: Final = ClientInfo("b\u00e9n", "session-3", b'{"name":"Ben"}', b"\x00\n\xff")
_NOBODY: Final = ClientInfo("", "session-4")
_NOBODY_ELSE: Final = ClientInfo("", "session-5", b"", b"{}")


@_check("1 seen")
async def sessions_are_seen_whole_on_every_node(stage: Stage) -> None:
    """Whichever node added them, all see the same, with all that is known of each."""
    channel = stage.channel()
    await stage.expect_seen(channel)
    await stage.add(stage.first, channel, _ANNA, _NOBODY)
    await stage.expect_seen(channel, _ANNA, _NOBODY)
    await stage.add(stage.last, channel, _BEN)
    await stage.expect_seen(channel, _ANNA, _NOBODY, _BEN)


@_check("1 seen")
async def channels_do_not_mix(stage: Stage) -> None:
    """A session is seen in the channels it was added to, whatever their names look like."""
    channels = [stage.channel(suffix) for suffix in ("", ".*", ">", "*", "{a}", "?", "#1", ":a", '"', "x" * 200)]
    for channel in channels:
        await stage.add(stage.first, channel, ClientInfo(channel, "session"), ClientInfo(channel, channel))
    await stage.do(stage.first.remove(channels[0], "session"))
    await stage.expect_seen(channels[0], ClientInfo(channels[0], channels[0]))
    for channel in channels[1:]:
        await stage.expect_seen(channel, ClientInfo(channel, "session"), ClientInfo(channel, channel))


@_check("1 seen")
async def many_at_once_are_all_seen(stage: Stage) -> None:
    """Sessions that come and go at the same moment, on all nodes, are counted rightly in the end."""
    channel = stage.channel()
    infos = [ClientInfo(f"user-{number % 7}", f"session-{number}") for number in range(40)]
    homes = [stage.nodes[number % len(stage.nodes)] for number in range(len(infos))]
    pairs = list(zip(homes, infos, strict=True))
    await asyncio.gather(*(stage.add(node, channel, info) for node, info in pairs))
    await stage.expect_seen(channel, *infos)
    await asyncio.gather(*(stage.do(node.remove(channel, info.client)) for node, info in pairs[::2]))
    await stage.expect_seen(channel, *infos[1::2])


@_check("1 seen")
async def users_are_counted_once(stage: Stage) -> None:
    """Three tabs are three sessions of one user, who counts until the last is gone; all the anonymous count as one."""
    channel = stage.channel()
    await stage.add(stage.first, channel, _ANNA, _NOBODY)
    await stage.add(stage.last, channel, _ANNA_AGAIN, _NOBODY_ELSE)
    stats = await stage.do(stage.first.stats(channel))
    expect(stats == PresenceStats(clients=4, users=2), f"two tabs of one user and two anonymous count as {stats}")
    await stage.do(stage.first.remove(channel, _ANNA.client))
    await stage.expect_seen(channel, _NOBODY, _ANNA_AGAIN, _NOBODY_ELSE)
    await stage.do(stage.last.remove(channel, _ANNA_AGAIN.client))
    await stage.expect_seen(channel, _NOBODY, _NOBODY_ELSE)


@_check("1 seen")
async def who_was_removed_is_gone(stage: Stage) -> None:
    """Removed on the node that added it, a session is seen by none; the others stay; it may come again."""
    channel = stage.channel()
    await stage.add(stage.first, channel, _ANNA, _BEN)
    await stage.do(stage.first.remove(channel, _BEN.client))
    await stage.expect_seen(channel, _ANNA)
    await stage.do(stage.first.remove(channel, _ANNA.client))
    await stage.expect_seen(channel)
    await stage.add(stage.first, channel, _BEN)
    await stage.expect_seen(channel, _BEN)


@_check("1 seen", needs="lease_seconds")
async def a_session_is_gone_when_its_lease_runs_out(stage: Stage) -> None:
    """Until then it is there; who is not renewed in time is not seen any more; who is, is."""
    lease = stage.setup.lease_seconds or 0.0
    channel = stage.channel()
    await stage.add(stage.first, channel, _ANNA, _BEN)
    await stage.setup.advance(lease * 0.6)
    await stage.expect_seen(channel, _ANNA, _BEN)
    await stage.add(stage.first, channel, _BEN)
    await stage.setup.advance(lease * 0.6)
    await stage.expect_seen(channel, _BEN)


@_check("1 seen", needs="crash")
async def a_node_that_died_takes_its_sessions_along(stage: Stage) -> None:
    """Once the lease is over, the sessions of a node that is gone are gone; those of the others stay."""
    lease, crash = stage.setup.lease_seconds or 0.0, stage.setup.crash
    if crash is None or len(stage.nodes) < 2:
        return
    channel = stage.channel()
    await stage.add(stage.first, channel, _ANNA)
    await stage.add(stage.last, channel, _BEN)
    await crash(stage.first)
    stage.nodes = stage.nodes[1:]
    for _ in range(2):
        await stage.setup.advance(lease * 0.6)
        await stage.add(stage.last, channel, _BEN)
    await stage.expect_seen(channel, _BEN)


@_check("2 adding again")
async def adding_again_replaces(stage: Stage) -> None:
    """The latest that was said of a session counts, and it is still one session, of one user."""
    channel = stage.channel()
    changed = ClientInfo("carla", _ANNA.client, b'{"new":true}', b"x")
    await stage.add(stage.first, channel, _ANNA, _BEN, _ANNA)
    await stage.expect_seen(channel, _ANNA, _BEN)
    await stage.add(stage.first, channel, changed)
    await stage.expect_seen(channel, changed, _BEN)
    await stage.do(stage.first.remove(channel, _ANNA.client))
    await stage.expect_seen(channel, _BEN)


@_check("3 removing")
async def removing_what_is_not_there_is_no_error(stage: Stage) -> None:
    """Neither in a channel nobody is in, nor beside others, nor twice."""
    channel = stage.channel()
    await stage.do(stage.first.remove(channel, _ANNA.client))
    await stage.add(stage.first, channel, _BEN, _ANNA)
    await stage.do(stage.first.remove(channel, "another session"))
    for _ in range(2):
        await stage.do(stage.first.remove(channel, _ANNA.client))
    await stage.expect_seen(channel, _BEN)


@_check("4 loud failure")
async def a_stopped_presence_refuses(stage: Stage) -> None:
    """What can no longer be done or known raises `BrokerUnavailable`; a session that leaves late does not."""
    channel = stage.channel()
    await stage.add(stage.first, channel, _ANNA)
    await stage.do(stage.first.stop())
    await _expect_unavailable(stage, stage.first, channel)
    await stage.do(stage.first.remove(channel, _ANNA.client))


@_check("4 loud failure", needs="outage")
async def an_outage_is_told(stage: Stage) -> None:
    """While the store does not answer, calls raise `BrokerUnavailable`."""
    channel = stage.channel()
    if stage.setup.outage is not None:
        async with stage.setup.outage():
            for node in stage.nodes:
                await _expect_unavailable(stage, node, channel)


@_check("stop")
async def stop_removes_the_sessions_of_its_node(stage: Stage) -> None:
    """They are gone for the others at once, whose own stay; stopping again is no error."""
    channel = stage.channel()
    await stage.add(stage.first, channel, _ANNA)
    others = stage.nodes[1:]
    for number, node in enumerate(others):
        await stage.add(node, channel, ClientInfo("u", f"session-of-{number}"))
    await stage.do(stage.first.stop())
    await stage.do(stage.first.stop())
    stage.nodes = others
    await stage.expect_seen(channel, *(ClientInfo("u", f"session-of-{number}") for number in range(len(others))))


async def _expect_unavailable(stage: Stage, node: Presence, channel: str) -> None:
    calls: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "add": lambda: node.add(channel, _BEN),
        "members": lambda: node.members(channel),
        "stats": lambda: node.stats(channel),
    }
    for name, make in calls.items():
        try:
            result = await stage.do(make())
        except BrokerUnavailable:
            continue
        expect(kept=False, problem=f"{name} gave {result} in place of BrokerUnavailable")


#: Every check, each of which runs alone: ``await check(make)``.
PRESENCE_CHECKS: Final[tuple[PresenceCheck, ...]] = (
    sessions_are_seen_whole_on_every_node,
    channels_do_not_mix,
    many_at_once_are_all_seen,
    users_are_counted_once,
    who_was_removed_is_gone,
    a_session_is_gone_when_its_lease_runs_out,
    a_node_that_died_takes_its_sessions_along,
    adding_again_replaces,
    removing_what_is_not_there_is_no_error,
    a_stopped_presence_refuses,
    an_outage_is_told,
    stop_removes_the_sessions_of_its_node,
)


async def check_presence(make: Callable[[], AbstractAsyncContextManager[PresenceNodes]]) -> None:
    """Check every guarantee, one after the other, each on nodes of its own.

    What the set-up gives no hook for (`PresenceNodes.lease_seconds`, `crash`, `outage`) is not checked.

    Args:
        make: the factory: makes an async context manager that yields nodes nobody used before.
    Raises:
        ContractBroken: the first guarantee that is not kept; its message begins with its number and name.
    """
    for check in PRESENCE_CHECKS:
        await check(make)
