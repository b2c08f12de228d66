"""Pages from elsewhere are kept out, on every server: none of them looks at `Origin` by itself."""

from __future__ import annotations

import pytest

from tests.servers.raw import RawClient
from tests.servers.server import Server

OWN = "/connection/websocket"
NEIGHBOURLY = "/neighbourly/connection/websocket"


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        (OWN, None, 101),
        (OWN, "http://127.0.0.1", 101),
        (OWN, "https://127.0.0.1", 101),
        (OWN, "http://127.0.0.1:9", 403),
        (OWN, "https://app.example.com", 403),
        (OWN, "null", 403),
        (NEIGHBOURLY, "https://app.example.com", 101),
        (NEIGHBOURLY, "http://127.0.0.1", 101),
        (NEIGHBOURLY, "https://evil-example.com", 403),
        (NEIGHBOURLY, "https://app.example.com.evil.example", 403),
    ],
)
def test_a_page_is_let_in_or_refused_with_403(server: Server, path: str, origin: str | None, status: int) -> None:
    """By where it comes from. Who comes from no page is no browser, and is let in."""
    extra = "" if origin is None else f"Origin: {origin}\r\n"
    with RawClient(server, path=path, extra=extra) as client:
        assert client.answer[0].split()[1] == str(status)
