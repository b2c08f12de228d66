"""NatsBroker beside other programs: what they may say on live subjects, and what is believed of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import nats as nats_py
import pytest
from nats.aio.client import Client

from openline.brokers.nats import NatsBroker
from openline.errors import BrokerUnavailable
from openline.jetstream.streams import Stream
from openline.publication import ClientInfo, Publication
from tests.brokers.test_nats import KEPT, Ear, broker_of, publish_numbers
from tests.engines.nats import NatsServer


@pytest.fixture
async def stranger(nats: NatsServer) -> AsyncIterator[Client]:
    """Whoever may publish with headers."""
    client = await nats_py.connect(nats.url)
    yield client
    await client.close()


async def stream_of(broker: NatsBroker) -> Stream:
    """Give what a broker knows of its stream."""
    return await broker._streams.of(KEPT)


async def until_looked_after(stream: Stream) -> None:
    """Wait until nothing is left that was heard and that the stream was not asked for."""
    async with asyncio.timeout(10):
        while stream.heard.sequence:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.02)


async def test_a_forged_sequence_stops_nobody(nats: NatsServer, stranger: Client) -> None:
    """A stream is not where anybody says that it is: all its channels can be read at once, and are of the same life."""
    ear = Ear()
    async with broker_of(nats, ear) as broker:
        await broker.follow("a")
        (first,) = await publish_numbers(broker, "a", 1)
        other = await broker.publish("b", b"1", history=KEPT)
        stream = await stream_of(broker)
        headers = {
            "Nats-Subject": stream.subject("a"),
            "Nats-Sequence": "1000000000",
            "Nats-Last-Sequence": str(first.offset),
            "Nats-Time-Stamp": "2026-01-01T00:00:00Z",
        }
        await stranger.publish("a", b"forged", headers=headers)
        assert [one.data for one in await ear.publications(2)] == [b"0", b"forged"]
        assert (await broker.history("b", history=KEPT)).top == other
        assert (await broker.history("a", history=KEPT)).top == first
        await until_looked_after(stream)
        assert stream.seen.sequence == other.offset


async def test_what_was_heard_counts_once_the_stream_has_it(nats: NatsServer) -> None:
    """So a node that only listens finds out too when a server loses the end of a stream."""
    ear = Ear()
    async with broker_of(nats, ear) as listener, broker_of(nats, prefix=listener._prefix) as speaker:
        await listener.follow("a")
        stream = await stream_of(listener)
        last = (await publish_numbers(speaker, "a", 3))[-1]
        await ear.publications(3)
        await until_looked_after(stream)
        assert (stream.seen.sequence, stream.seen.subject) == (last.offset, stream.subject("a"))


async def test_who_is_of_another_channel_has_no_position(nats: NatsServer, stranger: Client) -> None:
    """What was kept in one channel says nothing of where another stands."""
    ear = Ear()
    async with broker_of(nats, ear) as broker:
        await broker.follow("a")
        stream = await stream_of(broker)
        headers = {"Nats-Sequence": "7", "Nats-Last-Sequence": "6", "Nats-Time-Stamp": "2026-01-01T00:00:00Z"}
        await stranger.publish("a", b"1", headers={**headers, "Nats-Subject": stream.subject("b")})
        assert await ear.publications(1) == [Publication(b"1")]
        assert not stream.heard.sequence


@pytest.mark.parametrize(
    "wrong",
    [
        {"Nats-Sequence": "many"},
        {"Nats-Sequence": ""},
        {"Nats-Sequence": "-7"},
        {"Nats-Sequence": "99999999999999999999"},
        {"Nats-Last-Sequence": "8"},
        {"Nats-Last-Sequence": "few"},
        {"Nats-Time-Stamp": "soon"},
        {"Nats-Time-Stamp": "0001-01-01T00:00:00"},
    ],
)
async def test_numbers_that_are_none_are_no_position(nats: NatsServer, stranger: Client, wrong: dict[str, str]) -> None:
    """It is a publication all the same."""
    ear = Ear()
    async with broker_of(nats, ear) as broker:
        await broker.follow("a")
        subject = (await stream_of(broker)).subject("a")
        headers = {"Nats-Sequence": "7", "Nats-Last-Sequence": "6", "Nats-Time-Stamp": "2026-01-01T00:00:00Z"}
        await stranger.publish("a", b"1", headers={"Nats-Subject": subject, **headers, **wrong})
        assert await ear.publications(1) == [Publication(b"1")]


@pytest.mark.parametrize("top", ["1", "", "high"])
async def test_a_touch_of_nothing_is_left_out(
    nats: NatsServer, stranger: Client, top: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says that a channel goes on standing where it stood, of no channel."""
    ear = Ear()
    async with broker_of(nats, ear) as broker:
        await broker.follow("a")
        await stranger.publish("a", b"1", headers={"Openline-Top": top})
        await stranger.publish("a", b"2")
        assert await ear.publications(1) == [Publication(b"2")]
        assert not caplog.records


@pytest.mark.parametrize(
    "headers", [b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"NATS/1.0", b"X", b"NATS/1.0\r\nNats-Subject: \xff\xfe\r\n\r\n"]
)
async def test_headers_that_are_none_do_not_end_the_connection(nats: NatsServer, headers: bytes) -> None:
    """The server hands on whatever stands there; the data arrives without it."""
    ear = Ear()
    async with broker_of(nats, ear) as broker:
        await broker.follow("a")
        reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
        await reader.readline()
        writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n')
        writer.write(b"HPUB a %d %d\r\n%b1\r\nPUB a 1\r\n2\r\n" % (len(headers), len(headers) + 1, headers))
        assert await ear.publications(2) == [Publication(b"1"), Publication(b"2")]
        assert not ear.doubted
        writer.close()
        await writer.wait_closed()


async def test_a_bare_message_is_a_publication_without_position(nats: NatsServer) -> None:
    """Whatever speaks NATS can publish to who listens, and hears what is published, as plain bytes."""
    ear = Ear()
    stranger = await nats_py.connect(nats.url)
    try:
        async with broker_of(nats, ear) as broker:
            await broker.follow("sensors:7")
            await stranger.publish("sensors.7", b"\x00\xff")
            await stranger.publish("sensors.7", b"2", headers={"Openline": "no JSON", "Other": "\u00e9"})
            assert await ear.publications(2) == [Publication(b"\x00\xff"), Publication(b"2")]
            heard = await stranger.subscribe("sensors.*")
            await stranger.flush()
            await broker.publish("sensors:8", b"kept", history=KEPT, info=ClientInfo("u", "c"))
            await broker.publish("sensors:9", b"\x00\xff", history=None)
            received = [await heard.next_msg(timeout=5) for _ in range(2)]
            assert [(one.subject, one.data) for one in received] == [("sensors.8", b"kept"), ("sensors.9", b"\x00\xff")]
    finally:
        await stranger.close()


async def test_another_stream_of_that_name_is_left_alone(nats: NatsServer) -> None:
    """It is somebody else's; what is wrong names the way out."""
    prefix = f"test-{secrets.token_hex(6)}"
    operator = await nats_py.connect(nats.url)
    try:
        await operator.jetstream().add_stream(name=f"{prefix}-h100-7200000", subjects=[f"{prefix}.other"])
        async with broker_of(nats, prefix=prefix) as broker:
            with pytest.raises(BrokerUnavailable, match="another prefix"):
                await broker.publish("a", b"1", history=KEPT)
    finally:
        await operator.close()
