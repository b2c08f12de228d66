"""Coming back after the line broke, on every server, with the Python SDK in both its modes."""

from __future__ import annotations

import asyncio

import centrifuge

from tests.cut import Cutter, cutter
from tests.servers.control import Control
from tests.servers.people import Crowd, Person
from tests.servers.server import Server


async def cut_off(proxy: Cutter, person: Person) -> None:
    """Break somebody's line and see that they know and cannot come back yet."""
    proxy.cut()
    await person.ear.next("connecting")
    await proxy.refused.wait()


async def test_all_that_was_missed_comes_in_order_and_once(
    people: Crowd, server: Server, control: Control, name: str
) -> None:
    """Five publications while away: all five, then what follows, and the client is told it was recovered."""
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        room = await alice.enter(f"room:{name}")
        await control.announce(name, author="the house", text="0")
        before = await room.ear.next("publication")

        await cut_off(proxy, alice)
        for number in range(1, 6):
            await control.announce(name, author="the house", text=str(number))
        proxy.mend()
        subscribed = await room.ear.next("subscribed")
        await control.announce(name, author="the house", text="6")
        after = [await room.ear.next("publication") for _ in range(6)]

    assert (subscribed.was_recovering, subscribed.recovered) == (True, True)
    assert [alice.decode(heard.pub.data)["text"] for heard in after] == ["1", "2", "3", "4", "5", "6"]
    assert [heard.pub.offset for heard in (before, *after)] == [1, 2, 3, 4, 5, 6, 7]


async def test_nothing_missed_is_recovered_too(people: Crowd, server: Server, name: str) -> None:
    """Who comes back to a channel where nothing happened is where they were."""
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        room = await alice.enter(f"room:{name}")

        await cut_off(proxy, alice)
        proxy.mend()
        subscribed = await room.ear.next("subscribed")
        await room.say({"author": "alice", "text": "I am back"})

        assert (subscribed.was_recovering, subscribed.recovered) == (True, True)
        assert (await room.hear())["text"] == "I am back"


async def test_more_than_history_keeps_is_told_as_lost(
    people: Crowd, server: Server, control: Control, name: str
) -> None:
    """Four publications where three are kept: none of them comes, the client is told, and goes on from now."""
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        brief = await alice.enter(f"brief:{name}")
        await control.publish(f"brief:{name}", 0)
        await brief.hear()

        await cut_off(proxy, alice)
        for number in range(1, 5):
            await control.publish(f"brief:{name}", number)
        proxy.mend()
        subscribed = await brief.ear.next("subscribed")
        await control.publish(f"brief:{name}", 5)

        assert (subscribed.was_recovering, subscribed.recovered) == (True, False)
        assert subscribed.stream_position.offset == 5
        assert await brief.hear() == 5


async def test_what_just_fits_into_history_is_recovered(
    people: Crowd, server: Server, control: Control, name: str
) -> None:
    """Three publications where three are kept: all three come."""
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        brief = await alice.enter(f"brief:{name}")

        await cut_off(proxy, alice)
        for number in range(1, 4):
            await control.publish(f"brief:{name}", number)
        proxy.mend()
        subscribed = await brief.ear.next("subscribed")

        assert subscribed.recovered
        assert await brief.hear_each(3) == [1, 2, 3]


async def test_every_channel_of_a_client_recovers(people: Crowd, server: Server, control: Control, name: str) -> None:
    """Ten channels come back over one new connection, each with its own message."""
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        rooms = [await alice.enter(f"room:{name}-{number}") for number in range(10)]

        await cut_off(proxy, alice)
        for number in range(10):
            await control.announce(f"{name}-{number}", author="the house", text=str(number))
        proxy.mend()

        assert [(await room.hear())["text"] for room in rooms] == [str(number) for number in range(10)]


async def test_cuts_in_the_middle_of_traffic_lose_nothing(
    people: Crowd, server: Server, control: Control, name: str
) -> None:
    """Sixty publications without a pause while the line breaks five times: all sixty, in order, once."""

    async def talk() -> None:
        for number in range(60):
            await control.announce(name, author="the house", text=str(number))

    async with cutter(server.port) as proxy, asyncio.TaskGroup() as tasks:
        alice = await people.connected("alice", port=proxy.port)
        room = await alice.enter(f"room:{name}")
        tasks.create_task(talk())

        heard = []
        for number in range(60):
            heard.append((await room.hear())["text"])
            if number % 10 == 5 and number < 50:
                proxy.cut()
                proxy.mend()

    assert heard == [str(number) for number in range(60)]


async def test_a_subscription_the_server_made_recovers(
    people: Crowd, server: Server, control: Control, name: str
) -> None:
    """The personal channel in a token comes back with what was missed, without a subscribe of the client's."""
    inbox = f"inbox:{name}"
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", channels=(inbox,), port=proxy.port)
        first = await alice.ear.next("subscribed")
        await control.publish(inbox, 0)
        await alice.ear.next("publication")

        await cut_off(proxy, alice)
        for number in range(1, 6):
            await control.publish(inbox, number)
        proxy.mend()
        subscribed = await alice.ear.next("subscribed")
        heard = [await alice.ear.next("publication") for _ in range(5)]

    assert (first.channel, first.recoverable, first.was_recovering) == (inbox, True, False)
    assert (subscribed.was_recovering, subscribed.recovered) == (True, True)
    assert [alice.decode(publication.pub.data) for publication in heard] == [1, 2, 3, 4, 5]


async def test_an_app_may_start_from_a_position_it_knows(people: Crowd, control: Control, name: str) -> None:
    """A first subscribe from a stored position is a recovery."""
    channel = f"brief:{name}"
    position = await control.publish(channel, "known")
    await control.publish(channel, "new")

    async def stored(_: str) -> centrifuge.StreamPosition:
        return centrifuge.StreamPosition(position["offset"], position["epoch"])

    brief = await (await people.connected("alice")).enter(channel, get_state=stored)

    assert await brief.hear() == "new"


async def test_an_app_that_knows_a_position_too_old_is_asked_to_load_its_state_again(
    people: Crowd, control: Control, name: str
) -> None:
    """A client that would rather be refused than not recovered is: 112, and the SDK asks the app anew."""
    channel = f"brief:{name}"
    positions = [await control.publish(channel, number) for number in range(5)]
    asked: list[str] = []

    async def stored(asked_for: str) -> centrifuge.StreamPosition:
        asked.append(asked_for)
        position = positions[0 if len(asked) == 1 else -1]
        return centrifuge.StreamPosition(position["offset"], position["epoch"])

    brief = await (await people.connected("alice")).enter(channel, get_state=stored)
    await control.publish(channel, "new")

    assert await brief.hear() == "new"
    assert asked == [channel, channel]
