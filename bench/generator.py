"""The load generator, as Python sees it: `bench/load`, a program in C with a process of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, final

import msgspec

from bench.running import ROOT, Failed, Server

SOURCES: Final = ROOT / "bench" / "load"
#: Past this a run is broken: every wait within has a limit of its own.
LIMIT_SECONDS: Final = 600


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of the generator measured. What was not asked for is zero."""

    lines: int
    open_seconds: float  #: until every line was open
    open_us: float  #: the server's CPU for opening each line, in µs: handshake and first steps
    kib: float  #: resident memory by which the server grew for each line
    filled_bytes: int = 0  #: what the kernel held for the frozen line before the load
    messages: int = 0  #: or commands, of each line
    window: int = 0  #: messages in flight, or commands of each line
    deliveries: int = 0  #: or answers
    missing: int = 0
    seconds: float = 0  #: from the first message to the last delivery
    per_second: float = 0  #: deliveries
    p50_ms: float = 0
    p99_ms: float = 0
    cpu_us: float = 0  #: the server's CPU for each delivery, in µs
    bytes: float = 0  #: on the wire for each delivery
    server_share: float = 0  #: of one core
    generator_share: float = 0  #: of one core; near 1 the generator is what is measured
    held: bool = False  #: the frozen line was there to the end, and data waited for it


@final
class Generator:
    """A built load generator.

    Args:
        folder: where the program is put.
    Raises:
        Failed: there is no C compiler, or it refused the sources.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("cc") is None:
            raise Failed("there is no C compiler here: the load generator needs `cc`")
        folder.mkdir(parents=True, exist_ok=True)
        self._program = folder / "load"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(self._program), *sorted(map(str, SOURCES.glob("*.c")))]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            raise Failed(f"the load generator does not build:\n{built.stderr}")

    def run(
        self,
        server: Server,
        *,
        lines: int,
        messages: int = 0,
        window: int = 1,
        extra: Literal["reading", "frozen"] | None = None,
        stall_seconds: float = 10,
        may_miss: bool = False,
        publisher: Server | None = None,
    ) -> Result:
        """Open lines to a server and put a load on it.

        Of a peer that is asked, each line sends so many commands, and has so many of them in flight.

        Args:
            server: running; the CPU and memory of all its processes count.
            lines: connections, each with one subscription; the first publishes.
            messages: to publish; none: the lines are opened, and that is all.
            window: messages in flight.
            extra: one more line, that reads but is not counted, or that never reads.
            stall_seconds: when so long nothing has come, what is not there is missing.
            may_miss: deliveries may be missing; the result says so.
            publisher: the server the first line connects to, if it is another one, whose CPU and memory count too. What
                that line hears is not timed.
        Raises:
            Failed: a line did not open, was closed or heard something else than was published; or deliveries
                are missing.
        """
        words: list[object] = ["--stall", stall_seconds, "--messages", messages, "--window", window]
        if extra is not None:
            words += ["--extra", extra]
        if publisher is not None:
            words += ["--publish-port", publisher.port]
            words += [word for process in publisher.processes() for word in ("--process", process)]
        command = self._command(server, lines, *words)
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        if done.returncode not in (0, 1):
            raise _failure(server, done.stderr, done.returncode)
        result = msgspec.json.decode(done.stdout, type=Result)
        if result.missing and not may_miss:
            expected = result.deliveries + result.missing
            raise Failed(f"{server.peer.name}: {result.missing:,} of {expected:,} deliveries are missing")
        return result

    @contextmanager
    def holding(self, server: Server, *, lines: int, rooms: int = 1) -> Iterator[Result]:
        """Open lines to a server and keep them open until the block ends.

        Args:
            rooms: into so many they are spread, by the ``#`` in the peer's steps.
        Raises:
            Failed: a line did not open, or was closed.
        """
        command = self._command(server, lines, "--hold", "--rooms", rooms)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdout is not None
            told = process.stdout.readline()
            if told.endswith("\n"):
                yield msgspec.json.decode(told, type=Result)
            _, error = process.communicate(timeout=LIMIT_SECONDS)
            if process.returncode:
                raise _failure(server, error, process.returncode)

    def _command(self, server: Server, lines: int, *more: object) -> list[str]:
        """Say how to run the program: what the peer is like, and what else there is."""
        peer = server.peer
        words: list[object] = ["--port", server.port, "--path", peer.path, "--lines", lines]
        words += ["--publish", peer.publish, "--ask", peer.ask, "--answer", peer.answer]
        words += ["--ping", peer.ping, "--pong", peer.pong]
        for say, hear in peer.steps:
            words += ["--say", say, "--hear", hear]
        for process in server.processes():
            words += ["--process", process]
        return [str(self._program), *map(str, [*words, *more])]


def _failure(server: Server, told: str, code: int) -> Failed:
    return Failed(f"{server.peer.name}: {told.strip() or f'the generator ended with {code}'}")
