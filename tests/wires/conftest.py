"""What the tests of wires start with: an event loop by name, and a server on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wires.echo import EchoServer, echo_servers
from tests.wires.lines import Line, detaching
from tests.wires.servers import LOOPS

#: More than the longest of the lengths that a frame can be written with in two ways.
ECHOED_BYTES = 70_000


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    """Name an event loop: the one of Python, and uvloop."""
    name: str = request.param
    return name


@pytest.fixture
def line(loop: str) -> Iterator[Line]:
    """Serve a text codec on either loop."""
    with detaching(loop=loop) as line:
        yield line


@pytest.fixture(scope="module", params=LOOPS)
def echoes(request: pytest.FixtureRequest) -> Iterator[dict[str, EchoServer]]:
    """Send messages back, on either loop; one server for a whole file."""
    with echo_servers(request.param, ECHOED_BYTES) as servers:
        yield servers


@pytest.fixture(params=["route", "line"])
def echo(request: pytest.FixtureRequest, echoes: dict[str, EchoServer]) -> EchoServer:
    """Send messages back, by an ordinary route and by a line as hub sessions have it."""
    return echoes[request.param]
