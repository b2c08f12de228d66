"""A bare `EventSource` of a real browser: it comes back by itself, misses nothing, and knows when to stay away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page

from tests.servers.login import connection_token
from tests.servers.server import Server

WAIT_MS = 15_000

#: Follows a channel, and notes what it is told.
FOLLOW = """address => {
    window.texts = [];
    window.subscriptions = [];
    window.source = new EventSource(address);
    source.onmessage = (event) => {
        const push = JSON.parse(event.data);
        if (push.connect) subscriptions.push(...Object.values(push.connect.subs));
        if (push.pub) texts.push(push.pub.data.text);
    };
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The app of the suites of servers, on the fast wire."""
    running = Server("openline")
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    """An empty page of the server's."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.http}/control/door")
    yield page
    context.close()


def post(server: Server, path: str, body: Any) -> None:
    """Tell the server to do something."""
    httpx2.post(server.http + path, json=body, trust_env=False).raise_for_status()


def address(user: str, expires_in: float | None = None) -> str:
    """Give where a user follows a room of their own name."""
    return f"/connection/uni_sse?channel=room:{user}&token={connection_token(user, expires_in=expires_in)}"


def test_it_comes_back_by_itself_and_has_missed_nothing(page: Page, server: Server) -> None:
    """Its stream ends, messages follow, and they come with the next stream; a last one comes live."""
    page.evaluate(FOLLOW, address("ann"))
    page.wait_for_function("subscriptions.length === 1", timeout=WAIT_MS)
    post(server, "/rooms/ann", {"author": "x", "text": "one"})
    page.wait_for_function("texts.length === 1", timeout=WAIT_MS)

    post(server, "/control/users/ann/disconnect", {"code": 3011, "reason": "come back"})
    for text in ("two", "three"):
        post(server, "/rooms/ann", {"author": "x", "text": text})
    page.wait_for_function("texts.length === 3", timeout=WAIT_MS)
    post(server, "/rooms/ann", {"author": "x", "text": "four"})
    page.wait_for_function("texts.length === 4", timeout=WAIT_MS)

    assert page.evaluate("texts") == ["one", "two", "three", "four"]
    assert page.evaluate("subscriptions[1].recovered")


def test_one_that_was_sent_away_stays_away(page: Page, server: Server) -> None:
    """It comes back once, is answered 204, and is closed."""
    page.evaluate(FOLLOW, address("bob"))
    page.wait_for_function("subscriptions.length === 1", timeout=WAIT_MS)
    post(server, "/control/users/bob/disconnect", {"code": 3503, "reason": "go away"})
    page.wait_for_function("source.readyState === 2", timeout=WAIT_MS)
    assert page.evaluate("subscriptions.length") == 1


def test_one_that_is_not_let_in_does_not_try_again(page: Page) -> None:
    """With a token that has run out, and with one that is none."""
    for where in (address("eve", expires_in=-60), "/connection/uni_sse?channel=room:eve&token=none"):
        page.evaluate(FOLLOW, where)
        page.wait_for_function("source.readyState === 2", timeout=WAIT_MS)
