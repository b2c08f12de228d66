"""A Chromium, the demo, and visitors.

Playwright's plain API runs an event loop of its own in the test's thread, so a module's browser is closed before the
next module's tests begin: they may be coroutines.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.browser.server import DemoServer
from tests.browser.visitor import Visitor

WAIT_MS = 15_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium that closes with the module."""
    executable = find_chromium()
    assert executable is not None, "no Chromium here: `make test` installs one"
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """The demo, running."""
    server = DemoServer(tmp_path_factory.mktemp("demo") / "server.log")
    yield server
    server.stop()


@pytest.fixture
def room() -> str:
    """A room nobody was in before."""
    return f"room-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def visit(browser: Browser, demo: DemoServer, room: str) -> Iterator[Callable[..., Visitor]]:
    """Come in under a name; at the end nothing has gone wrong in anybody's page."""
    visitors: list[Visitor] = []

    def come_in(name: str, size: tuple[int, int] = (1280, 800), *, dark: bool = False) -> Visitor:
        visitors.append(Visitor(browser, demo.address, name, room, size=size, dark=dark))
        return visitors[-1]

    yield come_in
    problems = {visitor.name: visitor.problems for visitor in visitors if visitor.problems}
    for visitor in visitors:
        visitor.close()
    assert problems == {}
