"""A browser that comes back by itself: an event stream that is cut anywhere goes on where the client stood."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openline import Accept, History, Hub, Limits, codes
from openline.protocol.unidirectional import LONGEST_ID_BYTES, TOO_MANY
from tests.listeners import SSE, Events, Listener, events, url
from tests.serving import serving
from tests.streaming import Request, http_scope, requested

NEWS = f"{SSE}?channel=news:a"


def a_hub(*, size: int = 100, **limits: Any) -> Hub:
    """Give a hub with one kind of channel that keeps its messages, and one of which the newest is all that counts."""
    hub = Hub(limits=Limits(**limits))
    hub.channel("news:{name}", history=History(size=size, seconds=300))
    hub.channel("state:{name}", history=History(size=size, seconds=300), recovery="cache")
    hub.channel("asked:{name}", history=History(size=size, seconds=300), recovery="asked")
    hub.channel("plain:{name}")
    return hub


async def stood(app: FastAPI, hub: Hub, where: str = NEWS, *channels: str) -> str:
    """Open a stream, have one message come in each channel, and be cut; give the id the client then has."""
    async with events(app, where) as client:
        await client.push()
        for channel in channels or ("news:a",):
            await hub.publish(channel, "seen")
            assert await client.publication() == "seen"
        return client.last_id


async def connected(client: Listener) -> dict[str, Any]:
    """Read the first event; give the subscriptions it tells of."""
    subs: dict[str, Any] = (await client.push())["connect"]["subs"]
    return subs


async def test_what_was_missed_comes_as_ordinary_events_behind_the_first() -> None:
    """Each with an id of its own; the first says that everything is recovered."""
    hub = a_hub()
    async with serving(hub) as app:
        last_id = await stood(app, hub)
        for number in range(3):
            await hub.publish("news:a", number)
        async with events(app, NEWS, last_id=last_id) as client:
            result = (await connected(client))["news:a"]
            assert result["recovered"]
            assert "publications" not in result
            assert client.last_id == last_id
            assert [await client.publication() for _ in range(3)] == [0, 1, 2]
            await hub.publish("news:a", "live")
            assert await client.publication() == "live"
            assert client.last_id.startswith("5:")


async def test_it_goes_on_in_all_its_channels() -> None:
    """Those the server put it into, those that recover only if asked, and those that have nothing to recover."""
    hub = a_hub()

    @hub.on_connect
    async def connect() -> Accept:
        return Accept(user="ann", channels=["news:own"])

    where = f"{SSE}?channel=asked:a&channel=plain:b"
    async with serving(hub) as app:
        last_id = await stood(app, hub, where, "asked:a", "plain:b", "news:own")
        for channel in ("asked:a", "news:own", "plain:b"):
            await hub.publish(channel, f"missed in {channel}")
        async with events(app, where, last_id=last_id) as client:
            subs = await connected(client)
            assert subs["asked:a"]["recovered"]
            assert subs["news:own"]["recovered"]
            missed = {await client.publication() for _ in range(2)}
            assert missed == {"missed in asked:a", "missed in news:own"}


async def test_a_recovery_larger_than_one_answer_comes_whole() -> None:
    """In parts, as the client reads."""
    hub = a_hub(size=1_000, recovery_publications=7, outbox_bytes=20_000)
    async with serving(hub) as app:
        last_id = await stood(app, hub)
        for number in range(500):
            await hub.publish("news:a", [number, "x" * 200])
        async with events(app, NEWS, last_id=last_id) as client:
            await connected(client)
            assert [(await client.publication())[0] for _ in range(500)] == list(range(500))


async def test_many_channels_that_missed_much_come_whole_as_well() -> None:
    """What does not fit into the first event of a request that says where it stands comes behind it."""
    hub = a_hub(outbox_bytes=20_000)
    subs = {f"news:{name}": {"recover": True, "offset": 1} for name in range(10)}
    async with serving(hub) as app:
        for channel in subs:
            for number in range(10):
                await hub.publish(channel, [number, "x" * 500])
        got = dict.fromkeys(subs, 1)
        async with events(app, url(SSE, {"subs": subs})) as client:
            for channel, result in (await connected(client)).items():
                assert result["recovered"]
                got[channel] += len(result.get("publications", ()))
            while set(got.values()) != {10}:
                push = await client.push()
                assert push["pub"]["data"][0] == got[push["channel"]]
                got[push["channel"]] += 1


async def test_a_state_comes_as_it_is_now() -> None:
    """Of a channel of which the newest counts, the newest comes, and nothing if the client has it."""
    hub = a_hub()
    where = f"{SSE}?channel=state:a"
    async with serving(hub) as app:
        last_id = await stood(app, hub, where, "state:a")
        async with events(app, where, last_id=last_id) as client:
            assert (await connected(client))["state:a"]["recovered"]
            await hub.publish("state:a", "after that")
            assert await client.publication() == "after that"
        for number in range(3):
            await hub.publish("state:a", number)
        async with events(app, where, last_id=last_id) as client:
            await connected(client)
            assert await client.publication() == 2


async def test_what_history_no_longer_holds_is_told() -> None:
    """The client was recovering, and is not recovered."""
    hub = a_hub(size=2)
    async with serving(hub) as app:
        last_id = await stood(app, hub)
        for number in range(9):
            await hub.publish("news:a", number)
        async with events(app, NEWS, last_id=last_id) as client:
            result = (await connected(client))["news:a"]
            assert (result["was_recovering"], result.get("recovered")) == (True, None)
            assert client.last_id == f"10:{result['epoch']}:news:a"


@pytest.mark.parametrize(
    "last_id",
    ["0", "nonsense", "a:b:c", "1:", "-1:x:news:a", "9" * 500 + ":x:news:a", "1:x:news:a 2", TOO_MANY, "\xff"],
)
async def test_an_id_that_nobody_gave_out_is_no_error(last_id: str) -> None:
    """The client is told that it may have missed something, in every channel."""
    hub = a_hub()

    @hub.on_connect
    async def connect() -> Accept:
        return Accept(user="ann", channels=["news:own"])

    async with serving(hub) as app, events(app, NEWS, last_id=last_id) as client:
        for result in (await connected(client)).values():
            assert (result["was_recovering"], result.get("recovered")) == (True, None)


async def test_a_channel_that_is_left_leaves_the_id() -> None:
    """So ids do not grow with what once was."""
    hub = a_hub()
    async with serving(hub) as app, events(app, f"{SSE}?channel=news:a&channel=news:b") as client:
        await connected(client)
        (session,) = hub.sessions.values()
        await session.subscribe("news:c")
        assert (await client.push())["channel"] == "news:c"
        assert [entry.rpartition(":")[2] for entry in client.last_id.split()] == ["a", "b", "c"]
        await session.unsubscribe("news:b")
        assert (await client.push())["channel"] == "news:b"
        assert [entry.rpartition(":")[2] for entry in client.last_id.split()] == ["a", "c"]


async def test_ids_stay_shorter_than_headers_may_be() -> None:
    """Past that they say that there is too much to say, and who comes back is told that something may be missing."""
    hub = a_hub()
    where = SSE + "?" + "&".join(f"channel=news:{number}-{'x' * 60}" for number in range(100))
    async with serving(hub) as app:
        async with events(app, where) as client:
            await connected(client)
            assert client.last_id == TOO_MANY
            await hub.publish(f"news:5-{'x' * 60}", 1)
            assert await client.publication() == 1
            assert client.last_id == TOO_MANY
        async with events(app, where, last_id=TOO_MANY) as client:
            assert not any(result.get("recovered") for result in (await connected(client)).values())
    assert LONGEST_ID_BYTES < 8_192


async def test_it_comes_back_where_the_server_lost_its_place() -> None:
    """A channel that cannot go on ends the stream with 3010, and the next one says what became of it."""
    hub = a_hub()
    async with serving(hub) as app:
        async with events(app, NEWS) as client:
            await connected(client)
            await hub.publish("news:a", 1)
            assert await client.publication() == 1
            (session,) = hub.sessions.values()
            (subscription,) = session.subscriptions()
            session.lose(subscription, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
            assert await client.end() == (3010, "insufficient state")
            last_id = client.last_id
        async with events(app, NEWS, last_id=last_id) as client:
            assert (await connected(client))["news:a"]["recovered"]


# --- whatever happens ---------------------------------------------------------------------------------------------


class Reader:
    """Somebody at a browser, who is cut off again and again, and checks what the pushes say."""

    def __init__(self) -> None:
        self.last_id = ""
        self.seen: dict[str, int] = {}

    def take(self, push: dict[str, Any]) -> None:
        """Check that a push follows on what was seen, or that something missing was told."""
        for channel, result in push.get("connect", {}).get("subs", {}).items():
            if channel not in self.seen or not result.get("recovered"):
                assert channel not in self.seen or result["was_recovering"]
                self.seen[channel] = result.get("offset", 0)
            assert "publications" not in result
        if "pub" in push:
            channel = push["channel"]
            assert push["pub"]["data"] == push["pub"]["offset"] == self.seen[channel] + 1
            self.seen[channel] += 1


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from("ab"), st.integers(1, 6)),
        st.tuples(st.just("cut"), st.just(""), st.integers(0, 10_000)),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, size=st.sampled_from([3, 8, 50]), at_a_time=st.sampled_from([1, 2, 300]))
def test_a_stream_cut_at_any_byte_goes_on_without_loss_or_is_told(
    steps: list[tuple[str, str, int]], size: int, at_a_time: int
) -> None:
    """Each publication once and in order, in every channel, wherever the cuts fall and whatever history forgot."""
    asyncio.run(live_through(steps, size, at_a_time))


async def live_through(steps: list[tuple[str, str, int]], size: int, at_a_time: int) -> None:
    """Play one life of a reader."""
    hub = a_hub(size=size, recovery_publications=at_a_time)
    reader, counts = Reader(), {"a": 0, "b": 0}
    where = f"{SSE}?channel=news:a&channel=news:b"
    async with serving(hub) as app:
        for what, name, number in [*steps, ("end", "", 0)]:
            headers = {"last-event-id": reader.last_id} if reader.last_id else {}
            if what == "publish":
                await publish(hub, counts, name, number)
                continue
            async with requested(app, Request(http_scope("GET", where, headers), b"")) as request:
                await publish(hub, counts, "a", 1)
                received = await all_of(request)
                whole = what == "end"
                read = Events(reader.last_id)
                for push, last_id in read.feed(received if whole else received[: number % (len(received) + 1)]):
                    reader.take(push)
                    reader.last_id = last_id
    assert reader.seen == {f"news:{name}": count for name, count in counts.items()}


async def publish(hub: Hub, counts: dict[str, int], name: str, number: int) -> None:
    """Publish the next numbers of a channel, which are those of their offsets."""
    for _ in range(number):
        counts[name] += 1
        await hub.publish(f"news:{name}", counts[name])


async def all_of(request: Request) -> bytes:
    """Give everything the server has to say for now."""
    received = b""
    for _ in range(200):
        await asyncio.sleep(0)
        while not request._body.empty():
            received += await request.piece() or b""
    return received


async def test_the_first_event_is_one_line_of_json() -> None:
    """As every other: whatever stands in data, no line of it can be taken for the end of an event."""
    hub = a_hub()
    async with serving(hub) as app, events(app, NEWS) as client:
        await connected(client)
        await hub.publish("news:a", "a\n\nid: 9\rb\u2028")
        assert await client.publication() == "a\n\nid: 9\rb\u2028"
        assert json.dumps(client.last_id).count(":") == 3
