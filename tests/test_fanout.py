"""One batch on its way: what each audience is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from openline.errors import DeclarationError
from openline.fanout import Entry
from openline.filters import Filter
from openline.framing import MESSAGES, Encoding
from openline.options import ChannelOptions, History, Limits, Slow
from openline.protocol.client_pb2 import Reply
from openline.protocol.protobuf import PROTOBUF
from openline.publication import Publication
from tests.engine import Engine, RecordingWire, running, send
from tests.protocol.fossil import apply

RAW = ChannelOptions(raw=True, history=History())


class BinaryWire(RecordingWire):
    """The wire of a Protobuf client."""

    encoding = Encoding(PROTOBUF, MESSAGES)


async def test_json_in_a_raw_channel_reaches_json_clients() -> None:
    """A raw payload that happens to be JSON is embedded as it is."""
    async with running(RAW) as engine:
        wire, _ = engine.client("a")
        await engine.node.publish("a", b'{"x":1}', RAW)
        await engine.settle()
        assert wire.publications("a") == [{"x": 1}]


@pytest.mark.parametrize("payload", [b"\x00\xff", b"{", b"1\n2", b'"\xff"'])
async def test_bytes_that_are_no_json_end_a_json_client_with_3506(payload: bytes) -> None:
    """What cannot be embedded is not: the client is told that its protocol does not fit, the others are served."""
    async with running(RAW) as engine:
        wire, _ = engine.client("a")
        binary = BinaryWire()
        session = engine.commands.open(binary)
        session.receive(_frame(b"\x08\x01\x22\x00") + _frame(b"\x08\x02\x2a\x03\x0a\x01a"))
        await engine.settle()
        await engine.node.publish("a", payload, RAW)
        await engine.settle()
        assert wire.close_code == 3506
        assert wire.publications("a") == []
        assert binary.close_code is None
        assert payload in binary.chunks[-1]


async def test_raw_history_and_recovery_of_a_json_client_end_with_3506() -> None:
    """The same holds for what is kept: neither a recovery nor a page of history is written half."""
    async with running(RAW) as engine:
        await engine.node.publish("a", b"\xff", RAW)
        for command in (
            {"subscribe": {"channel": "a", "recover": True}},
            {"history": {"channel": "a", "limit": -1}},
        ):
            wire, session = engine.client()
            send(session, id=7, **command)
            assert wire.close_code == 3506


# --- channels that drop for those who are behind ---------------------------------------------------------------------


@pytest.mark.parametrize(("slow", "expected"), [("drop_oldest", [0, 7, 8, 9]), ("latest_only", [0, 9])])
async def test_one_who_does_not_read_misses_what_the_channel_says(slow: Slow, expected: list[int]) -> None:
    """The oldest, or all but the newest; it stays, is counted, and the log says so once."""
    options = ChannelOptions(slow=slow)
    async with running(options, limits=Limits(outbox_bytes=2_800)) as engine:
        behind, session = engine.client("a")
        other, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", "0" * 800)
        await engine.settle()
        session.pause()
        for number in range(1, 10):
            await engine.publish("a", str(number) * 800)
            await engine.settle()
        assert len(other.publications("a")) == 10
        session.resume()
        await engine.settle()
        assert [int(data[0]) for data in behind.publications("a")] == expected
        assert behind.close_code is None
        assert engine.node.counters.publications_dropped == 10 - len(expected)


async def test_being_behind_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log learns who is behind, not how often."""
    async with running(ChannelOptions(slow="latest_only")) as engine:
        _, session = engine.client("a")
        await engine.settle()
        session.pause()
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        await engine.publish("a", 4)
        await engine.settle()
        assert engine.node.counters.publications_dropped == 3
    assert [record.message for record in caplog.records] == [
        f"session {session.id} of user 'u' is behind: publications are dropped for it"
    ]


async def test_joins_are_never_dropped() -> None:
    """In a channel of the newest value a client that was behind still learns who came and went, in order."""
    options = ChannelOptions(slow="latest_only", join_leave=True)
    async with running(options) as engine:
        behind, session = engine.client()
        send(session, id=2, subscribe={"channel": "a", "join_leave": True})
        await engine.settle()
        session.pause()
        await engine.publish("a", 1)
        _, visitor = engine.client("a")
        await engine.publish("a", 2)
        send(visitor, id=9, unsubscribe={"channel": "a"})
        await engine.publish("a", 3)
        await engine.settle()
        session.resume()
        await engine.settle()
        pushes = [message["push"] for message in behind.messages() if "push" in message]
        assert [next(key for key in push if key != "channel") for push in pushes] == ["join", "join", "leave", "pub"]
        assert behind.publications("a") == [3]


@pytest.mark.parametrize("slow", ["drop_oldest", "latest_only"])
def test_dropping_and_history_exclude_each_other(slow: Slow) -> None:
    """Who recovers is promised everything: the declaration says so."""
    with pytest.raises(DeclarationError, match="history exclude each other"):
        ChannelOptions(slow=slow, history=History())


# --- who shares bytes with whom -----------------------------------------------------------------------------------


def reduced(engine: Engine, **request: Any) -> RecordingWire:
    """Connect a client that subscribes with wishes."""
    wire, session = engine.client()
    send(session, id=2, subscribe={"channel": "a", **request})
    return wire


async def test_equal_filters_share_the_same_bytes() -> None:
    """One batch for a filter, whoever brought it; another filter has another."""
    options = ChannelOptions(filters=True)
    red, blue = ({"key": "colour", "cmp": "eq", "val": colour} for colour in ("red", "blue"))
    async with running(options) as engine:
        first, second, other = reduced(engine, tf=red), reduced(engine, tf=dict(red)), reduced(engine, tf=blue)
        await engine.settle()
        for colour in ("red", "blue"):
            await engine.node.publish("a", b'"x"', options, tags={"colour": colour})
        await engine.settle()
        assert first.chunks[-1] is second.chunks[-1]
        assert first.chunks[-1] != other.chunks[-1]


async def test_filters_that_let_the_same_through_share_the_same_bytes() -> None:
    """Clients make up filters of their own: what is sent is made for what passes, not for each of them."""
    options = ChannelOptions(filters=True)
    async with running(options) as engine:
        wires = [reduced(engine, tf={"key": f"no{number}", "cmp": "nex"}) for number in range(5)]
        other = reduced(engine, tf={"key": "colour", "cmp": "nex"})
        await engine.settle()
        await engine.node.publish("a", b'"x"', options)
        await engine.node.publish("a", b'"y"', options, tags={"colour": "red"})
        await engine.settle()
        assert len({id(wire.chunks[-1]) for wire in wires}) == 1
        assert wires[0].publications("a") == ["x", "y"]
        assert other.publications("a") == ["x"]


async def test_who_wants_joins_shares_with_who_does_not_where_there_are_none() -> None:
    """The same bytes are the same bytes, whatever the wish."""
    options = ChannelOptions(join_leave=True)
    async with running(options) as engine:
        asked = reduced(engine, join_leave=True)
        silent = reduced(engine)
        await engine.settle()
        await engine.publish("a", 1)
        await engine.settle()
        assert asked.chunks[-1] is silent.chunks[-1]


async def test_who_came_after_what_its_codec_cannot_carry_stays() -> None:
    """Only those end whom it was for, however many of the same kind are ended beside it."""
    options = ChannelOptions(raw=True)
    async with running(options) as engine:
        early, _ = engine.client("a")
        await engine.settle()
        await engine.node.publish("a", b"\xff", options)
        late, _ = engine.client("a")
        await engine.settle()
        assert (early.close_code, late.close_code) == (3506, None)


def test_a_filter_is_asked_once_for_each_publication() -> None:
    """However many codecs and wishes for joins there are beside it."""
    asked: list[object] = []

    def all_of_them(tags: Mapping[str, str]) -> bool:
        asked.append(tags)
        return True

    wanted = Filter(all_of_them)
    entry = Entry(1, Publication(b"1", tags={"a": "b"}))
    assert entry.is_for(wanted)
    assert entry.is_for(wanted)
    assert asked == [{"a": "b"}]


async def test_newcomers_with_delta_share_their_first_payload_and_all_the_patches_after_it() -> None:
    """A wave of them costs no more than one."""
    options = ChannelOptions(history=History(), delta=True)
    async with running(options) as engine:
        wires = [reduced(engine, delta="fossil") for _ in range(3)]
        await engine.settle()
        for number in range(2):
            await engine.publish("a", "x" * 100 + str(number))
            await engine.settle()
            assert len({id(wire.chunks[-1]) for wire in wires}) == 1
            assert (b'"delta":true' in wires[0].chunks[-1]) is bool(number)


async def test_a_protobuf_client_gets_patches_as_bytes() -> None:
    """Whatever the bytes are; the text of a JSON client and they are made of the same patch."""
    options = ChannelOptions(raw=True, history=History(), delta=True)
    payloads = [
        bytes(range(100, 256)),
        bytes(range(100, 255)) + b"!",
        b'"' + b"x" * 100 + b'"',
        b'"' + b"x" * 99 + b'"',
    ]
    async with running(options) as engine:
        binary = BinaryWire()
        session = engine.commands.open(binary)
        session.receive(_frame(b"\x08\x01\x22\x00") + _frame(b"\x08\x02\x2a\x0b\x0a\x01a\x62\x06fossil"))
        await engine.settle()
        for payload in payloads:
            await engine.node.publish("a", payload, options)
            await engine.settle()
        pubs = [Reply.FromString(chunk[1 + (chunk[0] > 127) :]).push.pub for chunk in binary.chunks[-4:]]
        assert [pub.delta for pub in pubs] == [False, True, False, True]
        made = b""
        for pub, payload in zip(pubs, payloads, strict=True):
            made = apply(made, pub.data) if pub.delta else pub.data
            assert made == payload


async def test_a_payload_that_does_not_pass_is_not_looked_at() -> None:
    """Bytes that a JSON client cannot have end it only if they were for it."""
    options = ChannelOptions(raw=True, filters=True)
    async with running(options) as engine:
        wire = reduced(engine, tf={"key": "text", "cmp": "ex"})
        await engine.settle()
        await engine.node.publish("a", b"\xff", options)
        await engine.node.publish("a", b"1", options, tags={"text": ""})
        await engine.settle()
        assert wire.publications("a") == [1]
        await engine.node.publish("a", b"\xff", options, tags={"text": ""})
        await engine.settle()
        assert wire.close_code == 3506


def _frame(message: bytes) -> bytes:
    return bytes((len(message),)) + message
