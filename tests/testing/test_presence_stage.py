"""The stage of the presence checks: what it holds a set-up to, and what it tells has to be right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from openline.publication import Arrival
from openline.testing.contract import ContractBroken
from openline.testing.presence import PRESENCE_CHECKS, PresenceNodes
from openline.testing.presence_stage import ANNA, BEN, Stage
from tests.presence.plain import PlainPresence, plain_nodes


async def test_a_lease_has_a_bound() -> None:
    """Whoever says that its dead are seen for longer than ten seconds breaks the contract, as does who does not say."""

    @asynccontextmanager
    async def slow(seconds: float | None) -> AsyncIterator[PresenceNodes]:
        async with plain_nodes()() as nodes:
            yield PresenceNodes(
                presences=nodes.presences, advance=nodes.advance, crash=nodes.crash, node_lease_seconds=seconds
            )

    (check,) = (check for check in PRESENCE_CHECKS if check.name == "a_node_that_died_takes_its_sessions_along")
    with pytest.raises(ContractBroken, match="10 s at most"):
        await check(lambda: slow(10.5))
    with pytest.raises(ContractBroken, match="gives no `node_lease_seconds`"):
        await check(lambda: slow(None))
    await check(lambda: slow(10))


async def test_stages_do_not_share_channels_or_names() -> None:
    """Neither channels nor the names of nodes come twice, so that checks on one store do not meet."""
    async with plain_nodes()() as nodes, plain_nodes()() as others:
        stages = Stage(nodes), Stage(others)
        assert len({stage.channel() for stage in stages for _ in range(3)}) == 6
        for stage in stages:
            await stage.start()
        names = [node.name for stage in stages for node in stage.nodes if isinstance(node, PlainPresence)]
        assert len(set(names)) == 4
        assert all(name.isalnum() for name in names)
        for stage in stages:
            await stage.stop()


async def test_announcements_are_compared_as_they_were_made() -> None:
    """Neither their order nor who made them matters; one too few, too many or of another kind does."""
    async with plain_nodes()() as nodes:
        stage = Stage(nodes)
        await stage.start()
        leave, join = ("a", Arrival(ANNA, joined=False)), ("a", Arrival(BEN, joined=True))
        for node, (channel, arrival) in zip(stage.nodes, (leave, join), strict=True):
            assert isinstance(node, PlainPresence)
            node.announce(channel, arrival)
        await stage.expect_announced(join, leave)
        for wrong in (
            [leave],
            [leave, join, join],
            [leave, ("b", join[1])],
            [leave, ("a", Arrival(BEN, joined=False))],
        ):
            with pytest.raises(ContractBroken, match="announced were"):
                await stage.expect_announced(*wrong)
        await stage.stop()
