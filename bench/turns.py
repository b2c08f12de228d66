"""The work of a turn for each subscriber, with nothing of the kernel in it: it must not grow with the turn's messages.

`PYTHONPATH=src .bench/bin/python -m bench.turns` prints it; with `--against REF` also for Openline as of a git commit.
The wires are objects in memory that take everything at once. What a turn costs with one subscriber is taken off: the
work of the message itself.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import uvloop

from bench.history import exported
from bench.running import ROOT
from openline import Hub
from openline.framing import WEBSOCKET, encoding
from openline.handshake import Handshake
from openline.protocol.json import JSON

SUBSCRIBERS: Final = 500  #: no more than are passed in one turn
MESSAGES: Final = (1, 4, 16, 64)
TURNS: Final = 100
ROUNDS: Final = 5
PAYLOAD: Final = 64 * "x"


class Memory:
    """A wire that goes nowhere; what it is told counts in both ways in which Openline has told it, then and now."""

    name = "websocket"

    def __init__(self) -> None:
        self.encoding = encoding(JSON, WEBSOCKET)
        self.direct = self
        self.writes = 0

    def write(self, *chunks: Any) -> None:
        """Take chunks."""
        self.writes += 1

    def send(self, chunk: bytes) -> int:
        """Take a chunk, as a socket does."""
        self.writes += 1
        return len(chunk)

    def unsent_bytes(self) -> int:
        """Nothing waits here."""
        return 0

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Close: it is never asked to while it is measured."""


@asynccontextmanager
async def subscribed(hub: Hub, channel: str, subscribers: int) -> AsyncIterator[Memory]:
    """Have a channel with so many subscribers; give the wire of the last."""
    wires = [Memory() for _ in range(subscribers)]
    sessions = [hub._commands.open(wire, Handshake.bare()) for wire in wires]  # type: ignore[arg-type]
    for session in sessions:
        session.receive(f'{{"id":1,"connect":{{}}}}\n{{"id":2,"subscribe":{{"channel":"{channel}"}}}}'.encode())
    await asyncio.sleep(0.01)
    yield wires[-1]
    for session in sessions:
        session.closed(1000, "")


async def turn_us(hub: Hub, channel: str, last: Memory, messages: int) -> float:
    """Give the median time from the first publication of a turn to the last write."""
    times = []
    for _ in range(TURNS):
        written = last.writes
        start = time.perf_counter()
        for _ in range(messages):
            await hub.publish(channel, PAYLOAD)
        while last.writes == written:  # noqa: ASYNC110  # the turns of the loop are what is measured
            await asyncio.sleep(0)
        times.append((time.perf_counter() - start) * 1e6)
        await asyncio.sleep(0)
        if last.writes != written + 1:
            raise SystemExit("bench.turns: the messages of one turn were written in several")
    return statistics.median(times)


async def measure() -> list[float]:
    """Give the microseconds for each subscriber and turn, by the number of messages, in the quickest round."""
    hub = Hub()
    hub.channel("plain:{name}")
    async with hub.running(), AsyncExitStack() as stack:
        one = await stack.enter_async_context(subscribed(hub, "plain:one", 1))
        many = await stack.enter_async_context(subscribed(hub, "plain:many", SUBSCRIBERS))
        found = [math.inf] * len(MESSAGES)
        for _ in range(ROUNDS):
            for place, messages in enumerate(MESSAGES):
                alone = await turn_us(hub, "plain:one", one, messages)
                each = (await turn_us(hub, "plain:many", many, messages) - alone) / (SUBSCRIBERS - 1)
                found[place] = min(found[place], each)
        return found


def print_row(name: str) -> None:
    """Measure, and print what was found."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(measure())
    print(f"| {name} | {' | '.join(f'{each:.2f}' for each in found)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m bench.turns", description=__doc__)
    parser.add_argument("--against", metavar="REF", help="measure Openline as of a git commit too")
    parser.add_argument("--row", metavar="NAME", help="print one row, of the Openline on Python's path")
    options = parser.parse_args()
    if options.row:
        print_row(options.row)
        return
    print(f"| µs for each subscriber and turn | {' | '.join(f'messages in it: {one}' for one in MESSAGES)} |")
    print(f"| --- |{len(MESSAGES) * ' --- |'}", flush=True)
    print_row("Openline")
    if options.against:
        with exported(options.against) as sources:
            command = [sys.executable, "-m", "bench.turns", "--row", f"Openline at {options.against}"]
            subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(sources)}, check=True)


if __name__ == "__main__":
    main()
