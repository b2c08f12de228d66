"""The demo as a visitor's browser meets it: a server process of its own, on the fast wire."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

STARTED = re.compile(r"running on (http://127\.0\.0\.1:(\d+))")
START_SECONDS = 30
STOP_SECONDS = 15


class DemoServer:
    """A running demo.

    Args:
        log: the file its output goes to, for those who read why a test failed.
        port: where to listen; 0 lets the system choose.
    """

    def __init__(self, log: Path, port: int = 0) -> None:
        wire = ["--ws", "openline.uvicorn:WebSocketProtocol"]
        where = ["--host", "127.0.0.1", "--port", str(port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "openline.demo.app:app", *wire, *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started = threading.Event()
        self.address = ""
        self.port = 0
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()
        if not self._started.wait(START_SECONDS) or not self.address:
            self.stop()
            raise AssertionError(f"the demo did not start:\n{log.read_text()}")

    def _read(self, log: Path) -> None:
        assert self._process.stdout is not None
        with log.open("a") as kept, self._process.stdout as output:
            for line in output:
                kept.write(line)
                kept.flush()
                if found := STARTED.search(line):
                    self.address, self.port = found[1], int(found[2])
                    self._started.set()
        self._started.set()

    def stop(self) -> None:
        """End it as Ctrl-C does, and by force if it does not end in time."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
