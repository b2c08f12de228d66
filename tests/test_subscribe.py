"""The subscribe command: its checks in their order, its limits, and what it is answered with. Recovery has its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from openline import JWT, History, Hub, Limits, PermissionDenied, Session
from openline.testing import VirtualClock, connect
from tests.serving import ended, refused, serving

LONG = "room:" + "x" * 251  # 256 characters


def open_hub(limits: Limits | None = None) -> Hub:
    """Give a hub with rooms, and a club for which one needs a token."""
    hub = Hub(auth=JWT(secret="a secret of the tests" * 4, anonymous=True), clock=VirtualClock(), limits=limits)
    hub.channel("room:{name}", history=History(), presence=True, join_leave=True, publish=True)
    hub.channel("plain:{name}", publish=True)
    hub.channel("club:{name}", protected=True)
    return hub


# --- checks, in their order -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param({}, id="no channel"),
        pytest.param({"channel": "", "tf": {"key": "a"}}, id="an empty channel"),
        pytest.param({"channel": "room:a", "delta": "xdelta"}, id="a delta nobody knows"),
        pytest.param({"channel": LONG, "delta": "xdelta"}, id="a delta nobody knows, before the name"),
    ],
)
async def test_a_request_that_cannot_be_meant_closes_with_3501(request_: dict[str, Any]) -> None:
    """These are faults of the client's program."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert await ended(client.command("subscribe", **request_)) == 3501


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param({"channel": LONG}, 107, id="a name of 256"),
        pytest.param({"channel": "x" * 300}, 107, id="a long name, before the unknown channel"),
        pytest.param({"channel": "room:in"}, 105, id="a channel one is in"),
        pytest.param({"channel": "room:in", "token": "bad"}, 105, id="a channel one is in, before the token"),
        pytest.param({"channel": "room:in", "tf": {"key": "a"}}, 105, id="a channel one is in, before the filter"),
        pytest.param({"channel": "nowhere"}, 102, id="an unknown channel"),
        pytest.param({"channel": "nowhere", "token": "bad"}, 102, id="an unknown channel, before the token"),
        pytest.param({"channel": "room:ä"}, 107, id="a name that is not ASCII"),
        pytest.param({"channel": "room:a\u0000"}, 107, id="a name with a control character"),
        pytest.param({"channel": "room:a b"}, 107, id="a name with a space"),
        pytest.param({"channel": "room:"}, 102, id="an empty part"),
        pytest.param({"channel": "room:a:b"}, 102, id="a part too many"),
        pytest.param({"channel": "room:a", "tf": {"key": "a", "cmp": "eq", "val": "b"}}, 107, id="a tag filter"),
        pytest.param({"channel": "room:a", "type": 1}, 107, id="a map subscription"),
        pytest.param({"channel": "club:a"}, 103, id="no token where one is needed"),
    ],
)
async def test_a_subscribe_is_refused_by_the_first_check_that_fails(request_: dict[str, Any], code: int) -> None:
    """The connection stays, and so does what it is subscribed to."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:in")

        assert await refused(client.command("subscribe", **request_)) == code
        assert hub.sessions[client.id].channels == {"room:in"}


async def test_names_may_have_255_characters() -> None:
    """Not one more; `Limits.name_length` says how many."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert await client.subscribe(LONG[:255])
    async with serving(open_hub(Limits(name_length=6))) as app, connect(app) as client:
        assert await client.subscribe("room:a")
        assert await refused(client.subscribe("room:ab")) == 107


async def test_a_connection_may_be_in_128_channels() -> None:
    """Leaving one makes room; the limit is looked at before the channel is known to exist."""
    async with serving(open_hub()) as app, connect(app) as client:
        for answer in client.batch(*({"subscribe": {"channel": f"plain:{number}"}} for number in range(128))):
            await client.answer(answer)
        assert await refused(client.subscribe("plain:one more")) == 106
        assert await refused(client.subscribe("nowhere")) == 106
        assert await refused(client.subscribe("plain:5")) == 105
        await client.unsubscribe("plain:5")

        assert await client.subscribe("plain:128") == {}


async def test_subscribing_twice_is_refused_and_the_subscription_stays() -> None:
    """With one copy of each publication."""
    async with serving(open_hub()) as app, connect(app) as client:
        await client.subscribe("plain:a")
        assert await refused(client.subscribe("plain:a")) == 105
        await client.publish("plain:a", 1)
        await client.publish("plain:a", 2)

        assert [(await client.publication())["data"] for _ in range(2)] == [1, 2]


async def test_what_the_server_subscribed_a_client_cannot_subscribe_again() -> None:
    """There is one subscription of a session in a channel, whoever began it."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as client:
        await hub.sessions[client.id].subscribe("plain:a")

        assert await refused(client.subscribe("plain:a")) == 105


async def test_of_two_subscribes_in_one_frame_the_second_is_refused_while_the_first_is_decided() -> None:
    """Though nothing is decided yet when it comes."""
    hub = Hub()
    room = hub.channel("room:{name}")

    @room.on_subscribe
    async def think() -> None:
        await asyncio.sleep(0)

    async with serving(hub) as app, connect(app) as client:
        first, second = client.batch({"subscribe": {"channel": "room:a"}}, {"subscribe": {"channel": "room:a"}})

        assert await client.answer(first) == {}
        assert await refused(client.answer(second)) == 105


async def test_the_server_may_be_faster_than_the_handler_that_decides() -> None:
    """Then the client is in, and its own subscribe is the second."""
    hub = Hub()
    room = hub.channel("room:{name}")
    running, gate = asyncio.Event(), asyncio.Event()

    @room.on_subscribe
    async def think() -> None:
        running.set()
        await gate.wait()

    async with serving(hub) as app, connect(app) as client:
        answer = client.batch({"subscribe": {"channel": "room:a"}})[0]
        await asyncio.wait_for(running.wait(), 5)
        await hub.sessions[client.id].subscribe("room:a")
        gate.set()

        assert await refused(client.answer(answer)) == 105
        assert await client.push() == {"channel": "room:a", "subscribe": {}}
        await hub.publish("room:a", "once")
        assert (await client.publication())["data"] == "once"


async def test_a_refused_subscribe_may_be_tried_again() -> None:
    """Nothing of the first try is left."""
    hub = Hub()
    room = hub.channel("room:{name}", presence=True, join_leave=True)
    doors = iter([PermissionDenied(), RuntimeError("a bug"), None])

    @room.on_subscribe
    async def decide() -> None:
        trouble = next(doors)
        if trouble is not None:
            raise trouble

    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.subscribe("room:a")) == 103
        assert await refused(client.subscribe("room:a")) == 100
        assert not hub._node._topics
        assert await client.subscribe("room:a") == {}


async def test_leaving_and_entering_in_one_frame_is_a_new_subscription() -> None:
    """As the JavaScript SDK does it."""
    async with serving(open_hub()) as app, connect(app) as client:
        await client.subscribe("room:a")
        left, entered = client.batch({"unsubscribe": {"channel": "room:a"}}, {"subscribe": {"channel": "room:a"}})

        assert await client.answer(left) == {}
        assert (await client.answer(entered))["recoverable"]
        await client.publish("room:a", "once")
        assert (await client.publication())["data"] == "once"
        await client.unsubscribe("room:a")
        assert client.waiting() == []


async def test_a_client_that_goes_while_its_subscribe_is_decided_leaves_nothing() -> None:
    """Neither in the topic nor in presence; the handler runs to its end."""
    hub = Hub()
    room = hub.channel("room:{name}", presence=True, join_leave=True, history=History())
    running, gate, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @room.on_subscribe
    async def think(session: Session) -> None:
        running.set()
        await gate.wait()
        done.set()

    async with serving(hub) as app:
        async with connect(app) as client:
            client.batch({"subscribe": {"channel": "room:a"}})
            await asyncio.wait_for(running.wait(), 5)
        gate.set()
        await asyncio.wait_for(done.wait(), 5)


# --- the reply --------------------------------------------------------------------------------------------------------


async def test_without_history_the_result_is_empty() -> None:
    """There is nothing to say of positions, however much the client wishes for them."""
    async with serving(open_hub()) as app, connect(app) as client:
        wishes = {
            "positioned": True,
            "recoverable": True,
            "join_leave": True,
            "recover": True,
            "offset": 5,
            "epoch": "x",
        }

        assert await client.subscribe("plain:a", **wishes) == {}


async def test_a_delta_is_not_granted_and_the_data_is_plain() -> None:
    """The wish is legal; that the result does not say `delta` is the answer."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert "delta" not in await client.subscribe("room:a", delta="fossil")
        await client.publish("room:a", {"x": 1})

        assert (await client.publication())["data"] == {"x": 1}


@pytest.mark.parametrize("flag", [1, 2, 3, -1, 1 << 40])
async def test_flags_change_nothing_where_nothing_is_recovered(flag: int) -> None:
    """Bit 1 is about something that is not offered, bit 2 about failed recoveries; nobody knows the others."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert (await client.subscribe("room:a", flag=flag))["recoverable"]


@pytest.mark.parametrize("protobuf", [False, True])
async def test_the_reply_is_ahead_of_the_first_publication_and_of_the_own_join(protobuf: bool) -> None:
    """Else the client would drop what it does not know to belong anywhere."""
    hub = open_hub()
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        for number in range(50):
            publish = {"publish": {"channel": f"room:{number}", "data": number}}
            *_, answer = client.batch(
                publish, {"subscribe": {"channel": f"room:{number}", "join_leave": True}}, publish
            )
            await client.answer(answer)
        if not protobuf:
            messages = [json.loads(text) for frame in client.frames for text in str(frame).split("\n")]
            entered: set[str] = set()
            for message in messages:
                if "subscribe" in message:
                    entered.add(f"room:{len(entered)}")
                elif "push" in message:
                    assert message["push"]["channel"] in entered
        pushes = [await client.push() for _ in range(100)]
        assert sum("join" in push for push in pushes) == 50
        assert [push["pub"]["data"] for push in pushes if "pub" in push] == list(range(50))


async def test_publications_while_a_subscribe_is_decided_come_once_and_in_order() -> None:
    """Those before the reply are history for the newcomer, those after it come live."""
    hub = Hub()
    room = hub.channel("room:{name}", history=History())
    running, gate = asyncio.Event(), asyncio.Event()

    @room.on_subscribe
    async def think() -> None:
        running.set()
        await gate.wait()

    async with serving(hub) as app, connect(app) as client:
        answer = client.batch({"subscribe": {"channel": "room:a", "recover": True}})[0]
        await asyncio.wait_for(running.wait(), 5)
        for number in range(3):
            await hub.publish("room:a", number)
        gate.set()
        result = await client.answer(answer)
        for number in range(3, 6):
            await hub.publish("room:a", number)

        recovered = [publication["data"] for publication in result["publications"]]
        assert recovered + [(await client.publication())["data"] for _ in range(3)] == list(range(6))


async def test_handlers_of_several_clients_wait_side_by_side() -> None:
    """Only the commands of one connection wait for each other."""
    hub = Hub()
    room = hub.channel("room:{name}")
    waiting: list[str] = []
    all_here = asyncio.Event()

    @room.on_subscribe
    async def wait(session: Session) -> None:
        waiting.append(session.id)
        if len(waiting) == 3:
            all_here.set()
        await all_here.wait()

    async with serving(hub) as app, connect(app) as one, connect(app) as two, connect(app) as three:
        answers = await asyncio.gather(*(client.subscribe("room:a") for client in (one, two, three)))

        assert answers == [{}, {}, {}]


async def test_bytes_that_are_no_json_are_refused_where_others_read_json() -> None:
    """From a Protobuf client into a JSON channel: 107, and nothing is published."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as reader, connect(app, protobuf=True) as writer:
        await reader.subscribe("plain:a")
        assert await refused(writer.publish("plain:a", b"\x00\xff")) == 107
        await writer.publish("plain:a", b'{\n"x": 1}')

        assert (await reader.publication())["data"] == {"x": 1}


async def test_a_raw_channel_carries_any_bytes_to_protobuf_and_closes_json_with_3506() -> None:
    """Live, from history and in a recovery: a JSON client cannot be sent them."""
    hub = Hub()
    hub.channel("raw", bytes, publish=True, history=History())
    async with serving(hub) as app, connect(app, protobuf=True) as binary, connect(app) as text, connect(app) as late:
        await binary.subscribe("raw")
        await text.subscribe("raw")
        await binary.publish("raw", b"\x00\xff")

        assert (await binary.publication())["data"] == b"\x00\xff"
        closed = await text.closed()
        assert (closed.code, closed.reason) == (3506, "inappropriate protocol")
        assert await ended(late.history("raw")) == 3506
        async with connect(app) as later:
            assert await ended(later.subscribe("raw", recover=True)) == 3506
        assert (await binary.history("raw"))["publications"][0]["data"] == b"\x00\xff"


async def test_a_raw_channel_carries_json_to_everybody() -> None:
    """What happens to be JSON on one line, every client can read."""
    hub = Hub()
    hub.channel("raw", bytes, publish=True)
    async with serving(hub) as app, connect(app, protobuf=True) as binary, connect(app) as text:
        await binary.subscribe("raw")
        await text.subscribe("raw")
        await text.publish("raw", {"x": 1})
        await hub.publish("raw", b'"from the app"')

        for client in (binary, text):
            assert (await client.publication())["data"] == {"x": 1}
            assert (await client.publication())["data"] == "from the app"
