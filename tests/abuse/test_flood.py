"""Clients that ask too much, in each way there is, while another goes on asking a little and is answered each time."""

from __future__ import annotations

import itertools
import json
import math
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openline import History, Hub, Limits
from openline.uvicorn_http import PromptRequests
from tests.abuse.guest import NARROW_BYTES, PATH, Ended, Guest
from tests.abuse.house import WIRES, House, serving
from tests.wires.client import CONTINUATION, PING, PONG, TEXT, Client, frame, request

#: How often a flood comes over the server, and the least that the other client is answered meanwhile.
PASSES = 3
ROUND_TRIPS = 20


def hub_with(**limits: Any) -> Hub:
    """Give a hub that calls everybody as they call themselves, with rooms, and something that answers."""
    hub = Hub(limits=Limits(**{"commands_per_second": math.inf, **limits}))
    hub.channel("room:{name}", history=History(size=20), presence=True, join_leave=True, publish=True)

    @hub.on_connect
    def who(token: str) -> str:
        return token

    @hub.rpc("echo")
    async def echo(message: Any) -> Any:
        return message

    return hub


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    """Name a wire."""
    name: str = request.param
    return name


def besiege(house: House, attack: Callable[[], object]) -> None:
    """Run an attack over and over, in a thread of its own, and see that others are served all the while.

    One client asks, publishes and hears, and for each time another comes in. When the attack has come over the server
    often enough, the first is still there.
    """
    stopped, done, failures = threading.Event(), threading.Event(), list[BaseException]()

    def go_on() -> None:
        try:
            for number in itertools.count(1):
                attack()
                if number == PASSES:
                    done.set()
                if stopped.is_set():
                    return
        except BaseException as error:  # noqa: BLE001  # raised again, in the thread of the test
            failures.append(error)
            done.set()

    with Guest(house.port, user="ada") as honest:
        honest.subscribe("room:honest")
        flood = threading.Thread(target=go_on, name="flood")
        flood.start()
        try:
            for trips in itertools.count(1):
                assert honest.rpc("echo", trips) == trips
                honest.command("publish", channel="room:honest", data=trips)
                assert honest.publication() == trips
                with Guest(house.port) as newcomer:
                    assert newcomer.rpc("echo", trips) == trips
                # At first it asks as fast as it is answered, then as long as the flood goes on.
                if trips >= ROUND_TRIPS and done.wait(0.02):
                    break
        finally:
            stopped.set()
            flood.join()
        for failure in failures:
            raise failure
        assert honest.rpc("echo", "after") == "after"


# --- on a line --------------------------------------------------------------------------------------------------------


def test_who_asks_too_fast_is_refused_and_then_closed() -> None:
    """First with 111, each by its id, then with 3013, and no command behind that is looked at."""
    hub = hub_with(commands_per_second=200, commands_burst=200)
    ends: list[tuple[int, str]] = []

    def attack() -> None:
        with Guest(house.port, user="eve") as eve:
            command = '{"id":%d,"presence_stats":{"channel":"room:a"}}'
            for start in range(2, 8_002, 1_000):
                lines = "\n".join(command % number for number in range(start, start + 1_000))
                eve.client.send_frame(TEXT, lines.encode())
            ends.append(eve.ended())
            assert set(eve.unclaimed().values()) == {0, 111}

    with serving(hub) as house:
        besiege(house, attack)
    assert set(ends) == {(3013, "too many requests")}
    assert hub.counters.floods == len(ends)


def test_pings_are_answered_and_no_more() -> None:
    """A thousand at a time; the line they come on is as good as any."""

    def attack() -> None:
        with Guest(house.port, user="eve") as eve:
            eve.client.send(b"".join(frame(PING, b"%d" % number) for number in range(1_000)) + frame(PONG) * 1_000)
            last = None
            while last != b"999":
                received = eve.client.read_frame()
                assert received.opcode == PONG
                last = received.payload
            assert eve.rpc("echo", "still here") == "still here"

    with serving(hub_with()) as house:
        besiege(house, attack)


def test_a_message_may_come_in_a_thousand_fragments_and_thousands_of_nothing() -> None:
    """It is one message, and answered as one."""
    command = b'{"id":9,"rpc":{"method":"echo","data":"' + b"x" * 1_000 + b'"}}'
    pieces = [frame(TEXT, fin=False)]
    for byte in command:
        pieces += [frame(CONTINUATION, bytes((byte,)), fin=False), frame(CONTINUATION, fin=False)]
    message = b"".join([*pieces, frame(CONTINUATION)])

    def attack() -> None:
        with Guest(house.port, user="eve") as eve:
            eve.client.send(message)
            assert b'"id":9' in eve.client.read_frame().payload

    with serving(hub_with()) as house:
        besiege(house, attack)


def test_names_that_are_made_up_leave_nothing() -> None:
    """In and out of rooms nobody ever heard of, and of some that cannot be, as fast as it goes."""
    hub = hub_with()
    count = itertools.count()

    def attack() -> None:
        with Guest(house.port, user="eve") as eve:
            for _ in range(10):
                commands = []
                for number in range(10, 50):
                    name = f"room:{next(count)}" if number % 5 else "nowhere:" + "x" * number * 10
                    commands += [{"id": number, verb: {"channel": name}} for verb in ("subscribe", "unsubscribe")]
                eve.client.send_frame(TEXT, "\n".join(map(json.dumps, commands)).encode())
                while 49 not in eve.unclaimed():
                    eve.hear()
            assert eve.rpc("echo") is None

    with serving(hub) as house:
        besiege(house, attack)
        house.wait_until(lambda: len(hub.sessions) == 0)
        assert house.call(lambda: len(hub._node._topics)) == 0


def test_who_asks_and_does_not_read_is_read_no_more(wire: str) -> None:
    """Its answers wait for it up to a bound, its commands with it, and then it has to wait for itself."""
    hub = hub_with(outbox_bytes=262_144, waiting_commands=8)
    most = [0]

    def attack() -> None:
        with Guest(house.port, user="eve", receive_bytes=NARROW_BYTES) as eve:
            command = json.dumps({"id": 9, "rpc": {"method": "echo", "data": "x" * 1_000}})
            eve.press("\n".join([command] * 40))
            most[0] = max(most[0], house.call(hub.sessions[eve.id].outbox.waiting_bytes))

    with serving(hub, wire=wire) as house:
        besiege(house, attack)
    assert hub.counters.readings_paused
    assert 0 < most[0] < 2 * 262_144


def test_who_publishes_for_itself_and_does_not_read_is_closed(wire: str) -> None:
    """In a room of its own: what it makes the server send comes to an end with its outbox."""
    hub = hub_with(outbox_bytes=262_144, close_seconds=0.2)
    ends: list[int] = []

    def attack() -> None:
        with Guest(house.port, user="eve", receive_bytes=NARROW_BYTES) as eve:
            eve.subscribe("room:eve")
            before = hub.counters.slow_clients
            text = json.dumps({"id": 9, "publish": {"channel": "room:eve", "data": "x" * 60_000}}).encode()
            with suppress(OSError):
                while hub.counters.slow_clients == before:
                    eve.client.send_frame(TEXT, text)
            house.wait_until(lambda: hub.counters.slow_clients > before)
            ends.append(3008)

    with serving(hub, wire=wire) as house:
        besiege(house, attack)
    assert hub.counters.slow_clients == len(ends)


# --- before there is a line -------------------------------------------------------------------------------------------


class HastyRequests(PromptRequests, HttpToolsProtocol):  # type: ignore[misc]  # uvicorn has no types for its parts
    """One that waits for a request no longer than a test does."""

    request_seconds = 0.3


def test_handshakes_that_do_not_go_on_are_given_up() -> None:
    """Connections without a byte, with half a request, and lines without a connect (3502), a hundred of each."""
    hub = hub_with(connect_seconds=0.3)
    halves = (b"", request(PATH)[:40], request(PATH)[:-2])

    def attack() -> None:
        with ExitStack() as stack:
            opened = [stack.enter_context(socket.create_connection(("127.0.0.1", house.port), 10)) for _ in range(100)]
            for number, connection in enumerate(opened):
                connection.sendall(halves[number % len(halves)])
            lines = [stack.enter_context(Guest(house.port, connect=False)) for _ in range(100)]
            for connection in opened:
                assert connection.recv(1) == b""
            for line in lines:
                assert line.ended() == (3502, "stale")

    with serving(hub, http=HastyRequests) as house:
        besiege(house, attack)
    assert hub.counters.stale_clients >= PASSES * 100


def test_however_many_lines_one_user_opens_at_once_only_so_many_are_let_in() -> None:
    """The others are told 3504. Other users come and go."""
    hub = hub_with(connections_per_user=3)

    def attack() -> None:
        with ExitStack() as stack:
            lines = [stack.enter_context(Guest(house.port, connect=False)) for _ in range(20)]
            for line in lines:
                line.say("connect", token="eve")
            house.wait_until(lambda: len(hub.user("eve").sessions) == 3)
            ends = []
            for line in lines:
                try:
                    while not line.unclaimed():
                        line.hear()
                except Ended as end:
                    ends.append((end.code, end.reason))
            assert ends == [(3504, "connection limit")] * 17
        house.wait_until(lambda: len(hub.user("eve").sessions) == 0)

    with serving(hub) as house:
        besiege(house, attack)


@pytest.mark.parametrize("way", ["reset", "close"])
def test_clients_that_leave_at_every_stage_leave_nothing(wire: str, way: str) -> None:
    """Before the handshake, in it, before the connect, in it, in a subscribe, and once they are in."""
    connect, subscribe = b'{"id":1,"connect":{"token":"eve"}}', b'{"id":2,"subscribe":{"channel":"room:a"}}'

    def leave(connection: socket.socket) -> None:
        if way == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def attack() -> None:
        for data in (b"", request(PATH)[:60], request(PATH)):
            connection = socket.create_connection(("127.0.0.1", house.port))
            connection.sendall(data)
            leave(connection)
        for texts in ([], [connect[:20]], [connect], [connect, subscribe]):
            for reads in (False, True):
                client = Client(house.port, PATH)
                for text in texts:
                    client.send_frame(TEXT, text)
                    if reads:
                        client.read_frame()
                leave(client.socket)

    with serving(hub_with(), wire=wire) as house:
        besiege(house, attack)
