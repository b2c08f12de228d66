"""Where a fault is tried: the nodes, the balancers before them, and everybody who writes and reads."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, final

import httpx2

from tests.chaos.balancer import Balancer, balancer
from tests.chaos.node import ChaosNode
from tests.chaos.publishers import GIVE_UP_SECONDS, Publisher
from tests.chaos.record import Saw
from tests.chaos.subscribers import Subscriber

#: How many nodes there are.
NODES: Final = 3
#: Until then everybody has to be in, or to have seen everything.
SETTLE_SECONDS: Final = 45.0
#: Until then presence has to be right, and problems have to be over.
CALM_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much goes on while something is broken."""

    subscribers: int = 200
    seconds: float = 8.0  #: that publishers write on after the fault
    before_seconds: float = 3.0  #: that they write before it
    seed: int = 1  #: of what is broken by chance
    publishers: int = 10
    rate: float = 3.0  #: messages a second of each publisher
    rooms: tuple[str, ...] = ("ash", "birch", "cedar", "elm")


@final
class Stage:
    """The nodes, what stands before them, and everybody who is there. Make it with `stage`.

    Attributes:
        engine: the engine's servers, an object of `tests.engines`.
        clients: leads subscribers to nodes.
        writers: leads publishers to nodes.
    """

    def __init__(self, load: Load, engine: Any, nodes: Sequence[ChaosNode], http: httpx2.AsyncClient) -> None:
        self.load = load
        self.engine = engine
        self.nodes = nodes
        self.clients: Balancer
        self.writers: Balancer
        self.subscribers: list[Subscriber] = []
        self.publishers: list[Publisher] = []
        self.run = uuid.uuid4().hex[:8]
        self.notes: list[str] = []
        self._http = http
        self._started = time.monotonic()
        self._writing: dict[Publisher, asyncio.Task[None]] = {}

    def clock(self) -> float:
        """Give the seconds of the run."""
        return time.monotonic() - self._started

    @property
    def ports(self) -> tuple[int, ...]:
        """Of all nodes, living or not."""
        return tuple(node.port for node in self.nodes)

    # --- people ---------------------------------------------------------------------------------------------------

    def subscriber(self, number: int, channels: Sequence[str], *, port: int | None = None) -> Subscriber:
        """Add a subscriber: every second one speaks Protobuf, every tenth listens to joins and leaves."""
        made = Subscriber(
            f"s{number}",
            f"ws://127.0.0.1:{port or self.clients.port}/connection/websocket",
            channels,
            protobuf=bool(number % 2),
            listens=number % 10 == 0,
            clock=self.clock,
        )
        self.subscribers.append(made)
        return made

    async def enter(self) -> None:
        """Let everybody in who is not, in groups, and wait until they are.

        Raises:
            AssertionError: somebody is not in after `SETTLE_SECONDS`.
        """
        waiting = [subscriber for subscriber in self.subscribers if not subscriber.started]
        for first in range(0, len(waiting), 25):
            await asyncio.gather(*(subscriber.start() for subscriber in waiting[first : first + 25]))
        await self.until(self.all_in, "all are in")

    def all_in(self) -> bool:
        """Whether everybody who did not leave is connected and in all their channels."""
        return all(subscriber.connected for subscriber in self.subscribers if not subscriber.left)

    def publisher(self, channels: Sequence[str], *, rate: float, padding: int = 0) -> Publisher:
        """Add a publisher, and let it write."""
        address = f"http://127.0.0.1:{self.writers.port}"
        made = Publisher(
            len(self.publishers), address, channels, run=self.run, rate=rate, clock=self.clock, padding=padding
        )
        self.publishers.append(made)
        self._writing[made] = asyncio.get_running_loop().create_task(made.write())
        return made

    async def finish(self, *publishers: Publisher) -> None:
        """Let publishers come to their end."""
        for publisher in publishers:
            publisher.end()
        async with asyncio.timeout(2 * GIVE_UP_SECONDS):
            await asyncio.gather(*(self._writing[publisher] for publisher in publishers))

    async def close(self) -> None:
        """Stop what still runs of those who write and read."""
        for task in self._writing.values():
            task.cancel()
        await asyncio.gather(*self._writing.values(), return_exceptions=True)
        await asyncio.gather(*(subscriber.stop() for subscriber in self.subscribers))

    # --- looking --------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until something is so for which there is no event.

        Raises:
            AssertionError: it is not, after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
            await asyncio.sleep(_LOOK_SECONDS)

    async def states(self) -> dict[str, dict[str, Any]]:
        """Ask every node that runs how it is; one that does not answer says why under "failed"."""
        running = [node for node in self.nodes if node.running]
        return dict(await asyncio.gather(*(self._state(node) for node in running)))

    async def survey(self) -> dict[str, Any]:
        """Let a node ask all others for the subscribers of each channel; give what came of it."""
        try:
            answer = await self._http.get(f"http://127.0.0.1:{self.nodes[-1].port}/survey")
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            return {"failed": repr(error)}
        channels: dict[str, Any] = answer.json()
        return channels

    async def _state(self, node: ChaosNode) -> tuple[str, dict[str, Any]]:
        try:
            answer = await self._http.get(
                f"http://127.0.0.1:{node.port}/state", params={"rooms": list(self.load.rooms)}
            )
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            return node.name, {"failed": repr(error)}
        state: dict[str, Any] = answer.json()
        return node.name, state

    def in_rooms(self) -> dict[str, set[str]]:
        """Who is in which room, by those who are."""
        inside: dict[str, set[str]] = {name: set() for name in self.load.rooms}
        for subscriber in self.subscribers:
            if subscriber.left or not subscriber.ids:
                continue
            for seat in subscriber.seats:
                kind, _, name = seat.record.channel.partition(":")
                if kind == "room":
                    inside[name].add(subscriber.id)
        return inside

    def behind(self) -> int:
        """Count the seats whose subscriber has not seen the last message of every publisher in its channel."""
        last: dict[str, set[tuple[int, int]]] = {}
        for publisher in self.publishers:
            for channel in publisher.channels:
                names = [one.name for one in publisher.written if one.channel == channel and one.place is not None]
                if names:
                    last.setdefault(channel, set()).add(names[-1])
        return sum(
            not last.get(seat.record.channel, set()).issubset(
                event.name for event in seat.record.events[-_RECENT:] if isinstance(event, Saw)
            )
            for subscriber in self.subscribers
            for seat in subscriber.seats
        )


#: The last messages of all publishers are among so many events of a seat.
_RECENT: Final = 200


@asynccontextmanager
async def stage(load: Load, engine: Any, addresses: Sequence[str]) -> AsyncIterator[Stage]:
    """Start nodes and balancers; in the end everything is gone.

    Args:
        addresses: of the engine, as each node reaches it: as many nodes are started.
    """
    async with AsyncExitStack() as stack:
        nodes = [ChaosNode(f"node {number}", address) for number, address in enumerate(addresses, 1)]
        closing = stack.enter_context(ExitStack())
        for node in nodes:
            closing.callback(node.close)
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=CALM_SECONDS, verify=False))
        made = Stage(load, engine, nodes, http)
        made.clients = await stack.enter_async_context(balancer(lambda: made.ports))
        made.writers = await stack.enter_async_context(balancer(lambda: made.ports))
        stack.push_async_callback(made.close)
        yield made
