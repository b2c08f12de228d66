"""The server as it runs in production, `openline run`: a process of its own, on a free port, ended by its own id."""

from __future__ import annotations

import re
import subprocess
import threading
from types import TracebackType
from typing import Final, Self, final

from tests.servers.server import start_python

APP: Final = "tests.abuse.app:app"
START_SECONDS: Final = 20
_LISTENING: Final = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


@final
class Process:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        log: what it has printed so far; all of it, once it has ended.
    """

    def __init__(self) -> None:
        self.port = 0
        self.log = ""
        self._process = start_python(("openline.cli", "run", APP, "--port", "0"))
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._listening.wait(START_SECONDS)
        if not self.port:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def stop(self, seconds: float) -> int:
        """Ask it to end, as a service manager does; give the code with which it ended by itself.

        Args:
            seconds: until then it has to have ended.
        """
        self.ask_to_stop()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {seconds:g} seconds:\n{self.log}") from None
        self._reader.join(seconds)
        return code

    def ask_to_stop(self) -> None:
        """Ask it to end, and wait for nothing."""
        self._process.terminate()

    def kill(self) -> None:
        """End it by force; nothing happens if it has ended."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.log += line
                if not self.port and (found := _LISTENING.search(line)):
                    self.port = int(found[1])
                    self._listening.set()
        self._listening.set()
