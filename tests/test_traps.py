"""The traps of the protocol's compatibility checklist, one test for each, named by its number.

Where a trap is about what an SDK does with our bytes, our bytes are tested here; the released SDKs themselves are in
tests/servers. Traps that need a real server (11, 17 with a frozen socket) have their other half there too.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest

from openline import JWT, Accept, DeclarationError, Disconnect, History, Hub, Limits, codes
from openline.testing import Client, VirtualClock, connect, line
from tests.serving import answered, ended, refused, serving

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


def signed(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def open_hub(**options: Any) -> Hub:
    """Give a hub with rooms in which everything is allowed."""
    hub = Hub(**options)
    hub.channel("room:{name}", history=History(), presence=True, join_leave=True, publish=True)
    return hub


def messages(client: Client) -> list[dict[str, Any]]:
    """Give everything a client was sent, in order."""
    return [json.loads(text) for frame in client.frames for text in str(frame).split("\n")]


async def test_trap_01_connect_and_subscribes_in_one_frame() -> None:
    """Processed in order; each subscribe reply is ahead of its publications."""
    async with serving(open_hub()) as app, line(app) as client:
        frames = [{"connect": {"name": "js"}}]
        frames += [{"subscribe": {"channel": f"room:{name}"}} for name in "abc"]
        frames += [{"publish": {"channel": f"room:{name}", "data": name}} for name in "abc"]
        for answer in client.batch(*frames):
            await client.answer(answer)
        await client.publication("room:c")

        kinds = [next(kind for kind in message if kind != "id") for message in messages(client)]
        assert kinds[:4] == ["connect", "subscribe", "subscribe", "subscribe"]


async def test_trap_02_empty_results_are_written() -> None:
    """SDKs look into them without asking whether they are there."""
    hub = open_hub()
    hub.channel("plain")
    async with serving(hub) as app, connect(app) as client:
        commands = {"subscribe": {"channel": "plain"}, "unsubscribe": {"channel": "plain"}}
        commands |= {"publish": {"channel": "room:a", "data": 1}}  # type: ignore[dict-item]
        for identifier, (kind, request) in enumerate(commands.items(), 10):
            await answered(client, json.dumps({"id": identifier, kind: request}))
            assert client.frames[-1] == f'{{"id":{identifier},"{kind}":{{}}}}'


async def test_trap_03_errors_unsubscribes_and_closes_have_code_and_words_and_arrivals_have_info() -> None:
    """The Python SDK indexes all of them."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as client:
        [error] = await answered(client, '{"id":9,"publish":{"channel":"nowhere","data":1}}')
        assert error["error"] == {"code": 102, "message": "unknown channel"}
        await client.subscribe("room:a", join_leave=True)
        assert (await client.push())["join"]["info"] == {"user": "", "client": client.id}
        await hub.sessions[client.id].unsubscribe("room:a")
        assert (await client.push())["unsubscribe"] == {"code": 2000, "reason": "server unsubscribe"}
        hub.sessions[client.id].disconnect()
        assert (await client.closed()).reason
    for error_code in codes.ERRORS:
        assert error_code.message


@pytest.mark.parametrize("code", codes.DISCONNECTS)
def test_trap_04_close_reasons_are_words(code: codes.DisconnectCode) -> None:
    """With an empty reason the JavaScript SDK comes back even after 3500; with JSON it takes its decision from that."""
    assert 0 < len(code.reason.encode()) <= 32
    assert code.reason.isascii()
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(code.reason)


@pytest.mark.parametrize("reason", ["", " ", "{}", '{"reconnect":true}', "123", "null", '"bye"', "[1]", " 7"])
def test_trap_04_an_app_cannot_give_a_reason_that_is_none(reason: str) -> None:
    """It is told so where it wrote it."""
    with pytest.raises(DeclarationError):
        Disconnect(4000, reason)


async def test_trap_05_pings_are_empty_and_on_time_and_pongs_are_not_answered() -> None:
    """On a busy line too; and one pong answers each."""
    clock = VirtualClock()
    async with serving(open_hub(clock=clock)) as app, connect(app) as client:
        await client.subscribe("room:a")
        for _ in range(60):
            await client.publish("room:a", "busy")
            await clock.advance(1)
        assert client.pings in (2, 3)
        assert messages(client).count({}) == client.pings
        client.send_frame("{}")

        assert (await client.closed()).code == 3501


@pytest.mark.parametrize("frame", ['{"id":5,"fly":{}}', '{"subscribe":{"channel":"room:a"}}', '{"id":5,"connect":{}}'])
async def test_trap_06_what_breaks_the_protocol_closes_with_3501(frame: str) -> None:
    """An unknown command, a missing id, a second connect: no error reply."""
    async with serving(open_hub()) as app, connect(app) as client:
        client.send_frame(frame)

        assert (await client.closed()).code == 3501
        assert len(messages(client)) == 1


async def test_trap_07_a_duplicate_subscribe_is_105_and_the_subscription_stays() -> None:
    """One copy of each publication comes."""
    async with serving(open_hub()) as app, connect(app) as client:
        await client.subscribe("room:a")
        assert await refused(client.subscribe("room:a")) == 105
        await client.publish("room:a", 1)

        assert (await client.publication())["data"] == 1
        await client.unsubscribe("room:a")
        assert client.waiting() == []


async def test_trap_08_unsubscribe_always_succeeds_and_is_the_last_of_the_channel() -> None:
    """Also in one frame with a new subscribe."""
    async with serving(open_hub()) as app, connect(app) as client, connect(app) as writer:
        assert await client.unsubscribe("never:heard:of:it") == {}
        await client.subscribe("room:a")
        left, entered = client.batch({"unsubscribe": {"channel": "room:a"}}, {"subscribe": {"channel": "room:a"}})
        assert await client.answer(left) == {}
        assert await client.answer(entered)
        await client.unsubscribe("room:a")
        seen = len(client.frames)
        await writer.publish("room:a", "late")
        assert await client.unsubscribe("room:a") == {}

        assert len(client.frames) == seen + 1


async def test_trap_09_rpc_without_procedures_is_108_and_an_unknown_one_104() -> None:
    """The JavaScript suite checks the first."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.rpc("x")) == 108
        hub.rpc("known")(lambda: None)
        assert await refused(client.rpc("x")) == 104


async def test_trap_10_presence_may_be_asked_from_outside() -> None:
    """It shows one entry after a subscribe, none after the unsubscribe."""
    async with serving(open_hub()) as app, connect(app) as client, connect(app) as asker:
        await client.subscribe("room:a")
        assert len(await asker.presence("room:a")) == 1
        await client.unsubscribe("room:a")
        assert len(await asker.presence("room:a")) == 0


async def test_trap_11_an_empty_subprotocol_is_ignored() -> None:
    """An app sees an empty name. That the fast wire takes the empty header is in tests/servers/test_differences.py."""
    async with serving(open_hub()) as app, line(app, subprotocols=[""]) as client:
        assert client.subprotocol is None
        assert await client.connect()


async def test_trap_12_a_sub_refresh_without_a_channel_closes_with_3501() -> None:
    """The Python SDK 0.5.0 forgets it; we are strict: 0.7 does not."""
    clock = VirtualClock()
    hub = open_hub(auth=JWT(secret=SECRET), clock=clock)
    async with serving(hub) as app, connect(app, token=signed(sub="ann")) as client:
        token = signed(sub="ann", channel="room:a", exp=clock.wall() + 60)
        await client.subscribe("room:a", token=token)

        assert await ended(client.command("sub_refresh", token=token)) == 3501


async def test_trap_13_an_expired_token_does_not_refresh_a_subscription_for_ever() -> None:
    """It closes with 3006."""
    clock = VirtualClock()
    hub = open_hub(auth=JWT(secret=SECRET), clock=clock)
    async with serving(hub) as app, connect(app, token=signed(sub="ann")) as client:
        token = signed(sub="ann", channel="room:a", exp=clock.wall() + 60)
        await client.subscribe("room:a", token=token)
        await clock.advance(61)

        assert await ended(client.command("sub_refresh", channel="room:a", token=token)) == 3006


async def test_trap_14_offsets_start_at_1_and_the_first_publication_names_the_epoch() -> None:
    """0 is no offset, and is not written."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as client:
        result = await client.subscribe("room:a")
        assert "offset" not in result
        for number in (1, 2):
            await hub.publish("room:a", number)

        assert await client.publication() == {"data": 1, "offset": 1, "epoch": result["epoch"]}
        assert await client.publication() == {"data": 2, "offset": 2}


async def test_trap_15_without_a_granted_delta_data_is_never_a_string_of_json() -> None:
    """Deltas are not granted yet: then nothing of a subscription may look as if they were."""
    async with serving(open_hub()) as app, connect(app) as client:
        await client.publish("room:a", {"x": 0})
        result = await client.subscribe("room:a", delta="fossil", recover=True)
        await client.publish("room:a", {"x": 1})

        assert "delta" not in result
        assert [publication["data"] for publication in result["publications"]] == [{"x": 0}]
        assert (await client.publication())["data"] == {"x": 1}


async def test_trap_16_expires_never_comes_without_a_time() -> None:
    """Nor with a time of 0: what is left is rounded up."""
    clock = VirtualClock()
    hub = open_hub(auth=JWT(secret=SECRET), clock=clock)
    soon = clock.wall() + 0.01
    async with serving(hub) as app, line(app) as client:
        results = [await client.connect(token=signed(sub="ann", exp=clock.wall() + 60, expire_at=soon))]
        token = signed(sub="ann", channel="room:a", expire_at=soon)
        results.append(await client.subscribe("room:a", token=token))
        results.append(await client.command("refresh", token=signed(sub="ann", expire_at=soon)))
        results.append(await client.command("sub_refresh", channel="room:a", token=token))

        assert [(result["expires"], result["ttl"]) for result in results] == [(True, 1)] * 4


async def test_trap_17_a_slow_consumer_is_closed_with_3008_and_recovers_from_history() -> None:
    """It comes back for what it did not get. A frozen socket is in tests/servers."""
    hub = open_hub(limits=Limits(outbox_bytes=60_000))
    rooms = [f"room:{name}" for name in "abcd"]
    async with serving(hub) as app:
        async with connect(app) as client:
            for room in rooms:
                await client.subscribe(room)
            client.freeze()
            for number in range(4):
                for room in rooms:
                    await hub.publish(room, [number, "x" * 5_000])
            client.thaw()
            closed = await client.closed()
            positions = client.positions
        assert (closed.code, closed.reason) == (3008, "slow")
        async with connect(app) as client:
            for room in rooms:
                result = await client.recover(room, positions[room])
                assert result["recovered"]
                assert client.positions[room].offset == 4


async def test_trap_18_a_connection_without_connect_is_stale() -> None:
    """3502 after ten seconds."""
    clock = VirtualClock()
    async with serving(open_hub(clock=clock)) as app, line(app) as client:
        await clock.advance(10.5)

        assert (await client.closed()).code == 3502


async def test_trap_19_a_server_that_stops_says_3001_to_everybody() -> None:
    """They come back, to another one."""
    async with AsyncExitStack() as stack:
        async with serving(open_hub(), left_open=True) as app:
            clients = [await stack.enter_async_context(connect(app)) for _ in range(3)]
            clients.append(await stack.enter_async_context(line(app)))

        closed = [await client.closed() for client in clients]
        assert {(end.code, end.reason) for end in closed} == {(3001, "shutdown")}


async def test_trap_20_a_disconnect_by_the_app_is_terminal_unless_told_otherwise() -> None:
    """3503 by default; 3011 and 4000 to 4499 have clients come back."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as one, connect(app) as two, connect(app) as three:
        hub.sessions[one.id].disconnect()
        hub.sessions[two.id].disconnect(codes.CLOSED_FORCE_RECONNECT)
        hub.sessions[three.id].disconnect(4000, "try again")

        assert [(await client.closed()).code for client in (one, two, three)] == [3503, 3011, 4000]
    assert not codes.CLOSED_FORCED.reconnect
    assert codes.CLOSED_FORCE_RECONNECT.reconnect
    assert Disconnect(4499, "x").code.reconnect
    assert not Disconnect(4500, "x").code.reconnect


async def test_trap_21_names_are_ascii_of_at_most_255_and_reserved_signs_mean_nothing_here() -> None:
    """What Centrifugo reads from `#`, `$` and `&` an app of ours declares: patterns, handlers, tokens."""
    hub = open_hub()
    hub.channel("{any:path}", publish=True)
    async with serving(hub) as app, connect(app) as client:
        for name in ("ns:room#42,43", "$private", "#user", "a/b*c&d", "x" * 255):
            assert await client.subscribe(name) == {}
        assert await refused(client.subscribe("x" * 256)) == 107
        assert await refused(client.subscribe("raum:größe")) == 107


async def test_trap_21_personal_channels_are_the_handlers_to_give() -> None:
    """By `Accept(channels=…)`."""
    hub = Hub()
    personal = hub.channel("personal:{user}")

    @hub.on_connect
    def who(name: str) -> Accept:
        return Accept(user=name, channels=[f"personal:{name}"])

    async with serving(hub) as app, connect(app, name="ann") as ann:
        await personal.publish("only for you", user="ann")

        assert (await ann.publication("personal:ann"))["data"] == "only for you"


async def test_trap_22_the_limit_of_128_channels_can_be_raised() -> None:
    """And is told by its own code."""
    hub = Hub(limits=Limits(channels=200))
    hub.channel("room:{name}")
    async with serving(hub) as app, connect(app) as client:
        for answer in client.batch(*({"subscribe": {"channel": f"room:{number}"}} for number in range(200))):
            await client.answer(answer)

        assert await refused(client.subscribe("room:one more")) in (106, 107)
        assert await refused(client.subscribe("room:more")) == 106


async def test_trap_23_pings_come_more_often_than_proxies_lose_patience() -> None:
    """A minute is what most of them allow. Streams that may not be buffered come with their wires."""
    async with serving(open_hub()) as app, line(app) as client:
        assert (await client.connect())["ping"] < 30


async def test_trap_24_after_a_close_the_server_keeps_nothing_and_history_brings_back_what_was_missed() -> None:
    """Clients acknowledge nothing: what one has is what it says it has."""
    hub = open_hub()
    async with serving(hub) as app:
        async with connect(app) as client:
            await client.subscribe("room:a")
            await hub.publish("room:a", "seen")
            await client.publication()
            position = client.positions["room:a"]
        await hub.publish("room:a", "missed")
        assert not hub.sessions
        async with connect(app) as client:
            recovered = await client.recover("room:a", position)
            again = (await client.history("room:a"))["publications"]

        assert [publication["data"] for publication in recovered["publications"]] == ["missed"]
        assert len(again) == 2


async def test_trap_25_publications_of_one_channel_keep_their_order() -> None:
    """For everybody, however they were published."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as one, connect(app) as two:
        for client in (one, two):
            await client.subscribe("room:a")
        for number in range(0, 100, 2):
            await hub.publish("room:a", number)
            await one.publish("room:a", number + 1)

        for client in (one, two):
            assert [(await client.publication())["data"] for _ in range(100)] == list(range(100))


async def test_trap_26_reply_and_own_publication_both_come_in_whatever_order() -> None:
    """Nothing here, and nothing in the kit, relies on it."""
    async with serving(open_hub()) as app, connect(app) as client:
        await client.subscribe("room:a")
        [answer] = client.batch({"publish": {"channel": "room:a", "data": 1}})

        assert (await client.publication())["data"] == 1
        assert await client.answer(answer) == {}
