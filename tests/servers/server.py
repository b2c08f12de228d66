"""A server of the suite: a process of its own, on a port the system chose, ended by its own process id."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

APP: Final = "tests.servers.app:app"
ROOT: Final = Path(__file__).parents[2]

#: How each server is started on a free port, in one process. All of them print the address once they listen.
COMMANDS: Final = {
    "openline": ("openline.cli", "run", APP, "--port", "0"),
    "uvicorn": ("uvicorn", APP, "--port", "0"),
    "hypercorn": ("hypercorn", APP, "--bind", "127.0.0.1:0", "--workers", "0"),
}

#: The one that brings its own app, and is told everything in a file.
STANDALONE: Final = {"serve": ("openline.cli", "serve")}

START_SECONDS: Final = 20
STOP_SECONDS: Final = 10
_LISTENING: Final = re.compile(r"[Rr]unning on (http://127\.0\.0\.1:(\d+))")


@final
class Server:
    """A running server.

    Args:
        name: which of `COMMANDS`, or "serve".
        options: appended to its command line.
    Attributes:
        log: what it has printed so far.
    """

    def __init__(self, name: str, *options: str) -> None:
        self.name = name
        self.log = ""
        self.port = 0
        self._process = start_python((*(COMMANDS | STANDALONE)[name], *options))
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._listening.wait(START_SECONDS)
        if not self.port:
            self.kill()
            raise AssertionError(f"{name} did not start:\n{self.log}")
        socket.create_connection(("127.0.0.1", self.port), START_SECONDS).close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.log += line
                if not self.port and (found := _LISTENING.search(line)):
                    self.port = int(found[2])
                    self._listening.set()
        self._listening.set()

    @property
    def http(self) -> str:
        """Where its routes are."""
        return f"http://127.0.0.1:{self.port}"

    def websocket(self, *, hasty: bool = False, port: int | None = None) -> str:
        """Where a line to it is opened.

        Args:
            hasty: to the hub that is short of patience.
            port: of something that stands before the server.
        """
        prefix = "/hasty" if hasty else ""
        return f"ws://127.0.0.1:{port or self.port}{prefix}/connection/websocket"

    def terminate(self) -> None:
        """Ask it to end, as a service manager does; see `ended_within`."""
        self._process.terminate()

    def ended_within(self, seconds: float) -> bool:
        """Wait for its end; say whether it came in time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """End it, and by force if it does not end in time, which is an error."""
        self.terminate()
        in_time = self.ended_within(STOP_SECONDS)
        self.kill()
        assert in_time, f"{self.name} did not end within {STOP_SECONDS} seconds:\n{self.log}"

    def kill(self) -> None:
        """End it by force; nothing happens if it has ended."""
        self._process.kill()
        self._process.wait()
        self._reader.join(STOP_SECONDS)


def start_python(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start ``python -m`` in the project's folder; both its outputs are one."""
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
