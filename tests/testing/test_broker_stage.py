"""The stage of the broker checks: what it tells of the nodes has to be right, for the checks to be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from openline.publication import Arrival, ClientInfo, Publication
from openline.testing.broker_stage import Stage, data_of, describe, expect_chain, expect_heard
from openline.testing.contract import ContractBroken
from tests.brokers.plain import plain_nodes


@asynccontextmanager
async def _stage(arrival_seconds: float = 5) -> AsyncIterator[Stage]:
    async with plain_nodes(arrival_seconds=arrival_seconds)() as setup:
        stage = Stage(setup)
        for node in stage.nodes:
            await node.start()
        yield stage
        await stage.stop()


async def test_channels_are_new() -> None:
    """No name comes twice, neither on one stage nor on another."""
    async with _stage() as stage, _stage() as other:
        names = [one.channel() for one in (stage, other) for _ in range(3)]
    assert len(set(names)) == 6


async def test_waits_for_what_is_on_its_way() -> None:
    """`wait` gives all that came, in order, once what it waits for is among it, and forgets it."""
    async with _stage() as stage:
        channel = await stage.followed()
        await stage.first.publish(channel, b"1")
        await stage.first.publish(channel, b"2")
        assert data_of(await stage.last.wait(channel, b"2")) == [b"1", b"2"]
        assert stage.last.unread(channel) == []


async def test_says_what_came_instead() -> None:
    """If what is waited for does not come in time, the error tells what did."""
    async with _stage(arrival_seconds=0.2) as stage:
        channel = await stage.followed()
        await stage.first.publish(channel, b"another")
        with pytest.raises(ContractBroken, match=r"never.* did not arrive in 0.2 s; what did: .*another"):
            await stage.first.wait(channel, b"never")


async def test_heard_by_leaves_its_marks_out() -> None:
    """All that was published before is given, whoever published it, and none of the marks, of this call or another."""
    async with _stage() as stage:
        channel = await stage.followed()
        for node in stage.nodes:
            await node.publish(channel, b"x")
        for node in stage.nodes:
            assert data_of(await stage.heard_by(node, channel)) == [b"x", b"x"]
            assert await stage.heard_by(node, channel) == []


async def test_hears_answers_without_an_error() -> None:
    """`hears` says yes at once if it is here, waits for it otherwise, and says no when it does not come."""
    async with _stage() as stage:
        channel = await stage.followed()
        await stage.first.publish(channel, b"x")
        assert await stage.last.hears(channel, b"x", seconds=1)
        assert await stage.last.hears(channel, b"x", seconds=0)
        assert not await stage.last.hears(channel, b"y", seconds=0.01)


def test_chain() -> None:
    """Each publication has to stand above the one before it and to name it; a whole stream begins after none."""
    whole = [Publication(b"", 1, 0, "e"), Publication(b"", 5, 1, "e"), Publication(b"", 6, 5, "e")]
    expect_chain([], whole=True)
    expect_chain(whole, whole=True)
    expect_chain(whole[1:], whole=False)
    for broken, problem in (
        (whole[1:], "predecessor is 0"),
        ([whole[0], whole[2]], "predecessor is 1"),
        ([whole[0], Publication(b"", 1, 1, "e")], "increase"),
        ([whole[0], Publication(b"", 5, 1, "another")], "epoch"),
    ):
        with pytest.raises(ContractBroken, match=problem):
            expect_chain(broken, whole=True)


def test_words() -> None:
    """Errors show messages in short."""
    assert describe(Publication(b"x" * 30, 2, 1, "e")) == f"{b'x' * 20 + b'...'!r} at e:2 after 1"
    assert describe(Arrival(ClientInfo("u", "c"), joined=False)) == "leave of 'c'"
    assert data_of([Publication(b"1"), Arrival(ClientInfo("u", "c"), joined=True)]) == [b"1", b"c"]
    with pytest.raises(ContractBroken, match="node 1 was to hear"):
        expect_heard(1, [Publication(b"1")], [b"2"])
