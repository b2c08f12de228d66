"""The close that a client begins (RFC 6455, 5.5.1 and 7): which codes it may name, and that nothing comes after it.

Asked of an ordinary route and of a hub's line, as the Autobahn suite asks it: its group 7. How connections end
otherwise is asked in `test_connection_end.py`.
"""

from __future__ import annotations

import pytest

from tests.wires.client import CLOSE, CONTINUATION, PING, TEXT, Frame, close_payload, frame
from tests.wires.echo import EchoServer

MAY_BE_NAMED = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
MAY_NOT = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)


@pytest.mark.parametrize("code", MAY_BE_NAMED)
def test_a_close_is_answered_with_its_own_code(echo: EchoServer, code: int) -> None:
    """Then the server closes TCP, and nothing is left of the connection."""
    with echo.client() as client:
        client.send_close(code)
        assert client.read_close() == (code, "")
        client.read_end()
        assert not echo.knows(client)


@pytest.mark.parametrize("code", MAY_NOT)
def test_a_code_that_no_frame_may_name_is_a_mistake(echo: EchoServer, code: int) -> None:
    """Also those that are kept for what a peer did not say."""
    with echo.client() as client:
        client.send_close(code)
        assert client.read_close()[0] == 1002
        client.read_end()


@pytest.mark.parametrize("reason", ["", "Hello World!", "*" * 123, "ü" * 61])
def test_a_reason_comes_back(echo: EchoServer, reason: str) -> None:
    """Up to the 123 bytes that there is room for."""
    with echo.client() as client:
        client.send_close(1000, reason)
        assert client.read_close() == (1000, reason)
        client.read_end()


def test_a_close_without_a_code_is_answered_without_one(echo: EchoServer) -> None:
    """There is nothing to say then."""
    with echo.client() as client:
        client.send_frame(CLOSE)
        assert client.read_frame() == Frame(CLOSE, b"")
        client.read_end()


@pytest.mark.parametrize(("payload", "code"), [(b"\x03", 1002), (close_payload(1000) + b"\xce\xba\xff", 1007)])
def test_a_close_that_is_broken_is_a_mistake_like_others(echo: EchoServer, payload: bytes, code: int) -> None:
    """Half a code; a reason that is not UTF-8."""
    with echo.client() as client:
        client.send_frame(CLOSE, payload)
        assert client.read_close()[0] == code
        client.read_end()


@pytest.mark.parametrize("after", [frame(CLOSE, close_payload(1001)), frame(PING), frame(TEXT, b"after"), frame(3)])
def test_nothing_is_read_after_a_close(echo: EchoServer, after: bytes) -> None:
    """Right or wrong."""
    with echo.client() as client:
        client.send(frame(CLOSE, close_payload(1000)) + after)
        assert client.read_close() == (1000, "")
        client.read_end()


def test_a_client_may_close_amid_a_message(echo: EchoServer) -> None:
    """A close is a control frame, so it may stand between fragments; what was begun is dropped."""
    with echo.client() as client:
        client.send(
            frame(TEXT, b"fragment1", fin=False) + frame(CLOSE, close_payload(4000, "bye")) + frame(CONTINUATION, b"2")
        )
        assert client.read_close() == (4000, "bye")
        client.read_end()
