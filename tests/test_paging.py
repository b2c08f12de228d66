"""History for clients: pages forwards and backwards, from a position on, and what bounds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openline import History, Hub, Limits
from openline.testing import Client, VirtualClock, connect
from tests.serving import refused, serving


@asynccontextmanager
async def ten(*, limits: Limits | None = None, history: History | None = None) -> AsyncIterator[tuple[Client, Hub]]:
    """Serve a channel in which the numbers from 1 to 10 were published."""
    hub = Hub(limits=limits, clock=VirtualClock())
    hub.channel("news", history=history or History())
    async with serving(hub) as app, connect(app) as client:
        for number in range(1, 11):
            await hub.publish("news", number, tags={"n": str(number)})
        yield client, hub


async def page(client: Client, **request: Any) -> list[int]:
    """Ask for a page; give the data of its publications, which are their offsets too."""
    result = await client.command("history", channel="news", **request)
    assert set(result) == {"publications", "epoch", "offset"}
    assert result["offset"] == 10
    assert [publication["data"] for publication in result["publications"]] == [
        publication["offset"] for publication in result["publications"]
    ]
    return [publication["data"] for publication in result["publications"]]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param({}, [], id="no limit is none"),
        pytest.param({"limit": 0}, [], id="a limit of 0"),
        pytest.param({"limit": -1}, [*range(1, 11)], id="all"),
        pytest.param({"limit": -7}, [*range(1, 11)], id="any limit below 0 is all"),
        pytest.param({"limit": 3}, [1, 2, 3], id="the oldest"),
        pytest.param({"limit": 99}, [*range(1, 11)], id="more than there are"),
        pytest.param({"limit": 3, "reverse": True}, [10, 9, 8], id="the newest"),
        pytest.param({"limit": -1, "reverse": True}, [*range(10, 0, -1)], id="all, backwards"),
        pytest.param({"limit": 3, "since": {"offset": 4}}, [5, 6, 7], id="after an offset"),
        pytest.param({"limit": -1, "since": {"offset": 0}}, [*range(1, 11)], id="from the beginning"),
        pytest.param({"limit": -1, "since": {"offset": 10}}, [], id="after the top"),
        pytest.param({"limit": -1, "since": {"offset": 99}}, [], id="beyond the top"),
        pytest.param({"limit": 0, "since": {"offset": 4}}, [], id="an offset and no limit"),
        pytest.param({"limit": 3, "since": {"offset": 4}, "reverse": True}, [3, 2, 1], id="before an offset"),
        pytest.param({"limit": 2, "since": {"offset": 10}, "reverse": True}, [9, 8], id="before the top"),
        pytest.param({"limit": -1, "since": {"offset": 1}, "reverse": True}, [], id="before the first"),
    ],
)
async def test_a_page(request_: dict[str, Any], expected: list[int]) -> None:
    """`since` is exclusive in both directions; the top is told with every page."""
    async with ten() as (client, _):
        assert await page(client, **request_) == expected


async def test_paging_forwards_sees_everything_once() -> None:
    """Each page from the last offset of the one before."""
    async with ten() as (client, _):
        seen: list[int] = []
        while some := await page(client, limit=3, since={"offset": seen[-1] if seen else 0}):
            seen += some

        assert seen == [*range(1, 11)]


async def test_paging_backwards_sees_everything_once() -> None:
    """Each page up to the last offset of the one before."""
    async with ten() as (client, _):
        seen = await page(client, limit=3, reverse=True)
        while some := await page(client, limit=3, reverse=True, since={"offset": seen[-1]}):
            seen += some

        assert seen == [*range(10, 0, -1)]


async def test_in_reverse_there_is_nothing_before_offset_0() -> None:
    """A position without an offset is a bad request there."""
    async with ten() as (client, _):
        assert await refused(client.history("news", reverse=True, since={"offset": 0})) == 107
        assert await refused(client.history("news", reverse=True, since={})) == 107


async def test_another_epoch_is_unrecoverable() -> None:
    """112, in either direction and whatever the limit; the right one, or none, is fine."""
    async with ten() as (client, _):
        epoch = (await client.history("news"))["epoch"]
        for request in ({"limit": 0}, {"limit": 3}, {"limit": 3, "reverse": True}):
            wrong = {"offset": 4, "epoch": "other"}
            assert await refused(client.command("history", channel="news", since=wrong, **request)) == 112

        assert await page(client, limit=1, since={"offset": 4, "epoch": epoch}) == [5]


async def test_a_page_is_cut_to_what_the_server_gives_at_most() -> None:
    """`Limits.history_publications`, by default 300: the client asks on."""
    async with ten(limits=Limits(history_publications=4)) as (client, _):
        assert await page(client, limit=-1) == [1, 2, 3, 4]
        assert await page(client, limit=9) == [1, 2, 3, 4]
        assert await page(client, limit=9, since={"offset": 4}) == [5, 6, 7, 8]
        assert await page(client, limit=2) == [1, 2]


async def test_a_page_is_cut_to_what_an_outbox_can_hold_and_never_to_nothing() -> None:
    """Whoever pages on gets everything, the largest publication too."""
    hub = Hub(limits=Limits(outbox_bytes=2000))
    hub.channel("news", history=History())
    async with serving(hub) as app, connect(app) as client:
        for size in (100, 300, 300, 1900):
            await hub.publish("news", "x" * size)
        sizes, offset = [], 0
        while some := (await client.history("news", since={"offset": offset}))["publications"]:
            sizes.append([len(publication["data"]) for publication in some])
            offset = some[-1]["offset"]

        assert sizes == [[100, 300], [300], [1900]]


async def test_what_a_publication_brings_beside_its_data_counts_too() -> None:
    """Tags and all: a page of them is cut to the same bound."""
    hub = Hub(limits=Limits(outbox_bytes=2000))
    hub.channel("news", history=History())
    async with serving(hub) as app, connect(app) as client:
        for number in range(3):
            await hub.publish("news", number, tags={"long": "x" * 500})

        shown = (await client.history("news"))["publications"]

        assert [publication["data"] for publication in shown] == [0]


async def test_only_what_is_kept_is_shown() -> None:
    """By size and age; the top stays known."""
    async with ten(history=History(size=3)) as (client, _):
        assert await page(client, limit=-1) == [8, 9, 10]
        assert await page(client, limit=-1, since={"offset": 2}) == [8, 9, 10]


async def test_an_empty_stream_has_an_epoch_and_everything_is_written() -> None:
    """Zeros too: SDKs read these fields without looking whether they are there."""
    hub = Hub()
    hub.channel("news", history=History())
    async with serving(hub) as app, connect(app) as client:
        result = await client.history("news")

        assert result == {"publications": [], "epoch": result["epoch"], "offset": 0}
        assert result["epoch"]


async def test_publications_of_history_are_as_those_that_came_live() -> None:
    """Tags, info, offset and all."""
    hub = Hub()
    hub.channel("news", history=History(), publish=True)
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("news")
        await client.publish("news", {"by": "a client"})
        await hub.publish("news", {"by": "the app"}, tags={"urgent": "yes"})
        live = [await client.publication(), await client.publication()]

        assert (await client.history("news"))["publications"] == live
        assert live[1] == {"data": {"by": "the app"}, "offset": 2, "tags": {"urgent": "yes"}}


@pytest.mark.parametrize("request_", [{"limit": 2**31}, {"since": {"offset": -1}}, {"since": {"offset": 2**64}}])
async def test_numbers_outside_their_range_close_with_3501(request_: dict[str, Any]) -> None:
    """They could not be said in Protobuf."""
    async with ten() as (client, _):
        client.batch({"history": {"channel": "news", **request_}})

        assert (await client.closed()).code == 3501
