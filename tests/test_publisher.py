"""A publisher: a program without a hub publishes as the hub does, from threads and event loops.

What takes a whole program, such as a fork and an end, is in `test_publisher_programs.py`.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from openline import (
    BrokerUnavailable,
    DeclarationError,
    History,
    Hub,
    Limits,
    PayloadTooBig,
    Position,
    Publisher,
    PublisherChannel,
    UnknownChannel,
    UsageError,
)
from openline.engines import engine
from openline.publication import Publication
from openline.testing import connect, started
from tests.engines.valkey import ValkeyServer

KEPT = History(size=1_000, seconds=300)


class Said(BaseModel):
    """What somebody said."""

    author: str
    text: str


@pytest.fixture
def name() -> str:
    """A name nobody has had before, for a channel."""
    return secrets.token_hex(8)


@pytest.fixture
def publisher(valkey: ValkeyServer) -> Iterator[Publisher]:
    """A publisher to the Valkey that tests share."""
    with Publisher(valkey.url) as publisher:
        yield publisher


@pytest.fixture
def room(publisher: Publisher) -> PublisherChannel[Said]:
    """A declared channel of it, with history."""
    return publisher.channel("room:{name}", Said, history=KEPT)


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[FastAPI]:
    """Run an app around a hub."""
    app = FastAPI()
    app.include_router(hub.router)
    async with started(app):
        yield app


async def kept(url: str, channel: str) -> list[Publication]:
    """Read what a broker keeps of a channel."""
    broker = engine(url).broker
    await broker.start(secrets.token_hex(8), None)
    try:
        return (await broker.history(channel, history=KEPT)).publications
    finally:
        await broker.stop()


def until_out(room: PublisherChannel[Any], message: str, name: str) -> Position:
    """Try again under one key for as long as the broker is not found: it is looked for with growing pauses."""
    while True:
        try:
            return room.publish(message, idempotency_key=message, name=name)
        except BrokerUnavailable:
            continue


# --- publishing ---------------------------------------------------------------------------------------------------


async def test_subscribers_of_a_hub_hear_a_publisher(
    valkey: ValkeyServer, room: PublisherChannel[Said], name: str
) -> None:
    """From a thread, as sync code has it, and from an event loop."""
    hub = Hub(valkey.url)
    hub.channel("room:{name}", Said, history=KEPT)
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe(f"room:{name}")
        first = await asyncio.to_thread(room.publish, Said(author="cook", text="tea"), tags={"by": "task"}, name=name)
        second = await room.publish_async(Said(author="cook", text="cake"), name=name)

        heard = [await client.publication(f"room:{name}") for _ in range(2)]

    assert [one["data"]["text"] for one in heard] == ["tea", "cake"]
    assert [one["offset"] for one in heard] == [first.offset, second.offset] == [1, 2]
    assert heard[0]["tags"] == {"by": "task"}
    assert first.epoch == second.epoch


async def test_it_publishes_what_a_hub_would(valkey: ValkeyServer, room: PublisherChannel[Said], name: str) -> None:
    """The same bytes, with the next position."""
    hub = Hub(valkey.url)
    said = hub.channel("room:{name}", Said, history=KEPT)
    message = Said(author="köchin", text="tea\n")
    async with hub.running():
        await said.publish(message, tags={"a": "b"}, name=name)
    await room.publish_async(message, tags={"a": "b"}, name=name)

    by_hub, by_publisher = await kept(valkey.url, f"room:{name}")
    assert by_publisher.data == by_hub.data
    assert (by_publisher.tags, by_publisher.info) == (by_hub.tags, by_hub.info)
    assert (by_publisher.offset, by_publisher.previous) == (2, 1)


@pytest.mark.parametrize("server", ["valkey", "redis", "valkey_cluster", "nats"])
def test_every_engine_will_do(server: str, request: pytest.FixtureRequest, name: str) -> None:
    """What a hub can stand on, a publisher can publish to."""
    url = request.getfixturevalue(server).url
    with Publisher(url) as publisher:
        room = publisher.channel("room:{name}", history=KEPT)
        positions = [room.publish("one", name=name), asyncio.run(room.publish_async("two", name=name))]

    publications = asyncio.run(kept(url, f"room:{name}"))
    assert [one.data for one in publications] == [b'"one"', b'"two"']
    assert [Position(one.epoch, one.offset) for one in publications] == positions


def test_a_channel_is_published_to_by_its_full_name(
    publisher: Publisher, room: PublisherChannel[Said], name: str
) -> None:
    """The declaration that matches says type and history."""
    assert publisher.publish(f"room:{name}", {"author": "cook", "text": "tea"}).offset == 1
    assert asyncio.run(publisher.publish_async(room.name(name=name), Said(author="cook", text="cake"))).offset == 2


def test_without_history_there_is_no_position(publisher: Publisher, name: str) -> None:
    """As with a hub."""
    live = publisher.channel("live:{name}", bytes)

    assert live.publish(b"\x00\xff", name=name) == Position.NONE


def test_any_number_of_threads_may_publish(room: PublisherChannel[Said], name: str) -> None:
    """Each publication has a position of its own."""

    def publish(number: int) -> int:
        return room.publish(Said(author="thread", text=str(number)), name=name).offset

    with ThreadPoolExecutor(8) as threads:
        offsets = list(threads.map(publish, range(200)))

    assert sorted(offsets) == list(range(1, 201))


def test_one_publisher_serves_event_loops_one_after_the_other(room: PublisherChannel[Said], name: str) -> None:
    """Django's async views, and scripts with several `asyncio.run`, have many."""
    message = Said(author="loop", text="")

    assert [asyncio.run(room.publish_async(message, name=name)).offset for _ in range(3)] == [1, 2, 3]


def test_a_key_is_published_once(room: PublisherChannel[Said], name: str) -> None:
    """A task that is retried gives the key it had, and gets the first position."""
    first = room.publish(Said(author="task", text="paid"), idempotency_key="order-1", name=name)

    assert room.publish(Said(author="task", text="paid"), idempotency_key="order-1", name=name) == first
    assert room.publish(Said(author="task", text="sent"), idempotency_key="order-2", name=name).offset == 2


def test_what_is_not_to_be_kept_has_no_position(room: PublisherChannel[Said], name: str) -> None:
    """And leaves the stream as it is."""
    message = Said(author="task", text="at 40 %")

    assert room.publish(message, skip_history=True, name=name) == Position.NONE
    assert room.publish(message, name=name).offset == 1


def test_an_older_version_is_not_published(room: PublisherChannel[Said], name: str) -> None:
    """The top is given in place of a position."""
    room.publish(Said(author="stock", text="3 left"), version=7, name=name)

    assert room.publish(Said(author="stock", text="4 left"), version=6, name=name).offset == 1


# --- what cannot be -----------------------------------------------------------------------------------------------


def test_the_memory_broker_is_refused() -> None:
    """It would publish to nobody."""
    with pytest.raises(DeclarationError, match=r"nobody there would hear.*Hub\.publish.*valkey://"):
        Publisher("memory://")


def test_a_url_that_is_none_is_told_at_once() -> None:
    """Not with the first publication, in some night."""
    with pytest.raises(DeclarationError, match="none that is known"):
        Publisher("carrier-pigeon://roof")


def test_declarations_are_checked_as_those_of_a_hub(publisher: Publisher, room: PublisherChannel[Said]) -> None:
    """Patterns, types and names of placeholders."""
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: publisher.channel("room:{name}"), "declared twice"),
        (lambda: publisher.channel("a b"), "printable ASCII"),
        (lambda: publisher.channel("a:{message}"), "cannot be called 'message'"),
        (lambda: publisher.channel("a:{b}", "Said"), "give the type"),  # type: ignore[call-overload]  # as a user errs
        (lambda: room.publish(Said(author="", text="")), "needs its part 'name'"),
        (lambda: room.publish(Said(author="", text=""), name="a b"), "cannot be its part"),
        (lambda: room.publish(Said(author="", text=""), tags={"a": 1}, name="a"), "tags are text"),  # type: ignore[dict-item]
    ]
    for call, words in refused:
        with pytest.raises(DeclarationError, match=words):
            call()


def test_what_does_not_fit_is_not_sent(valkey: ValkeyServer, name: str) -> None:
    """A wrong type, an unknown channel, a message above the limit: errors of the hub's own kinds."""
    with Publisher(valkey.url, limits=Limits(message_bytes=100)) as publisher:
        room = publisher.channel("room:{name}", Said, history=KEPT)
        with pytest.raises(UsageError, match="text: Field required"):
            publisher.publish(f"room:{name}", {"author": "cook"})
        with pytest.raises(UnknownChannel, match="no declared channel matches 'hall:"):
            publisher.publish(f"hall:{name}", {})
        with pytest.raises(UnknownChannel):
            publisher.publish("no name", {})
        with pytest.raises(PayloadTooBig):
            room.publish(Said(author="cook", text="x" * 100), name=name)
        with pytest.raises(PayloadTooBig, match="with tags of 107 bytes"):
            room.publish(Said(author="cook", text=""), name=name, tags={"a": "x" * 100})

    assert asyncio.run(kept(valkey.url, f"room:{name}")) == []


async def test_an_event_loop_is_not_held_up(publisher: Publisher, room: PublisherChannel[Said], name: str) -> None:
    """`publish` waits, which in async code would stop everything else."""
    with pytest.raises(UsageError, match=r"await publish_async\(\)"):
        room.publish(Said(author="", text=""), name=name)
    with pytest.raises(UsageError, match=r"await publish_async\(\)"):
        publisher.publish(f"room:{name}", Said(author="", text=""))


def test_nothing_is_published_after_the_end(valkey: ValkeyServer, name: str) -> None:
    """Closing twice is closing once."""
    publisher = Publisher(valkey.url)
    room = publisher.channel("room:{name}")
    room.publish("hello", name=name)
    publisher.close()
    publisher.close()

    with pytest.raises(UsageError, match="closed"):
        room.publish("anyone there?", name=name)


async def test_async_code_has_its_own_way_to_end(valkey: ValkeyServer, name: str) -> None:
    """`async with` does not hold up the loop."""
    async with Publisher(valkey.url) as publisher:
        await publisher.channel("room:{name}").publish_async("hello", name=name)

    with pytest.raises(UsageError, match="closed"):
        await publisher.publish_async(f"room:{name}", "anyone there?")


def test_its_repr_shows_no_secret(valkey: ValkeyServer) -> None:
    """A URL may hold a password."""
    with Publisher(f"valkey://:s3cret@127.0.0.1:{valkey.port}") as publisher:
        assert repr(publisher) == "<Publisher valkey://…>"


# --- trouble ------------------------------------------------------------------------------------------------------


def test_a_broker_that_is_away_is_told_and_found_again(name: str) -> None:
    """Before the first publication, and between two."""
    with ValkeyServer(aof=True) as server, Publisher(f"{server.url}?timeout=1") as publisher:
        room = publisher.channel("room:{name}", history=KEPT)
        server.kill()
        with pytest.raises(BrokerUnavailable):
            room.publish("one", name=name)
        server.restart()
        assert until_out(room, "one", name).offset == 1
        server.kill()
        with pytest.raises(BrokerUnavailable):
            asyncio.run(room.publish_async("two", name=name))
        server.restart()
        assert until_out(room, "two", name).offset > 1


def test_a_broker_that_does_not_answer_is_waited_for_no_longer_than_said(name: str) -> None:
    """A frozen server takes the connection, and nothing else."""
    with ValkeyServer() as server, Publisher(f"{server.url}?timeout=1") as publisher:
        room = publisher.channel("room:{name}")
        room.publish("one", name=name)
        server.freeze()
        with pytest.raises(BrokerUnavailable):
            room.publish("two", name=name)
        server.thaw()


def test_closing_answers_those_who_wait(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told that they cannot know."""
    with ValkeyServer() as server, ThreadPoolExecutor(1) as threads:
        publisher = Publisher(f"{server.url}?timeout=20")
        room = publisher.channel("room:{name}")
        room.publish("one", name=name)
        line = publisher._line
        assert line is not None
        under_way, publish = threading.Event(), line.publish

        async def publish_and_tell(channel: str, data: bytes, **options: object) -> Position:
            under_way.set()
            return await publish(channel, data, **options)

        monkeypatch.setattr(line, "publish", publish_and_tell)
        server.freeze()
        waiting = threads.submit(room.publish, "two", name=name)
        assert under_way.wait(10)
        publisher.close()

        with pytest.raises(BrokerUnavailable):
            waiting.result(10)


def test_without_a_thread_to_be_had_it_says_so_and_works_later(room: PublisherChannel[Said], name: str) -> None:
    """No system has room for a stack of that size."""
    usual = threading.stack_size(1 << 46)
    try:
        with pytest.raises(BrokerUnavailable, match="no thread to publish from"):
            room.publish(Said(author="cook", text="tea"), name=name)
    finally:
        threading.stack_size(usual)

    assert room.publish(Said(author="cook", text="tea"), name=name).offset == 1
