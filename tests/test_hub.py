"""The hub: what it declares, when it runs, and publishing from anywhere in the app."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pydantic import BaseModel

from openline import (
    Accept,
    DeclarationError,
    Heartbeat,
    History,
    Hub,
    HubNotStarted,
    Limits,
    NodeInfo,
    PayloadTooBig,
    Position,
    Survey,
    UnknownChannel,
    UsageError,
)
from openline.testing import VirtualClock, connect
from tests.serving import serving


class Said(BaseModel):
    """A message of the tests."""

    author: str
    text: str


def hub_with_channels(clock: VirtualClock | None = None) -> Hub:
    """Give a hub with a channel of each kind."""
    hub = Hub(clock=clock)
    hub.channel("plain")
    hub.channel("news", history=History())
    hub.channel("room:{name}", Said, history=History())
    hub.channel("raw", bytes)
    return hub


# --- declarations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broker", ["", "kafka://localhost", "memory", "memory://elsewhere"])
def test_a_broker_that_is_not_known_is_refused_at_once(broker: str) -> None:
    """Not at the first publication."""
    with pytest.raises(DeclarationError, match="broker"):
        Hub(broker)


@pytest.mark.parametrize("pattern", ["", "a b", "room:{", "room:{name}{other}", "room:{name:number}", "räume"])
def test_a_pattern_that_cannot_be_is_refused_at_once(pattern: str) -> None:
    """Naming the pattern."""
    with pytest.raises(DeclarationError, match="channel pattern"):
        Hub().channel(pattern)


@pytest.mark.parametrize("name", ["message", "tags", "version", "since", "limit", "idempotency_key"])
def test_a_placeholder_cannot_have_the_name_of_an_argument(name: str) -> None:
    """`publish(message, name=…)` takes the parts of the name beside its own arguments."""
    with pytest.raises(DeclarationError, match=name):
        Hub().channel(f"room:{{{name}}}")


def test_a_message_type_that_pydantic_does_not_know_is_refused_at_once() -> None:
    """Not when the first message comes."""

    class Odd:
        """No type for messages."""

    with pytest.raises(DeclarationError, match="Odd"):
        Hub().channel("odd", Odd)


def test_it_says_what_it_is() -> None:
    """In a debugger."""
    assert repr(Hub()) == "<Hub not running, 0 sessions>"


# --- running ----------------------------------------------------------------------------------------------------------


async def test_before_it_runs_nothing_can_be_published() -> None:
    """Nor after; the error names the likely cause."""
    hub = hub_with_channels()
    with pytest.raises(HubNotStarted, match="lifespan"):
        await hub.publish("plain", 1)
    async with hub.running():
        await hub.publish("plain", 1)
    with pytest.raises(HubNotStarted):
        await hub.publish("plain", 1)


async def test_running_within_running_changes_nothing() -> None:
    """The outer one ends it."""
    hub = hub_with_channels()
    async with hub.running():
        async with hub.running():
            pass
        await hub.publish("plain", 1)


async def test_a_start_that_fails_leaves_the_hub_as_it_was() -> None:
    """It can be tried again."""
    hub = hub_with_channels()
    with pytest.raises(RuntimeError, match="the app failed to start"):
        async with hub.running():
            raise RuntimeError("the app failed to start")
    async with hub.running():
        await hub.publish("plain", 1)


async def test_history_does_not_outlive_a_hub_in_memory() -> None:
    """What is published after a restart is in a new stream, and no client is recovered into it."""
    hub = hub_with_channels()
    async with hub.running():
        before = await hub.publish("news", 1)
    async with hub.running():
        after = await hub.publish("news", 1)

    assert before.offset == after.offset == 1
    assert before.epoch != after.epoch


# --- publishing -------------------------------------------------------------------------------------------------------


async def test_publishing_gives_the_position() -> None:
    """`Position.NONE` where the channel keeps no history."""
    hub = hub_with_channels()
    async with hub.running():
        first, second = await hub.publish("news", 1), await hub.publish("news", 2)

        assert (first.offset, second.offset) == (1, 2)
        assert first.epoch == second.epoch != ""
        assert await hub.publish("plain", 1) == Position.NONE


@pytest.mark.parametrize("channel", ["nowhere", "room:", "room:a:b", "", "räume", "room:a b", "news\n"])
async def test_publishing_where_nothing_is_declared_raises(channel: str) -> None:
    """A typo in a name must not send into the void."""
    hub = hub_with_channels()
    async with hub.running():
        with pytest.raises(UnknownChannel):
            await hub.publish(channel, Said(author="ann", text="hi"))


async def test_data_is_of_the_declared_type() -> None:
    """As an instance, or as what Pydantic makes one of; an error names the type."""
    hub = hub_with_channels()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await hub.publish("room:a", Said(author="ann", text="hi"))
        await hub.publish("room:a", {"author": "ann", "text": "hi"})
        for wrong in ("hi", {"author": "ann"}, None, 5):
            with pytest.raises(UsageError, match="Said"):
                await hub.publish("room:a", wrong)
        await hub.publish("room:a", Said(author="ann", text="last"))

        assert [(await client.publication())["data"]["text"] for _ in range(3)] == ["hi", "hi", "last"]


async def test_without_a_type_anything_that_can_be_json_is_published() -> None:
    """Models and dates too; what cannot is an error, and so is text cut in half."""
    hub = hub_with_channels()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("plain")
        for data in ({"x": [1, None]}, Said(author="ann", text="hi"), "ä\n", 1.5, b'{"is":  "json"}'):
            await hub.publish("plain", data)
        for wrong in (object(), b"no json", "\ud800"):
            with pytest.raises(UsageError):
                await hub.publish("plain", wrong)

        expected: list[Any] = [{"x": [1, None]}, {"author": "ann", "text": "hi"}, "ä\n", 1.5, {"is": "json"}]
        assert [(await client.publication())["data"] for _ in expected] == expected


async def test_a_payload_too_big_is_refused_with_its_size_and_nothing_is_sent() -> None:
    """`Limits.message_bytes`, once encoded."""
    hub = Hub(limits=Limits(message_bytes=1000))
    hub.channel("news", history=History())
    async with hub.running():
        await hub.publish("news", "x" * 998)
        with pytest.raises(PayloadTooBig, match="1001 bytes exceeds the limit of 1000") as caught:
            await hub.publish("news", "x" * 999)

        assert (caught.value.size_bytes, caught.value.limit_bytes) == (1001, 1000)
        assert (await hub.publish("news", 1)).offset == 2


async def test_tags_go_with_the_publication() -> None:
    """Text by text; anything else is refused."""
    hub = hub_with_channels()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("news")
        await hub.publish("news", 1, tags={"lang": "de"})
        await hub.publish("news", 2, tags={})
        wrong: Any
        for wrong in ({"n": 1}, {1: "n"}, {"n": "\ud800"}):
            with pytest.raises(DeclarationError, match="tags"):
                await hub.publish("news", 3, tags=wrong)

        assert (await client.publication())["tags"] == {"lang": "de"}
        assert "tags" not in await client.publication()
        await client.unsubscribe("news")
        assert client.waiting() == []


async def test_a_repeated_idempotency_key_publishes_nothing_and_gives_the_first_position() -> None:
    """Within `Limits.idempotency_seconds` and one channel."""
    clock = VirtualClock()
    hub = hub_with_channels(clock)
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("news")
        await client.subscribe("plain")
        first = await hub.publish("news", "once", idempotency_key="k")
        assert await hub.publish("news", "twice", idempotency_key="k") == first
        assert (await hub.publish("plain", "elsewhere", idempotency_key="k")) == Position.NONE
        assert (await hub.publish("plain", "again", idempotency_key="k")) == Position.NONE
        await clock.advance(301)
        assert (await hub.publish("news", "later", idempotency_key="k")).offset == 2

        assert [(await client.publication())["data"] for _ in range(3)] == ["once", "elsewhere", "later"]


async def test_a_version_that_is_not_newer_is_not_published() -> None:
    """For states that overtake each other on the way here; versions of different epochs are not compared."""
    hub = hub_with_channels()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("news")
        for version, epoch in ((5, "a"), (4, "a"), (5, "a"), (6, "a"), (1, "b"), (1, "b")):
            await hub.publish("news", f"{version}{epoch}", version=version, version_epoch=epoch)
        await hub.publish("news", "without")

        assert [(await client.publication())["data"] for _ in range(4)] == ["5a", "6a", "1b", "without"]


async def test_publishers_of_one_channel_keep_their_own_order() -> None:
    """Among each other there is some order, the same for everybody."""
    hub = hub_with_channels()

    async def publish(author: int) -> None:
        for number in range(20):
            await hub.publish("news", [author, number])
            await asyncio.sleep(0)

    async with serving(hub) as app, connect(app) as one, connect(app) as two:
        for client in (one, two):
            await client.subscribe("news")
        await asyncio.gather(*(publish(author) for author in range(5)))
        seen = [(await one.publication())["data"] for _ in range(100)]

        assert [(await two.publication())["data"] for _ in range(100)] == seen
        for author in range(5):
            assert [number for who, number in seen if who == author] == list(range(20))


# --- looking ----------------------------------------------------------------------------------------------------------


async def test_the_sessions_are_those_that_are_open() -> None:
    """Also one that has not connected yet; none once its line is cut."""
    hub = hub_with_channels()
    async with serving(hub) as app:
        async with connect(app) as one, connect(app) as two:
            assert set(hub.sessions) == {one.id, two.id}
            assert repr(hub) == "<Hub running, 2 sessions>"
            session = hub.sessions[one.id]
            assert (session.transport, session.protocol) == ("websocket", "json")
        assert not hub.sessions


async def test_counters_only_grow() -> None:
    """For whoever exports them."""
    hub = Hub(heartbeat=Heartbeat())
    hub.channel("news", publish=True)

    @hub.on_connect
    def let_in() -> Accept:
        return Accept(channels=["news"])

    async with serving(hub) as app:
        async with connect(app) as client:
            await client.publish("news", 1)
            await client.publication()
            client.send_frame("junk")
            await client.closed()
        counts = hub.counters.as_dict()

    assert (counts["sessions_opened"], counts["commands"], counts["publications"], counts["disconnects"]) == (
        1,
        2,
        1,
        1,
    )


async def test_a_hub_knows_its_nodes() -> None:
    """In one process there is one; none while it does not run."""
    hub = hub_with_channels()
    assert list(hub.nodes) == []
    async with serving(hub) as app, connect(app):
        (node,) = hub.nodes
        assert isinstance(node, NodeInfo)
        assert (node.clients, node.users, node.channels) == (1, 0, 0)
        assert node.started_at <= time.time()
    assert list(hub.nodes) == []


async def test_a_survey_says_who_is_where() -> None:
    """All channels, or those that begin with a prefix; only while it runs."""
    hub = hub_with_channels()
    async with serving(hub) as app, connect(app) as one, connect(app) as two:
        await one.subscribe("room:a")
        await two.subscribe("room:a")
        await two.subscribe("room:b")
        survey = await hub.survey()
        assert isinstance(survey, Survey)
        assert (survey.channels, survey.clients, survey.nodes) == ({"room:a": 2, "room:b": 1}, 2, hub.nodes)
        assert (await hub.survey("room:b")).channels == {"room:b": 1}
    with pytest.raises(HubNotStarted):
        await hub.survey()


async def test_a_health_route_says_what_is_wrong() -> None:
    """As in the docstring of `Hub.problems`: nothing while all works."""
    hub = hub_with_channels()
    assert list(hub.problems) == ["the hub is not running"]
    async with serving(hub):
        assert list(hub.problems) == []
    assert len(hub.problems) == 1
