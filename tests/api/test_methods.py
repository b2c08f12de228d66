"""What each method of the API does about channels: publishing, presence, history, and what there is."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from openline import Hub, Limits
from openline.testing import connect
from tests.api.house import back_end


def b64(data: bytes) -> str:
    """Write bytes in base64."""
    return base64.b64encode(data).decode()


async def said(it: Any, channel: str) -> list[Any]:
    """Give the data of everything that is kept of a channel."""
    history = await it.get("history", channel=channel, limit=-1)
    return [publication["data"] for publication in history["publications"]]


# --- publish ----------------------------------------------------------------------------------------------------------


async def test_publishing_reaches_subscribers_and_gives_the_position() -> None:
    """With the tags; offset and epoch are those the client sees."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        epoch = (await ann.subscribe("news:a"))["epoch"]
        result = await it.get("publish", channel="news:a", data={"x": [1, None]}, tags={"kind": "big"})
        assert result == {"offset": 1, "epoch": epoch}
        publication = await ann.publication("news:a")
        assert (publication["data"], publication["tags"]) == ({"x": [1, None]}, {"kind": "big"})


async def test_a_channel_without_history_gives_no_position() -> None:
    """Neither field is there, rather than empty ones."""
    async with back_end() as it:
        assert await it.get("publish", channel="tick:a", data=1) == {}


@pytest.mark.parametrize("data", ["1.50", '"\\u00e9"', "null", "9007199254740993", "[ ]", '{"b":1,"a":1e2}'])
async def test_what_is_published_travels_as_it_was_written(data: str) -> None:
    """Numbers are not read and written again."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await ann.subscribe("news:a")
        await it.http.post("/publish", content=f'{{"channel":"news:a","data":{data}}}')
        await ann.publication("news:a")
        assert f'"data":{data}' in str(ann.frames[-1])


async def test_half_a_character_is_mended() -> None:
    """As Python and JavaScript write it, of which nobody else could read anything."""
    async with back_end() as it:
        body = b'{"channel":"news:a","data":"\\ud83d",\n"tags":{"a":"\\ud83d\\ude00"}}'
        assert (await it.http.post("/publish", content=body)).json()["result"]["offset"] == 1
        (kept,) = (await it.get("history", channel="news:a", limit=1))["publications"]
        assert (kept["data"], kept["tags"]) == ("\ufffd", {"a": "\U0001f600"})


async def test_data_has_to_fit_the_type_of_its_channel() -> None:
    """What does not is told by its field; what is declared and absent is filled in."""
    async with back_end() as it:
        code, words = await it.refused("publish", channel="room:a", data={"txt": "hi"})
        assert (code, words) == (107, "text: Field required")
        assert (await it.refused("publish", channel="room:a", data="hi"))[0] == 107
        await it.get("publish", channel="room:a", data={"text": "hi", "rest": 1})
        assert await said(it, "room:a") == [{"text": "hi", "by": "nobody"}]


async def test_bytes_are_published_in_base64() -> None:
    """Any in a channel of bytes; JSON elsewhere. They go before `data`."""
    async with back_end() as it:
        await it.get("publish", channel="raw:a", b64data=b64(b"\x00[[\xff"), data=None)
        await it.get("publish", channel="raw:a", data={"a": 1})
        await it.get("publish", channel="news:a", data=1, b64data=b64(b'{"a":\n2}'))
        assert (await it.refused("publish", channel="news:a", b64data=b64(b"\x00")))[0] == 107
        assert await it.refused("publish", channel="raw:a", b64data="?") == (107, "b64data is not base64")
        first, second = (await it.get("history", channel="raw:a", limit=-1))["publications"]
        assert (first["data"], base64.b64decode(first["b64data"])) == (None, b"\x00[[\xff")
        assert (second["data"], base64.b64decode(second["b64data"])) == ({"a": 1}, b'{"a":1}')
        assert await said(it, "news:a") == [{"a": 2}]


async def test_skip_history_reaches_those_who_are_there_and_is_not_kept() -> None:
    """It has no place in the stream, and the next goes on from before it."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await ann.subscribe("news:a")
        await it.get("publish", channel="news:a", data=1)
        assert await it.get("publish", channel="news:a", data=2, skip_history=True) == {}
        assert (await it.get("publish", channel="news:a", data=3))["offset"] == 2
        assert [(await ann.publication("news:a"))["data"] for _ in range(3)] == [1, 2, 3]
        assert await said(it, "news:a") == [1, 3]


async def test_a_key_publishes_once_and_a_version_once() -> None:
    """A repeat of the key gives the first position, a version that is not newer the top."""
    async with back_end() as it:
        first = await it.get("publish", channel="news:a", data=1, idempotency_key="k")
        await it.get("publish", channel="news:a", data=2, version=5, version_epoch="e")
        assert await it.get("publish", channel="news:a", data=1, idempotency_key="k") == first
        assert (await it.get("publish", channel="news:a", data=3, version=5, version_epoch="e"))["offset"] == 2
        assert (await it.get("publish", channel="news:a", data=4, version=1, version_epoch="f", delta=True))[
            "offset"
        ] == 3
        assert await said(it, "news:a") == [1, 2, 4]


@pytest.mark.parametrize(
    ("params", "code", "words"),
    [
        ({"data": 1}, 107, "missing required field `channel`"),
        ({"channel": "", "data": 1}, 107, "channel is missing"),
        ({"channel": "nowhere", "data": 1}, 102, "nowhere"),
        ({"channel": "news:a b", "data": 1}, 102, "news:a b"),
        ({"channel": "news:" + "a" * 300, "data": 1}, 102, "news:a"),
        ({"channel": "news:a"}, 107, "data is missing"),
        ({"channel": 5, "data": 1}, 107, "channel: Expected `str`"),
        ({"channel": "news:a", "data": 1, "tags": {"a": 1}}, 107, "tags"),
        ({"channel": "news:a", "data": 1, "version": -1}, 107, "version"),
        ({"channel": "news:a", "data": 1, "version": 2**63}, 107, "version"),
        ({"channel": "news:a", "data": "x" * 70_000}, 107, "65536"),
    ],
)
async def test_what_cannot_be_published_is_told(params: dict[str, Any], code: int, words: str) -> None:
    """By its code, and by words that name the parameter."""
    async with back_end() as it:
        refusal = await it.refused("publish", **params)
        assert refusal[0] == code
        assert words in refusal[1]


async def test_a_payload_nests_as_deep_as_a_client_s_may() -> None:
    """Past it error 107 tells how deep; past anything sensible the body is not read at all."""
    async with back_end(Hub(limits=Limits(json_depth=5))) as it:
        it.hub.channel("any")
        it.hub.channel("raw", bytes)
        for depth, words in ((6, "data nests 6 deep, and 5"), (50_000, "the body nests 50001 deep")):
            deep = f'{{"channel":"any","data":{"[" * depth}{"]" * depth}}}'
            answer = (await it.http.post("/publish", content=deep)).json()
            assert answer["error"]["code"] == 107
            assert words in answer["error"]["message"]
        deep = f'{{"channel":"any","data":{"[" * 5}{"]" * 5}}}'
        assert (await it.http.post("/publish", content=deep)).json() == {"result": {}}
        assert (await it.refused("publish", channel="any", b64data=b64(b"[" * 6 + b"]" * 6)))[0] == 107
        assert await it.get("publish", channel="raw", b64data=b64(b"\xff" + b"[" * 600)) == {}


async def test_parameters_that_are_null_are_absent() -> None:
    """As many languages write what they leave out; data is the exception, of which null is one."""
    async with back_end() as it:
        params = {"b64data": None, "tags": None, "skip_history": None, "version": None, "unknown": 1}
        assert (await it.get("publish", channel="news:a", data=None, **params))["offset"] == 1
        assert await said(it, "news:a") == [None]


# --- broadcast --------------------------------------------------------------------------------------------------------


async def test_a_broadcast_answers_for_each_channel_in_their_order() -> None:
    """What fails in one keeps no other from it."""
    async with back_end() as it:
        result = await it.get("broadcast", channels=["news:a", "nowhere", "tick:a", "room:a", ""], data={"a": 1})
        first, nowhere, tick, room, empty = result["responses"]
        assert first["result"]["offset"] == 1
        assert nowhere["error"]["code"] == 102
        assert tick == {"result": {}}
        assert room["error"] == {"code": 107, "message": "text: Field required"}
        assert empty["error"]["code"] == 107
        assert await said(it, "news:a") == [{"a": 1}]


async def test_a_channel_that_is_there_twice_is_published_to_once() -> None:
    """And has its response twice: they are as many as the channels."""
    async with back_end() as it:
        result = await it.get("broadcast", channels=["news:a", "news:b", "news:a"], data=1)
        first, _, third = result["responses"]
        assert first == third
        assert await said(it, "news:a") == [1]


async def test_a_broadcast_has_bounds() -> None:
    """No channels is an error of the whole, and so are too many and missing data."""
    async with back_end() as it:
        assert await it.refused("broadcast", channels=[], data=1) == (107, "channels is missing, or empty")
        assert await it.refused("broadcast", channels=["news:a"]) == (107, "data is missing")
        code, words = await it.refused("broadcast", channels=["news:a"] * 10_001, data=1)
        assert (code, words) == (107, "10001 channels, and 10000 is the limit of a broadcast")
        names = [f"news:{number}" for number in range(1_000)]
        assert len((await it.get("broadcast", channels=names, data=1))["responses"]) == 1_000


# --- presence ---------------------------------------------------------------------------------------------------------


async def test_presence_says_who_is_there_and_how_many() -> None:
    """By connection, with what others see of each; an absent info is left out."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="ann") as tab:
        await ann.subscribe("tick:a")
        await tab.subscribe("tick:a")
        presence = (await it.get("presence", channel="tick:a"))["presence"]
        assert presence[ann.id] == {"user": "ann", "client": ann.id, "conn_info": {"name": "ann"}}
        assert set(presence) == {ann.id, tab.id}
        assert await it.get("presence_stats", channel="tick:a") == {"num_clients": 2, "num_users": 1}


async def test_an_empty_channel_has_empty_presence() -> None:
    """The fields are there all the same."""
    async with back_end() as it:
        assert await it.get("presence", channel="tick:a") == {"presence": {}}
        assert await it.get("presence_stats", channel="tick:a") == {"num_clients": 0, "num_users": 0}


@pytest.mark.parametrize("method", ["presence", "presence_stats", "history", "history_remove"])
async def test_what_a_channel_was_declared_without_is_not_available(method: str) -> None:
    """Error 108; an unknown channel is 102, and none at all 107."""
    async with back_end() as it:
        without = "news:a" if method.startswith("presence") else "tick:a"
        assert (await it.refused(method, channel=without))[0] == 108
        assert (await it.refused(method, channel="nowhere"))[0] == 102
        assert (await it.refused(method))[0] == 107


# --- history ----------------------------------------------------------------------------------------------------------


async def test_history_is_read_from_both_ends() -> None:
    """No limit gives the top alone, -1 all; since is exclusive."""
    async with back_end() as it:
        epoch = (await it.get("history", channel="news:a"))["epoch"]
        for number in range(1, 6):
            await it.get("publish", channel="news:a", data=number)

        async def read(**params: Any) -> list[int]:
            page = await it.get("history", channel="news:a", **params)
            assert (page["epoch"], page["offset"]) == (epoch, 5)
            return [publication["data"] for publication in page["publications"]]

        assert await read() == []
        assert await read(limit=2) == [1, 2]
        assert await read(limit=-1) == [1, 2, 3, 4, 5]
        assert await read(limit=-1, since={"offset": 3, "epoch": epoch}) == [4, 5]
        assert await read(limit=2, reverse=True) == [5, 4]
        assert await read(limit=-1, reverse=True, since={"offset": 3, "epoch": ""}) == [2, 1]


async def test_a_publication_of_a_client_says_whose_it_is() -> None:
    """One of the API has no such field, and no tags."""
    async with back_end() as it, connect(it.app, name="ann") as ann:
        await ann.publish("news:a", "mine")
        await it.get("publish", channel="news:a", data="ours")
        mine, ours = (await it.get("history", channel="news:a", limit=-1))["publications"]
        assert mine == {
            "data": "mine",
            "offset": 1,
            "info": {"user": "ann", "client": ann.id, "conn_info": {"name": "ann"}},
        }
        assert ours == {"data": "ours", "offset": 2}


async def test_a_position_of_another_stream_is_unrecoverable() -> None:
    """Error 112; and before offset 0 there is nothing, which is 107."""
    async with back_end() as it:
        await it.get("publish", channel="news:a", data=1)
        assert (await it.refused("history", channel="news:a", limit=1, since={"offset": 1, "epoch": "other"}))[0] == 112
        assert (await it.refused("history", channel="news:a", limit=1, since={"offset": 0}, reverse=True))[0] == 107


async def test_history_is_removed_and_the_stream_goes_on() -> None:
    """Epoch and offset stay, so that nobody takes what comes for a new stream."""
    async with back_end() as it:
        first = await it.get("publish", channel="news:a", data=1)
        assert await it.get("history_remove", channel="news:a") == {}
        assert await it.get("history", channel="news:a", limit=-1) == {"publications": [], **first}
        assert await it.get("publish", channel="news:a", data=2) == {"offset": 2, "epoch": first["epoch"]}


# --- what there is ----------------------------------------------------------------------------------------------------


async def test_channels_are_those_with_subscribers_that_match() -> None:
    """With how many they have."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="bob") as bob:
        for client, channel in ((ann, "news:a"), (bob, "news:a"), (ann, "news:b"), (bob, "tick:a")):
            await client.subscribe(channel)
        everything = {"news:a": {"num_clients": 2}, "news:b": {"num_clients": 1}, "tick:a": {"num_clients": 1}}
        assert (await it.get("channels"))["channels"] == everything
        assert set((await it.get("channels", pattern="news:*"))["channels"]) == {"news:a", "news:b"}
        assert set((await it.get("channels", pattern="*:{a,c}"))["channels"]) == {"news:a", "tick:a"}
        assert await it.get("channels", pattern="none*") == {"channels": {}}


async def test_info_says_what_the_node_has() -> None:
    """Every count is there, also one that is zero."""
    async with back_end() as it, connect(it.app, name="ann") as ann, connect(it.app, name="") as stranger:
        await ann.subscribe("news:a")
        await stranger.subscribe("news:a")
        (node,) = (await it.get("info"))["nodes"]
        (known,) = it.hub.nodes
        assert (node["uid"], node["name"], node["version"]) == (known.id, known.process, known.version)
        assert (node["num_clients"], node["num_users"], node["num_subs"], node["num_channels"]) == (2, 1, 2, 1)
        assert node["uptime"] >= 0


async def test_publications_at_the_same_time_do_not_mix() -> None:
    """Each answer is that of its own request."""
    async with back_end() as it:
        results = await asyncio.gather(*(it.get("publish", channel="news:a", data=number) for number in range(10)))
        kept = (await it.get("history", channel="news:a", limit=-1))["publications"]
        assert {p["offset"]: p["data"] for p in kept} == {r["offset"]: n for n, r in enumerate(results)}
        assert json.dumps(sorted(r["offset"] for r in results)) == json.dumps(list(range(1, 11)))
