"""A program that publishes in one way: as fast as it can, so many at a time, or at a rate. It prints a line of JSON.

The ways are `broker` and `hub`, which are Openline's, and what they are measured against: `bare`, the client that
people have, asked for the same and no more. For Valkey that is redis-py with a script of two commands (XADD with
MAXLEN, PUBLISH), in pipelines; for NATS it is nats-py, which publishes into a stream that the server carries on.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec
import nats
import redis
import uvloop
from nats.js.api import RePublish, StreamConfig

from bench.cluster.usage import cpu_seconds
from openline import History, Hub
from openline.engines import engine

Way = Literal["broker", "hub", "bare"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)

PAYLOAD: Final = 64 * "x"
HISTORY: Final = History(size=100, seconds=300)
#: What is published before anything is counted.
_WARM_PART: Final = 10
_TICK_SECONDS: Final = 0.01
_SCRIPT: Final = """
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*', 'data', ARGV[2])
return redis.call('PUBLISH', ARGV[3], ARGV[2])
"""

#: Publishes into the channel of a number.
Publish = Callable[[int], Awaitable[object]]


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What publishing cost."""

    per_second: float
    engine_us: float  #: the engine's CPU for each publication, in µs
    client_us: float  #: the publisher's


class _Meter:
    """Counts from when it is made."""

    def __init__(self, process: int) -> None:
        self._process = process
        self._engine, self._client, self._began = cpu_seconds([process]), time.process_time(), time.perf_counter()

    def read(self, count: int) -> Published:
        """Say what so many publications cost."""
        seconds = time.perf_counter() - self._began
        client = time.process_time() - self._client
        used = cpu_seconds([self._process]) - self._engine
        return Published(per_second=count / seconds, engine_us=used * 1e6 / count, client_us=client * 1e6 / count)


# --- as fast as it can --------------------------------------------------------------------------------------------


async def _at_once(publish: Publish, numbers: Iterator[int], in_flight: int) -> None:
    """Publish for each number, always so many at a time."""

    async def publisher() -> None:
        for number in numbers:
            await publish(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(publisher())


async def _measured(publish: Publish, options: argparse.Namespace) -> Published:
    await _at_once(publish, iter(range(options.count // _WARM_PART)), options.in_flight)
    meter = _Meter(options.process)
    await _at_once(publish, iter(range(options.count)), options.in_flight)
    return meter.read(options.count)


async def _through_broker(options: argparse.Namespace) -> Published:
    broker = engine(options.url).broker
    data = msgspec.json.encode(PAYLOAD)
    names = [f"kept:{number}" for number in range(options.channels)]
    await broker.start("publisher", None)
    try:
        return await _measured(
            lambda number: broker.publish(names[number % options.channels], data, history=HISTORY), options
        )
    finally:
        await broker.stop()


async def _through_hub(options: argparse.Namespace) -> Published:
    hub = Hub(options.url)
    room = hub.channel("kept:{name}", str, history=HISTORY)
    names = [str(number) for number in range(options.channels)]
    async with hub.running():
        return await _measured(lambda number: room.publish(PAYLOAD, name=names[number % options.channels]), options)


def _bare_valkey(options: argparse.Namespace) -> Published:
    port = urlsplit(options.url).port
    assert port is not None
    with redis.Redis(host="127.0.0.1", port=port) as client:
        script = str(client.script_load(_SCRIPT))
        names = [(f"bare:s:{number}", f"bare:p:{number}") for number in range(options.channels)]

        def publish(count: int) -> None:
            for first in range(0, count, options.in_flight):
                with client.pipeline(transaction=False) as pipeline:
                    for number in range(first, min(first + options.in_flight, count)):
                        stream, topic = names[number % options.channels]
                        pipeline.evalsha(script, 1, stream, str(HISTORY.size), PAYLOAD, topic)
                    pipeline.execute()

        publish(options.count // _WARM_PART)
        meter = _Meter(options.process)
        publish(options.count)
        return meter.read(options.count)


async def _bare_nats(options: argparse.Namespace) -> Published:
    client = await nats.connect(options.url)
    try:
        stream = client.jetstream(publish_async_max_pending=options.in_flight)
        await stream.add_stream(
            StreamConfig(
                name="bare",
                subjects=["bare.*"],
                max_msgs_per_subject=HISTORY.size,
                max_age=HISTORY.seconds,
                republish=RePublish(src="bare.*", dest="carried.{{wildcard(1)}}"),
            )
        )
        data = msgspec.json.encode(PAYLOAD)
        return await _measured(lambda number: stream.publish(f"bare.{number % options.channels}", data), options)
    finally:
        await client.close()


# --- at a rate ----------------------------------------------------------------------------------------------------


async def _steadily(options: argparse.Namespace) -> Published:
    """Publish so many a second, until killed or for so many seconds."""
    broker = engine(options.url).broker
    data = msgspec.json.encode(PAYLOAD)
    await broker.start("publisher", None)
    meter, loop, number = _Meter(options.process), asyncio.get_running_loop(), 0
    began = loop.time()
    try:
        while (past := loop.time() - began) < options.seconds:
            due = range(number, int(past * options.rate))
            await asyncio.gather(
                *(broker.publish(f"kept:{one % options.channels}", data, history=HISTORY) for one in due)
            )
            number = max(number, due.stop)
            await asyncio.sleep(_TICK_SECONDS)
    finally:
        await broker.stop()
    return meter.read(max(number, 1))


def main() -> None:
    """Publish, and print what it cost."""
    parser = argparse.ArgumentParser("python -m bench.cluster.publishing", description=__doc__)
    parser.add_argument("way", choices=[*WAYS, "steadily"])
    parser.add_argument("url", help="of the engine")
    parser.add_argument("process", type=int, help="of the engine")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=1)
    options = parser.parse_args()
    if options.way == "bare" and not options.url.startswith("nats"):
        found = _bare_valkey(options)
    else:
        ways = {"broker": _through_broker, "hub": _through_hub, "bare": _bare_nats, "steadily": _steadily}
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(ways[options.way](options))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
