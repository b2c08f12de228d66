"""Nodes that are nothing but their places in a cluster, on a network that can be cut, muted and slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from openline.cluster import HELLO_SECONDS, Cluster, NodeInfo
from openline.counters import Counters
from openline.errors import BrokerUnavailable
from openline.notices import Notices
from openline.publication import Message
from openline.testing import VirtualClock
from openline.timers import Timers
from tests.network import Network


class Member:
    """A node that is nothing but its place in the cluster.

    Attributes:
        orders: what it was told to do, in order.
        gate: orders are carried out while this is set.
        misses: says of a word whether it does not reach this node.
        late: words wait here, and arrive with `release`, while this is a list.
    """

    def __init__(self, town: Town, name: str) -> None:
        self.name = name
        self.broker = town.network.broker()
        self.counters = Counters()
        self.timers = Timers(town.clock)
        self.orders: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.misses: Callable[[bytes], bool] = lambda word: False
        self.late: list[bytes] | None = None
        self._town = town
        self.cluster = Cluster(
            self.broker,
            self.counters,
            Notices(self.counters, town.clock),
            town.clock,
            spawn=self._spawn,
            describe=self._describe,
        )
        self.cluster.carry_out = self._carry_out

    def _describe(self) -> NodeInfo:
        counts = {"clients": len(self.orders), "users": 0, "channels": 0, "subscriptions": 0}
        return NodeInfo(id=self.name, process=f"host:{self.name}", version="1", started_at=1.0, **counts)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._town.group.create_task(self._guard(work))
        self._town.tasks.add(task)
        task.add_done_callback(self._town.tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Do as the node does: an error ends one task."""
        with suppress(BrokerUnavailable):
            await work

    async def _carry_out(self, order: bytes) -> bytes:
        self.orders.append(order)
        await self.gate.wait()
        return f"{self.name} did {order.decode()}".encode()

    async def start(self) -> None:
        """Come."""
        await self.broker.start(self.name, self)
        await self.cluster.join(self.name)
        self.timers.wake_at(self._town.clock.monotonic() + HELLO_SECONDS, self.cluster)

    def die(self) -> None:
        """Go without a word."""
        self.timers.stop()
        self.broker.is_cut = True

    async def stop(self) -> None:
        """Go, as one should."""
        self.timers.stop()
        await self.cluster.leave()

    @property
    def knows(self) -> list[str]:
        """The nodes it knows of, itself first."""
        return [node.id for node in self.cluster.nodes]

    def release(self) -> None:
        """Let what is late arrive."""
        words, self.late = self.late or [], None
        for word in words:
            self.hear(word)

    # --- what the broker carries here ---

    def deliver(self, channel: str, message: Message) -> None:
        """Nobody is in any channel here."""

    def doubt(self, channels: Iterable[str]) -> None:
        """Nobody is in any channel here."""

    def hear(self, word: bytes) -> None:
        """Take a word."""
        if self.misses(word):
            return
        if self.late is not None:
            self.late.append(word)
        else:
            self.cluster.hear(word)


class Town:
    """Some members on one network."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.group = group
        self.tasks: set[asyncio.Task[None]] = set()
        self.clock = VirtualClock()
        self.network = Network(self.clock.wall)

    async def member(self, name: str) -> Member:
        """Have one more come, and everybody know of it."""
        member = Member(self, name)
        await member.start()
        await settle()
        return member


async def settle() -> None:
    """Let everything arrive that is on its way."""
    for _ in range(40):
        await asyncio.sleep(0)


@asynccontextmanager
async def town(*names: str) -> AsyncIterator[tuple[Town, list[Member]]]:
    """Have a town with these members, who have all met; whatever still runs at the end is cancelled."""
    async with asyncio.TaskGroup() as group:
        it = Town(group)
        members = [await it.member(name) for name in names]
        yield it, members
        for member in members:
            member.timers.stop()
        for task in tuple(it.tasks):
            task.cancel()  # it hangs, as a test wanted


def says(kind: str) -> Callable[[bytes], bool]:
    """Tell words of one kind from others."""
    return lambda word: msgspec.msgpack.decode(word)["type"] == kind
