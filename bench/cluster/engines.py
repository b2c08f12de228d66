"""The engines, each started for a run with its defaults: the servers that the tests use, out of their wheels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple, get_args

from tests.engines.nats import NatsServer
from tests.engines.valkey import ValkeyServer

EngineName = Literal["valkey", "nats"]
ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)


class Engine(NamedTuple):
    """A running engine."""

    name: EngineName
    url: str  #: for a hub
    process: int


@contextmanager
def running(name: EngineName) -> Iterator[Engine]:
    """Run an engine until the block ends. Nothing is written to disk by Valkey; NATS keeps its streams in files."""
    with ValkeyServer() if name == "valkey" else NatsServer() as server:
        yield Engine(name, server.url, server.pid)
