"""One server after the other, each for every scenario; and what a server said while a test failed."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.servers.control import Control
from tests.servers.people import LIMIT_SECONDS, Crowd, crowd
from tests.servers.server import COMMANDS, Server


@pytest.fixture(scope="session", params=COMMANDS)
def running(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each of the servers, kept for all its tests."""
    server = Server(request.param)
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """A server; what it logs during a test that fails is shown with it."""
    before = len(running.log)
    yield running
    sys.stdout.write(running.log[before:])


@pytest.fixture
async def control(server: Server) -> AsyncIterator[Control]:
    """The means to tell the server what to do."""
    async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=LIMIT_SECONDS) as client:
        yield Control(server, client)


@pytest.fixture(params=["json", "protobuf"])
async def people(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Crowd]:
    """A maker of clients, in each of the SDK's modes."""
    async with crowd(server, protobuf=request.param == "protobuf") as made:
        yield made


@pytest.fixture
def name() -> str:
    """A name nobody has had before, for a channel or a user."""
    return uuid.uuid4().hex
