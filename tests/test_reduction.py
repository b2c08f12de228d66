"""Deltas and tag filters as clients get them: what is granted, what is refused, what is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from openline import Accept, Hub
from openline.errors import DeclarationError
from openline.options import ChannelOptions, History, Limits
from openline.session import Session
from openline.testing import line
from tests.engine import KEPT, PLAIN, Engine, RecordingWire, running, send
from tests.protocol.fossil import apply
from tests.serving import serving

PATCHED = ChannelOptions(history=History(size=100, seconds=300), delta=True)
CHOSEN = ChannelOptions(history=History(size=100, seconds=300), filters=True)
RED = {"key": "colour", "cmp": "eq", "val": "red"}


def text(number: int) -> str:
    """Give a payload of which little changes."""
    return f"a rather long payload of which only the number changes: {number}"


def subscribing(engine: Engine, **request: Any) -> tuple[RecordingWire, Session]:
    """Connect a client that subscribes, in this turn."""
    wire, session = engine.client()
    send(session, id=2, subscribe={"channel": "a", **request})
    return wire, session


async def subscribed(engine: Engine, **request: Any) -> tuple[RecordingWire, Session]:
    """Connect a client that subscribes, and let it have its answer."""
    wire, session = subscribing(engine, **request)
    await engine.settle()
    return wire, session


def answer(wire: RecordingWire, identifier: int = 2) -> dict[str, Any]:
    """Give the answer to a command."""
    (found,) = (message for message in wire.messages() if message.get("id") == identifier)
    return found


def pubs(wire: RecordingWire) -> list[dict[str, Any]]:
    """Give every publication pushed."""
    pushes = [message["push"] for message in wire.messages() if "push" in message]
    return [push["pub"] for push in pushes if "pub" in push]


def made(publications: list[dict[str, Any]]) -> list[Any]:
    """Apply what publications with delta bring, from nothing."""
    payloads: list[Any] = []
    before = b""
    for publication in publications:
        data = publication["data"].encode()
        before = apply(before, data) if publication.get("delta") else data
        payloads.append(json.loads(before))
    return payloads


# --- deltas -----------------------------------------------------------------------------------------------------------


async def test_delta_is_granted_and_sent() -> None:
    """The first publication is the payload as a string, those after it are patches, all with their offsets."""
    async with running(PATCHED) as engine:
        wire, _ = await subscribed(engine, delta="fossil")
        for number in range(3):
            await engine.publish("a", text(number))
            await engine.settle()
        assert answer(wire)["subscribe"]["delta"] is True
        assert [pub.get("delta", False) for pub in pubs(wire)] == [False, True, True]
        assert [pub["offset"] for pub in pubs(wire)] == [1, 2, 3]
        assert pubs(wire)[0]["data"] == json.dumps(text(0))
        assert len(pubs(wire)[1]["data"]) < 30
        assert made(pubs(wire)) == [text(0), text(1), text(2)]


async def test_several_of_one_turn() -> None:
    """In one batch each follows the one before it."""
    async with running(PATCHED) as engine:
        wire, _ = await subscribed(engine, delta="fossil")
        await engine.settle()
        await engine.publish("a", text(0), text(1))
        await engine.settle()
        assert [pub.get("delta", False) for pub in pubs(wire)] == [False, True]
        assert made(pubs(wire)) == [text(0), text(1)]


async def test_what_is_short_is_sent_whole() -> None:
    """A patch that is no shorter is none; the data is a string all the same."""
    async with running(PATCHED) as engine:
        wire, _ = await subscribed(engine, delta="fossil")
        await engine.publish("a", 1, 2)
        await engine.settle()
        assert [(pub["data"], "delta" in pub) for pub in pubs(wire)] == [("1", False), ("2", False)]


async def test_others_in_the_channel_get_plain_data() -> None:
    """Who does not ask is not concerned."""
    async with running(PATCHED) as engine:
        await subscribed(engine, delta="fossil")
        wire, _ = await subscribed(engine)
        await engine.publish("a", text(0), text(1))
        await engine.settle()
        assert "delta" not in answer(wire)["subscribe"]
        assert wire.publications("a") == [text(0), text(1)]


@pytest.mark.parametrize("options", [KEPT, PLAIN], ids=["history", "no history"])
async def test_delta_is_not_granted_where_it_is_not_declared(options: ChannelOptions) -> None:
    """The result does not say it, and the data is plain."""
    async with running(options) as engine:
        wire, _ = await subscribed(engine, delta="fossil")
        await engine.publish("a", text(0), text(1))
        await engine.settle()
        assert "delta" not in answer(wire)["subscribe"]
        assert wire.publications("a") == [text(0), text(1)]


async def test_a_newcomer_gets_the_first_whole() -> None:
    """Whatever the others have: of what was before it came it has nothing."""
    async with running(PATCHED) as engine:
        first, _ = await subscribed(engine, delta="fossil")
        await engine.publish("a", text(0))
        await engine.settle()
        second, _ = await subscribed(engine, delta="fossil")
        await engine.publish("a", text(1))
        await engine.settle()
        await engine.publish("a", text(2))
        await engine.settle()
        assert [pub.get("delta", False) for pub in pubs(first)] == [False, True, True]
        assert [pub.get("delta", False) for pub in pubs(second)] == [False, True]
        assert made(pubs(second)) == [text(1), text(2)]


async def test_a_newcomer_between_two_of_one_turn() -> None:
    """It gets its part of the batch, and that begins with a whole payload."""
    async with running(PATCHED) as engine:
        await subscribed(engine, delta="fossil")
        await engine.settle()
        await engine.publish("a", text(0))
        wire, _ = subscribing(engine, delta="fossil")
        await engine.publish("a", text(1), text(2))
        await engine.settle()
        assert made(pubs(wire)) == [text(1), text(2)]


async def test_joins_do_not_count_as_the_first() -> None:
    """Only a publication is something that a patch can be of."""
    options = ChannelOptions(history=History(), delta=True, join_leave=True)
    async with running(options) as engine:
        wire, _ = await subscribed(engine, delta="fossil", join_leave=True)
        await engine.settle()
        await subscribed(engine)
        await engine.settle()
        await engine.publish("a", text(0), text(1))
        await engine.settle()
        assert made(pubs(wire)) == [text(0), text(1)]


async def test_a_recovery_begins_with_a_whole_payload() -> None:
    """The first of what was missed is whole, the others patches; the first live one is whole again."""
    async with running(PATCHED) as engine:
        await engine.publish("a", *map(text, range(5)))
        wire, session = engine.client()
        epoch = (await engine.node.broker.history("a", history=History(), limit=0)).top.epoch
        send(session, id=2, subscribe={"channel": "a", "delta": "fossil", "recover": True, "epoch": epoch, "offset": 2})
        await engine.settle()
        result = answer(wire)["subscribe"]
        await engine.publish("a", text(5), text(6))
        await engine.settle()
        assert (result["delta"], result["recovered"], result["offset"]) == (True, True, 2)
        recovered = result["publications"]
        assert [pub.get("delta", False) for pub in recovered] == [False, True, True]
        assert made(recovered) == [text(2), text(3), text(4)]
        assert [pub.get("delta", False) for pub in pubs(wire)] == [False, True]
        assert made([*recovered, *pubs(wire)]) == [text(2), text(3), text(4), text(5), text(6)]


async def test_history_is_never_patched() -> None:
    """What a client asks for is given whole, and as plain data."""
    async with running(PATCHED) as engine:
        wire, session = await subscribed(engine, delta="fossil")
        await engine.publish("a", text(0), text(1))
        send(session, id=3, history={"channel": "a", "limit": -1})
        await engine.settle()
        assert [pub["data"] for pub in answer(wire, 3)["history"]["publications"]] == [text(0), text(1)]


async def test_cache_recovery_is_whole() -> None:
    """The newest publication, as a string."""
    options = ChannelOptions(history=History(), recovery="cache", delta=True)
    async with running(options) as engine:
        await engine.publish("a", text(0), text(1))
        wire, _ = await subscribed(engine, delta="fossil", recover=True)
        (newest,) = answer(wire)["subscribe"]["publications"]
        await engine.publish("a", text(2), text(3))
        await engine.settle()
        assert "delta" not in newest
        assert made([newest, *pubs(wire)]) == [text(1), text(2), text(3)]


async def test_a_recovery_full_of_quotes_is_no_longer_than_any() -> None:
    """On JSON each of them takes a backslash more: what is too much for one reply then comes in parts."""
    async with running(PATCHED, limits=Limits(outbox_bytes=40_000)) as engine:
        texts = [json.dumps([str(number)] * 200) for number in range(18)]
        for each in texts:
            await engine.node.publish("a", each.encode(), PATCHED)
        epoch = (await engine.node.broker.history("a", history=History(), limit=0)).top.epoch
        wire, _ = await subscribed(engine, delta="fossil", recover=True, epoch=epoch, offset=0)
        first = answer(wire)["subscribe"]["publications"]
        assert 0 < len(first) < 18
        assert max(map(len, wire.chunks)) < 20_000
        assert made([*first, *pubs(wire)]) == [json.loads(each) for each in texts]


async def test_a_catching_up_in_parts() -> None:
    """Each part begins with a whole payload; what follows the last one live is whole again."""
    limits = Limits(recovery_publications=4, outbox_bytes=4_000)
    async with running(PATCHED, limits=limits) as engine:
        for number in range(20):
            await engine.publish("a", text(number))
        epoch = (await engine.node.broker.history("a", history=History(), limit=0)).top.epoch
        wire, _ = await subscribed(engine, delta="fossil", recover=True, epoch=epoch, offset=0)
        await engine.settle()
        await engine.publish("a", text(20))
        await engine.settle()
        everything = [*answer(wire)["subscribe"]["publications"], *pubs(wire)]
        assert sum(pub.get("delta", False) for pub in everything) > 10
        assert made(everything) == [text(number) for number in range(21)]


async def test_a_server_side_subscription_with_delta() -> None:
    """It is asked for beside the position, in `connect.subs`."""
    hub = Hub()
    board = hub.channel("board", str, history=History(), delta=True)
    plain = hub.channel("plain", str, history=History())

    @hub.on_connect
    async def let_in() -> Accept:
        return Accept(user="u", channels=["board", "plain"])

    subs = {name: {"delta": "fossil"} for name in ("board", "plain")}
    async with serving(hub) as app, line(app) as client:
        result = await client.connect(subs=subs)
        assert [result["subs"][name].get("delta", False) for name in ("board", "plain")] == [True, False]
        received = []
        for number in range(2):
            await board.publish(text(number))
            received.append((await client.push())["pub"])
        await plain.publish(text(2))
        assert made(received) == [text(0), text(1)]
        assert received[1]["delta"]
        assert (await client.push())["pub"]["data"] == text(2)


def test_delta_needs_history() -> None:
    """The declaration says so: without positions nobody knows what a client has."""
    with pytest.raises(DeclarationError, match="delta needs history"):
        ChannelOptions(delta=True)


# --- tag filters ------------------------------------------------------------------------------------------------------


async def publish(engine: Engine, *colours: str) -> None:
    """Publish each colour, with itself as a tag."""
    for colour in colours:
        tags = {"colour": colour} if colour else None
        await engine.node.publish("a", json.dumps(colour).encode(), engine.options, tags=tags)


async def test_only_what_passes_is_sent() -> None:
    """Of one turn and of several; others get everything."""
    async with running(CHOSEN) as engine:
        wire, _ = await subscribed(engine, tf=RED)
        other, _ = await subscribed(engine)
        await publish(engine, "red", "blue", "", "red")
        await engine.settle()
        await publish(engine, "green")
        await engine.settle()
        await publish(engine, "red")
        await engine.settle()
        assert [(pub["data"], pub["offset"]) for pub in pubs(wire)] == [("red", 1), ("red", 4), ("red", 6)]
        assert len(pubs(other)) == 6


async def test_joins_and_leaves_pass_every_filter() -> None:
    """They have no tags, and are not published."""
    async with running(ChannelOptions(filters=True, join_leave=True)) as engine:
        wire, _ = await subscribed(engine, tf=RED, join_leave=True)
        await engine.settle()
        await publish(engine, "blue")
        await subscribed(engine)
        await engine.settle()
        assert [set(message["push"]) for message in wire.messages() if "push" in message][-1] == {"channel", "join"}
        assert pubs(wire) == []


@pytest.mark.parametrize(
    ("options", "request_", "words"),
    [
        (KEPT, {"tf": RED}, "tag filters are not offered in this channel"),
        (CHOSEN, {"tf": {"key": "a", "cmp": "like"}}, "tag filter: cmp is 'like'"),
        (CHOSEN, {"tf": RED, "delta": "fossil"}, "a tag filter and delta exclude each other"),
        (ChannelOptions(history=History(), delta=True), {"tf": RED, "delta": "fossil"}, "not offered"),
    ],
    ids=["not offered", "no filter", "with delta", "neither"],
)
async def test_refused_with_107(options: ChannelOptions, request_: dict[str, Any], words: str) -> None:
    """In words that name what is wrong; the client stays connected, and nothing is left of the try."""
    async with running(options) as engine:
        wire, _ = await subscribed(engine, **request_)
        error = answer(wire)["error"]
        assert error["code"] == 107
        assert words in error["message"]
        assert wire.close_code is None
        assert engine.node.topic("a") is None


async def recovered(engine: Engine, offset: int) -> tuple[RecordingWire, dict[str, Any]]:
    """Come back from an offset with a filter; give the result."""
    epoch = (await engine.node.broker.history("a", history=History(), limit=0)).top.epoch
    wire, _ = await subscribed(engine, tf=RED, recover=True, epoch=epoch, offset=offset)
    result: dict[str, Any] = answer(wire)["subscribe"]
    return wire, result


async def test_a_recovery_brings_what_passes() -> None:
    """In order, with the offset that was asked for: the client walks on from there by what it is given."""
    async with running(CHOSEN) as engine:
        await publish(engine, "red", "blue", "red", "blue", "red", "blue")
        wire, result = await recovered(engine, 2)
        assert (result["recovered"], result["offset"]) == (True, 2)
        assert [pub["offset"] for pub in result["publications"]] == [3, 5]
        await publish(engine, "blue", "red")
        await engine.settle()
        assert [pub["offset"] for pub in pubs(wire)] == [8]


async def test_a_recovery_in_which_nothing_passes_puts_the_client_at_its_end() -> None:
    """There is no publication to walk by: else it would ask for the same again, until history has lost it."""
    async with running(ChannelOptions(history=History(size=3), filters=True)) as engine:
        await publish(engine, "red", "blue", "blue")
        _, result = await recovered(engine, 1)
        assert (result["recovered"], result["offset"]) == (True, 3)
        assert "publications" not in result
        await publish(engine, "blue", "blue", "blue")
        _, result = await recovered(engine, result["offset"])
        assert (result["recovered"], result["offset"]) == (True, 6)


async def test_a_catching_up_in_parts_is_filtered() -> None:
    """Also where whole parts hold nothing that passes."""
    limits = Limits(recovery_publications=3)
    async with running(CHOSEN, limits=limits) as engine:
        await publish(engine, *["blue"] * 7, "red", *["blue"] * 7, "red")
        wire, result = await recovered(engine, 0)
        await engine.settle()
        await publish(engine, "blue", "red")
        await engine.settle()
        assert (result["recovered"], result["offset"]) == (True, 3)
        assert [pub["offset"] for pub in pubs(wire)] == [8, 16, 18]


@pytest.mark.parametrize(
    ("kept", "since", "expected"),
    [
        (["red", "blue", "blue"], {}, (True, [1])),
        (["red", "blue", "red", "blue"], {}, (True, [3])),
        (["red", "blue", "blue"], {"offset": 1}, (True, [])),
        (["red", "blue", "blue"], {"offset": 3}, (True, [])),
        (["red", "blue", "red"], {"offset": 2}, (True, [3])),
        (["blue", "blue"], {}, (False, [])),
        ([], {}, (False, [])),
    ],
)
async def test_cache_recovery_brings_the_newest_that_passes(
    kept: list[str], since: dict[str, Any], expected: tuple[bool, list[int]]
) -> None:
    """Not the newest of all, which may not pass; if none is kept the client is told that it has nothing."""
    async with running(ChannelOptions(history=History(), recovery="cache", filters=True)) as engine:
        await publish(engine, *kept)
        epoch = (await engine.node.broker.history("a", history=History(), limit=0)).top.epoch
        request = since | {"epoch": epoch} if since else {}
        wire, _ = await subscribed(engine, tf=RED, recover=True, **request)
        result = answer(wire)["subscribe"]
        got = [pub["offset"] for pub in result.get("publications", ())]
        assert (result.get("recovered", False), got) == expected
        assert result.get("offset", 0) == len(kept)
