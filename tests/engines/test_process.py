"""A server process does what its methods say, and is gone afterwards, whatever became of it or of the tests."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.engines.nats import NatsServer
from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess
from tests.engines.valkey import ValkeyServer

ROOT = Path(__file__).parents[2]
MAKERS: dict[str, Callable[[], ServerProcess]] = {
    "valkey": ValkeyServer,
    "redis": lambda: ValkeyServer("redis"),
    "nats": NatsServer,
}


@pytest.fixture(params=MAKERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server of each kind, of the test's own."""
    with MAKERS[request.param]() as made:
        yield made


def is_gone(process: int) -> bool:
    """Whether there is no process of that id."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_answers_once_it_is_started(server: ServerProcess) -> None:
    """Whoever connects after the start is served."""
    assert server.running
    assert server.answering


def test_it_comes_back_on_its_port_after_a_kill(server: ServerProcess) -> None:
    """As another process, at the address the clients know."""
    first = server.pid
    server.kill()
    assert is_gone(first)
    assert not server.running
    server.start()
    assert server.answering
    assert server.pid != first


def test_it_is_stopped_and_started_by_a_restart(server: ServerProcess) -> None:
    """The first process is gone when the second one answers."""
    first = server.pid
    server.restart()
    assert is_gone(first)
    assert server.answering


def test_it_answers_nothing_while_it_is_frozen(server: ServerProcess) -> None:
    """It is there, its port is open, and it goes on when it is thawed."""
    server.freeze()
    assert server.running
    assert not server.answering
    server.thaw()
    assert server.answering


@pytest.mark.parametrize("end", ["kill", "stop", "close"])
def test_a_frozen_one_ends_too(server: ServerProcess, end: str) -> None:
    """A frozen process is never left behind."""
    process = server.pid
    server.freeze()
    getattr(server, end)()
    assert is_gone(process)


def test_nothing_is_left_of_it(server: ServerProcess) -> None:
    """Neither process nor folder; closing again, killing and stopping are then nothing."""
    process = server.pid
    server.close()
    assert is_gone(process)
    assert not server.folder.exists()
    server.close()
    server.kill()
    server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="what a process leaves behind is taken care of on Linux alone")
def test_it_does_not_outlive_the_tests() -> None:
    """Even a test process that is killed leaves no server."""
    program = (
        "import sys\n"
        "from tests.engines.valkey import ValkeyServer\n"
        "server = ValkeyServer()\n"
        "server.start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        process, folder = tests.stdout.readline().split()
        watched = os.pidfd_open(int(process))
        tests.kill()
    try:
        assert select.select([watched], [], [], 10)[0], "the server still runs"
    finally:
        os.close(watched)
        shutil.rmtree(folder)


def test_a_held_port_is_refused_and_given_to_nobody() -> None:
    """While its server is away: a client is refused, and is not given the port as its own."""
    port = HeldPort()
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.number), 5)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port.number))
    finally:
        port.close()


class Mute(ServerProcess):
    """A process that ends at once, with a word."""

    def _command(self) -> Sequence[str]:
        return (sys.executable, "-c", "print('I cannot go on')")

    def _answers(self) -> bool:
        return False


def test_one_that_ends_by_itself_says_why() -> None:
    """Its last words are a note of the error; nobody waits the whole time for it."""
    server = Mute("mute")
    with pytest.raises(AssertionError, match="mute ended by itself") as failed:
        server.start()
    assert "I cannot go on" in failed.value.__notes__[0]
    assert not server.running
    server.close()
