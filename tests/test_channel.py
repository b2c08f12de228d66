"""A declared channel in the app's hands: publishing by its parts, reading its history, seeing who is in it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from openline import (
    Accept,
    Channel,
    ClientInfo,
    DeclarationError,
    History,
    Hub,
    HubNotStarted,
    NotAvailable,
    Position,
    PresenceStats,
    UsageError,
)
from openline.testing import VirtualClock, connect
from tests.serving import serving


class Said(BaseModel):
    """A message of the tests."""

    text: str


def rooms() -> tuple[Hub, Channel[Said]]:
    """Give a hub and its rooms; a client's name is its user."""
    hub = Hub(clock=VirtualClock())

    @hub.on_connect
    def who(name: str) -> Accept:
        return Accept(user=name, info={"name": name})

    return hub, hub.channel("room:{name}", Said, history=History(), presence=True, publish=True)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_is_made_of_its_parts() -> None:
    """Anything that is text once written."""
    seat = Hub().channel("hall:{hall}:seat:{number}")

    assert seat.name(hall="north", number=7) == "hall:north:seat:7"
    assert seat.pattern == "hall:{hall}:seat:{number}"
    assert repr(seat) == "<Channel 'hall:{hall}:seat:{number}'>"


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({}, id="none"),
        pytest.param({"hall": "north"}, id="too few"),
        pytest.param({"hall": "north", "number": 7, "row": 1}, id="too many"),
        pytest.param({"hall": "north", "number": ""}, id="an empty one"),
        pytest.param({"hall": "north:east", "number": 7}, id="one with a separator"),
        pytest.param({"hall": "north east", "number": 7}, id="one with a space"),
        pytest.param({"hall": "nörth", "number": 7}, id="one that is not ASCII"),
    ],
)
async def test_parts_that_make_no_name_are_refused(parts: dict[str, Any]) -> None:
    """A part that a user chose cannot lead into another channel."""
    hub = Hub()
    seat = hub.channel("hall:{hall}:seat:{number}", history=History(), presence=True)
    async with hub.running():
        for use in (
            seat.publish(1, **parts),
            seat.history(**parts),
            seat.presence(**parts),
            seat.presence_stats(**parts),
        ):
            with pytest.raises(DeclarationError, match="hall"):
                await use
    with pytest.raises(DeclarationError):
        seat.name(**parts)


# --- publishing -------------------------------------------------------------------------------------------------------


async def test_a_message_goes_to_the_channel_of_the_parts_alone() -> None:
    """Typed; an error names the type, and nothing was sent."""
    hub, room = rooms()
    async with serving(hub) as app, connect(app) as here, connect(app) as there:
        await here.subscribe("room:here")
        await there.subscribe("room:there")
        assert (await room.publish(Said(text="hi"), name="here", tags={"a": "b"})).offset == 1
        with pytest.raises(UsageError, match="str cannot be sent as a message of type Said"):
            await room.publish("hi", name="here")  # type: ignore[arg-type]  # what a user may do all the same

        publication = await here.publication()
        assert (publication["data"], publication["tags"]) == ({"text": "hi"}, {"a": "b"})
        await there.unsubscribe("room:there")
        assert there.waiting() == []


async def test_no_handler_is_asked_when_the_app_publishes() -> None:
    """`on_publish` is for clients."""
    hub = Hub()
    news = hub.channel("news")
    asked: list[Any] = []

    @news.on_publish
    def ask(message: Any) -> None:
        asked.append(message)

    async with hub.running():
        await news.publish({"x": 1})
    assert asked == []


async def test_publishing_knows_key_and_version() -> None:
    """As `Hub.publish` does."""
    hub, room = rooms()
    async with hub.running():
        message = Said(text="hi")
        first = await room.publish(message, name="a", idempotency_key="k")
        assert await room.publish(message, name="a", idempotency_key="k") == first
        assert (await room.publish(message, name="a", version=2)).offset == 2
        assert (await room.publish(message, name="a", version=1)).offset == 2
        assert (await room.publish(message, name="a", version=1, version_epoch="new")).offset == 3


async def test_what_is_not_to_be_kept_reaches_those_who_are_there() -> None:
    """In the place it was published at; it has no position, and who comes back does not get it."""
    hub, room = rooms()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await room.publish(Said(text="one"), name="a")
        assert await room.publish(Said(text="typing"), name="a", skip_history=True) == Position.NONE
        assert (await hub.publish("room:a", Said(text="typing"), skip_history=True)) == Position.NONE
        assert (await room.publish(Said(text="two"), name="a")).offset == 2
        heard = [(await client.publication("room:a"))["data"]["text"] for _ in range(4)]
        assert heard == ["one", "typing", "typing", "two"]
        assert [kept.message.text for kept in (await room.history(name="a")).publications] == ["one", "two"]


# --- history ----------------------------------------------------------------------------------------------------------


async def test_history_gives_messages_of_the_declared_type_with_all_that_is_known_of_them() -> None:
    """Oldest first; who published, when, where it stands, with which tags."""
    clock = VirtualClock(unix_seconds=1_000)
    hub = Hub(clock=clock)
    room = hub.channel("room:{name}", Said, history=History(), publish=True)
    async with serving(hub) as app, connect(app) as client:
        await room.publish(Said(text="one"), name="a", tags={"n": "1"})
        await clock.advance(5)
        await client.publish("room:a", {"text": "two"})
        page = await room.history(name="a")

        assert [kept.message for kept in page.publications] == [Said(text="one"), Said(text="two")]
        assert page.top == page.publications[-1].position == Position(page.top.epoch, 2)
        assert [kept.info for kept in page.publications] == [None, ClientInfo("", client.id)]
        assert [kept.tags for kept in page.publications] == [{"n": "1"}, {}]
        assert [kept.time for kept in page.publications] == [1_000, 1_005]


async def test_history_is_read_in_pages() -> None:
    """From a position, backwards, so many; without any, only where the stream stands."""
    hub, room = rooms()
    async with hub.running():
        for number in range(1, 6):
            await room.publish(Said(text=str(number)), name="a")

        async def texts(**options: Any) -> str:
            return "".join(kept.message.text for kept in (await room.history(name="a", **options)).publications)

        epoch = (await room.history(name="a", limit=0)).top.epoch
        assert await texts() == "12345"
        assert await texts(limit=0) == ""
        assert await texts(limit=2) == "12"
        assert await texts(limit=2, reverse=True) == "54"
        assert await texts(since=Position(epoch, 3)) == "45"
        assert await texts(since=Position(epoch, 3), reverse=True) == "21"


async def test_what_was_not_declared_is_not_available() -> None:
    """Neither history nor presence, and the error says so."""
    hub = Hub()
    plain = hub.channel("plain")
    async with hub.running():
        with pytest.raises(NotAvailable, match="without history"):
            await plain.history()
        with pytest.raises(NotAvailable, match="without presence"):
            await plain.presence()
        with pytest.raises(NotAvailable, match="without presence"):
            await plain.presence_stats()


async def test_a_hub_that_does_not_run_has_nothing_to_read() -> None:
    """Loudly, and not as if the channel were empty."""
    _, room = rooms()
    for look in (room.history(name="a"), room.presence(name="a"), room.presence_stats(name="a")):
        with pytest.raises(HubNotStarted, match="lifespan"):
            await look


# --- presence ---------------------------------------------------------------------------------------------------------


async def test_presence_tells_who_is_in_a_channel() -> None:
    """By session id, with what others see of them."""
    hub, room = rooms()
    async with serving(hub) as app, connect(app, name="ann") as ann, connect(app, name="ann") as tab:
        async with connect(app, name="bob") as bob:
            for client in (ann, tab, bob):
                await client.subscribe("room:a")

            assert await room.presence(name="a") == {
                ann.id: ClientInfo("ann", ann.id, b'{"name":"ann"}'),
                tab.id: ClientInfo("ann", tab.id, b'{"name":"ann"}'),
                bob.id: ClientInfo("bob", bob.id, b'{"name":"bob"}'),
            }
            assert await room.presence_stats(name="a") == PresenceStats(clients=3, users=2)
        assert await room.presence_stats(name="a") == PresenceStats(clients=2, users=1)
        assert await room.presence(name="elsewhere") == {}


# --- handlers ---------------------------------------------------------------------------------------------------------


def test_there_is_one_handler_of_each_event() -> None:
    """A second one would silently win or lose; handlers of other channels are their own."""
    hub = Hub()
    one, two = hub.channel("one"), hub.channel("two")

    def handle() -> None:
        """Handle anything."""

    for channel in (one, two):
        for declare in (channel.on_subscribe, channel.on_publish, channel.on_unsubscribe):
            assert declare(handle) is handle
            with pytest.raises(DeclarationError, match="already"):
                declare(handle)


@pytest.mark.parametrize("event", ["on_subscribe", "on_publish", "on_unsubscribe"])
def test_a_handler_that_asks_for_what_is_not_there_is_refused_at_once(event: str) -> None:
    """A misspelt part would be read from the query string otherwise."""
    channel = Hub().channel("room:{name}")

    def misspelt(nmae: str) -> None:
        """Ask for a part that is none."""

    with pytest.raises(DeclarationError, match="nmae"):
        getattr(channel, event)(misspelt)
