"""What a client asks: in order, one at a time, and no faster than it reads."""

from __future__ import annotations

import asyncio

import pytest

from openline.brokers.memory import MemoryBroker
from openline.inbox import finish
from openline.options import Limits
from tests.engine import KEPT, PLAIN, running, send
from tests.remote_broker import RemoteBroker


async def test_commands_run_in_order_though_some_wait() -> None:
    """With a broker that waits, replies come in the order of the commands."""
    async with running(KEPT, broker=RemoteBroker(MemoryBroker())) as engine:
        wire, session = engine.client()
        for identifier in range(2, 8):
            send(session, id=identifier, subscribe={"channel": f"c{identifier}"})
        await engine.settle()
        assert [message["id"] for message in wire.messages()] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_command_that_need_not_wait_is_answered_in_the_same_call() -> None:
    """No task per message: the reply is queued when `receive` returns."""
    async with running(PLAIN) as engine:
        _, session = engine.client()
        tasks = asyncio.all_tasks()
        send(session, id=2, publish={"channel": "a", "data": 1})
        assert session.outbox.waiting_bytes() > 0
        assert asyncio.all_tasks() == tasks


async def test_a_client_that_asks_faster_than_it_is_answered_is_no_longer_read() -> None:
    """Commands that wait behind a running one are bounded: past it the wire stops reading, and goes on later."""
    broker = RemoteBroker(MemoryBroker())
    gate = asyncio.Event()
    async with running(KEPT, broker=broker, limits=Limits(waiting_commands=3)) as engine:
        wire, session = engine.client()
        await engine.settle()
        broker.before_history = gate.wait
        for identifier in range(2, 7):
            send(session, id=identifier, history={"channel": "a", "limit": 1})
        reading = []
        for step in (asyncio.Event(), gate):
            step.set()
            await engine.settle()
            reading.append(wire.reading)
        assert reading == [False, True]
        assert [message["id"] for message in wire.messages()] == [1, 2, 3, 4, 5, 6]


async def test_what_is_promised_not_to_wait_is_not_allowed_to() -> None:
    """A broker that breaks its promise is a loud error, and the coroutine is closed."""

    async def waits() -> None:
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="promised not to wait"):
        finish(waits())


async def test_a_client_that_recovers_more_than_its_outbox_holds_gets_all_of_it() -> None:
    """Large answers wait until the client has read: it is brought up to date, not closed as too slow each time."""
    limits = Limits(outbox_bytes=10_000)
    async with running(KEPT, limits=limits) as engine:
        for channel in "abcdefgh":
            await engine.publish(channel, "x" * 4_000)
        wire, session = engine.client()
        await engine.settle()
        wire.keeps_unread = True
        wire.on_write = lambda: session.pause() if wire.unread_bytes > 1_000 else None
        lines = [f'{{"id":{2 + i},"subscribe":{{"channel":"{c}","recover":true}}}}' for i, c in enumerate("abcdefgh")]
        session.receive("\n".join(lines).encode())
        for _ in range(20):
            await engine.settle()
            assert wire.close_code is None
            wire.unread_bytes = 0
            session.resume()
        recovered = [message["subscribe"]["recovered"] for message in wire.messages() if "subscribe" in message]
        assert recovered == [True] * 8


async def test_a_handler_that_is_cancelled_does_not_block_those_behind_it() -> None:
    """Whatever ends a command, the next one is carried out."""
    broker = RemoteBroker(MemoryBroker())
    async with running(KEPT, broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def cancel() -> None:
            broker.before_history = lambda: asyncio.sleep(0)
            raise asyncio.CancelledError

        broker.before_history = cancel
        send(session, id=2, history={"channel": "a"})
        await engine.settle()
        send(session, id=3, history={"channel": "a"})
        await engine.settle()
        assert wire.messages()[-1]["id"] == 3
