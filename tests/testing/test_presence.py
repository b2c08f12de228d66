"""check_presence: passes every presence that keeps the contract, and says what the others break."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from openline.errors import BrokerUnavailable
from openline.presence.base import PresenceStats
from openline.publication import ClientInfo
from openline.testing.contract import ContractBroken
from openline.testing.presence import PRESENCE_CHECKS, PresenceCheck, PresenceNodes, check_presence
from tests.presence.plain import PlainPresence, PlainTable, plain_nodes

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


async def _problems_of(guarantee: str, broken: type[PlainPresence]) -> list[str]:
    """Run the checks of one guarantee; what they raise has to name it and no other."""
    found: list[ContractBroken] = []
    for check in PRESENCE_CHECKS:
        if check.guarantee == guarantee:
            try:
                await check(plain_nodes(broken), limit_seconds=5)
            except ContractBroken as error:
                found.append(error)
    assert all(str(error).startswith(f"{guarantee} ({error.check}): ") for error in found)
    return [error.problem for error in found]


class _SeesItsOwn(PlainPresence):
    def seen(self, channel: str) -> list[ClientInfo]:
        own = {client for (_, client), (_, node, _) in self.table.rows.items() if node is self}
        return [info for info in super().seen(channel) if info.client in own]


class _SeesAllChannels(PlainPresence):
    def seen(self, channel: str) -> list[ClientInfo]:
        return [info for _, _, info in self.table.rows.values()]


class _DropsTheInfo(PlainPresence):
    async def add(self, channel: str, info: ClientInfo) -> None:
        await super().add(channel, ClientInfo(info.user, info.client))


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


class _LeasesNeverEnd(PlainPresence):
    def holds(self, added: float) -> bool:
        return True


class _LeasesEndEarly(PlainPresence):
    def holds(self, added: float) -> bool:
        return self.table.now() - added < 1


class _RenewsForTheDead(PlainPresence):
    """Renews every lease when one is renewed."""

    async def add(self, channel: str, info: ClientInfo) -> None:
        await super().add(channel, info)
        for key, (_, node, known) in self.table.rows.items():
            self.table.rows[key] = (self.table.now(), node, known)


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
        _LeasesNeverEnd,
        _LeasesEndEarly,
        _RenewsForTheDead,
        _OnlySeemsImmediate,
    ],
)
async def test_wrong_views_are_caught(broken: type[PlainPresence]) -> None:
    """Who is there is seen, whole, on every node, in its channels, until it is gone."""
    assert await _problems_of("1 seen", broken)


class _FirstWordCounts(PlainPresence):
    async def add(self, channel: str, info: ClientInfo) -> None:
        if info.client not in {known.client for known in self.seen(channel)}:
            await super().add(channel, info)


class _AddsARow(PlainPresence):
    def __init__(self, table: PlainTable) -> None:
        super().__init__(table)
        self.times: dict[tuple[str, str], int] = {}

    async def add(self, channel: str, info: ClientInfo) -> None:
        await super().add(channel, info)
        self.times[channel, info.client] = self.times.get((channel, info.client), 0) + 1

    async def stats(self, channel: str) -> PresenceStats:
        _, users = await super().stats(channel)
        return PresenceStats(sum(count for (there, _), count in self.times.items() if there == channel), users)


@pytest.mark.parametrize("broken", [_FirstWordCounts, _AddsARow])
async def test_wrong_renewals_are_caught(broken: type[PlainPresence]) -> None:
    """Adding again replaces: neither is the old kept nor another one counted."""
    assert await _problems_of("2 adding again", broken)


class _RemoveFailsOnNobody(PlainPresence):
    async def remove(self, channel: str, client: str) -> None:
        del self.table.rows[channel, client]


async def test_a_remove_that_fails_on_nobody_is_caught() -> None:
    """Taking out who is not there is no error."""
    assert await _problems_of("3 removing", _RemoveFailsOnNobody)


class _FailsInSilence(PlainPresence):
    async def add(self, channel: str, info: ClientInfo) -> None:
        try:
            await super().add(channel, info)
        except BrokerUnavailable:
            return


class _NobodyWhenCutOff(PlainPresence):
    async def members(self, channel: str) -> dict[str, ClientInfo]:
        return {info.client: info for info in self.seen(channel)}


class _RemoveNeedsTheStore(PlainPresence):
    async def remove(self, channel: str, client: str) -> None:
        await self.reach()
        await super().remove(channel, client)


@pytest.mark.parametrize("broken", [_FailsInSilence, _NobodyWhenCutOff, _RemoveNeedsTheStore])
async def test_silent_failure_is_caught(broken: type[PlainPresence]) -> None:
    """What is not done, or not known, raises `BrokerUnavailable`."""
    assert await _problems_of("4 loud failure", broken)


class _LeavesItsSessions(PlainPresence):
    async def stop(self) -> None:
        self.running = False


class _RemovesEverybody(PlainPresence):
    async def stop(self) -> None:
        self.running = False
        self.table.rows.clear()


class _StopsOnce(PlainPresence):
    async def stop(self) -> None:
        if not self.running:
            raise RuntimeError("not running")
        await super().stop()


@pytest.mark.parametrize("broken", [_LeavesItsSessions, _RemovesEverybody, _StopsOnce])
async def test_wrong_stops_are_caught(broken: type[PlainPresence]) -> None:
    """`stop` takes the sessions of its node along and those of no other, as often as it is called."""
    assert await _problems_of("stop", broken)


async def test_names_the_broken_guarantee() -> None:
    """The error of `check_presence` begins with the guarantee."""
    with pytest.raises(ContractBroken, match=r"^3 removing \(removing_what_is_not_there_is_no_error\): "):
        await check_presence(plain_nodes(_RemoveFailsOnNobody, nodes=1))
