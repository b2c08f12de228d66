"""How the server ends a line or a subscription, and what the client does; with the Python SDK in both its modes."""

from __future__ import annotations

import pytest

from tests.servers.control import Control
from tests.servers.people import Crowd


@pytest.mark.parametrize(
    ("code", "reason"), [(3503, "force disconnect"), (3507, "permission denied"), (4501, "banned")]
)
async def test_some_ends_are_for_good(people: Crowd, control: Control, name: str, code: int, reason: str) -> None:
    """The client is told code and reason and stays away."""
    alice = await people.connected(name)

    await control.disconnect(name, code, reason)
    ended = await alice.ear.next("disconnected")

    assert (ended.code, ended.reason) == (code, reason)


@pytest.mark.parametrize(
    ("code", "reason"), [(3011, "force reconnect"), (3004, "internal server error"), (4001, "moved")]
)
async def test_after_other_ends_the_client_comes_back(
    people: Crowd, control: Control, name: str, code: int, reason: str
) -> None:
    """The client is told code and reason, comes back as a new client and recovers."""
    alice = await people.connected(name)
    room = await alice.enter(f"room:{name}")
    before = alice.client.client_id

    await control.disconnect(name, code, reason)
    ended, back = await alice.ear.next("connecting"), await alice.ear.next("connected")
    subscribed = await room.ear.next("subscribed")

    assert (ended.code, ended.reason) == (code, reason)
    assert back.client != before
    assert subscribed.recovered


async def test_every_line_of_a_user_is_ended_and_nobody_elses(people: Crowd, control: Control, name: str) -> None:
    """Three tabs go, a stranger stays."""
    tabs = [await people.connected(name) for _ in range(3)]
    stranger = await people.connected("stranger")

    await control.disconnect(name, 3503, "force disconnect")
    ended = [await tab.ear.next("disconnected") for tab in tabs]

    assert [end.code for end in ended] == [3503] * 3
    assert await stranger.call("echo", {"I am": "here"}) == {"I am": "here"}


async def test_a_state_that_is_no_longer_valid_sends_the_client_for_a_new_one(
    people: Crowd, control: Control, name: str
) -> None:
    """3014: the client drops its positions, comes back and is told it was not recovered."""
    alice = await people.connected(name)
    room = await alice.enter(f"room:{name}")

    await control.disconnect(name, 3014, "state invalidated")
    subscribed = await room.ear.next("subscribed")

    assert (subscribed.was_recovering, subscribed.recovered) == (True, False)


async def test_an_unsubscribe_by_the_server_is_for_good(people: Crowd, control: Control, name: str) -> None:
    """2000: the client leaves the channel and stays connected."""
    alice = await people.connected(name)
    room = await alice.enter(f"room:{name}")

    await control.unsubscribe(name, f"room:{name}", 2000, "server unsubscribe")
    ended = await room.ear.next("unsubscribed")

    assert (ended.code, ended.reason) == (2000, "server unsubscribe")
    assert await alice.call("echo", {"I am": "here"}) == {"I am": "here"}


async def test_from_2500_on_the_client_subscribes_again(people: Crowd, control: Control, name: str) -> None:
    """2500: the client resubscribes from where it was and misses nothing."""
    room = await (await people.connected(name)).enter(f"room:{name}")
    await control.announce(name, author="the house", text="1")

    await control.unsubscribe(name, f"room:{name}", 2500, "insufficient state")
    again = await room.ear.next("subscribing")
    subscribed = await room.ear.next("subscribed")
    await control.announce(name, author="the house", text="2")

    assert again.code == 2500
    assert (subscribed.was_recovering, subscribed.recovered) == (True, True)
    assert (await room.hear())["text"] == "2"


async def test_the_server_puts_a_user_into_a_channel_and_takes_them_out(
    people: Crowd, control: Control, name: str
) -> None:
    """The client hears of a subscription it did not ask for, of what is published there, and of its end."""
    alice = await people.connected(name)

    await control.subscribe(name, f"inbox:{name}")
    subscribed = await alice.ear.next("subscribed")
    await control.publish(f"inbox:{name}", "hello")
    heard = await alice.ear.next("publication")
    await control.unsubscribe(name, f"inbox:{name}", 2000, "server unsubscribe")
    ended = await alice.ear.next("unsubscribed")

    assert [event.channel for event in (subscribed, heard, ended)] == [f"inbox:{name}"] * 3
    assert alice.decode(heard.pub.data) == "hello"
