"""The answers to what goes past a limit, frame by frame on the fast wire, from a client that sends what it likes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi import FastAPI

from openline import Hub, Limits
from openline.testing.binary import decode_replies, encode_commands
from tests.wires.client import BINARY, TEXT, Client
from tests.wires.servers import Served, uvicorn_server

PATH = "/connection/websocket"
PROTOBUF = f"{PATH}?format=protobuf"


@contextmanager
def serving(limits: Limits) -> Iterator[tuple[Hub, Served]]:
    """Serve a hub that calls everybody as they call themselves, and echoes."""
    hub = Hub(limits=limits)
    hub.channel("room:{name}", publish=True)

    @hub.on_connect
    def who(token: str) -> str:
        return token

    @hub.rpc("echo")
    async def echo(message: Any) -> Any:
        return message

    app = FastAPI()
    app.include_router(hub.router)
    with uvicorn_server(app, loop="uvloop", lifespan="on") as served:
        yield hub, served
        assert served.call(lambda: len(hub._node.places)) == 0


def send(client: Client, *commands: dict[str, Any]) -> None:
    """Send commands in one frame of JSON."""
    client.send_frame(TEXT, "\n".join(map(json.dumps, commands)).encode())


def read(client: Client) -> list[Any]:
    """Read a frame of JSON."""
    return [json.loads(line) for line in client.read_text().split("\n")]


@contextmanager
def connected(served: Served, token: str = "") -> Iterator[Client]:
    """Open a line and connect."""
    with Client(served.port, PATH) as client:
        send(client, {"id": 1, "connect": {"token": token}})
        assert "connect" in read(client)[0]
        yield client


def rpc(size: int) -> bytes:
    """Give a frame of one rpc, so many bytes long."""
    bare = '{"id":2,"rpc":{"method":"echo","data":""}}'
    return bare.replace('""', '"' + "x" * (size - len(bare)) + '"').encode()


@pytest.mark.parametrize("fragments", [1, 3])
def test_a_byte_too_many_is_closed_with_1009(fragments: int) -> None:
    """In one frame or in several; it is counted."""
    with serving(Limits(message_bytes=999)) as (hub, served):
        for size in (999, 1002):
            with connected(served) as client:
                text, part = rpc(size), size // fragments
                for number in range(fragments):
                    opcode = TEXT if number == 0 else 0
                    last = number == fragments - 1
                    client.send_frame(opcode, text[number * part : None if last else (number + 1) * part], fin=last)
                if size == 999:
                    assert "rpc" in read(client)[0]
                else:
                    assert client.read_close() == (1009, "message too big")
        assert served.call(lambda: hub.counters.messages_too_large) == 1


def test_a_client_that_closes_with_1009_is_not_counted_for_it() -> None:
    """It says that a message of the server was too large for it."""
    with serving(Limits()) as (hub, served):
        with connected(served) as client:
            client.send_close(1009)
            assert client.read_close() == (1009, "")
        assert served.call(lambda: hub.counters.messages_too_large) == 0


def test_a_node_that_is_full_answers_503() -> None:
    """Before there is a WebSocket; a place that is left is free again."""
    with serving(Limits(connections=1)) as (hub, served):
        with connected(served) as first, Client(served.port, PATH) as second:
            assert (second.status, second.body) == (503, b"too many connections")
            first.send_close(1000)
            assert first.read_close() == (1000, "")
        with connected(served):
            assert served.call(lambda: len(hub.sessions)) == 1


def test_a_user_with_enough_connections_is_closed_with_3504() -> None:
    """The reason is words: with none the SDKs would come back."""
    with (
        serving(Limits(connections_per_user=1)) as (_, served),
        connected(served, "ada"),
        Client(served.port, PATH) as second,
    ):
        send(second, {"id": 1, "connect": {"token": "ada"}})
        assert second.read_close() == (3504, "connection limit")


def test_a_frame_of_too_many_commands_is_answered_up_to_the_burst() -> None:
    """The rest with 111 each, by its id; all in the one write of the turn."""
    limits = Limits(commands_per_second=0.001, commands_burst=3, channels=1)
    with serving(limits) as (_, served), connected(served) as client:
        send(client, *({"id": number, "rpc": {"method": "echo", "data": number}} for number in range(2, 8)))
        answers: dict[int, int | None] = {}
        while len(answers) < 6:
            answers |= {reply["id"]: reply.get("error", {}).get("code") for reply in read(client)}
        assert answers == {2: None, 3: None, 4: None, 5: 111, 6: 111, 7: 111}


def test_a_flood_is_closed_with_3013() -> None:
    """Whatever it consists of."""
    with serving(Limits(commands_per_second=10, commands_burst=20, channels=1)) as (hub, served):
        with connected(served) as client:
            send(client, {"send": {"data": 1}})  # nobody listens: closed for that
            assert client.read_close() == (3508, "not available")
        with connected(served) as client:
            send(client, *({"id": number, "presence": {"channel": "room:a"}} for number in range(2, 500)))
            frames = 0
            while (frame := client.read_frame()).opcode == TEXT:
                frames += 1
            assert (int.from_bytes(frame.payload[:2], "big"), frame.payload[2:]) == (3013, b"too many requests")
            assert frames >= 1
        assert served.call(lambda: hub.counters.floods) == 1
        with connected(served) as client:
            send(client, {"id": 2, "rpc": {"method": "echo", "data": 1}})
            assert read(client) == [{"id": 2, "rpc": {"data": 1}}]


@pytest.mark.parametrize(("depth", "code"), [(64, None), (65, 107), (200, 107)])
def test_json_that_nests_too_deep_is_answered_with_107(depth: int, code: int | None) -> None:
    """In both encodings alike."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    command = {"id": 2, "rpc": {"method": "echo", "data": value}}
    with serving(Limits()) as (_, served):
        with connected(served) as client:
            send(client, command)
            (reply,) = read(client)
            assert reply.get("error", {}).get("code") == code
        with Client(served.port, PROTOBUF) as client:
            client.send_frame(BINARY, encode_commands([{"id": 1, "connect": {}}, command]))
            replies: list[dict[str, Any]] = []
            while len(replies) < 2:
                replies += decode_replies(client.read_frame().payload)
            assert replies[1].get("error", {}).get("code") == code


def test_a_frame_that_is_nothing_but_brackets_is_closed_with_3501() -> None:
    """The process goes on."""
    with serving(Limits()) as (_, served):
        for deep in (b"[" * 60_000, b'{"id":2,"rpc":{"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}}"):
            with connected(served) as client:
                client.send_frame(TEXT, deep)
                assert client.read_close() == (3501, "bad request")
        with connected(served):
            pass
