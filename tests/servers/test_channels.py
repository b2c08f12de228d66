"""What people do in channels, on every server, with the Python SDK in both its modes."""

from __future__ import annotations

import centrifuge
import pytest

from tests.servers.control import Control
from tests.servers.people import Crowd


async def test_connecting_gives_a_client_id_and_the_servers_version(people: Crowd) -> None:
    """Somebody without a token is let in as the program says, with an id of their own."""
    anyone = people.person()

    connected = await anyone.connect()

    assert len(connected.client) == 36
    assert connected.version


async def test_a_message_reaches_its_author_and_the_others(people: Crowd, name: str) -> None:
    """What one says in a room all hear, the author too, as the program's handler made it."""
    alice, bob = await people.connected("alice"), await people.connected("bob")
    there = [await person.enter(f"room:{name}") for person in (alice, bob)]

    await there[0].say({"author": "somebody else", "text": "hello"})

    assert [await channel.hear() for channel in there] == [{"author": "alice", "text": "hello"}] * 2


async def test_a_publication_tells_who_published_it(people: Crowd, name: str) -> None:
    """A client's publication carries its user and info; the first of a channel has offset 1."""
    alice = await people.connected("alice")
    room = await alice.enter(f"room:{name}")

    await room.say({"author": "alice", "text": "hello"})

    publication = (await room.ear.next("publication")).pub
    assert (publication.offset, publication.info.user) == (1, "alice")
    assert alice.decode(publication.info.conn_info) == {"name": "Alice"}


async def test_a_route_of_the_app_publishes(people: Crowd, control: Control, name: str) -> None:
    """What a route publishes reaches subscribers, and nobody's name is on it but the one in the message."""
    room = await (await people.connected("alice")).enter(f"room:{name}")

    await control.announce(name, author="the house", text="we close at ten")

    publication = (await room.ear.next("publication")).pub
    assert publication.info is None


async def test_tags_travel_with_a_publication(people: Crowd, control: Control, name: str) -> None:
    """What the server tags a publication with, clients see."""
    hall = await (await people.connected("alice")).enter(f"hall:{name}")

    await control.publish(f"hall:{name}", {"open": True}, mood="good")

    assert (await hall.ear.next("publication")).pub.tags == {"mood": "good"}


async def test_a_message_of_the_wrong_type_is_refused_and_the_line_stays(people: Crowd, name: str) -> None:
    """The refusal is 107 and names the field; the same connection goes on."""
    alice = await people.connected("alice")
    room = await alice.enter(f"room:{name}")

    with pytest.raises(centrifuge.ReplyError) as refused:
        await room.say({"author": "alice", "text": 5})
    await room.say({"author": "alice", "text": "five"})

    assert refused.value.code == 107
    assert "text" in refused.value.message
    assert await room.hear() == {"author": "alice", "text": "five"}


async def test_who_may_not_enter_is_refused(people: Crowd, name: str) -> None:
    """The program's handler asks its database: a room somebody owns is closed to the others with 103."""
    alice, bob = await people.connected("alice"), await people.connected("bob")
    owned = f"room:alice-owned-{name}"

    await alice.enter(owned)
    refused = await bob.channel(owned).refused()

    assert refused.code == 103


async def test_a_channel_nobody_declared_is_unknown(people: Crowd, name: str) -> None:
    """No pattern matches: 102."""
    alice = await people.connected("alice")

    assert (await alice.channel(f"cellar:{name}").refused()).code == 102


async def test_publishing_where_the_program_does_not_say_so_is_refused(people: Crowd, name: str) -> None:
    """A channel without on_publish and without publish=True takes nothing from clients; a token does not change it."""
    alice = await people.connected("alice", hasty=True)
    flood = await alice.enter(f"flood:{name}")

    with pytest.raises(centrifuge.ReplyError) as refused:
        await flood.say("anything")

    assert refused.value.code == 103


async def test_three_tabs_are_three_clients_and_one_user(people: Crowd, name: str) -> None:
    """Presence counts connections and users apart, and tells who each connection is."""
    tabs = [await people.connected("alice") for _ in range(3)]
    rooms = [await tab.enter(f"room:{name}") for tab in tabs]

    stats = await rooms[0].subscription.presence_stats()
    members = (await rooms[0].subscription.presence()).clients

    assert (stats.num_clients, stats.num_users) == (3, 1)
    assert {member.user for member in members.values()} == {"alice"}
    assert set(members) == {tab.client.client_id for tab in tabs}


async def test_presence_follows_those_who_leave(people: Crowd, name: str) -> None:
    """Whoever unsubscribes or disconnects is not there any more."""
    alice, bob, carol = [await people.connected(user) for user in ("alice", "bob", "carol")]
    hall = await alice.enter(f"hall:{name}", join_leave=True)
    bobs = await bob.enter(f"hall:{name}")
    await carol.enter(f"hall:{name}")

    await bobs.leave()
    await hall.ear.next("leave")
    await carol.client.disconnect()
    await hall.ear.next("leave")

    assert [who.user for who in (await hall.subscription.presence()).clients.values()] == ["alice"]


async def test_joins_and_leaves_are_told_to_those_who_ask(people: Crowd, name: str) -> None:
    """One hears of the other's coming and going, with their info."""
    alice, bob = await people.connected("alice"), await people.connected("bob")
    hall = await alice.enter(f"hall:{name}", join_leave=True)
    own = await hall.ear.next("join")
    await (await bob.enter(f"hall:{name}")).leave()

    came, went = await hall.ear.next("join"), await hall.ear.next("leave")

    assert [own.info.user, came.info.user, went.info.user] == ["alice", "bob", "bob"]
    assert came.info.client == bob.client.client_id
    assert bob.decode(came.info.conn_info) == {"name": "Bob"}


async def test_history_is_read_in_pages(people: Crowd, control: Control, name: str) -> None:
    """From the start, on from a page's last, and backwards; without a limit only where the stream stands."""
    room = await (await people.connected("alice")).enter(f"room:{name}")
    for number in range(1, 6):
        await control.announce(name, author="the house", text=str(number))
    history = room.subscription.history

    top = await history()
    first = await history(limit=2, since=centrifuge.StreamPosition(0, top.epoch))
    second = await history(limit=2, since=centrifuge.StreamPosition(first.publications[-1].offset, top.epoch))
    newest = await history(limit=2, reverse=True)
    older = await history(limit=10, reverse=True, since=centrifuge.StreamPosition(4, top.epoch))
    everything = await history(limit=-1)

    pages = (top, first, second, newest, older, everything)
    assert [[publication.offset for publication in page.publications] for page in pages] == [
        [],
        [1, 2],
        [3, 4],
        [5, 4],
        [3, 2, 1],
        [1, 2, 3, 4, 5],
    ]
    assert {(page.offset, page.epoch) for page in pages} == {(5, top.epoch)}


async def test_history_of_a_stream_that_is_gone_is_refused(people: Crowd, control: Control, name: str) -> None:
    """A page after a position in another epoch is 112."""
    room = await (await people.connected("alice")).enter(f"room:{name}")
    await control.announce(name, author="the house", text="hello")

    with pytest.raises(centrifuge.ReplyError) as refused:
        await room.subscription.history(limit=1, since=centrifuge.StreamPosition(1, "another"))

    assert refused.value.code == 112


async def test_what_a_channel_does_not_offer_is_not_available(people: Crowd, name: str) -> None:
    """History of a channel that keeps none, and presence of one that has none: 108."""
    alice = await people.connected("alice")
    hall, brief = await alice.enter(f"hall:{name}"), await alice.enter(f"brief:{name}")

    with pytest.raises(centrifuge.ReplyError) as no_history:
        await hall.subscription.history(limit=1)
    with pytest.raises(centrifuge.ReplyError) as no_presence:
        await brief.subscription.presence()

    assert (no_history.value.code, no_presence.value.code) == (108, 108)


async def test_after_unsubscribing_nothing_comes_any_more(people: Crowd, control: Control, name: str) -> None:
    """What is published after the reply stays away; a call behind it proves that it would have come by then."""
    alice = await people.connected("alice")
    room = await alice.enter(f"room:{name}")

    await room.leave()
    await control.announce(name, author="the house", text="is anybody here?")
    await alice.call("echo", {})

    assert room.ear.heard("publication") == []
