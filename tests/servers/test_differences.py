"""What is asked of the fast wire alone, because on the plain wire it is the server's own affair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from tests.servers.control import Control
from tests.servers.differences import DIFFERENCES
from tests.servers.people import LIMIT_SECONDS, crowd
from tests.servers.raw import RawClient
from tests.servers.server import ROOT, Server

FROZEN_PEERS = 50
#: Of 60 KiB each: above what the system takes in for a narrow client, below what closes it as too slow.
FLOODS = 12


@pytest.fixture(params=[(), ("--loop", "asyncio")], ids=["uvloop", "asyncio"])
def doomed(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server on the fast wire for one test, which may end it; on both event loops."""
    wire = ("--ws", "openline.uvicorn:WebSocketProtocol")
    server = Server("uvicorn", *wire, *request.param) if request.param else Server("openline")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fast() -> Iterator[Server]:
    """A server on the fast wire."""
    server = Server("openline")
    yield server
    server.stop()


async def test_clients_are_told_of_a_shutdown(doomed: Server) -> None:
    """At SIGTERM they see 3001, and come back when there is something to come back to."""
    async with crowd(doomed, protobuf=False) as people:
        alice = await people.connected("alice")

        doomed.terminate()
        ended = await alice.ear.next("connecting")

        assert (ended.code, ended.reason) == (3001, "shutdown")


async def test_frozen_peers_do_not_keep_the_process_from_ending(doomed: Server) -> None:
    """Fifty clients that read nothing, each with hundreds of KiB waiting, are given up when their time is over."""
    with ExitStack() as peers:
        for _ in range(FROZEN_PEERS):
            peer = peers.enter_context(RawClient(doomed, path="/hasty/connection/websocket", narrow=True))
            peer.send_text(b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"flood:all"}}')
            peer.read_to(b'"subscribe"')
        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=LIMIT_SECONDS) as client:
            control = Control(doomed, client)
            sessions = [await control.flood("all", kibibytes=60) for _ in range(FLOODS)]

        doomed.terminate()

        assert sessions == [FROZEN_PEERS] * FLOODS
        assert doomed.ended_within(LIMIT_SECONDS)


def test_text_that_is_not_utf8_closes_with_1007(fast: Server) -> None:
    """A client that sends other bytes as text is told so."""
    with RawClient(fast) as client:
        client.send_text(b'{"id":1,"connect":{"name":"\xff"}}')

        assert client.close_frame() == (1007, "invalid UTF-8")


def test_trap_11_an_empty_subprotocol_header_is_taken(fast: Server) -> None:
    """A released SDK once sent it: the handshake is accepted and names no subprotocol."""
    with RawClient(fast, extra="Sec-WebSocket-Protocol: \r\n") as client:
        assert client.answer[0] == "HTTP/1.1 101 Switching Protocols"
        assert not [line for line in client.answer if line.lower().startswith("sec-websocket-protocol")]


def test_compression_is_not_agreed_to(fast: Server) -> None:
    """A client that offers it is taken without: one frame serves every client."""
    with RawClient(fast, extra="Sec-WebSocket-Extensions: permessage-deflate\r\n") as client:
        assert not [line for line in client.answer if line.lower().startswith("sec-websocket-extensions")]


def test_the_list_stands_in_the_docs() -> None:
    """Every difference that is tested here is a row of the table that users read."""
    page = (ROOT / "docs" / "servers.md").read_text()

    for difference in DIFFERENCES:
        assert f"| {' | '.join(difference)} |" in page
