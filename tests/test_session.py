"""One connected client: order of its commands, its time, its end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from openline import codes
from openline.errors import DeclarationError
from openline.options import Heartbeat, Limits
from openline.session import Session
from tests.engine import PLAIN, RecordingWire, running, send


async def test_what_was_queued_leaves_before_the_close() -> None:
    """A client that is disconnected gets its replies first."""
    async with running(PLAIN) as engine:
        wire, session = engine.client("a")
        session.disconnect(4001, "as agreed")
        assert [message["id"] for message in wire.messages()] == [1, 2]
        assert wire.close_code == 4001


async def test_a_client_too_slow_is_closed_with_3008_and_counted() -> None:
    """Its outbox is full: nothing more is sent, and the log says who it was."""
    async with running(PLAIN, limits=Limits(outbox_bytes=500)) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        wire.keeps_unread = True
        await engine.publish("a", "x" * 400)
        await engine.settle()
        await engine.publish("a", "y" * 400)
        await engine.settle()
        assert wire.close_code == 3008
        assert engine.node.counters.slow_clients == 1
        assert not session.send("more")


async def test_a_reply_that_does_not_fit_closes_too() -> None:
    """The bound holds for replies as for publications."""
    async with running(PLAIN, limits=Limits(outbox_bytes=200)) as engine:
        wire, session = engine.client()
        await engine.settle()
        wire.keeps_unread = True
        wire.unread_bytes = 190
        send(session, id=2, rpc={"method": "echo", "data": "x" * 100})
        assert wire.close_code == 3008


async def test_after_the_end_nothing_is_taken_and_nothing_sent() -> None:
    """A session that ended is inert, whatever still arrives."""
    async with running(PLAIN) as engine:
        wire, session = engine.client("a")
        session.end(codes.CLOSED_FORCED)
        written = len(wire.chunks)
        send(session, id=9, publish={"channel": "a", "data": 1})
        session.closed(1006, "")
        session.shutdown()
        await engine.settle()
        assert len(wire.chunks) == written
        assert wire.close_code == 3503
        assert engine.node.counters.disconnects == 1


async def test_pings_come_on_time_on_a_busy_line() -> None:
    """Traffic does not put a ping off: some clients count on pings alone."""
    async with running(PLAIN, heartbeat=Heartbeat(ping_seconds=10, pong_seconds=5)) as engine:
        wire, session = engine.client("a")
        for _ in range(30):
            await engine.clock.advance(1)
            await engine.publish("a", 1)
            await engine.settle()
            if wire.messages()[-2:].count({}):
                session.receive(b"{}")
        pings = wire.messages().count({})
        assert pings in (2, 3)


async def test_a_slow_session_takes_its_pong_deadline_first() -> None:
    """No pong in time ends the session with 3012."""
    async with running(PLAIN, heartbeat=Heartbeat(ping_seconds=10, pong_seconds=5)) as engine:
        wire, _ = engine.client("a")
        await engine.clock.advance(16)
        assert wire.close_code == 3012
        assert engine.node.topic("a") is None


async def test_another_thread_may_send_and_disconnect() -> None:
    """Plain handlers run in a thread of their own: what they do to a session is done in the event loop."""
    async with running(PLAIN) as engine:
        wire, session = engine.client()
        await engine.settle()
        threads: list[int] = []
        wire.on_write = lambda: threads.append(threading.get_ident())
        assert await asyncio.to_thread(session.send, {"hello": 1})
        await engine.settle()
        await asyncio.to_thread(session.disconnect, 4000, "bye")
        assert wire.messages()[-1] == {"push": {"message": {"data": {"hello": 1}}}}
        assert set(threads) == {threading.get_ident()}
        assert wire.close_code == 4000


@pytest.mark.parametrize(
    ("code", "reason"), [(2999, "too low"), (5000, "too high"), (4000, ""), (4000, "{}"), (4000, "7")]
)
async def test_a_code_or_reason_no_client_understands_is_refused(code: int, reason: str) -> None:
    """The error is the caller's; the connection stays."""
    async with running(PLAIN) as engine:
        wire, session = engine.client()
        with pytest.raises(DeclarationError):
            session.disconnect(code, reason)
        assert wire.close_code is None


async def test_it_says_what_it_is() -> None:
    """Its repr and its attributes tell who is connected, how, and where."""
    async with running(PLAIN) as engine:
        _, session = engine.client("a", "b")
        assert session.channels == {"a", "b"}
        assert (session.user, session.info, session.transport, session.protocol) == ("u", None, "recording", "json")
        assert repr(session) == f"<Session {session.id} user='u' connected channels=2>"


async def test_a_frame_with_many_commands_stops_at_the_end_of_the_session() -> None:
    """What stands behind a command that broke the protocol is not carried out."""
    async with running(PLAIN) as engine:
        wire, session = engine.client()
        session.receive(b'{"id":2,"ping":{}}\n{"id":3,"publish":{"channel":"a","data":1}}')
        assert wire.close_code == 3501
        assert engine.node.counters.commands == 1


async def test_an_idle_session_is_small() -> None:
    """Nothing per connection that can be per node: no timer, no task, no queue of its own."""
    async with running(PLAIN) as engine:
        wire = RecordingWire()
        session: Any = engine.commands.open(wire)
        assert isinstance(session, Session)
        assert session._inbox._waiting is None
        assert not hasattr(session, "__dict__")
        assert len(asyncio.all_tasks()) == 1
