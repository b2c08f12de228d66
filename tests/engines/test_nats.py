"""NATS with JetStream and MQTT: it keeps its streams over restarts, and devices and clients hear each other."""

from __future__ import annotations

from pathlib import Path

import aiomqtt
import nats as nats_py
import pytest

from tests.engines.nats import NatsServer


async def stored(server: NatsServer) -> int:
    """How many messages its stream of the test holds."""
    client = await nats_py.connect(server.url)
    try:
        return (await client.jetstream().stream_info("kept")).state.messages
    finally:
        await client.close()


async def store(server: NatsServer) -> None:
    """Make a stream with one message."""
    client = await nats_py.connect(server.url)
    try:
        await client.jetstream().add_stream(name="kept", subjects=["kept.>"])
        await client.jetstream().publish("kept.one", b"message")
    finally:
        await client.close()


async def test_the_server_is_the_wheels(nats: NatsServer) -> None:
    """New enough, whatever stands in PATH."""
    client = await nats_py.connect(nats.url)
    try:
        assert (client.connected_server_version.major, client.connected_server_version.minor) >= (2, 11)
    finally:
        await client.close()


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_stream_survives_its_process(end: str) -> None:
    """What was acknowledged is there after a restart, on the same port."""
    with NatsServer() as server:
        await store(server)
        getattr(server, end)()
        server.start()
        assert await stored(server) == 1


async def test_a_store_of_ones_own_outlives_the_server(tmp_path: Path) -> None:
    """Another server goes on with it."""
    with NatsServer(store=tmp_path) as first:
        await store(first)
    with NatsServer(store=tmp_path) as second:
        assert await stored(second) == 1


async def test_a_device_speaks_mqtt_to_it(nats: NatsServer) -> None:
    """What a device publishes to a topic is a message on the subject of that name."""
    client = await nats_py.connect(nats.url)
    try:
        heard = await client.subscribe("sensors.7")
        await client.flush()
        async with aiomqtt.Client("127.0.0.1", nats.mqtt_port) as device:
            await device.publish("sensors/7", b'{"degrees":21}')
        assert (await heard.next_msg(timeout=5)).data == b'{"degrees":21}'
    finally:
        await client.close()


def test_mqtt_without_jetstream_is_refused_at_once() -> None:
    """Rather than by a server that does not start."""
    with pytest.raises(ValueError, match="jetstream"):
        NatsServer(jetstream=False, mqtt=True)


def test_one_without_mqtt_has_no_port_for_it() -> None:
    """Asking for it is a mistake in the test."""
    with NatsServer(jetstream=False) as server, pytest.raises(AssertionError, match="without mqtt"):
        _ = server.mqtt_port
