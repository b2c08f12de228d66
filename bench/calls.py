"""The system calls of a delivery: how many there are, and what each way of sending one costs.

`PYTHONPATH=src .bench/bin/python -m bench.calls` prints it; with `--against REF` also for Openline as of a git commit.
The calls are counted with `strace`, while few connections hear much: what opening them takes is in it, and is little.
The ways of sending are compared on connections of the loopback whose other ends nobody waits at, so that what is left
is the server's own part.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import uvloop

from bench.generator import Generator
from bench.history import exported
from bench.peers import PEERS, Peer, at
from bench.running import ROOT, Server, serving

LINES: Final = 100
MESSAGES: Final = 400
MOST_CALLS: Final = 4  #: named for each peer

CONNECTIONS: Final = 400
ROUNDS: Final = 41
DELIVERY: Final = bytes(183)


# --- how many -----------------------------------------------------------------------------------------------------


@contextmanager
def counting(server: Server) -> Iterator[dict[str, int]]:
    """Count the system calls of a server during the block; they are there when it has ended."""
    found: dict[str, int] = {}
    with tempfile.NamedTemporaryFile("r") as table:
        command = ["strace", "-f", "-c", "-o", table.name, "-p", str(server.processes()[0])]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            strace.stderr.readline()  # it is attached
            try:
                yield found
            finally:
                strace.send_signal(signal.SIGINT)
                strace.communicate()
        for row in table.read().splitlines():
            cells = row.split()
            if len(cells) >= 5 and cells[3].isdigit() and cells[-1] != "total":
                found[cells[-1]] = int(cells[3])


def print_calls(generator: Generator, peer: Peer) -> None:
    """Count a peer's calls, with one message in flight and with 16."""
    cells = []
    with serving(peer) as server:
        for window in (1, 16):
            with counting(server) as calls:
                generator.run(server, lines=LINES, messages=MESSAGES, window=window)
            each = {name: calls / (LINES * MESSAGES) for name, calls in calls.items()}
            top = sorted(each, key=lambda name: -each[name])[:MOST_CALLS]
            cells.append(f"{sum(each.values()):.2f}: {', '.join(f'{name} {each[name]:.2f}' for name in top)}")
    print(f"| {peer.name} | {' | '.join(cells)} |", flush=True)


# --- what they cost -----------------------------------------------------------------------------------------------


async def connections() -> list[tuple[Any, socket.socket]]:
    """Open connections: a transport of uvloop, and the socket of the other end."""
    loop = asyncio.get_running_loop()
    opened = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(CONNECTIONS):
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
            opened.append((transport, far))
    return opened


async def cost_us(send: Callable[[], Awaitable[None]], ends: list[socket.socket]) -> float:
    """Give the CPU of sending a delivery to each connection once, for each of them."""
    start = time.process_time()
    await send()
    each = (time.process_time() - start) * 1e6 / CONNECTIONS
    for end in ends:
        assert len(end.recv(2 * len(DELIVERY))) == len(DELIVERY)
    return each


async def print_costs() -> None:
    """Compare the ways of sending, in rounds."""
    opened = await connections()
    transports, ends = [one for one, _ in opened], [far for _, far in opened]
    sockets = [socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) for transport in transports]
    numbers = [one.fileno() for one in sockets]

    async def transport_write() -> None:
        for transport in transports:
            transport.write(DELIVERY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def plain_write() -> None:
        for number in numbers:
            os.write(number, DELIVERY)

    async def socket_send() -> None:
        for one in sockets:
            one.send(DELIVERY)

    ways = {"transport.write of uvloop": transport_write, "write(2)": plain_write, "send(2)": socket_send}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for place in range(len(ways)):
            name = list(ways)[(number + place) % len(ways)]
            found[name].append(await cost_us(ways[name], ends))
    for name, costs in found.items():
        print(f"| {name} | {statistics.median(costs):.2f} |")
    for transport, one, end in zip(transports, sockets, ends, strict=True):
        transport.close()
        one.close()
        end.close()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser("python -m bench.calls", description=__doc__)
    parser.add_argument("--against", metavar="REF", help="count the calls of Openline as of a git commit too")
    options = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("bench.calls: there is no strace here")
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    print("| system calls for each delivery | one message in flight | 16 in flight |")
    print("| --- | --- | --- |", flush=True)
    generator = Generator(ROOT / ".bench")
    with exported(options.against) if options.against else nullcontext() as sources:
        for peer in (one for one in PEERS if one.key in {"uwebsockets", "openline"}):
            print_calls(generator, peer)
            if sources and peer.sources:
                print_calls(generator, at(peer, options.against, sources))

    print(f"\n| sending {len(DELIVERY)} bytes | CPU µs |\n| --- | --- |")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(print_costs())


if __name__ == "__main__":
    main()
