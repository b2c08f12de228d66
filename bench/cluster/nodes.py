"""Nodes of one hub: processes that share an engine."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from bench.peers import SOURCES, Peer
from bench.running import START_SECONDS, Failed, Server, serving

_CONNECT: Final = '{"id":1,"connect":{}}'
_ANSWER_SECONDS: Final = 5


def node(url: str, *, workers: int = 1) -> Peer:
    """Openline on an engine.

    Args:
        url: of the engine.
        workers: processes that take the connections of one port.
    """
    run = (sys.executable, "-m", "openline.cli", "run", "bench.servers.cluster:app", "--port", "{port}")
    return Peer(
        key=f"openline-{workers}",
        name=f"Openline on {url.partition('://')[0]}",
        command=("env", f"OPENLINE_BENCH_BROKER={url}", *run, "--workers", str(workers), "--log-level", "warning"),
        path="/connection/websocket",
        steps=(
            (_CONNECT, '"connect":{'),
            ('{"id":2,"subscribe":{"channel":"kept:#"}}', '"subscribe":{'),
        ),
        ping="{}",
        pong="{}",
        publish='{"id":3,"publish":{"channel":"kept:0","data":"%s"}}',
        sources=SOURCES,
    )


@contextmanager
def serving_nodes(url: str, count: int, *, workers: int = 1) -> Iterator[list[Server]]:
    """Run so many nodes, each on a port of its own, until the block ends. All of them know each other by then.

    Args:
        workers: of each; every worker is a node.
    Raises:
        Failed: one did not start.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(node(url, workers=workers))) for _ in range(count)]
        for server in servers:
            _wait_until_known(server, servers, count * workers)
        yield servers


def _wait_until_known(server: Server, servers: Sequence[Server], count: int) -> None:
    """Wait until a server knows so many nodes among these: others may be on the same engine, or just gone from it."""
    deadline = time.monotonic() + START_SECONDS
    address = f"http://127.0.0.1:{server.port}/nodes"
    while True:
        with urllib.request.urlopen(address, timeout=_ANSWER_SECONDS) as answer:
            known = msgspec.json.decode(answer.read(), type=list[str])
        ours = {process for one in servers for process in one.processes()}
        found = ours & {int(name.rpartition(":")[2]) for name in known}
        if len(found) == count:
            return
        if time.monotonic() > deadline:
            raise Failed(f"{server.peer.name}: {len(found)} of {count} nodes know of each other")
        time.sleep(0.05)
