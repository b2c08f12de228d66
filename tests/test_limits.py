"""How large, many, late and deep things may be: at the limit everything is as ever, one past it has its answer.

Connections and commands have files of their own: `test_connection_limits.py` and `test_command_rate.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from openline import Accept, History, Hub, Limits, Session
from openline.testing import Refused, VirtualClock, connect, line
from openline.testing.binary import encode_commands
from tests.serving import ended, refused, serving

both_codecs = pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])


class Knot(BaseModel):
    """A message that nests in itself."""

    inner: Knot | None = None


def hub_with(limits: Limits, *, clock: VirtualClock | None = None) -> Hub:
    """Give a hub with rooms of several kinds, and something that answers to everything."""
    hub = Hub(limits=limits, clock=clock)
    hub.channel("room:{name}", history=History(size=1000), publish=True)
    hub.channel("raw:{name}", bytes, publish=True)
    hub.channel("knot", Knot, publish=True)

    @hub.rpc("echo")
    async def echo(message: Any) -> Any:
        return message

    @hub.on_message
    async def take(message: Any) -> None:
        """Take anything."""

    return hub


def nested(depth: int) -> Any:
    """Give a value that nests so deep."""
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


# --- the size of things -----------------------------------------------------------------------------------------------


@both_codecs
async def test_a_message_at_the_limit_is_taken_and_a_byte_more_closes_with_1009(
    protobuf: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it is read. The log names the limit."""
    hub = hub_with(Limits(message_bytes=1000))
    async with serving(hub) as app:
        for size in (1000, 1001):
            async with connect(app, protobuf=protobuf) as client:
                client.send_frame(_frame_of(size, protobuf=protobuf))
                if size == 1000:
                    assert "rpc" in await client.push()
                else:
                    assert (await client.closed()).code == 1009

    assert hub.counters.messages_too_large == 1
    assert [message for message in caplog.messages if "Limits.message_bytes (1000)" in message] == caplog.messages


async def test_a_client_that_closes_with_1009_sent_nothing_too_large(caplog: pytest.LogCaptureFixture) -> None:
    """It says that a message of the server was too large for it."""
    hub = hub_with(Limits())
    async with serving(hub) as app, connect(app) as client:
        client.close(1009)
        await client.closed()

    assert hub.counters.messages_too_large == 0
    assert not caplog.messages


async def test_what_is_not_of_the_protocol_is_counted_and_said_once_in_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A client that comes back and says it again does not flood the log."""
    hub = hub_with(Limits())
    async with serving(hub) as app:
        for _ in range(3):
            async with connect(app) as client:
                client.send_frame("not json")
                assert (await client.closed()).code == 3501

    assert (hub.counters.messages_malformed, hub.counters.messages_too_deep) == (3, 0)
    (said,) = caplog.messages
    assert "sent what is not of the protocol: no JSON command" in said


def _frame_of(size: int, *, protobuf: bool) -> str | bytes:
    """Give a frame of one rpc of a payload of text, so many bytes long."""
    if not protobuf:
        bare = '{"id":9,"rpc":{"method":"echo","data":""}}'
        return bare.replace('""', '"' + "x" * (size - len(bare)) + '"')
    for length in range(size):
        frame = encode_commands([{"id": 9, "rpc": {"method": "echo", "data": "x" * length}}])
        if len(frame) == size:
            return frame
    raise AssertionError(f"no frame is {size} bytes long")


@both_codecs
async def test_a_name_at_the_limit_is_taken_and_one_longer_is_107(protobuf: bool) -> None:
    """In every command that names a channel."""
    hub = hub_with(Limits(name_length=10))
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        await client.subscribe("room:12345")
        for kind in ("subscribe", "publish", "presence", "history"):
            assert await refused(client.command(kind, channel="room:123456", **_data_of(kind))) == 107


def _data_of(kind: str) -> dict[str, Any]:
    return {"data": 1} if kind == "publish" else {}


@both_codecs
async def test_channels_at_the_limit_are_taken_and_one_more_is_106(
    protobuf: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Until one is left again."""
    hub = hub_with(Limits(channels=2))
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        await client.subscribe("room:a")
        await client.subscribe("room:b")
        for _ in range(3):
            assert await refused(client.subscribe("room:c")) == 106
        await client.unsubscribe("room:a")
        await client.subscribe("room:c")

    assert hub.counters.subscriptions_refused == 3
    assert [message for message in caplog.messages if "Limits.channels" in message] == caplog.messages[:1]


async def test_a_connect_with_more_channels_than_the_limit_is_closed_with_3505() -> None:
    """The server itself asked for them."""
    hub = Hub(limits=Limits(channels=2))
    hub.channel("room:{name}")

    @hub.on_connect
    async def who(token: str) -> Accept:
        return Accept(channels=token.split())

    async with serving(hub) as app:
        async with connect(app, token="room:a room:b") as client:
            assert len(hub.sessions[client.id].channels) == 2
        async with line(app) as client:
            assert await ended(client.connect(token="room:a room:b room:c")) == 3505
    assert hub.counters.subscriptions_refused == 1


async def test_a_recovery_past_the_limit_is_brought_in_parts() -> None:
    """As many as the limit says are read at a time, and none is missing."""
    hub = hub_with(Limits(recovery_publications=3))
    async with serving(hub) as app:
        async with connect(app) as client:
            await client.subscribe("room:a")
            position = client.positions["room:a"]
        for published in (3, 4):
            while (await hub.publish("room:a", "more")).offset < published:
                pass
            async with connect(app) as client:
                result = await client.recover("room:a", position)
                assert (result["recovered"], len(result["publications"])) == (True, 3)
                while client.positions["room:a"].offset < published:
                    await client.publication()
    assert (hub.counters.recoveries, hub.counters.recoveries_failed) == (2, 0)


async def test_a_page_of_history_is_cut_to_the_limit() -> None:
    """Whatever the client asked for."""
    hub = hub_with(Limits(history_publications=3))
    async with serving(hub) as app, connect(app) as client:
        for number in range(5):
            await hub.publish("room:a", number)
        for asked, given in ((3, 3), (4, 3), (-1, 3), (2, 2)):
            assert len((await client.history("room:a", limit=asked))["publications"]) == given


# --- time -------------------------------------------------------------------------------------------------------------


async def test_no_connect_in_time_closes_with_3502() -> None:
    """It is counted; who connects in time stays."""
    clock = VirtualClock()
    hub = hub_with(Limits(connect_seconds=5), clock=clock)
    async with serving(hub) as app, line(app) as silent, connect(app) as client:
        await clock.advance(4.75)
        assert not silent.is_closed
        await clock.advance(0.5)
        assert (await silent.closed()).code == 3502
        assert not client.is_closed
    assert hub.counters.stale_clients == 1


# --- depth ------------------------------------------------------------------------------------------------------------


@both_codecs
@pytest.mark.parametrize("kind", ["rpc", "publish", "subscribe", "raw"])
async def test_json_at_the_limit_is_taken_and_a_level_more_is_107(protobuf: bool, kind: str) -> None:
    """In whatever a client sends along; the error names how deep it was."""
    requests: dict[str, dict[str, Any]] = {
        "rpc": {"rpc": {"method": "echo"}},
        "publish": {"publish": {"channel": "room:a"}},
        "subscribe": {"subscribe": {"channel": "room:a"}},
        "raw": {"publish": {"channel": "raw:a"}},
    }
    (name, fields), *_ = requests[kind].items()
    hub = hub_with(Limits(json_depth=5))
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        await client.command(name, **fields, data=nested(5))
        with pytest.raises(Refused, match="107 data nests 6 deep, and 5 is the limit"):
            await client.command(name, **fields, data=nested(6))
        assert not client.is_closed
    assert hub.counters.messages_too_deep == 1


@both_codecs
async def test_connect_data_that_nests_too_deep_is_107(protobuf: bool) -> None:
    """As any refused connect: the connection is of no use after it."""
    hub = hub_with(Limits(json_depth=5))
    async with serving(hub) as app:
        async with line(app, protobuf=protobuf) as client:
            await client.connect(data=nested(5))
        async with line(app, protobuf=protobuf) as client:
            assert await refused(client.connect(data=nested(6))) == 107


@both_codecs
async def test_a_message_that_nests_too_deep_is_closed_with_3501(protobuf: bool) -> None:
    """`send` has no answer."""
    hub = hub_with(Limits(json_depth=5))
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        client.send(nested(5))
        await client.rpc("echo")
        client.send(nested(6))
        assert (await client.closed()).code == 3501


async def test_raw_bytes_of_a_protobuf_client_may_hold_any_brackets() -> None:
    """They are not JSON, so nothing in them nests."""
    hub = hub_with(Limits(json_depth=5))
    async with serving(hub) as app, connect(app, protobuf=True) as client:
        await client.publish("raw:a", b"\x89PNG[[[[[[[[[[[[\xff")


async def test_a_frame_nobody_can_read_is_closed_with_3501(caplog: pytest.LogCaptureFixture) -> None:
    """However deep: a stack that ends is the end of a command, never of the process."""
    hub = hub_with(Limits(message_bytes=1_000_000))
    async with serving(hub) as app:
        for depth in (300, 2_000, 400_000):
            async with connect(app) as client:
                client.send_frame('{"id":9,"rpc":{"method":"echo","data":' + "[" * depth + "]" * depth + "}}")
                assert (await client.closed()).code == 3501
        async with connect(app) as client:
            assert await client.rpc("echo", 1) == 1
    assert hub.counters.messages_too_deep == 3
    assert hub.counters.handler_errors == 0
    assert "Traceback" not in caplog.text


@both_codecs
async def test_the_deepest_json_there_may_be_is_read_by_everything(protobuf: bool) -> None:
    """By models that nest in themselves, and back out to other clients."""
    hub = hub_with(Limits(json_depth=200))
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client, connect(app) as other:
        await other.subscribe("knot")
        await other.subscribe("room:a")
        knot: Any = {"inner": None}
        for _ in range(199):
            knot = {"inner": knot}
        await client.publish("knot", knot)
        assert (await other.publication("knot"))["data"] == knot
        await client.publish("room:a", nested(200))
        assert (await other.publication("room:a"))["data"] == nested(200)
        assert await client.rpc("echo", nested(200)) == nested(200)


async def test_a_handler_whose_stack_ends_is_an_error_of_the_app(caplog: pytest.LogCaptureFixture) -> None:
    """The client is told 100, the log has the traceback, and everything goes on."""
    hub = Hub()

    @hub.rpc("dig")
    async def dig(message: list[Any]) -> int:
        def down(level: int) -> int:
            return down(level + 1) + 1

        return down(0)

    @hub.rpc("knot")
    async def knot(session: Session) -> list[Any]:
        tied: list[Any] = []
        tied.append(tied)
        return tied

    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.rpc("dig", [])) == 100
        assert await refused(client.rpc("knot")) == 100
        assert not client.is_closed
    assert hub.counters.handler_errors == 2
    assert "RecursionError" in caplog.text
