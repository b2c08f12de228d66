"""`python -m bench.cluster.sizing`: what a node keeps on its engine, as the table under "Sizing" in docs/scaling.md.

Bytes are what the engine says itself, before and after; connections are those it lists. No time is measured here.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, NamedTuple

import nats as nats_py

from openline import History, Hub
from openline.channel import Channel
from openline.testing import connect, started

from fastapi import FastAPI  # isort: skip
from tests.engines.nats import NatsServer
from tests.engines.valkey import ValkeyCluster, ValkeyServer

#: Calls that are out at once.
_TOGETHER: Final = 500
#: What a JSON object with one short name takes beside its text.
_AROUND: Final = 8


class Row(NamedTuple):
    """One line of the table."""

    what: str
    found: float
    unit: str


@asynccontextmanager
async def _node(url: str) -> AsyncIterator[Channel[dict[str, str]]]:
    """Run a node with one subscriber, so that all its connections are there."""
    app, hub = FastAPI(), Hub(url)
    app.include_router(hub.router)
    room: Channel[dict[str, str]] = hub.channel(
        "room:{name}", dict[str, str], history=History(size=100, seconds=300), presence=True
    )
    async with started(app), connect(app) as client:
        await client.subscribe("room:here")
        yield room


async def _all(calls: Iterable[Awaitable[object]]) -> None:
    waiting: Iterator[Awaitable[object]] = iter(calls)
    while batch := list(islice(waiting, _TOGETHER)):
        await asyncio.gather(*batch)


def _text(size: int) -> dict[str, str]:
    return {"t": "x" * (size - _AROUND)}


def _memory(server: ValkeyServer) -> int:
    return int(server.call("INFO", "memory")["used_memory"])


def _connections(server: ValkeyServer) -> int:
    """Count the connections that say they are of Openline."""
    listed: bytes = server.call("CLIENT", "LIST")
    return listed.count(b" name=openline")


async def _valkey(count: int) -> AsyncIterator[Row]:
    for size in (100, 1_000):
        with ValkeyServer() as server:
            async with _node(server.url) as room:
                await room.publish(_text(size), name="first")
                before = _memory(server)
                await _all(room.publish(_text(size), name=f"n{number // 100}") for number in range(count))
                yield Row(f"Valkey: a publication of {size} bytes", (_memory(server) - before) / count, "bytes")
    for words, options in (("", ()), (", stream-node-max-bytes 1024", ("stream-node-max-bytes 1024",))):
        with ValkeyServer(options=options) as server:
            async with _node(server.url) as room:
                before = _memory(server)
                await _all(room.publish(_text(10), name=f"n{number}") for number in range(count))
                yield Row(f"Valkey: a channel with one publication{words}", (_memory(server) - before) / count, "bytes")
    with ValkeyServer() as server:
        async with _node(server.url) as room:
            await _all(room.publish(_text(10), name="one") for _ in range(200))  # its history is full
            before = _memory(server)
            await _all(
                room.publish(_text(10), name="one", idempotency_key=f"key-{number:08}") for number in range(count)
            )
            yield Row("Valkey: an idempotency key of 12 characters", (_memory(server) - before) / count, "bytes")
            yield Row("Valkey: connections of a node", _connections(server), "")
    with ValkeyCluster() as cluster:
        for query in ("", "?replicas=1"):
            async with _node(cluster.url + query) as room:
                await _all(room.publish(_text(10), name=f"n{number}") for number in range(100))
                found = max(_connections(master) for master in cluster.servers)
                yield Row(f"Valkey cluster{query}: connections of a node to a master", found, "")


async def _nats(count: int) -> AsyncIterator[Row]:
    with NatsServer() as server:
        async with _node(server.url) as room:
            await room.publish(_text(100), name="first")
            client = await nats_py.connect(server.url)
            streams = client.jetstream()

            async def kept() -> int:
                return sum(info.state.bytes for info in await streams.streams_info() if info.config.storage == "file")

            before = await kept()
            await _all(room.publish(_text(100), name=f"n{number // 90}") for number in range(count))
            yield Row("NATS: a publication of 100 bytes", (await kept() - before) / count, "bytes")
            await client.close()


async def measure(count: int) -> list[Row]:
    """Measure with so many publications, channels and keys."""
    return [row async for row in _valkey(count)] + [row async for row in _nats(count)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster.sizing", description=__doc__)
    parser.add_argument("--count", type=int, default=5_000, help="of publications, channels and keys")
    print("| what | found |\n| --- | --- |")
    for row in asyncio.run(measure(parser.parse_args().count)):
        print(f"| {row.what} | {row.found:,.0f} {row.unit}".rstrip() + " |", flush=True)


if __name__ == "__main__":
    main()
