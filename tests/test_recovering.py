"""Positions and recovery: what a subscribe is answered with, for each way in which a client may come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openline import Accept, History, Hub, Limits, Position
from openline.options import Recovery
from openline.testing import Client, VirtualClock, connect, line
from tests.serving import refused, serving


class News:
    """A hub with one channel, in which things were published, and a client that was not there."""

    def __init__(self, hub: Hub, clock: VirtualClock, client: Client, app: Any, epoch: str) -> None:
        self.hub = hub
        self.clock = clock
        self.client = client
        self.app = app
        self.epoch = epoch

    async def subscribe(self, **request: Any) -> dict[str, Any]:
        """Have the client subscribe."""
        return await self.client.subscribe("news", **request)

    async def recover(self, offset: int, epoch: str | None = None, **request: Any) -> dict[str, Any]:
        """Have the client come back to where it says it stood."""
        epoch = self.epoch if epoch is None else epoch
        return await self.subscribe(recover=True, offset=offset, epoch=epoch, **request)


@asynccontextmanager
async def news(
    published: int = 5,
    *,
    history: History | None = None,
    recovery: Recovery = "stream",
    limits: Limits | None = None,
) -> AsyncIterator[News]:
    """Serve a channel in which the numbers from 1 on were published."""
    clock = VirtualClock()
    hub = Hub(clock=clock, limits=limits)
    channel = hub.channel("news", history=history or History(), recovery=recovery)
    async with serving(hub) as app, connect(app) as client:
        for number in range(1, published + 1):
            await hub.publish("news", number)
        epoch = (await channel.history(limit=0)).top.epoch
        yield News(hub, clock, client, app, epoch)


def numbers(result: dict[str, Any]) -> list[int]:
    """Give the data of the recovered publications."""
    return [publication["data"] for publication in result.get("publications", [])]


def offsets(result: dict[str, Any]) -> list[int]:
    """Give the offsets of the recovered publications."""
    return [publication["offset"] for publication in result.get("publications", [])]


# --- stream: what is granted without being asked ----------------------------------------------------------------------


@pytest.mark.parametrize("wish", [{}, {"positioned": True}, {"recoverable": True}])
async def test_a_channel_with_history_is_recoverable_whatever_the_client_wishes(wish: dict[str, bool]) -> None:
    """So that it comes back with its position: it is told where the stream stands."""
    async with news() as it:
        assert await it.subscribe(**wish) == {
            "recoverable": True,
            "positioned": True,
            "epoch": it.epoch,
            "offset": 5,
        }


async def test_of_an_empty_stream_there_is_an_epoch_and_no_offset() -> None:
    """Offsets begin at 1; 0 is written as nothing."""
    async with news(0) as it:
        assert await it.subscribe() == {"recoverable": True, "positioned": True, "epoch": it.epoch}


# --- stream: coming back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1, 3, 4])
async def test_a_client_that_comes_back_gets_what_it_missed_and_its_own_offset(offset: int) -> None:
    """It walks forward from where it stood, so the offset of the result is the one it sent."""
    async with news() as it:
        result = await it.recover(offset)

        assert numbers(result) == offsets(result) == list(range(offset + 1, 6))
        assert (result["was_recovering"], result["recovered"]) == (True, True)
        assert result.get("offset", 0) == offset
        assert result["epoch"] == it.epoch
        assert it.client.positions["news"] == Position(it.epoch, 5)


async def test_a_client_that_missed_nothing_is_recovered_with_nothing() -> None:
    """It stands at the top already."""
    async with news() as it:
        assert await it.recover(5) == {
            "recoverable": True,
            "positioned": True,
            "epoch": it.epoch,
            "offset": 5,
            "was_recovering": True,
            "recovered": True,
        }


async def test_a_client_that_saw_an_empty_stream_gets_all_from_its_beginning() -> None:
    """Its position is offset 0 of that epoch; the first publication names the epoch."""
    async with news() as it:
        result = await it.recover(0)

        assert numbers(result) == [1, 2, 3, 4, 5]
        assert [publication.get("epoch") for publication in result["publications"]] == [it.epoch, *[None] * 4]


async def test_an_empty_epoch_fits_every_stream() -> None:
    """Of a client that knows an offset alone, such as from a database."""
    async with news() as it:
        assert numbers(await it.recover(3, epoch="")) == [4, 5]


async def test_an_empty_stream_is_recovered_from_its_beginning() -> None:
    """With nothing."""
    async with news(0) as it:
        result = await it.recover(0)

        assert (result["was_recovering"], result["recovered"]) == (True, True)
        assert numbers(result) == []


async def test_after_a_recovery_what_is_published_comes_live_and_once() -> None:
    """With the offsets that follow."""
    async with news() as it:
        await it.recover(3)
        await it.hub.publish("news", 6)

        assert await it.client.push() == {"channel": "news", "pub": {"data": 6, "offset": 6}}


async def lost(result: dict[str, Any], it: News, *, top: int = 5) -> None:
    """Check that a client was told that it was not recovered, and where the stream stands now."""
    expected = {"recoverable": True, "positioned": True, "epoch": it.epoch, "was_recovering": True}
    assert result == (expected | {"offset": top} if top else expected)


async def test_of_another_epoch_nothing_is_recovered() -> None:
    """It is another stream, whatever the offsets."""
    async with news() as it:
        await lost(await it.recover(3, epoch="other"), it)


async def test_an_offset_beyond_the_top_is_of_a_stream_that_lost_its_end() -> None:
    """What the client believes to have is not what is there."""
    async with news() as it:
        await lost(await it.recover(6), it)


async def test_what_history_let_go_by_its_size_cannot_be_recovered() -> None:
    """But what it still holds can, to the last one."""
    async with news(history=History(size=2)) as it:
        await lost(await it.recover(2), it)
        await it.client.unsubscribe("news")

        assert numbers(await it.recover(3)) == [4, 5]


async def test_what_history_let_go_by_its_age_cannot_be_recovered() -> None:
    """The position stays known for longer than the publications."""
    async with news(history=History(seconds=60)) as it:
        await it.clock.advance(50)
        await it.hub.publish("news", 6)
        await it.clock.advance(11)
        await lost(await it.recover(4), it, top=6)
        await it.client.unsubscribe("news")
        assert numbers(await it.recover(5)) == [6]
        await it.client.unsubscribe("news")
        await it.clock.advance(50)

        await lost(await it.recover(5), it, top=6)
        await it.client.unsubscribe("news")
        assert (await it.recover(6))["recovered"]


async def test_a_stream_unused_for_too_long_begins_anew() -> None:
    """Its epoch is another then, and nobody is recovered into it."""
    async with news(history=History(seconds=60, meta_seconds=100)) as it:
        await it.clock.advance(101)
        result = await it.recover(5)

        assert "recovered" not in result
        assert result["epoch"] != it.epoch
        assert "offset" not in result


async def test_of_a_gap_that_is_too_long_for_one_reply_the_rest_follows() -> None:
    """The reply brings the first part, and publications as they come live the rest; then it is live."""
    async with news(8, limits=Limits(recovery_publications=3)) as it:
        result = await it.recover(1)
        await it.hub.publish("news", 9)

        assert (result["recovered"], numbers(result)) == (True, [2, 3, 4])
        assert [(await it.client.publication())["offset"] for _ in range(5)] == [5, 6, 7, 8, 9]
        assert it.client.positions["news"] == Position(it.epoch, 9)


async def test_a_gap_that_is_larger_than_an_outbox_is_recovered_too() -> None:
    """Who was closed because it could not keep up missed as much as may wait for one client, or more."""
    async with news(0, limits=Limits(outbox_bytes=10_000)) as it:
        for _ in range(30):
            await it.hub.publish("news", "x" * 2_000)
        result = await it.recover(0)
        heard = offsets(result)
        while heard[-1] < 30:
            heard.append((await it.client.publication())["offset"])

        assert heard == list(range(1, 31))
        assert not it.hub.counters.slow_clients


@pytest.mark.parametrize("offset", [0, 6])
async def test_who_would_rather_be_refused_is_answered_with_112(offset: int) -> None:
    """Flag bit 2: an error instead of `recovered: false`; the client is not subscribed then."""
    async with news(history=History(size=2)) as it:
        assert await refused(it.recover(offset, flag=2)) == 112
        assert it.hub.sessions[it.client.id].channels == frozenset()
        assert (await it.recover(3, flag=3))["recovered"]


async def test_counters_tell_how_recoveries_went() -> None:
    """For whoever watches the hub."""
    async with news() as it:
        await it.recover(3)
        await it.client.unsubscribe("news")
        await it.recover(3, epoch="other")

        assert (it.hub.counters.recoveries, it.hub.counters.recoveries_failed) == (1, 1)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("command", ["subscribe", "history"])
async def test_who_asks_for_more_than_fits_at_once_is_answered_as_it_reads(command: str, frozen: bool) -> None:
    """A client that comes back to many channels asks for all in one frame: that does not make it a slow one."""
    hub = Hub(limits=Limits(outbox_bytes=100_000))
    hub.channel("room:{name}", history=History())
    async with serving(hub) as app, connect(app) as client:
        for room in range(8):
            for number in range(8):
                await hub.publish(f"room:{room}", [number, "x" * 5_000])
        if frozen:
            client.freeze()
        wish = {"recover": True} if command == "subscribe" else {"limit": -1}
        answers = client.batch(*({command: {"channel": f"room:{room}", **wish}} for room in range(8)))
        if frozen:
            for _ in range(20):
                await asyncio.sleep(0)
            assert sum(answer.done() for answer in answers) < 4
            client.thaw()

        for answer in answers:
            result = await client.answer(answer)
            assert [publication["data"][0] for publication in result["publications"]] == [*range(8)]


async def test_commands_behind_a_large_answer_keep_their_order() -> None:
    """Small ones too wait for their turn; a client that goes meanwhile leaves nothing."""
    hub = Hub(limits=Limits(outbox_bytes=100_000))
    hub.channel("room:{name}", history=History(), publish=True)
    async with serving(hub) as app, connect(app) as client:
        for _ in range(8):
            await hub.publish("room:a", "x" * 5_000)
        history = {"history": {"channel": "room:a", "limit": -1}}
        client.freeze()
        answers = client.batch(history, history, history, {"publish": {"channel": "room:a", "data": "last"}}, history)
        client.thaw()
        results = [await client.answer(answer) for answer in answers]
        assert [len(result.get("publications", "")) for result in results] == [8, 8, 8, 0, 9]

        client.freeze()
        client.batch(history, history, history, history, history)
        for _ in range(20):
            await asyncio.sleep(0)


# --- the newest alone -------------------------------------------------------------------------------------------------


async def test_in_cache_mode_recovering_gives_the_newest_publication() -> None:
    """However much lies between; SDKs ask with `since: {}`, which is offset 0 and no epoch."""
    async with news(recovery="cache") as it:
        result = await it.recover(0, epoch="")

        assert numbers(result) == [5]
        assert (result["was_recovering"], result["recovered"], result["offset"]) == (True, True, 5)


async def test_in_cache_mode_who_has_the_newest_gets_nothing() -> None:
    """It is recovered all the same."""
    async with news(recovery="cache") as it:
        result = await it.recover(5)

        assert numbers(result) == []
        assert result["recovered"]


async def test_in_cache_mode_another_epoch_gives_the_newest_too() -> None:
    """The client has no claim to more than that."""
    async with news(recovery="cache") as it:
        assert numbers(await it.recover(5, epoch="other")) == [5]


async def test_in_cache_mode_without_a_newest_nothing_is_recovered() -> None:
    """Of an empty stream, or one whose newest is too old."""
    async with news(0, recovery="cache") as it:
        await lost(await it.recover(0, epoch=""), it, top=0)
    async with news(recovery="cache", history=History(seconds=60)) as it:
        await it.clock.advance(61)
        await lost(await it.recover(3), it)
        await it.client.unsubscribe("news")
        assert await refused(it.recover(3, flag=2)) == 112


async def test_in_cache_mode_nothing_comes_unasked() -> None:
    """Only to those who recover."""
    async with news(recovery="cache") as it:
        assert "publications" not in await it.subscribe()


# --- only what is asked for -------------------------------------------------------------------------------------------


async def test_in_asked_mode_a_plain_subscribe_knows_nothing_of_positions() -> None:
    """As in a channel without history; the publications carry their offsets all the same."""
    async with news(recovery="asked") as it:
        assert await it.subscribe() == {}
        await it.hub.publish("news", 6)

        assert (await it.client.publication())["offset"] == 6


async def test_in_asked_mode_positioned_alone_is_granted_alone() -> None:
    """The client's place is watched, and it does not recover."""
    async with news(recovery="asked") as it:
        assert await it.subscribe(positioned=True) == {"positioned": True, "epoch": it.epoch, "offset": 5}


@pytest.mark.parametrize("wish", [{"recoverable": True}, {"recoverable": True, "positioned": True}])
async def test_in_asked_mode_recoverable_is_granted(wish: dict[str, bool]) -> None:
    """And with it the position."""
    async with news(recovery="asked") as it:
        assert await it.subscribe(**wish) == {
            "recoverable": True,
            "positioned": True,
            "epoch": it.epoch,
            "offset": 5,
        }


async def test_in_asked_mode_who_recovers_asks_for_it() -> None:
    """No other wish is needed."""
    async with news(recovery="asked") as it:
        assert numbers(await it.recover(3)) == [4, 5]


# --- server-side ------------------------------------------------------------------------------------------------------


async def test_server_side_subscriptions_recover_with_the_connect_reply() -> None:
    """By the same rules; the echo is the offset the client sent."""
    clock = VirtualClock()
    hub = Hub(clock=clock)
    hub.channel("news", history=History())

    @hub.on_connect
    def let_in() -> Accept:
        return Accept(channels=["news"])

    async with serving(hub) as app:
        async with connect(app) as client:
            await hub.publish("news", 1)
            await client.publication()
            position = client.positions["news"]
        for number in (2, 3):
            await hub.publish("news", number)
        async with line(app) as client:
            wish = {"recover": True, "epoch": position.epoch, "offset": position.offset}
            result = (await client.connect(subs={"news": wish}))["subs"]["news"]
            await hub.publish("news", 4)

            assert result["recovered"]
            assert (numbers(result), result["offset"]) == ([2, 3], 1)
            assert (await client.publication())["data"] == 4
            assert client.positions["news"].offset == 4


async def test_a_subscription_that_begins_in_mid_connection_says_where_it_stands() -> None:
    """Its push carries what a reply would."""
    async with news() as it:
        await it.hub.sessions[it.client.id].subscribe("news")

        assert await it.client.push() == {
            "channel": "news",
            "subscribe": {"recoverable": True, "positioned": True, "epoch": it.epoch, "offset": 5},
        }
        assert it.client.positions["news"] == Position(it.epoch, 5)


# --- what publications say --------------------------------------------------------------------------------------------


async def test_the_first_publication_of_a_stream_names_its_epoch_and_no_other_does() -> None:
    """A client that subscribed before the stream was there learns it so."""
    async with news(0) as it:
        await it.subscribe()
        for number in (1, 2):
            await it.hub.publish("news", number)

        assert await it.client.publication() == {"data": 1, "offset": 1, "epoch": it.epoch}
        assert await it.client.publication() == {"data": 2, "offset": 2}


async def test_without_history_publications_have_no_offset() -> None:
    """Nor an epoch."""
    hub = Hub()
    hub.channel("plain")
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("plain")
        await hub.publish("plain", 1)

        assert await client.publication() == {"data": 1}
