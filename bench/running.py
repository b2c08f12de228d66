"""A peer's server as a process: started, found in /proc, ended."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

import msgspec

from bench.peers import SOURCES, Peer

ROOT: Final = Path(__file__).parent.parent
START_SECONDS: Final = 20
STOP_SECONDS: Final = 10
ACCOUNT_SECONDS: Final = 120


class Failed(Exception):
    """A peer did not do what is measured: there is no figure."""


@final
class Server:
    """A peer's running server.

    Args:
        peer: whose it is.
        traced: it keeps account of its memory, and is slow.

    Attributes:
        peer: whose it is.
        port: where it listens, on 127.0.0.1.
    """

    def __init__(self, peer: Peer, *, traced: bool = False) -> None:
        self.peer = peer
        path = os.pathsep.join(map(str, (peer.sources or SOURCES, ROOT)))
        self._environment = os.environ | {"PYTHONPATH": path, "NODE_ENV": "production"}
        if traced:
            self._environment["PYTHONTRACEMALLOC"] = "1"
        self._start()

    def _start(self) -> None:
        self.port = _free_port()
        self._process = subprocess.Popen(
            [word.format(port=self.port) for word in self.peer.command],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise Failed(f"the server of {self.peer.name} did not start")
            time.sleep(0.05)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def processes(self) -> list[int]:
        """The server's process and all that it has started."""
        parents = dict(_parents())
        found = [self._process.pid]
        for one in found:  # it grows meanwhile
            found += [child for child, parent in parents.items() if parent == one]
        return found

    def account(self) -> dict[str, int]:
        """Ask a traced server for the bytes it uses, by source file.

        Raises:
            Failed: it cannot tell.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ACCOUNT_SECONDS)
        connection.request("GET", "/memory", headers={"Connection": "close"})
        with connection.getresponse() as answer:
            if answer.status != 200:
                raise Failed(f"the server of {self.peer.name} keeps no account of its memory")
            return msgspec.json.decode(answer.read(), type=dict[str, int])

    def restart(self) -> None:
        """End it by force and start it anew."""
        self._process.kill()
        self._process.wait()
        self._start()

    def stop(self) -> None:
        """End it; by force if it takes too long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def serving(peer: Peer, *, traced: bool = False) -> Iterator[Server]:
    """Run a peer's server until the block ends."""
    server = Server(peer, traced=traced)
    try:
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _parents() -> Iterator[tuple[int, int]]:
    """Every process with its parent."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue  # it has ended
        yield int(path.parent.name), int(text.rpartition(")")[2].split()[1])
