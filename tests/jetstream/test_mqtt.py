"""Devices and the clients of a hub in the same channels, through the MQTT listener of a real NATS server."""

from __future__ import annotations

import asyncio
import secrets

import aiomqtt
import pytest
from fastapi import FastAPI

from openline import History, Hub
from openline.testing import connect, started
from tests.engines.nats import NatsServer
from tests.pages import page, program


def app_of(nats: NatsServer) -> tuple[FastAPI, Hub]:
    """Make an app with a hub on the server, under names nobody used before."""
    app, hub = FastAPI(), Hub(f"{nats.url}?prefix=test-{secrets.token_hex(6)}")
    app.include_router(hub.router)
    return app, hub


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_what_a_device_publishes_reaches_subscribers(nats: NatsServer, qos: int) -> None:
    """As it is, once, in its order, in whatever quality of service; without a position."""
    app, hub = app_of(nats)
    hub.channel("sensors:{number}", bytes)
    async with started(app), connect(app) as client, aiomqtt.Client("127.0.0.1", nats.mqtt_port) as device:
        await client.subscribe("sensors:7")
        for degrees in range(3):
            await device.publish("sensors/7", b'{"degrees":%d}' % degrees, qos=qos)
        await device.publish("sensors/8", b'{"degrees":0}', qos=qos)
        await device.publish("sensors/7", b'"that is all"', qos=qos)
        heard = [await client.publication() for _ in range(4)]

    assert [one["data"] for one in heard] == [{"degrees": 0}, {"degrees": 1}, {"degrees": 2}, "that is all"]
    assert not any(one.get("offset") for one in heard)


@pytest.mark.parametrize("history", [None, History(size=10, seconds=60)])
async def test_what_is_published_in_the_hub_reaches_devices(nats: NatsServer, history: History | None) -> None:
    """With history and without: the plain bytes of it."""
    app, hub = app_of(nats)
    lamps = hub.channel("lamps:{number}", bytes, history=history)
    async with started(app), aiomqtt.Client("127.0.0.1", nats.mqtt_port) as device:
        await device.subscribe("lamps/7", qos=1)
        async with asyncio.timeout(10):
            await lamps.publish(b"\x00\xff", number="7", tags={"kind": "binary"})
            message = await anext(aiter(device.messages))

    assert (str(message.topic), message.payload) == ("lamps/7", b"\x00\xff")


async def test_devices_and_clients_keep_one_order(nats: NatsServer) -> None:
    """A subscriber that recovers gets what was kept, and what a device says meanwhile is live beside it."""
    app, hub = app_of(nats)
    rooms = hub.channel("rooms:{number}", bytes, history=History(size=10, seconds=60))
    async with started(app), connect(app) as client, aiomqtt.Client("127.0.0.1", nats.mqtt_port) as device:
        await client.subscribe("rooms:7", recoverable=True)
        first = await rooms.publish(b"1", number="7")
        await client.publication()
        await device.publish("rooms/7", b'"from a device"', qos=1)
        assert (await client.publication())["data"] == "from a device"
        await rooms.publish(b"2", number="7")
        await client.publication()
        async with connect(app) as late:
            result = await late.recover("rooms:7", first)

    assert result["recovered"]
    assert [one["data"] for one in result["publications"]] == [2]


async def test_the_page_on_devices_is_true(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app and the device it shows hear each other."""
    monkeypatch.setenv("BROKER", f"{nats.url}?prefix=test-{secrets.token_hex(6)}")
    mqtt = page("docs/mqtt.md")
    async with (
        program(mqtt, "devices.py", monkeypatch) as devices,
        program(mqtt, "device.py", monkeypatch) as device,
        connect(devices.app) as client,
        aiomqtt.Client("127.0.0.1", nats.mqtt_port) as lamp,
    ):
        await client.subscribe("sensors:7")
        await device.report("127.0.0.1", nats.mqtt_port)
        assert (await client.publication())["data"] == {"degrees": 21}
        await lamp.subscribe("lamps/7", qos=1)
        await devices.switch("7", on=True)
        async with asyncio.timeout(10):
            assert (await anext(aiter(lamp.messages))).payload == b'{"on":true}'
