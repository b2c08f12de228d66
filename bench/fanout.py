"""What a delivery costs: Openline beside uWebSockets (C++) and FastAPI's documented ConnectionManager, in one run.

    python bench/fanout.py [--lines 1000] [--rounds 3]

It needs a C compiler, and `pip install socketify` for uWebSockets, which is left out where it is missing. Each peer
runs in a process of its own and is given the same load by bench/line.c; rounds alternate between peers, and the median
is shown. CPU is user and system time of the server's process, from /proc, so it runs on Linux only.

Caveats: a loopback is no network; the load generator has the machine's other cores; uWebSockets here sends the bare
payload, Openline its full protocol (JSON pushes, a declared channel), so its frames are larger.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent


class Peer(NamedTuple):
    """One server to measure."""

    name: str
    command: tuple[str, ...]  #: {port} is where it listens
    path: str
    hello: str
    publish: str


def openline_peer(name: str, channel: str) -> Peer:
    """Openline on the fast wire; every line subscribes to one channel."""
    hello = '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"CHANNEL"}}'.replace("CHANNEL", channel)
    publish = '{"id":3,"publish":{"channel":"CHANNEL","data":"%s"}}'.replace("CHANNEL", channel)
    command = (sys.executable, "-m", "openline.cli", "run", "bench.apps:openline_app", "--log-level", "warning")
    return Peer(name, (*command, "--port", "{port}"), "/connection/websocket", hello, publish)


PEERS = (
    Peer("uWebSockets (socketify)", (sys.executable, "-m", "bench.uwebsockets", "{port}"), "/ws", "", "%s"),
    openline_peer("Openline", "plain:a"),
    openline_peer("Openline, with history", "kept:a"),
    Peer(
        "ConnectionManager on uvicorn",
        (sys.executable, "-m", "uvicorn", "bench.apps:manager_app", "--log-level", "warning", "--port", "{port}"),
        "/ws",
        "",
        "%s",
    ),
)


def free_port() -> int:
    """Find a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(peer: Peer, port: int) -> subprocess.Popen[bytes]:
    """Start a server and wait until it listens."""
    process = subprocess.Popen([word.format(port=port) for word in peer.command], cwd=HERE.parent)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise SystemExit(f"{peer.name} did not start")


def load(generator: Path, peer: Peer, port: int, pid: int, lines: int, window: int) -> dict[str, Any]:
    """Put the load on one server."""
    messages = 300 if window == 1 else 1000
    words = [str(port), peer.path, str(lines), str(messages), str(window), peer.hello, peer.publish, str(pid)]
    done = subprocess.run([generator, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.name}: {done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measure and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lines", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    peers = [peer for peer in PEERS if "socketify" not in peer.name or find_spec("socketify")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        generator = folder / "line"
        subprocess.run(["cc", "-O2", "-o", generator, HERE / "line.c"], check=True)
        running = []
        for peer in peers:
            port = free_port()
            process = start(peer, port)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running.append((peer, port, process.pid))
        print(f"{chosen.lines} lines, 64-byte payload, median of {chosen.rounds}")
        print(f"{'':31}{'in flight':>10}{'CPU us':>9}{'ratio':>8}{'/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'KiB/line':>10}")
        for window in (1, 16):
            results: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
            for _ in range(chosen.rounds):
                for peer, port, pid in running:
                    results[peer.name].append(load(generator, peer, port, pid, chosen.lines, window))
            first = 0.0
            for name, rounds in results.items():
                median = {key: statistics.median(float(one[key]) for one in rounds) for key in rounds[0]}
                first = first or median["cpu_us"]
                kib = max(float(one["kib"]) for one in rounds)  # the first round: later ones reuse what was let go
                print(
                    f"{name:31}{window:>10}{median['cpu_us']:>9.2f}{median['cpu_us'] / first:>8.2f}"
                    f"{median['deliveries'] / median['seconds']:>12,.0f}"
                    f"{median['p50_ms']:>9.1f}{median['p99_ms']:>9.1f}{kib:>10.1f}"
                )


if __name__ == "__main__":
    main()
