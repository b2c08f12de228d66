"""NatsBroker: how it starts, what it is told where it may not, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from openline.brokers.nats import NatsBroker
from openline.errors import BrokerUnavailable, DeclarationError
from openline.jetstream.address import NatsAddress
from openline.publication import Position, Publication
from tests.brokers.test_nats import KEPT, Ear, broker_of, until_well
from tests.engines.nats import NatsServer
from tests.wires.certificates import make_certificate


async def test_without_jetstream_it_does_not_start() -> None:
    """What is wrong says what to start the server with, and nothing is left behind."""
    with NatsServer(jetstream=False) as server:
        broker = NatsBroker(NatsAddress.parse(server.url))
        tasks = asyncio.all_tasks()
        with pytest.raises(BrokerUnavailable, match="-js"):
            await broker.start("node", None)
        assert asyncio.all_tasks() == tasks


async def test_without_a_server_it_does_not_start() -> None:
    """The error says where it was looked for, and shows no password."""
    with NatsServer() as server:
        address = NatsAddress.parse(f"nats://anna:secret@127.0.0.1:{server.port}")
    broker = NatsBroker(address)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1") as raised:
        await broker.start("node", None)
    assert "secret" not in str(raised.value) + repr(address) + broker.problem


async def test_a_password_that_is_wrong_is_told() -> None:
    """Not knocked at for ever."""
    with NatsServer(options=["authorization { user: anna, password: secret }"]) as server:
        good, bad = (f"nats://anna:{password}@127.0.0.1:{server.port}" for password in ("secret", "guess"))
        broker = NatsBroker(NatsAddress.parse(good))
        await broker.start("node", Ear())
        assert broker.problem == ""
        await broker.stop()
        with pytest.raises(BrokerUnavailable, match=r"(?i)authorization") as raised:
            await NatsBroker(NatsAddress.parse(bad)).start("node", None)
        assert "guess" not in str(raised.value)


async def test_tls_is_what_the_scheme_says(tmp_path: Path) -> None:
    """With the certificates that are trusted; without them, or with files that are not there, it does not start."""
    certificate, key, _ = make_certificate(tmp_path)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'
    with NatsServer(options=[tls]) as server:
        url = f"tls://localhost:{server.port}?timeout=2"
        broker = NatsBroker(NatsAddress.parse(f"{url}&ca={certificate}"))
        await broker.start("node", Ear())
        assert (await broker.publish("a", b"1", history=KEPT)).offset
        await broker.stop()
        for wrong in (url, f"{url}&ca={tmp_path}/missing.pem"):
            with pytest.raises(BrokerUnavailable):
                await NatsBroker(NatsAddress.parse(wrong)).start("node", None)


async def test_a_credentials_file_that_is_missing_is_named(nats: NatsServer, tmp_path: Path) -> None:
    """Where it was to be is said when it is looked for, and nothing is left behind."""
    missing = tmp_path / "missing.creds"
    tasks = asyncio.all_tasks()
    with pytest.raises(BrokerUnavailable, match=r"credentials file .*missing\.creds"):
        await NatsBroker(NatsAddress.parse(f"{nats.url}?creds={missing}")).start("node", None)
    assert asyncio.all_tasks() == tasks


async def test_an_account_without_jetstream_is_told() -> None:
    """The server has it, and this account does not."""
    accounts = "accounts { A { users: [{ user: anna, password: b }] }, B { jetstream: enabled } }"
    with NatsServer(options=[accounts]) as server:
        broker = NatsBroker(NatsAddress.parse(f"nats://anna:b@127.0.0.1:{server.port}?timeout=2"))
        with pytest.raises(BrokerUnavailable, match="account"):
            await broker.start("node", None)


@pytest.fixture
def choosy() -> Iterator[NatsServer]:
    """A server that lets nobody hear secrets."""
    users = '{ user: anna, password: b, permissions: { subscribe: { deny: ["secret.*"] } } }'
    with NatsServer(options=[f"authorization {{ users: [{users}] }}"]) as server:
        yield server


@pytest.mark.parametrize("channel", ["secret:1", 'secret:A"b\\c'])
async def test_what_the_server_refuses_raises(choosy: NatsServer, channel: str) -> None:
    """A subscription that is not allowed is no silence: nobody believes to follow."""
    broker = NatsBroker(NatsAddress.parse(f"nats://anna:b@127.0.0.1:{choosy.port}"))
    await broker.start("node", Ear())
    await broker.follow("open:1")
    with pytest.raises(BrokerUnavailable, match=r"(?i)permissions violation"):
        await broker.follow(channel)
    await broker.stop()


async def test_what_the_server_refuses_raises_where_it_was_asked_for(choosy: NatsServer) -> None:
    """Who publishes at the same moment, or follows what is allowed, hears nothing of it."""
    broker = NatsBroker(NatsAddress.parse(f"nats://anna:b@127.0.0.1:{choosy.port}"))
    await broker.start("node", Ear())
    for number in range(20):
        refused, *others = await asyncio.gather(
            broker.follow("secret:1"),
            broker.follow(f"open:{number}"),
            broker.publish("open:1", b"1", history=None),
            broker.publish("secret:1", b"1", history=None),
            return_exceptions=True,
        )
        assert isinstance(refused, BrokerUnavailable)
        assert others == [None, Position.NONE, Position.NONE]
    await broker.stop()


async def test_following_again_in_vain_leaves_what_was_followed() -> None:
    """It was followed before, so it is."""
    ear = Ear()
    with NatsServer() as server:
        async with broker_of(server, ear) as broker:
            await broker.follow("a")
            server.freeze()
            with pytest.raises(BrokerUnavailable):
                await broker.follow("a")
            server.thaw()
            await until_well(broker)
            await broker.publish("a", b"1", history=None)
            assert await ear.publications(1) == [Publication(b"1")]


async def test_stopping_beside_a_frozen_server_ends() -> None:
    """However long the server stands still; and the broker starts again."""
    with NatsServer() as server:
        async with broker_of(server, Ear()) as broker:
            await broker.follow("a")
            server.freeze()
            async with asyncio.timeout(3):
                await broker.stop()
            server.thaw()
            await broker.start("node", Ear())
            await broker.publish("a", b"1", history=KEPT)


def test_no_key_is_remembered_for_no_time() -> None:
    """What makes no sense is said when the broker is made."""
    with pytest.raises(DeclarationError, match="idempotency_seconds"):
        NatsBroker(NatsAddress.parse("nats://localhost"), idempotency_seconds=0)
