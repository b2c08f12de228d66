"""One server process: started until it answers, killed, stopped, restarted, frozen and thawed by its own id.

Invariants:
1. A process started here is ended by `close`, also when it is frozen.
2. It does not outlive the test process, however that ends (Linux; elsewhere `close` is all there is).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

START_SECONDS: Final = 10
STOP_SECONDS: Final = 5
_LOOK_SECONDS: Final = 0.01
_LOG_CHARACTERS: Final = 4_000

# Linux ends a process with the thread that started it, so all are started by one thread that stays to the end.
_STARTER: Final = ThreadPoolExecutor(1, thread_name_prefix="engines")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Look until a condition holds.

    Args:
        what: the condition in words, for the error.
        seconds: until then it has to hold.
    Raises:
        AssertionError: it did not.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(_LOOK_SECONDS)


class ServerProcess(ABC):
    """A server: not started yet when made, started by `start` or a `with` block, and over for good after `close`.

    Its methods block, each for a bounded time; what stops or freezes returns once that is so.

    Attributes:
        name: what it is, for errors.
        folder: where it keeps its files; gone after `close`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._temporary = tempfile.TemporaryDirectory(prefix="openline-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    @abstractmethod
    def _command(self) -> Sequence[str | Path]:
        """The command that starts it, in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether this very process, and no other on its port, answers now."""

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            AssertionError: it does not run.
        """
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def answering(self) -> bool:
        """Whether it answers now; a frozen one does not."""
        return self.running and not self._frozen and self._answers()

    @property
    def log(self) -> str:
        """What it has printed, since it was made."""
        file = self.folder / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    @final
    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            AssertionError: it ended or did not answer in time; its log stands in the error. No process is left.
        """
        assert not self.running, f"{self.name} runs already"
        with (self.folder / "log").open("ab") as log:
            self._process = _STARTER.submit(_start, [str(word) for word in self._command()], log.fileno()).result()
        self._frozen = False
        try:
            wait_until(lambda: not self.running or self._answers(), f"{self.name} answers")
            assert self.running, f"{self.name} ended by itself"
        except BaseException as error:
            self.kill()
            error.add_note(f"{self.name} printed at last:\n{self.log[-_LOG_CHARACTERS:]}")
            raise

    def kill(self) -> None:
        """End it at once, as a crash does (SIGKILL); nothing happens if it does not run."""
        self._signal(signal.SIGKILL)
        self._wait(STOP_SECONDS)

    def stop(self) -> None:
        """Ask it to end (SIGTERM), by force after `STOP_SECONDS`; nothing happens if it does not run."""
        if self._frozen:
            self.thaw()
        self._signal(signal.SIGTERM)
        try:
            self._wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Start it again on the same port and with the data it kept, stopping it first if it runs."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Halt it (SIGSTOP): its connections stay, and nothing is answered until `thaw`."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._frozen = True

    def thaw(self) -> None:
        """Let it go on (SIGCONT); nothing happens if it is not frozen."""
        self._signal(signal.SIGCONT)
        self._frozen = False

    def close(self) -> None:
        """End it, by force, and remove its folder; nothing happens the second time."""
        self.kill()
        self._temporary.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _wait(self, seconds: float) -> None:
        if self._process is not None:
            self._process.wait(seconds)
            self._process = None
            self._frozen = False


def _start(command: list[str], output: int) -> subprocess.Popen[bytes]:
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv")):
        command = [setpriv, "--pdeathsig", "KILL", "--", *command]
    # A session of its own: Ctrl-C is for the tests, which then end it.
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
