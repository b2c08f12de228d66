"""A real browser on a page of somebody else's: it tries to open a line to the demo, and is not let in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser

from tests.browser.server import DemoServer

#: Opens a line and says what became of it.
TRY = """address => new Promise(done => {
    const socket = new WebSocket(address);
    socket.onopen = () => { socket.close(); done("open"); };
    socket.onerror = () => done("refused");
})"""


class _Page(BaseHTTPRequestHandler):
    """A site with one page and nothing on it."""

    def do_GET(self) -> None:
        """Give the page."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another site, on another port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}"
        site.shutdown()
        thread.join()


def opens(browser: Browser, page_address: str, demo: DemoServer) -> str:
    """Open a line to the demo from a page at this address."""
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(page_address)
        line = demo.address.replace("http:", "ws:") + "/connection/websocket"
        return str(page.evaluate(TRY, line))
    finally:
        context.close()


def test_a_page_of_the_same_host_opens_a_line(browser: Browser, demo: DemoServer) -> None:
    """Its own, as every app does."""
    assert opens(browser, demo.address, demo) == "open"


def test_a_page_of_another_site_does_not(browser: Browser, demo: DemoServer, elsewhere: str) -> None:
    """The port alone makes it another; so does the name of the same machine."""
    assert opens(browser, elsewhere, demo) == "refused"
    assert opens(browser, demo.address.replace("127.0.0.1", "localhost"), demo) == "refused"


def test_a_page_of_no_site_does_not(browser: Browser, demo: DemoServer) -> None:
    """Its origin is "null", which may be anybody."""
    assert opens(browser, "data:text/html,<p>nobody", demo) == "refused"
