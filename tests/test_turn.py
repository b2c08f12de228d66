"""The end of the turn: what was published and answered together leaves together."""

from __future__ import annotations

import asyncio

import pytest

from openline.options import Limits
from openline.publication import ClientInfo
from openline.turn import SLICE
from tests.engine import KEPT, PLAIN, running, send


async def test_a_turn_is_one_write_per_client() -> None:
    """Replies and everything published in one turn leave in one write, the subscribe reply first."""
    async with running(KEPT) as engine:
        wire, _ = engine.client("a")
        await engine.publish("a", 1, 2, 3)
        assert wire.writes == 0
        await engine.settle()
        assert wire.writes == 1
        assert wire.publications("a") == [1, 2, 3]
        assert [next(iter(message)) for message in wire.messages()][:2] == ["id", "id"]


async def test_publications_of_one_turn_share_a_frame() -> None:
    """A batch is joined once: three publications are one chunk."""
    async with running(PLAIN) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        wire.chunks.clear()
        await engine.publish("a", 1, 2, 3)
        await engine.settle()
        assert len(wire.chunks) == 1


async def test_an_idle_node_adds_no_delay() -> None:
    """What is published leaves before the loop goes round twice."""
    async with running(PLAIN) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        await asyncio.sleep(0)
        assert wire.publications("a") == [1]


async def test_a_large_topic_lets_others_through() -> None:
    """A fan-out to many is cut into slices; a small topic is served between them."""
    async with running(PLAIN) as engine:
        many = [engine.client("large")[0] for _ in range(3 * SLICE)]
        few, _ = engine.client("small")
        await engine.settle()
        await engine.publish("large", 1)
        await asyncio.sleep(0)
        served = sum(bool(wire.publications("large")) for wire in many)
        assert served == SLICE
        await engine.publish("small", 2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert few.publications("small") == [2]
        assert not all(wire.publications("large") for wire in many)
        await engine.settle()
        assert all(wire.publications("large") == [1] for wire in many)


async def test_what_arrives_during_a_fanout_is_one_batch_after_it() -> None:
    """The busier the node, the larger the batch: everything published meanwhile goes in one frame."""
    async with running(PLAIN) as engine:
        many = [engine.client("large")[0] for _ in range(2 * SLICE)]
        await engine.settle()
        for wire in many:
            wire.chunks.clear()
        await engine.publish("large", 1)
        await asyncio.sleep(0)
        await engine.publish("large", 2)
        await engine.publish("large", 3)
        await engine.settle()
        assert all(wire.publications("large") == [1, 2, 3] for wire in many)
        assert {len(wire.chunks) for wire in many} == {2}


async def test_a_subscribe_reply_is_ahead_of_its_publications() -> None:
    """Publishing and subscribing in one turn: whatever the client gets live comes behind its reply."""
    async with running(KEPT) as engine:
        _, publisher = engine.client()
        wire, session = engine.client()
        send(publisher, id=2, publish={"channel": "a", "data": 1})
        send(session, id=2, subscribe={"channel": "a", "recover": True})
        send(publisher, id=3, publish={"channel": "a", "data": 2})
        await engine.settle()
        messages = wire.messages()
        assert messages[1]["subscribe"]["publications"][0]["data"] == 1
        assert messages[2]["push"]["pub"]["data"] == 2


async def test_after_an_unsubscribe_reply_nothing_of_the_channel_comes() -> None:
    """What was published before, in the same turn, is not delivered behind the reply either."""
    async with running(PLAIN) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        send(session, id=9, unsubscribe={"channel": "a"})
        await engine.publish("a", 2)
        await engine.settle()
        assert wire.messages()[-1] == {"id": 9, "unsubscribe": {}}
        assert wire.publications("a") == []


async def test_leaving_and_coming_back_in_one_frame() -> None:
    """Unsubscribe and a new subscribe in one turn: only what comes after the second reply is delivered."""
    async with running(PLAIN) as engine:
        wire, session = engine.client("a")
        await engine.settle()
        await engine.publish("a", 1)
        session.receive(b'{"id":8,"unsubscribe":{"channel":"a"}}\n{"id":9,"subscribe":{"channel":"a"}}')
        await engine.publish("a", 2)
        await engine.settle()
        assert wire.publications("a") == [2]


async def test_a_wire_that_fails_to_write_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """Its session ends at its next message; everybody else gets theirs in the same turn."""

    def fail() -> None:
        raise OSError("as the test wants")

    async with running(PLAIN) as engine:
        broken, _ = engine.client("a")
        whole, _ = engine.client("a")
        await engine.settle()
        broken.on_write = fail
        await engine.publish("a", 1)
        await engine.settle()
        await engine.publish("a", 2)
        await engine.settle()
        assert whole.publications("a") == [1, 2]
        assert broken.close_code == 3008
    assert "as the test wants" in caplog.text


async def test_more_than_an_outbox_holds_reaches_a_client_that_reads() -> None:
    """Batches of one topic leave in turns of their own, so an outbox fills only if its client does not read."""
    async with running(PLAIN, limits=Limits(outbox_bytes=300_000, message_bytes=65_536)) as engine:
        wire, _ = engine.client("a")
        await engine.settle()
        await engine.publish("a", *["x" * 60_000] * 20)
        await engine.settle()
        assert wire.close_code is None
        assert len(wire.publications("a")) == 20


async def test_a_topic_that_cannot_be_delivered_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Its subscribers are told; those of the others get theirs in the same turn."""
    async with running(KEPT) as engine:
        told, _ = engine.client("a")
        served, _ = engine.client("b")
        await engine.settle()
        info = ClientInfo("half a character: \udc80", "c")
        await engine.node.publish("a", b"1", engine.options, info=info)
        await engine.publish("b", 1)
        await engine.settle()
        await engine.publish("b", 2)
        await engine.settle()
        assert served.publications("b") == [1, 2]
        assert told.messages()[-1]["push"]["unsubscribe"]["code"] == 2500
    assert "channel a could not be delivered" in caplog.text
