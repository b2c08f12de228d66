"""The opening handshake as bytes: what is read of a request, what is refused, what is answered."""

from __future__ import annotations

import pytest

from openline.wires.upgrade import UpgradeRequest, http_response, switching_response
from tests.wires.client import request


def test_a_request_is_read() -> None:
    """Method, path, query and headers, names in lower case, values as they are."""
    read = UpgradeRequest(request("/caf%C3%A9?x=%20", {"X-Name": "Value: 1", "X-Empty": ""}))
    assert read.method == b"GET"
    assert (read.path, read.raw_path, read.query) == ("/café", b"/caf%C3%A9", b"x=%20")
    assert read.headers[0] == (b"host", b"test")
    assert (b"x-name", b"Value: 1") in read.headers
    assert (b"x-empty", b"") in read.headers
    assert read.refusal() is None


@pytest.mark.parametrize(
    ("target", "path"),
    [("http://host:80/a/b", "/a/b"), ("http://host", "/"), ("HTTPS://host/?x", "/"), ("/http://x", "/http://x")],
)
def test_a_target_written_for_a_proxy_is_a_path_too(target: str, path: str) -> None:
    """Scheme and authority are cut off (RFC 9112, 3.2.2)."""
    assert UpgradeRequest(request(target)).path == path


@pytest.mark.parametrize("broken", [b"", b"GET /\r\n\r\n", b"GET / a HTTP/1.1\r\n\r\n", request("*"), request("/\xfc")])
def test_what_is_no_request_is_refused(broken: bytes) -> None:
    """Whatever a server hands over, reading it fails in one way."""
    with pytest.raises(ValueError):  # noqa: PT011  # of whichever kind
        UpgradeRequest(broken)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upgrade": "h2c"}, 426),
        ({"Upgrade": None}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec-WebSocket-Version": "13, 8"}, 426),
        ({"Sec-WebSocket-Key": "AAAA"}, 400),
        ({"Upgrade": "h2c, WebSocket", "Connection": "keep-alive, UPGRADE"}, None),
    ],
)
def test_the_handshake_is_checked(headers: dict[str, str | None], status: int | None) -> None:
    """As RFC 6455, 4.2.1 asks; lists and cases are what they are in HTTP."""
    refusal = UpgradeRequest(request("/", headers)).refusal()
    assert (refusal.status if refusal else None) == status


@pytest.mark.parametrize(
    ("header", "offered"),
    [("a, b ,c", ["a", "b", "c"]), ("", []), (" , ", []), (None, []), ("one", ["one"])],
)
def test_subprotocols_are_what_is_named(header: str | None, offered: list[str]) -> None:
    """Empty names are none."""
    assert UpgradeRequest(request("/", {"Sec-WebSocket-Protocol": header})).subprotocols() == offered


def test_the_answer_proves_that_the_key_was_read() -> None:
    """The example of RFC 6455, 1.3."""
    answer = switching_response(UpgradeRequest(request()), [(b"x-mine", b"1")])
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nx-mine: 1\r\n\r\n"
    )


def test_an_http_answer_says_how_long_it_is_and_that_it_is_the_last() -> None:
    """What the app gave is kept."""
    assert http_response(403, []) == b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    assert http_response(799, [(b"Content-Type", b"a/b"), (b"Content-Length", b"2")], b"hi") == (
        b"HTTP/1.1 799 \r\nContent-Type: a/b\r\nContent-Length: 2\r\nconnection: close\r\n\r\nhi"
    )


@pytest.mark.parametrize("header", [(b"a\r\nb", b""), (b"a", b"\n")])
def test_a_header_with_a_line_break_is_refused(header: tuple[bytes, bytes]) -> None:
    """It would be two headers, the second by whoever wrote the first."""
    with pytest.raises(ValueError, match="line break"):
        switching_response(UpgradeRequest(request()), [header])
    with pytest.raises(ValueError, match="line break"):
        http_response(200, [header])
