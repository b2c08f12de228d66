"""What the tests of wires start with: an event loop by name, and a server on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wires.lines import Line, detaching
from tests.wires.servers import LOOPS


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
