"""A publisher in a program of its own: what a fork, the end of the program and the system's limits do to it."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from openline import History, Publisher
from tests.engines.valkey import ValkeyServer
from tests.running import environment

KEPT = History(size=1_000, seconds=300)

#: A script that publishes before a fork, in the child, and after it.
FORKING = """
import os, sys

from openline import History, Publisher

room = Publisher(sys.argv[1]).channel("room:{name}", history=History(size=10))
offsets = [room.publish("before", name=sys.argv[2]).offset]
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.write(writing, str(room.publish("in the child", name=sys.argv[2]).offset).encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
offsets += [int(os.read(reading, 10)), room.publish("after", name=sys.argv[2]).offset]
print(offsets)
"""

#: A script that publishes and ends, with nothing closed.
ENDING = """
import sys

from openline import Publisher

publisher = Publisher(sys.argv[1])
publisher.channel("room:{name}").publish("hello", name=sys.argv[2])
print("published")
"""


#: A script that forgets its publisher, says which threads of it are left, and ends.
FORGETTING = """
import gc, sys, threading, warnings

from openline import Publisher

warnings.simplefilter("error", ResourceWarning)


def publish():
    publisher = Publisher(sys.argv[1])
    publisher.channel("room:{name}").publish("hello", name=sys.argv[2])
    return [thread for thread in threading.enumerate() if thread.name == "openline-publisher"]


[thread] = publish()
thread.join(10)
gc.collect()
print("is there" if thread.is_alive() else "is gone")
publish()
"""

#: A script that publishes first without a file descriptor to be had, and then with.
EXHAUSTED = """
import os, resource, socket, sys

from openline import BrokerUnavailable, Publisher

room = Publisher(sys.argv[1]).channel("room:{name}")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
try:
    room.publish("hello", name=sys.argv[2])
except BrokerUnavailable as error:
    print(error)
for descriptor in taken:
    os.close(descriptor)
room.publish("hello", name=sys.argv[2])
print("published")
"""


@pytest.fixture
def name() -> str:
    """A name nobody has had before, for a channel."""
    return secrets.token_hex(8)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=30, check=False)


def test_a_fork_publishes_on_a_line_of_its_own(valkey: ValkeyServer, name: str) -> None:
    """As Celery's workers do; what the parent has goes on working."""
    done = run(FORKING, valkey.url, name)

    assert (done.stdout, done.stderr) == ("[1, 2, 3]\n", "")


def test_a_program_that_closes_nothing_ends(valkey: ValkeyServer, name: str) -> None:
    """At once and without complaints."""
    done = run(ENDING, valkey.url, name)

    assert (done.returncode, done.stdout, done.stderr) == (0, "published\n", "")


def test_one_that_is_forgotten_lets_go_by_itself(valkey: ValkeyServer, name: str) -> None:
    """Its thread and its connection end with it; also if the program ends at once."""
    done = run(FORGETTING, valkey.url, name)

    assert (done.returncode, done.stdout, done.stderr) == (0, "is gone\n", "")


def test_it_may_bring_its_server_along(tmp_path: Path) -> None:
    """With ``valkey+embedded://`` it is one of the server's users, as the app's workers are; closed or not."""
    url = f"valkey+embedded://{tmp_path}/data"
    done = run(ENDING, url, "kitchen")
    with Publisher(url) as publisher:
        assert publisher.channel("room:{name}", history=KEPT).publish("hello", name="kitchen").offset == 1

    assert (done.returncode, done.stdout, done.stderr) == (0, "published\n", "")
    assert not list((tmp_path / "data").glob("*.sock"))


def test_without_a_file_to_be_had_it_says_so_and_works_later(valkey: ValkeyServer, name: str) -> None:
    """An event loop needs some; nobody waits for one that never was."""
    done = run(EXHAUSTED, valkey.url, name)

    assert done.stdout.splitlines() == [
        "there is no event loop to publish from: [Errno 24] Too many open files",
        "published",
    ]
