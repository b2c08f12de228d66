"""Lines over HTTP, as far as it depends on the server below: how they begin, break and end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.servers.differences import STREAM_SHUTDOWN
from tests.servers.server import COMMANDS, Server
from tests.wires.reader import Reader, request

PATHS = ["/connection/http_stream", "/connection/sse"]


@pytest.fixture(params=COMMANDS)
def doomed(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server for one test, which ends it."""
    server = Server(request.param)
    yield server
    server.stop()


def opening(path: str, *channels: str) -> bytes:
    """Give the request that opens a stream and enters channels."""
    commands = [{"id": 1, "connect": {}}]
    commands += [{"id": 2 + n, "subscribe": {"channel": name, "join_leave": True}} for n, name in enumerate(channels)]
    return request(path, "\n".join(map(json.dumps, commands)).encode())


def message(reader: Reader) -> Any:
    """Read the next message of a stream."""
    while not (line := reader.line().removeprefix(b"data: ").strip()):
        pass
    return json.loads(line)


@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_leaves_is_noticed(server: Server, name: str, path: str) -> None:
    """At once, by whatever the server tells the app: who is in its channel hears that it left."""
    with Reader(server.port, opening(path, f"hall:{name}")) as ann:
        assert [message(ann)["id"], message(ann)["id"]] == [1, 2]
        with Reader(server.port, opening(path, f"hall:{name}")) as ben:
            client = message(ben)["connect"]["client"]
            message(ben)
            while (push := message(ann)["push"]).get("join", {}).get("info", {}).get("client") != client:
                pass
        while "leave" not in push:
            push = message(ann)["push"]
        assert push["leave"]["info"]["client"] == client


@pytest.mark.parametrize("path", PATHS)
def test_a_connection_may_be_used_again_once_its_stream_has_ended(server: Server, path: str) -> None:
    """A stream that was refused is an answer like any other: proxies keep their connections."""
    with Reader(server.port, request(path, b"nonsense")) as reader:
        assert b'"code":3501' in reader.rest()
        reader.socket.sendall(request("/rooms/x", b'{"author":"a","text":"b"}', {"Content-Type": "application/json"}))
        reader.read_answer()
        assert reader.status == 200


@pytest.mark.parametrize("path", PATHS)
def test_the_end_of_the_server_ends_its_streams(doomed: Server, path: str) -> None:
    """In time; their clients are told why where the server tells the app, and come back in any case."""
    assert "Hypercorn" in STREAM_SHUTDOWN.plain
    with Reader(doomed.port, opening(path)) as ann, Reader(doomed.port, opening(path)) as ben:
        message(ann)
        message(ben)
        doomed.terminate()
        for reader in (ann, ben):
            with suppress(ConnectionError):
                end = reader.rest()
                assert b'{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}' in end
                continue
            assert doomed.name == "hypercorn"
    assert doomed.ended_within(10)
    assert doomed.name == "hypercorn" or "Traceback" not in doomed.log
