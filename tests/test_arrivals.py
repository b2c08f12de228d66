"""Who is here: presence, and the joins and leaves of those who come and go."""

from __future__ import annotations

from typing import Any

import pytest

from openline import Accept, Hub, Session
from openline.testing import Client, connect
from tests.serving import serving


def hub_with_rooms() -> Hub:
    """Give a hub whose rooms show who is in them; the client's name is its user."""
    hub = Hub()
    hub.channel("room:{name}", presence=True, join_leave=True)
    hub.channel("quiet:{name}", presence=True)

    @hub.on_connect
    def who(name: str, data: list[str] | None = None) -> Accept:
        return Accept(user=name, channels=data or [])

    return hub


async def arrival(client: Client) -> tuple[str, str, str]:
    """Wait for the next join or leave; give its kind, user and session."""
    push = await client.push()
    kind = "join" if "join" in push else "leave"
    info: dict[str, Any] = push[kind]["info"]
    return kind, info["user"], info["client"]


async def counted(client: Client, channel: str) -> tuple[int, int]:
    """Ask for the numbers of clients and users in a channel."""
    stats = await client.command("presence_stats", channel=channel)
    return stats["num_clients"], stats["num_users"]


async def test_three_tabs_of_one_user_are_three_clients_and_one_user() -> None:
    """Each tab is a connection with an id of its own."""
    async with serving(hub_with_rooms()) as app, connect(app, name="bob") as bob:
        async with connect(app, name="ann") as one, connect(app, name="ann") as two, connect(app, name="ann") as three:
            for tab in (one, two, three):
                await tab.subscribe("room:a")

            assert set(await bob.presence("room:a")) == {one.id, two.id, three.id}
            assert await counted(bob, "room:a") == (3, 1)
            await two.unsubscribe("room:a")
            assert await counted(bob, "room:a") == (2, 1)
        await bob.subscribe("room:a")

        assert await counted(bob, "room:a") == (1, 1)


async def test_all_anonymous_clients_count_as_one_user() -> None:
    """The user with the empty id."""
    async with serving(hub_with_rooms()) as app, connect(app) as one, connect(app) as two:
        await one.subscribe("room:a")
        await two.subscribe("room:a")

        assert await counted(one, "room:a") == (2, 1)
        assert (await one.presence("room:a"))[two.id] == {"user": "", "client": two.id}


async def test_presence_shows_a_client_from_its_reply_until_its_reply() -> None:
    """From the answer to subscribe until the answer to unsubscribe, for whoever asks then."""
    async with serving(hub_with_rooms()) as app, connect(app) as bob, connect(app) as ann:
        assert await bob.presence("room:a") == {}
        await ann.subscribe("room:a")
        assert set(await bob.presence("room:a")) == {ann.id}
        await ann.unsubscribe("room:a")
        assert await bob.presence("room:a") == {}


async def test_joins_and_leaves_come_to_those_who_asked_for_them() -> None:
    """The wish is part of the subscription; the others in the channel are left in peace."""
    async with serving(hub_with_rooms()) as app, connect(app) as curious, connect(app) as calm:
        await curious.subscribe("room:a", join_leave=True)
        await calm.subscribe("room:a")
        async with connect(app, name="ann") as ann:
            await ann.subscribe("room:a")
            await ann.unsubscribe("room:a")
            await ann.subscribe("room:a")

            told = [await arrival(curious) for _ in range(5)]
            assert told[:2] == [("join", "", curious.id), ("join", "", calm.id)]
            assert told[2:] == [("join", "ann", ann.id), ("leave", "ann", ann.id), ("join", "ann", ann.id)]
        assert await arrival(curious) == ("leave", "ann", ann.id)
        await calm.unsubscribe("room:a")
        assert calm.waiting() == []


async def test_all_are_told_where_the_channel_forces_it() -> None:
    """Some SDKs have no way to ask."""
    hub = hub_with_rooms()
    hub.channel("hall:{name}", join_leave="forced")
    async with serving(hub) as app, connect(app) as calm, connect(app, name="ann") as ann:
        await calm.subscribe("hall:a")
        await ann.subscribe("hall:a")
        await ann.unsubscribe("hall:a")

        told = [await arrival(calm) for _ in range(3)]
        assert told == [("join", "", calm.id), ("join", "ann", ann.id), ("leave", "ann", ann.id)]


async def test_the_wish_is_not_granted_where_the_channel_does_not_offer_it() -> None:
    """Silently: the subscription is as good without."""
    async with serving(hub_with_rooms()) as app, connect(app) as curious, connect(app) as ann:
        assert await curious.subscribe("quiet:a", join_leave=True) == {}
        await ann.subscribe("quiet:a")
        await ann.unsubscribe("quiet:a")
        await curious.unsubscribe("quiet:a")

        assert curious.waiting() == []


async def test_a_cut_line_leaves_every_channel_it_was_in() -> None:
    """No word of the client's is needed."""
    async with serving(hub_with_rooms()) as app, connect(app) as witness:
        for channel in ("room:a", "room:b"):
            await witness.subscribe(channel, join_leave=True)
            await witness.push()
        async with connect(app, name="ann") as ann:
            await ann.subscribe("room:a")
            await ann.subscribe("room:b")
            assert [(await arrival(witness))[0] for _ in range(2)] == ["join", "join"]
            ann.cut()
            assert [await arrival(witness) for _ in range(2)] == [("leave", "ann", ann.id)] * 2

        assert set(await witness.presence("room:a")) == {witness.id}


async def test_whoever_hears_of_a_leave_does_not_find_the_client_in_presence_any_more() -> None:
    """And whoever hears of a join does."""
    async with serving(hub_with_rooms()) as app, connect(app) as witness:
        await witness.subscribe("room:a", join_leave=True)
        await witness.push()
        async with connect(app) as ann:
            await ann.subscribe("room:a")
            assert (await arrival(witness))[0] == "join"
            assert ann.id in await witness.presence("room:a")
        assert (await arrival(witness))[0] == "leave"
        assert ann.id not in await witness.presence("room:a")


async def test_server_side_subscriptions_are_seen_like_any_and_told_of_others() -> None:
    """They cannot wish: where the channel offers joins and leaves, they get them."""
    async with serving(hub_with_rooms()) as app, connect(app, name="ann", data=["room:a"]) as ann:
        assert await arrival(ann) == ("join", "ann", ann.id)
        async with connect(app, name="bob", data=["room:a"]) as bob:
            assert await arrival(ann) == ("join", "bob", bob.id)
            assert set(await bob.presence("room:a")) == {ann.id, bob.id}
        assert await arrival(ann) == ("leave", "bob", bob.id)


async def test_a_client_the_server_takes_out_leaves_like_any() -> None:
    """Or puts in."""
    hub = hub_with_rooms()
    async with serving(hub) as app, connect(app) as witness, connect(app, name="ann") as ann:
        await witness.subscribe("room:a", join_leave=True)
        await witness.push()
        session: Session = hub.sessions[ann.id]
        await session.subscribe("room:a")
        assert await arrival(witness) == ("join", "ann", ann.id)
        await session.unsubscribe("room:a")
        assert await arrival(witness) == ("leave", "ann", ann.id)


async def test_nobody_joins_who_was_refused() -> None:
    """Neither presence nor the others hear of the try."""
    hub = hub_with_rooms()
    guarded = hub.channel("guarded", presence=True, join_leave=True)

    @guarded.on_subscribe
    def only_bob(session: Session) -> None:
        if session.user != "bob":
            raise PermissionError("a bug, as good as any")

    async with serving(hub) as app, connect(app, name="bob") as bob, connect(app, name="ann") as ann:
        await bob.subscribe("guarded", join_leave=True)
        await bob.push()
        with pytest.raises(Exception, match="100"):
            await ann.subscribe("guarded")

        assert set(await bob.presence("guarded")) == {bob.id}
        assert bob.waiting() == []


async def test_leaving_and_coming_back_in_one_frame_with_a_handler() -> None:
    """The handler of the leave runs later; presence and announcements are in the order of what the client did."""
    hub = Hub()
    room = hub.channel("room:{name}", presence=True, join_leave=True)
    left: list[str] = []

    @room.on_unsubscribe
    async def gone(session: Session) -> None:
        left.append(session.id)

    async with serving(hub) as app, connect(app) as watcher, connect(app) as client:
        await watcher.subscribe("room:a", join_leave=True)
        await client.subscribe("room:a")
        for answer in client.batch({"unsubscribe": {"channel": "room:a"}}, {"subscribe": {"channel": "room:a"}}):
            await client.answer(answer)
        assert client.id in await client.presence("room:a")
        kinds = []
        for _ in range(4):
            push = await watcher.push()
            kinds += [kind for kind in ("join", "leave") if kind in push]
        assert kinds == ["join", "join", "leave", "join"]
        assert left == [client.id]
