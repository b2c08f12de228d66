"""check_presence: passes every presence that keeps the contract, and says what the others break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from openline.errors import BrokerUnavailable
from openline.presence.base import PresenceStats
from openline.publication import Arrival, ClientInfo
from openline.testing.contract import ContractBroken
from openline.testing.presence import PRESENCE_CHECKS, PresenceCheck, PresenceNodes, check_presence
from tests.presence.plain import Key, PlainPresence, PlainTable, Row, plain_nodes

Make = Callable[[], AbstractAsyncContextManager[PresenceNodes]]

MAKERS: dict[str, Make] = {
    "one node": plain_nodes(nodes=1),
    "two nodes": plain_nodes(nodes=2),
    "three nodes": plain_nodes(nodes=3),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("check", PRESENCE_CHECKS, ids=str)
async def test_passes_what_keeps_the_contract(check: PresenceCheck, make: Make) -> None:
    """The number of nodes does not matter, nor that calls take their time."""
    await check(make)


async def problems_of(guarantee: str, broken: type[PlainPresence], *, nodes: int = 3) -> list[str]:
    """Run the checks of one guarantee; what they raise has to name it and no other."""
    found: list[ContractBroken] = []
    for check in PRESENCE_CHECKS:
        if check.guarantee == guarantee:
            try:
                await check(plain_nodes(broken, nodes=nodes, arrival_seconds=0.2), limit_seconds=5)
            except ContractBroken as error:
                found.append(error)
    assert all(str(error).startswith(f"{guarantee} ({error.check}): ") for error in found)
    return [error.problem for error in found]


class _SeesItsOwn(PlainPresence):
    def seen(self, channel: str) -> list[ClientInfo]:
        return [info for info in super().seen(channel) if (channel, info.client) in self.own]


class _SeesAllChannels(PlainPresence):
    def seen(self, channel: str) -> list[ClientInfo]:
        return [row.info for row in self.table.rows.values()]


class _DropsTheInfo(PlainPresence):
    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        await super().add(channel, ClientInfo(info.user, info.client), announced=announced)


class _AnonymousAreNobody(PlainPresence):
    async def stats(self, channel: str) -> PresenceStats:
        clients, _ = await super().stats(channel)
        return PresenceStats(clients, len({info.user for info in self.seen(channel) if info.user}))


class _EachTabIsAUser(PlainPresence):
    async def stats(self, channel: str) -> PresenceStats:
        clients, _ = await super().stats(channel)
        return PresenceStats(clients, clients)


class _RemovesTheUser(PlainPresence):
    """Takes all tabs of a user out with the first."""

    async def remove(self, channel: str, client: str) -> None:
        users = {info.user for info in self.seen(channel) if info.client == client}
        for info in self.seen(channel):
            if info.user in users:
                await super().remove(channel, info.client)


class _NeverRemoves(PlainPresence):
    async def remove(self, channel: str, client: str) -> None:
        pass


class _NobodyEverDies(PlainPresence):
    def lives(self, node: str) -> bool:
        return True


class _NeverRenews(PlainPresence):
    """Renews its lease only with a session that comes."""

    def turn(self) -> None:
        if self.reaches():
            self.bury()

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        self.renew()
        await super().add(channel, info, announced=announced)


class _RenewsForTheDead(PlainPresence):
    """Renews every lease when it renews its own."""

    def renew(self) -> None:
        super().renew()
        for node in self.table.renewed:
            self.table.renewed[node] = self.table.now()


class _RenewsWhoLeft(PlainPresence):
    """Enters again, when it renews, everybody who ever came."""

    def __init__(self, table: PlainTable) -> None:
        super().__init__(table)
        self.ever: dict[Key, Row] = {}

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        await super().add(channel, info, announced=announced)
        self.ever[channel, info.client] = Row(self.name, info, announced)

    def enter_again(self) -> None:
        super().enter_again()
        self.table.rows.update(self.ever)


class _OnlySeemsImmediate(PlainPresence):
    immediate = True


@pytest.mark.parametrize(
    "broken",
    [
        _SeesItsOwn,
        _SeesAllChannels,
        _DropsTheInfo,
        _AnonymousAreNobody,
        _EachTabIsAUser,
        _RemovesTheUser,
        _NeverRemoves,
        _NobodyEverDies,
        _NeverRenews,
        _RenewsForTheDead,
        _RenewsWhoLeft,
        _OnlySeemsImmediate,
    ],
)
async def test_wrong_views_are_caught(broken: type[PlainPresence]) -> None:
    """Who is there is seen, whole, on every node, in its channels, until it is gone."""
    assert await problems_of("1 seen", broken)


class _FirstWordCounts(PlainPresence):
    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        if info.client not in {known.client for known in self.seen(channel)}:
            await super().add(channel, info, announced=announced)


class _AddsARow(PlainPresence):
    def __init__(self, table: PlainTable) -> None:
        super().__init__(table)
        self.times: dict[tuple[str, str], int] = {}

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        await super().add(channel, info, announced=announced)
        self.times[channel, info.client] = self.times.get((channel, info.client), 0) + 1

    async def stats(self, channel: str) -> PresenceStats:
        _, users = await super().stats(channel)
        return PresenceStats(sum(count for (there, _), count in self.times.items() if there == channel), users)


@pytest.mark.parametrize("broken", [_FirstWordCounts, _AddsARow])
async def test_wrong_renewals_are_caught(broken: type[PlainPresence]) -> None:
    """Adding again replaces: neither is the old kept nor another one counted."""
    assert await problems_of("2 adding again", broken)


class _RemoveFailsOnNobody(PlainPresence):
    async def remove(self, channel: str, client: str) -> None:
        del self.table.rows[channel, client]


async def test_a_remove_that_fails_on_nobody_is_caught() -> None:
    """Taking out who is not there is no error."""
    assert await problems_of("3 removing", _RemoveFailsOnNobody)


class _FailsInSilence(PlainPresence):
    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        try:
            await super().add(channel, info, announced=announced)
        except BrokerUnavailable:
            return


class _NobodyWhenCutOff(PlainPresence):
    async def members(self, channel: str) -> dict[str, ClientInfo]:
        return {info.client: info for info in self.seen(channel)}


class _RemoveNeedsAStart(PlainPresence):
    async def remove(self, channel: str, client: str) -> None:
        await self.reach()
        await super().remove(channel, client)


class _WorksUnstarted(PlainPresence):
    def reaches(self) -> bool:
        return not self.cut and not self.table.cut_off


class _WaitsForEver(PlainPresence):
    async def reach(self) -> None:
        if self.running and not self.reaches():
            await asyncio.Event().wait()
        await super().reach()


class _SeesNoProblem(PlainPresence):
    @property
    def problem(self) -> str:
        return ""


class _SeesAProblemEverywhere(PlainPresence):
    @property
    def problem(self) -> str:
        return super().problem or "it may rain"


class _SeesTheLastProblemForEver(PlainPresence):
    """Tells of a problem until the next call works."""

    last = ""

    @property
    def problem(self) -> str:
        self.last = super().problem or self.last
        return self.last

    async def reach(self) -> None:
        self.last = ""
        await super().reach()


class _FailsWithTheOthers(PlainPresence):
    def reaches(self) -> bool:
        return super().reaches() and not any(node.cut for node in self.table.nodes)


class _NeverComesBack(PlainPresence):
    """Stays cut off once it was."""

    async def reach(self) -> None:
        try:
            await super().reach()
        except BrokerUnavailable:
            self.running = False
            raise


class _KeepsWhomItCouldNotRemove(PlainPresence):
    """Takes a session out in the table first: if that fails, it is there for as long as its node lives."""

    async def remove(self, channel: str, client: str) -> None:
        if self.running:
            await self.reach()
        await super().remove(channel, client)


@pytest.mark.parametrize(
    "broken",
    [
        _FailsInSilence,
        _NobodyWhenCutOff,
        _RemoveNeedsAStart,
        _WorksUnstarted,
        _WaitsForEver,
        _SeesNoProblem,
        _SeesAProblemEverywhere,
        _SeesTheLastProblemForEver,
        _FailsWithTheOthers,
        _NeverComesBack,
        _KeepsWhomItCouldNotRemove,
    ],
)
async def test_silent_failure_is_caught(broken: type[PlainPresence]) -> None:
    """What is not done, or not known, raises `BrokerUnavailable`; a problem is told while it is one."""
    assert await problems_of("4 loud failure", broken)


class _LeavesItsSessions(PlainPresence):
    def leave_table(self) -> None:
        pass


class _RemovesEverybody(PlainPresence):
    def leave_table(self) -> None:
        self.table.rows.clear()


class _StopsOnce(PlainPresence):
    async def stop(self) -> None:
        if not self.running:
            raise RuntimeError("not running")
        await super().stop()


class _AnnouncesItsStop(PlainPresence):
    async def stop(self) -> None:
        for (channel, _), row in self.own.items():
            self.announce(channel, Arrival(row.info, joined=False))
        await super().stop()


class _DiesOfAStop(PlainPresence):
    """Hides its sessions, and leaves it to the others to bury it later."""

    def leave_table(self) -> None:
        pass

    def seen(self, channel: str) -> list[ClientInfo]:
        running = {node.name for node in self.table.nodes if node.running}
        rows = [row for (there, _), row in self.table.rows.items() if there == channel]
        return [row.info for row in rows if row.node in running]


@pytest.mark.parametrize("broken", [_LeavesItsSessions, _RemovesEverybody, _StopsOnce, _AnnouncesItsStop, _DiesOfAStop])
async def test_wrong_stops_are_caught(broken: type[PlainPresence]) -> None:
    """`stop` takes the sessions of its node along and those of no other, in silence, as often as it is called."""
    assert await problems_of("stop", broken)


async def test_names_the_broken_guarantee() -> None:
    """The error of `check_presence` begins with the guarantee."""
    with pytest.raises(ContractBroken, match=r"^3 removing \(removing_what_is_not_there_is_no_error\): "):
        await check_presence(plain_nodes(_RemoveFailsOnNobody, nodes=1))
