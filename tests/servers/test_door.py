"""The dependencies of an included router, on every server: never skipped, and closed before the line is held."""

from __future__ import annotations

from tests.servers.control import Control
from tests.servers.raw import RawClient
from tests.servers.server import Server

PATH = "/guarded/connection/websocket"


async def test_who_has_no_key_is_not_let_in(server: Server, control: Control) -> None:
    """The dependency refuses the handshake, whichever wire would have carried it."""
    with RawClient(server, path=PATH) as client:
        assert client.answer[0].split()[1] == "403"
    assert (await control.door())["sessions"] == 0


async def test_what_the_dependency_opened_is_closed_while_the_line_is_open(server: Server, control: Control) -> None:
    """A database connection lasts as long as the handshake, not as long as the socket."""
    with RawClient(server, path=PATH, extra="Key: sesame\r\n") as client:
        assert client.answer[0].split()[1] == "101"
        client.send_text(b'{"id":1,"connect":{}}')
        client.read_to(b'"connect"')
        door = await control.door()
        assert door["sessions"] == 1
        assert door["opened"] == door["closed"]
