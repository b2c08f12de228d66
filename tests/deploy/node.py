"""A node of the app: `openline run` in a process of its own, on an engine it shares with the others."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess

#: Environment variables of the app.
BROKER: Final = "OPENLINE_TEST_BROKER"
ORIGINS: Final = "OPENLINE_TEST_ORIGINS"
CONNECTIONS: Final = "OPENLINE_TEST_CONNECTIONS"

ROOT: Final = Path(__file__).parents[2]
_ANSWER_SECONDS: Final = 5


@final
class Node(ServerProcess):
    """A node that comes back on its port.

    Args:
        name: for people.
        broker: the address of its engine.
        origins: of other pages that may connect.
        connections: how many it takes; 0 for any number.
    """

    def __init__(self, name: str, broker: str, origins: Sequence[str] = (), *, connections: int = 0) -> None:
        super().__init__(name)
        self._connections = connections
        self._port = HeldPort()
        self._broker = broker
        self._origins = origins

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._port.number

    @property
    def http(self) -> str:
        """Its address, behind the proxy's back."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it, by force, remove its folder and give its port back; nothing happens the second time."""
        super().close()
        self._port.close()

    def state(self) -> dict[str, Any]:
        """What it says of itself."""
        with urllib.request.urlopen(f"{self.http}/state", timeout=_ANSWER_SECONDS) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def publish(self, channel: str, number: int) -> None:
        """Publish a number from here."""
        request = urllib.request.Request(f"{self.http}/publish/{channel}/{number}", method="POST")
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS):
            pass

    def _command(self) -> Sequence[str | Path]:
        environment = (
            f"{BROKER}={self._broker}",
            f"{ORIGINS}={json.dumps(list(self._origins))}",
            f"{CONNECTIONS}={self._connections}",
            f"PYTHONPATH={ROOT / 'src'}:{ROOT}",
            "PYTHONUNBUFFERED=1",
        )
        program = (sys.executable, "-m", "openline.cli", "run", "tests.deploy.app:app", "--no-access-log")
        return ("env", *environment, *program, "--port", str(self.port))

    def _answers(self) -> bool:
        try:
            self.state()
        except (urllib.error.URLError, OSError):
            return False
        return True
