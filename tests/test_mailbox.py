"""What waits for the route of a plain line: in order, bounded, and gone once the server closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from openline.life import State
from openline.mailbox import UNREAD_BYTES, Mailbox
from tests.engine import Engine, running


class Kept:
    """A mailbox and the wire behind it."""

    def __init__(self, engine: Engine) -> None:
        self.wire, session = engine.client()
        self.mailbox = Mailbox(session, 3)


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    """One that is open."""
    async with running() as engine:
        yield Kept(engine)


async def test_messages_are_given_in_their_order(kept: Kept) -> None:
    """Whoever waits gets the next; text and binary as they came."""
    waiting = asyncio.ensure_future(kept.mailbox.next())
    await asyncio.sleep(0)
    for message in ("one", b"two"):
        kept.mailbox.take(message)
    kept.mailbox.receive(b"three")
    assert [await waiting, await kept.mailbox.next(), await kept.mailbox.next()] == ["one", b"two", b"three"]


@pytest.mark.parametrize("messages", [["a", "b", "c"], ["x" * UNREAD_BYTES]], ids=["many", "large"])
async def test_at_the_bound_reading_stops_until_all_is_taken(kept: Kept, messages: list[str]) -> None:
    """Counted in messages and in bytes."""
    for message in messages:
        assert kept.wire.reading
        kept.mailbox.take(message)
    assert not kept.wire.reading
    for message in messages:
        assert not kept.wire.reading
        assert await kept.mailbox.next() == message
    assert kept.wire.reading


async def test_what_a_client_said_before_it_left_is_given(kept: Kept) -> None:
    """Then there is no more, however often it is asked for; the session has ended."""
    kept.mailbox.take("the last")
    kept.mailbox.closed(1000, "")
    assert await kept.mailbox.next() == "the last"
    assert await kept.mailbox.next() is None
    assert await kept.mailbox.next() is None
    assert kept.mailbox.over.is_set()
    assert kept.mailbox.session.life is State.ENDED


async def test_once_the_server_closes_the_rest_counts_no_more(kept: Kept) -> None:
    """Whoever waits is told at once, before the client has answered."""
    kept.mailbox.take("nobody took this")
    kept.mailbox.closing()
    kept.mailbox.take("nor this")
    assert await kept.mailbox.next() is None
    assert not kept.mailbox.over.is_set()


async def test_what_is_no_message_is_the_sessions(kept: Kept) -> None:
    """Pauses, pongs, what is too large, the end of the server."""
    mailbox, session = kept.mailbox, kept.mailbox.session
    paused = []
    for act in (mailbox.pause, mailbox.resume):
        act()
        paused.append(session.outbox.is_paused)
    assert paused == [True, False]
    mailbox.ponged()
    mailbox.too_large()
    mailbox.shutdown()
    assert mailbox.session.life is State.ENDED
