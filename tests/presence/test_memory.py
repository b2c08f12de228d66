"""MemoryPresence: the contract of every presence, a plain model beside it, and what only this one promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.errors import BrokerUnavailable
from openline.presence.base import Presence, PresenceStats
from openline.presence.memory import MemoryPresence
from openline.publication import Arrival, ClientInfo
from openline.testing.presence import PRESENCE_CHECKS, PresenceCheck, PresenceNodes, check_presence

ANNA = ClientInfo("anna", "session-1")


def nobody_is_told(channel: str, arrival: Arrival) -> None:
    """Take announcements, of which the only node there is makes none."""
    raise AssertionError(f"announced in {channel}: {arrival}")


@asynccontextmanager
async def one_node() -> AsyncIterator[PresenceNodes]:
    """Give a memory presence to the contract suite."""
    presence: Presence = MemoryPresence()
    yield PresenceNodes(presences=[presence])


@pytest.mark.parametrize("check", PRESENCE_CHECKS, ids=str)
async def test_contract(check: PresenceCheck) -> None:
    """The memory presence keeps every guarantee of a presence."""
    await check(one_node)


async def test_contract_at_once() -> None:
    """`check_presence` runs every check in one call."""
    await check_presence(one_node)


STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["", "anna", "ben"]),
        st.sampled_from(["session-1", "session-2", "session-3", "session-4"]),
    )
)


@given(steps=STEPS)
async def test_counts_like_a_plain_table(steps: list[tuple[bool, str, str, str]]) -> None:
    """Whoever comes, changes and goes in whatever order: members and counts are those of a plain table."""
    presence = MemoryPresence()
    await presence.start("node", nobody_is_told)
    table: dict[str, dict[str, ClientInfo]] = {"a": {}, "b": {}}
    for enters, channel, user, client in steps:
        if enters:
            info = ClientInfo(user, client)
            await presence.add(channel, info)
            table[channel][client] = info
        else:
            await presence.remove(channel, client)
            table[channel].pop(client, None)
        for name, members in table.items():
            assert await presence.members(name) == members
            users = {info.user for info in members.values()}
            assert await presence.stats(name) == PresenceStats(len(members), len(users))


async def test_the_members_are_the_callers_own() -> None:
    """What is done with the result changes nothing, and it does not change later."""
    presence = MemoryPresence()
    await presence.start("node", nobody_is_told)
    await presence.add("a", ANNA)
    members = await presence.members("a")
    await presence.remove("a", ANNA.client)
    assert members == {ANNA.client: ANNA}
    members.clear()
    await presence.add("a", ANNA)
    members.clear()
    assert await presence.members("a") == {ANNA.client: ANNA}


async def test_starts_again_with_nobody() -> None:
    """After `stop` and `start`, nobody of before is there."""
    presence = MemoryPresence()
    await presence.start("node", nobody_is_told)
    await presence.add("a", ANNA)
    await presence.stop()
    await presence.start("node", nobody_is_told)
    assert await presence.members("a") == {}
    assert await presence.stats("a") == PresenceStats(0, 0)


async def test_refuses_before_it_is_started() -> None:
    """Nobody can be entered or asked for; taking out needs no start."""
    presence = MemoryPresence()
    await presence.remove("a", ANNA.client)
    with pytest.raises(BrokerUnavailable, match="not started"):
        await presence.add("a", ANNA)
    with pytest.raises(BrokerUnavailable, match="not started"):
        await presence.members("a")
    with pytest.raises(BrokerUnavailable, match="not started"):
        await presence.stats("a")
