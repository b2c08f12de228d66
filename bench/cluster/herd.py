"""A program that is thousands of clients. Their node is killed while messages are published; all come back at once.

"At once" is the worst that can be: none waits a random while first, as the SDKs do. It prints a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from typing import Final, final

import msgspec
import uvloop

from bench.cluster.client import Client
from bench.cluster.usage import cpu_seconds
from openline import Channel, History, Hub

#: Connections that are made at the same time before the node dies.
_OPENING: Final = 100
_TICK_SECONDS: Final = 0.02
#: Until all have what was published.
_LIMIT_SECONDS: Final = 60
#: How long it is published before the node dies, and after all are live again.
_BESIDE_SECONDS: Final = 1.0


class Stampede(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the herd."""

    clients: int
    published: int  #: while they were away
    half_seconds: float  #: from the death of the node until half of them were live again
    most_seconds: float  #: 99 % of them
    all_seconds: float
    lost: int
    repeated: int
    unrecovered: int  #: told that history does not reach back to where they were
    refused: int  #: attempts to connect that failed
    nodes_cpu_seconds: float  #: of the surviving nodes, until all were live
    engine_cpu_seconds: float
    herd_cpu_seconds: float


@final
class _Herd:
    """Who is live, and where the others go."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._others: list[int] = options.other
        self._channels: int = options.channels
        self._group: asyncio.TaskGroup | None = None
        self._returned = 0
        self.all_live = asyncio.Event()
        self.away_since = 0.0
        self.returns: list[float] = []  #: seconds since the node died, one for each client
        self._live = 0
        self.clients = [
            Client(f"kept:{number % options.channels}", options.port, self) for number in range(options.clients)
        ]

    async def gather(self) -> None:
        """Connect all of them."""
        room = asyncio.Semaphore(_OPENING)

        async def connect(client: Client) -> None:
            async with room:
                await client.connect()

        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(connect(client))
        await self.all_live.wait()

    def live(self, client: Client) -> None:
        """Count a client that is subscribed."""
        self._live += 1
        if self.away_since:
            self.returns.append(time.perf_counter() - self.away_since)
        if self._live == len(self.clients):
            self.all_live.set()

    def cut_off(self, client: Client) -> int:
        """Send a client to one of the other nodes, now: those of each channel to all of them."""
        self._live -= client.live
        self.all_live.clear()
        self._returned += 1
        if self._group is not None:
            self._group.create_task(client.connect())
        return self._others[self._returned // self._channels % len(self._others)]

    async def lose_node(self, group: asyncio.TaskGroup) -> None:
        """Kill the node and wait until all are live again."""
        self._group = group
        self.all_live.clear()
        self.away_since = time.perf_counter()
        os.kill(self._options.kill, signal.SIGKILL)
        async with asyncio.timeout(_LIMIT_SECONDS):
            await self.all_live.wait()


async def _publish(room: Channel[int], numbers: list[int], rate: float, enough: asyncio.Event) -> None:
    """Publish into one channel after the other, so many a second, until it is enough."""
    loop, done = asyncio.get_running_loop(), 0
    began = loop.time()
    while not enough.is_set():
        due = int((loop.time() - began) * rate)
        while done < due:
            channel = done % len(numbers)
            numbers[channel] += 1
            await room.publish(numbers[channel], name=str(channel))
            done += 1
        await asyncio.sleep(_TICK_SECONDS)


async def _run(options: argparse.Namespace) -> Stampede:
    herd, hub = _Herd(options), Hub(options.url)
    room = hub.channel("kept:{name}", int, history=History(size=100, seconds=300))
    numbers, enough = [0] * options.channels, asyncio.Event()
    async with hub.running(), asyncio.TaskGroup() as group:
        await herd.gather()
        publisher = group.create_task(_publish(room, numbers, options.rate, enough))
        await asyncio.sleep(_BESIDE_SECONDS)
        before, nodes, engine, own = sum(numbers), *_used(options)
        await herd.lose_node(group)
        published = sum(numbers) - before
        used = [now - then for now, then in zip(_used(options), (nodes, engine, own), strict=True)]
        await asyncio.sleep(_BESIDE_SECONDS)
        enough.set()
        await publisher
        missing = await _settle(herd, numbers)
        for client in herd.clients:
            client.leave()
    herd.returns.sort()
    return Stampede(
        clients=len(herd.clients),
        published=published,
        half_seconds=herd.returns[len(herd.returns) // 2],
        most_seconds=herd.returns[len(herd.returns) * 99 // 100],
        all_seconds=herd.returns[-1],
        lost=missing + sum(client.lost for client in herd.clients),
        repeated=sum(client.repeated for client in herd.clients),
        unrecovered=sum(client.unrecovered for client in herd.clients),
        refused=sum(client.refused for client in herd.clients),
        nodes_cpu_seconds=used[0],
        engine_cpu_seconds=used[1],
        herd_cpu_seconds=used[2],
    )


def _used(options: argparse.Namespace) -> tuple[float, float, float]:
    return cpu_seconds(options.survivor), cpu_seconds([options.engine]), time.process_time()


async def _settle(herd: _Herd, numbers: list[int]) -> int:
    """Wait until all have heard the last of their channel, and give how many publications are missing after that."""
    deadline = time.monotonic() + 5
    while True:
        missing = sum(numbers[place % len(numbers)] - client.number for place, client in enumerate(herd.clients))
        if not missing or time.monotonic() > deadline:
            return missing
        await asyncio.sleep(_TICK_SECONDS)


def main() -> None:
    """Run the herd, and print what became of it."""
    parser = argparse.ArgumentParser("python -m bench.cluster.herd", description=__doc__)
    parser.add_argument("url", help="of the engine")
    parser.add_argument("--engine", type=int, required=True, help="its process")
    parser.add_argument("--port", type=int, required=True, help="of the node that dies")
    parser.add_argument("--kill", type=int, required=True, help="its process")
    parser.add_argument("--other", type=int, action="append", required=True, help="port of another node; repeatable")
    parser.add_argument("--survivor", type=int, action="append", required=True, help="process of one; repeatable")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--channels", type=int, default=50)
    parser.add_argument("--rate", type=float, default=100, help="publications a second, in all channels together")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_run(options))).decode())


if __name__ == "__main__":
    main()
