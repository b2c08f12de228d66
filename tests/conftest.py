"""What holds for every test, and the servers they share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.engines.nats import NatsServer
from tests.engines.valkey import ValkeyCluster, ValkeyServer

# A busy machine is no failure: how long one example takes is not tested, only that a whole test ends in its time.
settings.register_profile("openline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("openline")

#: The loggers that a server sets up when it starts.
LOGGERS = ("openline", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    """Leave logging as it was: a command or program that runs in this process sets it up for the whole of it."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, (level, propagate, handlers, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
        logger.filters[:] = filters


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A Valkey that all tests share: names in it are to be new, and it is neither stopped nor emptied."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[ValkeyServer]:
    """A Redis 7 that all tests share, on the terms of `valkey`."""
    with ValkeyServer("redis") as server:
        yield server


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyCluster]:
    """A Valkey Cluster of 3 masters and 3 replicas that all tests share; on a busy machine too, nobody fails over."""
    with ValkeyCluster(node_timeout_ms=15_000) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    """A NATS with JetStream and MQTT that all tests share, on the terms of `valkey`."""
    with NatsServer(mqtt=True) as server:
        yield server
