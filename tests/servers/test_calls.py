"""Calls and whatever else goes outside channels, on every server, with the Python SDK in both its modes."""

from __future__ import annotations

import asyncio

import centrifuge
import pytest

from tests.servers.people import Crowd


async def test_a_call_gives_what_the_handler_returns(people: Crowd) -> None:
    """The program lists its rooms."""
    alice = await people.connected("alice")

    assert await alice.call("rooms.list") == ["lobby", "attic"]


async def test_a_call_takes_data(people: Crowd) -> None:
    """Data arrives as the client sent it, letters of any alphabet too."""
    alice = await people.connected("alice")
    message = {"text": "żółw 🐢\nnext line", "numbers": [1, 2.5, None, True]}

    assert await alice.call("echo", message) == message


async def test_an_unknown_method_is_not_found(people: Crowd) -> None:
    """Where other methods are declared this one is 104."""
    alice = await people.connected("alice")

    with pytest.raises(centrifuge.ReplyError) as refused:
        await alice.call("rooms.paint")

    assert refused.value.code == 104


async def test_a_fault_of_the_app_tells_nothing_and_the_line_stays(people: Crowd) -> None:
    """An exception is 100, temporary; what it said is not on the wire."""
    alice = await people.connected("alice")

    with pytest.raises(centrifuge.ReplyError) as refused:
        await alice.call("fail")

    assert (refused.value.code, refused.value.temporary) == (100, True)
    assert "nobody" not in refused.value.message
    assert await alice.call("echo", {"still": "here"}) == {"still": "here"}


async def test_calls_are_answered_in_order_however_many_there_are(people: Crowd) -> None:
    """A hundred calls at once are a hundred replies, each to its own."""
    alice = await people.connected("alice")
    calls = [alice.client.rpc("echo", alice.encode({"number": number})) for number in range(100)]

    replies = await asyncio.gather(*calls)

    assert [alice.decode(reply.data)["number"] for reply in replies] == list(range(100))
