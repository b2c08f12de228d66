"""One node: the program in a process of its own, as it runs in production."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess

#: The environment variable that holds the address of the engine.
BROKER: Final = "OPENLINE_CHAOS_BROKER"
ROOT: Final = Path(__file__).parents[2]
_ANSWER_SECONDS: Final = 5


@final
class ChaosNode(ServerProcess):
    """A node that comes back on its port, as another node of the cluster.

    Args:
        name: for people.
        broker: the address of its engine.
    """

    def __init__(self, name: str, broker: str) -> None:
        super().__init__(name)
        self._port = HeldPort()
        self._broker = broker
        self.stops = 0  #: how often it was asked to end
        self.deaths = 0  #: how often it ended, and lost its counts

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._port.number

    def stop(self) -> None:
        """Ask it to end, as a service manager does."""
        if self.running:
            self.stops += 1
            self.deaths += 1
        super().stop()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.deaths += self.running
        super().kill()

    @property
    def ended_by_itself(self) -> bool:
        """Whether it ended each time it was asked to, and not by force."""
        return self.log.count("Finished server process") >= self.stops

    def close(self) -> None:
        """End it, by force, and remove its folder; nothing happens the second time."""
        super().close()
        self._port.close()

    def _command(self) -> Sequence[str | Path]:
        environment = (f"{BROKER}={self._broker}", f"PYTHONPATH={ROOT / 'src'}:{ROOT}", "PYTHONUNBUFFERED=1")
        program = (sys.executable, "-m", "openline.cli", "run", "tests.chaos.app:app", "--no-access-log")
        return ("env", *environment, *program, "--port", str(self.port))

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=_ANSWER_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
