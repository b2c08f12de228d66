"""Which channels a node follows: those somebody needs, and no others."""

from __future__ import annotations

import asyncio

import pytest

from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable
from openline.interest import Interest
from tests.remote_broker import RemoteBroker


class SlowBroker(RemoteBroker):
    """A broker whose calls end when the test says, in the order the test says."""

    def __init__(self) -> None:
        super().__init__(MemoryBroker())
        self.calls: list[str] = []
        self.gates: list[asyncio.Event] = []

    async def _gate(self, call: str) -> None:
        gate = asyncio.Event()
        self.gates.append(gate)
        await gate.wait()
        self.calls.append(call)

    async def follow(self, channel: str) -> None:
        """Follow, once let through."""
        await self._gate("follow")
        await self.inner.follow(channel)

    async def unfollow(self, channel: str) -> None:
        """Unfollow, once let through."""
        await self._gate("unfollow")
        await self.inner.unfollow(channel)


async def slow_broker() -> SlowBroker:
    """A started one."""
    broker = SlowBroker()
    await broker.start("node", None)
    return broker


async def turn() -> None:
    """Let every task come to where it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_following_waits_for_an_unfollow_under_way() -> None:
    """Two calls for one channel never overlap: the broker ends up following what is needed."""
    broker = await slow_broker()
    interest = Interest(broker)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(interest.begin("a"))
        await turn()
        broker.gates[0].set()
        await turn()
        needed = [False]
        tasks.create_task(interest.end("a", lambda: needed[0]))
        await turn()
        needed[0] = True
        tasks.create_task(interest.begin("a"))
        await turn()
        assert len(broker.gates) == 2, "the follow waits for the unfollow"
        broker.gates[1].set()
        await turn()
        broker.gates[2].set()
    assert broker.calls == ["follow", "unfollow", "follow"]


async def test_a_channel_needed_again_is_not_unfollowed() -> None:
    """Whoever comes back before the unfollow began saves both calls."""
    broker = await slow_broker()
    interest = Interest(broker)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(interest.begin("a"))
        await turn()
        broker.gates[0].set()
        await turn()
        await interest.end("a", lambda: True)
    assert broker.calls == ["follow"]


async def test_two_who_need_one_channel_follow_it_once() -> None:
    """Both return only when it is followed."""
    broker = await slow_broker()
    interest = Interest(broker)
    done: list[int] = []

    async def come(number: int) -> None:
        await interest.begin("a")
        done.append(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(come(1))
        tasks.create_task(come(2))
        await turn()
        assert done == []
        broker.gates[0].set()
    assert (broker.calls, done) == (["follow"], [1, 2])


async def test_a_follow_that_fails_is_not_remembered() -> None:
    """The caller hears of it, and the next who comes tries again."""
    broker = RemoteBroker(MemoryBroker())
    interest = Interest(broker)
    broker.away = True
    with pytest.raises(BrokerUnavailable):
        await interest.begin("a")
    broker.away = False
    await broker.start("node", None)
    await interest.begin("a")
    assert broker.inner._followed == {"a"}
