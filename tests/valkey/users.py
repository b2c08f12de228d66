"""Users of an embedded server in processes of their own, and a look at the server from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final

import redis

from openline.valkey import keeper
from tests.running import environment

#: Seconds that anything here is waited for.
LIMIT_SECONDS: Final = 25

#: A user in a process of its own: it says when it has the server, and lets go of it when it is told to.
USER: Final = """
import asyncio, os, select, sys
from pathlib import Path

from openline.valkey.embedded import EmbeddedServer


async def main():
    async with EmbeddedServer(Path(sys.argv[1])).running():
        if sys.argv[2:] == ["fork"] and not os.fork():
            os.close(1)
            end = select.poll()
            end.register(0, 0)
            end.poll()  # until the test hangs up
            os._exit(0)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    print("done", flush=True)


asyncio.run(main())
"""


@final
class User:
    """A process that uses the server of a folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder), *options],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def is_ready(self) -> bool:
        """Wait until it has the server; say whether it got it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        """Let it go of the server, and wait until it has."""
        output, _ = self.process.communicate("\n", timeout=LIMIT_SECONDS)
        assert output == "done\n"

    def kill(self) -> None:
        """Kill it alone, without a word."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Kill it, and what it forked, if it is still there."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=LIMIT_SECONDS)


def wait_until(is_so: Callable[[], object]) -> bool:
    """Look again and again; say whether it came true in time."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes(folder: Path) -> list[str]:
    """Give the servers and keepers of a folder that run, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended just now
        if str(folder) in line and ("keeper.py" in line or "valkey-server" in line):
            found.append(line)
    return found


def open_to_others(folder: Path) -> list[Path]:
    """Give what others may read or enter."""
    return [one for one in (folder, *folder.iterdir()) if one.stat().st_mode & 0o077]


def sockets(folder: Path) -> list[Path]:
    """Give the sockets that are there."""
    return list(folder.glob("*.sock"))


def call(folder: Path, *command: str | int) -> Any:
    """Send one command to the server of a folder."""
    with redis.Redis(unix_socket_path=str(folder / keeper.SERVER), decode_responses=True) as connection:
        return connection.execute_command(*command)


def answers(folder: Path) -> bool:
    """Say whether the server of a folder takes commands."""
    try:
        return bool(call(folder, "PING"))
    except redis.ConnectionError:
        return False


def server_of(folder: Path) -> int:
    """Give the process id of a folder's server."""
    return int(call(folder, "INFO", "server")["process_id"])


def keeper_of(folder: Path) -> int:
    """Give the process id of a folder's keeper: it is the parent of the server."""
    status = Path(f"/proc/{server_of(folder)}/stat").read_text().rpartition(")")[2]
    return int(status.split()[1])
