"""Programs as a person runs them: processes of their own, whose output is read line by line with a time limit."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import final

LIMIT_SECONDS = 20
SOURCES = Path(__file__).parent.parent / "src"

_LISTENING = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


@final
class Program:
    """A running process. Make it with `running`.

    Attributes:
        output: what it has printed so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.output = ""
        self._process = process

    async def prints(self, wanted: str) -> str:
        """Read on until a line holds this; give the line."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while line := (await self._process.stdout.readline()).decode():
                    self.output += line
                    if wanted in line:
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"{wanted!r} was not printed, but:\n{self.output}")

    async def stop(self) -> None:
        """End it by force."""
        if self._process.returncode is None:
            self._process.kill()
        if self._process.stdin is not None:  # for what it started itself: that has the same input
            self._process.stdin.close()
        await self._process.communicate()


def environment() -> dict[str, str]:
    """What a program of a test sees of this environment: the package under test, wherever it is started."""
    # Clients would otherwise ask a proxy of this machine's for an address on this machine.
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return inherited | {"PYTHONPATH": str(SOURCES), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200"}


@asynccontextmanager
async def running(
    command: Sequence[str], folder: Path, *, typing: bool = False, **variables: str
) -> AsyncIterator[Program]:
    """Run a command in a folder until the block ends.

    Args:
        typing: somebody sits at its terminal, who types nothing; else its input is at its end.
        variables: of its environment, beside those of `environment`.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment() | variables,
        stdin=asyncio.subprocess.PIPE if typing else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    program = Program(process)
    try:
        yield program
    finally:
        await program.stop()


@asynccontextmanager
async def openline_run(target: str, folder: Path) -> AsyncIterator[int]:
    """Serve an app by `openline run` on a free port; give the port."""
    command = [sys.executable, "-m", "openline.cli", "run", target, "--port", "0"]
    async with running(command, folder) as server:
        found = _LISTENING.search(await server.prints("running on"))
        assert found is not None
        yield int(found[1])
