"""Single moves of clients that mean harm, each aimed at one promise."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import struct
from contextlib import ExitStack
from typing import Any

import pytest

from openline import Hub, Limits
from tests.abuse.guest import PATH, Guest
from tests.abuse.house import House, serving
from tests.wires.client import PING, TEXT, Client, compressed, frame
from tests.wires.lines import detaching
from tests.wires.servers import LOOPS

RSV1 = 4
COMPRESSING: dict[str, str | None] = {"Sec-WebSocket-Extensions": "permessage-deflate"}


def hub_with_rooms(*, compression: bool = False, **limits: Any) -> Hub:
    """Give a hub that calls everybody as they call themselves."""
    hub = Hub(compression=compression, limits=Limits(**limits))
    hub.channel("room:{name}", publish=True, presence=True, join_leave=True)

    @hub.on_connect
    def who(token: str) -> str:
        return token

    @hub.rpc("echo")
    async def echo(message: str) -> str:
        return message

    return hub


def cut(guest: Guest) -> None:
    """Be gone, with nothing but a reset."""
    guest.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    guest.client.socket.close()


# --- being gone at the wrong moment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_clients_that_are_cut_off_amid_a_fanout_cost_the_others_nothing(loop: str) -> None:
    """Half of a channel goes without a word while it is published; the other half gets everything, in order."""
    hub = hub_with_rooms()
    with serving(hub, loop=loop) as house, ExitStack() as stack:
        guests = [stack.enter_context(Guest(house.port)) for _ in range(40)]
        for guest in guests:
            guest.subscribe("room:a")
        for number, leaving in enumerate(guests[::2]):
            cut(leaving)
            house.publish("room:a", number)
        for guest in guests[1::2]:
            assert [guest.publication() for _ in range(20)] == list(range(20))
        house.wait_until(lambda: len(hub.sessions) == 20)


@pytest.mark.parametrize("loop", LOOPS)
def test_nobody_is_sent_what_was_meant_for_one_who_has_gone(loop: str) -> None:
    """Not even who comes so soon after that the system gives the one the descriptor of the other."""
    hub = hub_with_rooms()
    count = itertools.count()

    async def publish() -> None:
        while True:
            await hub.publish("room:a", next(count))
            await asyncio.sleep(0)

    with serving(hub, loop=loop) as house:
        publishing = asyncio.run_coroutine_threadsafe(publish(), house.served.loop)
        for number in range(60):
            leaving = [Guest(house.port) for _ in range(3)]
            for guest in leaving:
                guest.say("subscribe", channel="room:a")
            for guest in leaving[number % 3 :]:
                guest.publication()
            for guest in leaving:
                cut(guest)
            with Guest(house.port) as newcomer:  # which reads all that it is sent, from the first byte on
                assert newcomer.rpc("echo", f"{number}") == f"{number}"
                assert not newcomer.pushes
        publishing.cancel()


@pytest.mark.parametrize("loop", LOOPS)
def test_who_is_gone_when_its_broken_frame_is_read_is_forgotten(loop: str) -> None:
    """The frame waited; then the app closed the line, and the client was gone in the same moment."""
    with detaching(loop=loop) as line, line.client() as client:
        wire = line.recorder.wire
        line.recorder.on_receive = lambda _message: wire.pause_reading()
        client.send(frame(TEXT, b"first") + frame(TEXT, b"broken", reserved=7))
        assert line.recorder.next() == ("received", b"first")

        def close() -> None:
            wire.close(3000, "enough", deadline_seconds=0.2)
            client.reset()

        line.served.call(close)
        assert line.recorder.next() == ("closed", 3000, "enough")


@pytest.mark.parametrize("loop", LOOPS)
def test_who_broke_the_protocol_amid_a_flood_is_read_to_its_end(loop: str) -> None:
    """As anybody who breaks it: else its end is not seen, and its place is kept until the deadline."""
    hub = hub_with_rooms(close_seconds=2)
    with serving(hub, loop=loop) as house, Guest(house.port) as guest:
        guest.client.send(frame(PING) * 1_000 + frame(TEXT, b"broken", reserved=7))
        assert guest.ended()[0] == 1002
        connections: set[Any] = house.served.server.server_state.connections
        (connection,) = house.call(lambda: list(connections))
        assert house.call(connection._transport.is_reading)


# --- making much of little --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fragments", [1, 100])
def test_a_bomb_is_closed_with_1009_and_counted(fragments: int) -> None:
    """Sixteen MiB in as many KiB: hardly more of it is made than a message may have."""
    hub = hub_with_rooms(compression=True)
    bomb = compressed(b'{"id":2,"rpc":{"method":"echo","data":"' + b"x" * (16 << 20) + b'"}}')
    step = len(bomb) // fragments + 1
    pieces = [bomb[start : start + step] for start in range(0, len(bomb), step)]
    with serving(hub) as house, Guest(house.port) as honest:
        with Client(house.port, PATH, COMPRESSING) as client:
            client.send_frame(TEXT, b'{"id":1,"connect":{}}')
            assert b"connect" in client.read_frame().payload
            for number, piece in enumerate(pieces):
                first, last = number == 0, number == len(pieces) - 1
                client.send_frame(TEXT if first else 0, piece, fin=last, reserved=RSV1 if first else 0)
            assert client.read_close() == (1009, "message too big")
        assert honest.rpc("echo", "still here") == "still here"
        assert hub.counters.messages_too_large == 1


# --- in another's name ------------------------------------------------------------------------------------------------


def misbehave(house: House, user: str) -> None:
    """Do something of each kind that is logged with the name of who did it."""
    with Guest(house.port, user=user) as guest:
        for name in ("room:\n", "room:\u2028", "nowhere:\r\nERROR"):
            guest.say("subscribe", channel=name)
        deep = json.loads("[" * 70 + "]" * 70)
        guest.say("rpc", method="echo\nERROR", data=deep)
        for number in range(100, 200):
            guest.client.send_text(json.dumps({"id": number, "presence": {"channel": "room:a"}}))
        assert guest.ended()[0] == 3013
    with Guest(house.port, user=user) as guest:
        guest.client.send_text('{"id":2,"\\nERROR":1,"connect":{"\\nERROR":[\n')
        assert guest.ended()[0] == 3501
    with Guest(house.port, user=user) as guest:
        guest.client.send_frame(TEXT, b"x" * 70_000)
        assert guest.ended()[0] == 1009


def test_a_client_writes_no_lines_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it calls itself and says: what is logged of it is one line, that begins as the server's lines do."""
    caplog.set_level(logging.DEBUG, "openline")
    hub = hub_with_rooms(commands_burst=1, channels=1, commands_per_second=1)
    with serving(hub) as house:
        misbehave(house, "eve\nERROR all is lost\r\n\u2028\x1b[2J")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("openline")]
    assert len(lines) >= 3
    assert all(line.isprintable() for line in lines), lines
