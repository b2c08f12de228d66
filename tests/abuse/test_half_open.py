"""Peers that have vanished without a word: nothing on the socket says so, only that a ping is not answered."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from openline import Heartbeat, Hub, Limits
from tests.abuse.guest import NARROW_BYTES, Guest
from tests.abuse.house import serving

NATIVE = "cf_ws_frame_ping_pong=true"


def hub_with_rooms() -> Hub:
    """Give a hub that soon asks who is still there, and tells who has left."""
    hub = Hub(heartbeat=Heartbeat(ping_seconds=1, pong_seconds=0.9), limits=Limits(waiting_commands=8))
    hub.channel("room", presence=True, join_leave=True)
    hub.channel("flood")
    return hub


def gone(witness: Guest, vanished: set[str]) -> bool:
    """Listen until these have left; False where that takes longer than a ping and its answer may.

    Measured in pings of the witness, for whom everything takes as long as for them.
    """
    left: set[str] = set()
    while left != vanished and witness.pings + witness.native_pings < 4:
        witness.hear()
        while witness.pushes:
            push = witness.pushes.popleft()
            if "leave" in push:
                left.add(push["leave"]["info"]["client"])
    return left == vanished


@pytest.mark.parametrize(("wire", "query"), [("fast", ""), ("fast", NATIVE), ("plain", "")])
def test_who_does_not_answer_is_gone_after_one_ping(wire: str, query: str) -> None:
    """From the sessions and from presence, whether much waits for it or nothing, whatever it went on to say.

    The others hear of it. Who answers stays.
    """
    hub = hub_with_rooms()
    with serving(hub, wire=wire) as house, ExitStack() as stack:
        silent, talking = (stack.enter_context(Guest(house.port, query=query, answers_pings=False)) for _ in range(2))
        full = stack.enter_context(Guest(house.port, query=query, receive_bytes=NARROW_BYTES))
        full.subscribe("flood")
        house.fill("flood", 1)
        witness = stack.enter_context(Guest(house.port, query=query))
        witness.subscribe("room", join_leave=True)
        for guest in (silent, talking, full):
            guest.say("subscribe", channel="room")
        for _ in range(5):
            talking.say("presence", channel="room")

        assert gone(witness, {silent.id, talking.id, full.id})
        assert set(witness.command("presence", channel="room")["presence"]) == {witness.id}
        assert house.call(lambda: set(hub.sessions)) == {witness.id}
        assert house.call(lambda: hub.counters.disconnects) == 3
        full.thaw()
        for guest in (silent, talking, full):
            assert guest.ended() == (3012, "no pong")
        for guest in (silent, talking):
            assert (guest.pings, guest.native_pings) == ((0, 1) if query else (1, 0))


def test_who_asks_much_and_then_vanishes_is_gone_too() -> None:
    """Its commands wait for it to read, so it is not read itself; and yet it is not waited for."""
    hub = hub_with_rooms()

    @hub.rpc("echo")
    async def echo(message: str) -> str:
        return message

    with serving(hub) as house, ExitStack() as stack:
        asking = stack.enter_context(Guest(house.port, receive_bytes=NARROW_BYTES))
        witness = stack.enter_context(Guest(house.port))
        witness.subscribe("room", join_leave=True)
        asking.subscribe("room")
        asking.press(json.dumps({"id": 9, "rpc": {"method": "echo", "data": "x" * 60_000}}))
        assert hub.counters.readings_paused == 1
        assert gone(witness, {asking.id})
