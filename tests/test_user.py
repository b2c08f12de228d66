"""A user's sessions, and one session, in the app's hands: send, subscribe, unsubscribe, disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from openline import (
    Accept,
    Allow,
    AlreadySubscribed,
    BadRequest,
    DeclarationError,
    History,
    Hub,
    LimitExceeded,
    Limits,
    Position,
    Session,
    UnknownChannel,
    UnrecoverablePosition,
    UsageError,
    codes,
)
from openline.brokers.memory import MemoryBroker
from openline.options import ChannelOptions
from openline.publication import Publication
from openline.testing import Client, Closed, connect, line
from tests.engine import running
from tests.remote_broker import RemoteBroker
from tests.serving import serving


class House:
    """A hub with three tabs of Ann's and one of Bob's."""

    def __init__(self, hub: Hub, ann: list[Client], bob: Client) -> None:
        self.hub = hub
        self.ann = ann
        self.bob = bob

    def session(self, client: Client) -> Session:
        """Give the session of a client."""
        return self.hub.sessions[client.id]


@asynccontextmanager
async def house(limits: Limits | None = None) -> AsyncIterator[House]:
    """Serve a hub where a client's name is its user."""
    hub = Hub(limits=limits)
    hub.channel("room:{name}", history=History(), presence=True)

    @hub.on_connect
    def who(name: str) -> Accept:
        return Accept(user=name, info={"name": name})

    @hub.rpc("count")
    async def count(session: Session) -> int:
        session.state["count"] = session.state.get("count", 0) + 1
        return int(session.state["count"])

    async with serving(hub) as app, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(app, name=name)) for name in ("ann", "ann", "ann", "bob")]
        yield House(hub, clients[:3], clients[3])


async def silent(client: Client) -> bool:
    """Say whether a client was told nothing: after a round trip, what was to come has come."""
    await client.unsubscribe("room:nowhere")
    return client.waiting() == []


# --- all of a user's sessions -----------------------------------------------------------------------------------------


async def test_a_message_to_a_user_reaches_every_session_of_that_user_alone() -> None:
    """Outside every channel: a push without one."""
    async with house() as it:
        await it.hub.user("ann").send({"hello": "ann"})

        assert [await client.push() for client in it.ann] == [{"message": {"data": {"hello": "ann"}}}] * 3
        assert await silent(it.bob)


async def test_subscribing_a_user_subscribes_every_session_and_tells_it() -> None:
    """One that is in the channel already stays as it is."""
    async with house() as it:
        await it.ann[0].subscribe("room:a")
        await it.hub.user("ann").subscribe("room:a")
        await it.hub.publish("room:a", "hi")

        for client in it.ann[1:]:
            push = await client.push()
            assert push["channel"] == "room:a"
            assert push["subscribe"]["recoverable"]
        for client in it.ann:
            assert (await client.publication())["data"] == "hi"
        assert await silent(it.bob)


async def test_unsubscribing_a_user_tells_every_session_that_was_in() -> None:
    """With code and reason; sessions that were not in hear nothing."""
    async with house() as it:
        for client in (it.ann[0], it.ann[1], it.bob):
            await client.subscribe("room:a")
        await it.hub.user("ann").unsubscribe("room:a")

        told = {"channel": "room:a", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}
        assert [await client.push() for client in it.ann[:2]] == [told] * 2
        assert await silent(it.ann[2])
        assert await silent(it.bob)
        assert it.session(it.bob).channels == {"room:a"}


async def test_a_user_may_be_asked_to_subscribe_again() -> None:
    """From code 2500 on clients do so by themselves."""
    async with house() as it:
        await it.bob.subscribe("room:a")
        await it.hub.user("bob").unsubscribe("room:a", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)

        assert (await it.bob.push())["unsubscribe"] == {"code": 2500, "reason": "insufficient state"}


async def test_disconnecting_a_user_closes_every_session() -> None:
    """By default for good: 3503; with another code the clients come back."""
    async with house() as it:
        await it.hub.user("ann").disconnect()
        await it.hub.user("bob").disconnect(codes.CLOSED_FORCE_RECONNECT)

        closed = [await client.closed() for client in (*it.ann, it.bob)]
        assert [(end.code, end.reason) for end in closed] == [
            *[(3503, "force disconnect")] * 3,
            (3011, "force reconnect"),
        ]
        assert not it.hub.sessions


@pytest.mark.parametrize(("code", "reason"), [(1000, None), (2999, "x"), (5000, "x"), (4000, ""), (4000, '{"a":1}')])
async def test_a_code_or_reason_that_clients_misunderstand_is_refused_and_nobody_is_closed(
    code: int, reason: str | None
) -> None:
    """Trap 4: an empty reason or JSON turns the decision to come back around."""
    async with house() as it:
        with pytest.raises(DeclarationError):
            await it.hub.user("ann").disconnect(code, reason)
        with pytest.raises(DeclarationError):
            it.session(it.bob).disconnect(code, reason)
        assert len(it.hub.sessions) == 4


async def test_a_user_without_sessions_is_no_error() -> None:
    """Whether anybody is there, nobody knows in time."""
    async with house() as it:
        nobody = it.hub.user("nobody")
        await nobody.send(1)
        await nobody.subscribe("room:a")
        await nobody.unsubscribe("room:a")
        await nobody.disconnect()

        assert nobody.sessions == ()
        assert repr(nobody) == "<User 'nobody' sessions=0>"
        assert repr(it.hub.user("ann")) == "<User 'ann' sessions=3>"


async def test_a_sessions_end_is_seen_at_its_user_at_once() -> None:
    """And a user's last session takes the user with it."""
    async with house() as it:
        it.session(it.ann[0]).disconnect()
        assert {session.id for session in it.hub.user("ann").sessions} == {client.id for client in it.ann[1:]}
        it.session(it.bob).disconnect()

        assert it.hub.user("bob").sessions == ()


async def test_what_goes_with_a_subscription_goes_with_every_one() -> None:
    """Others see the info, each client is given the data, and what was missed follows."""
    async with house() as it:
        since = await it.hub.publish("room:a", 1)
        await it.hub.publish("room:a", 2)
        await it.hub.user("ann").subscribe("room:a", Allow(info={"role": 1}, data=[3]), since=since)
        for client in it.ann:
            assert (await client.push())["subscribe"]["data"] == [3]
            assert (await client.publication())["data"] == 2
        presence = await it.ann[0].presence("room:a")
        assert [info["chan_info"] for info in presence.values()] == [{"role": 1}] * 3
        with pytest.raises(UnrecoverablePosition):
            await it.hub.user("bob").subscribe("room:a", since=Position("gone", 1))
        assert it.session(it.bob).channels == set()


async def test_sessions_may_be_spared() -> None:
    """As the one in which a user changed the password."""
    async with house() as it:
        await it.hub.user("ann").disconnect(spare=[it.ann[1].id])
        assert [(await client.closed()).code for client in (it.ann[0], it.ann[2])] == [3503, 3503]
        assert set(it.hub.sessions) == {it.ann[1].id, it.bob.id}


async def test_connections_are_given_another_end() -> None:
    """And others see of them what is new; one that is past ends them now."""
    async with house() as it:
        await it.ann[0].subscribe("room:a")
        await it.hub.user("ann").refresh(datetime(2100, 1, 1, tzinfo=UTC), info={"name": "Ann B."})
        assert all([(await client.push())["refresh"]["expires"] for client in it.ann])
        (seen,) = (await it.ann[0].presence("room:a")).values()
        assert seen["conn_info"] == {"name": "Ann B."}
        await it.hub.user("ann").refresh(1)
        assert [(await client.closed()).code for client in it.ann] == [3005] * 3
        with pytest.raises(DeclarationError, match="time zone"):
            await it.hub.user("ann").refresh(datetime(2100, 1, 1))  # noqa: DTZ001  # that it has none is the point


# --- one session ------------------------------------------------------------------------------------------------------


async def test_a_session_knows_who_it_is() -> None:
    """Its id is the client's, its info what others see."""
    async with house() as it:
        session = it.session(it.bob)

        assert (session.id, session.user, session.info) == (it.bob.id, "bob", {"name": "bob"})
        assert (session.transport, session.protocol, session.channels) == ("websocket", "json", frozenset())


async def test_the_state_of_a_session_is_the_apps_own_and_lasts_as_long() -> None:
    """Every session has its own; nothing of it is sent anywhere."""
    async with house() as it:
        assert [await it.bob.rpc("count") for _ in range(3)] == [1, 2, 3]
        assert await it.ann[0].rpc("count") == 1


async def test_a_message_to_a_session_is_taken_while_the_client_is_there() -> None:
    """Sending never waits and says whether there was anybody to send to."""
    async with house() as it:
        session = it.session(it.bob)
        assert session.send("hi") is True
        assert await it.bob.push() == {"message": {"data": "hi"}}
        with pytest.raises(UsageError):
            session.send(object())
        session.disconnect()

        assert session.send("anybody?") is False


async def test_a_session_too_slow_for_a_message_is_closed_and_says_so() -> None:
    """3008: the client comes back and recovers."""
    async with house(Limits(outbox_bytes=10_000)) as it:
        session = it.session(it.bob)
        it.bob.freeze()
        taken = [session.send("x" * 1_000) for _ in range(30)]

        assert taken[0] is True
        assert taken[-1] is False
        it.bob.thaw()
        assert (await it.bob.closed()).code == 3008
        assert it.hub.counters.slow_clients == 1


async def test_the_server_may_put_a_session_into_a_channel() -> None:
    """No handler is asked; from the push on, publications follow."""
    async with house() as it:
        session = it.session(it.bob)
        await session.subscribe("room:a")
        await it.hub.publish("room:a", "hi")

        assert set((await it.bob.push())["subscribe"]) == {"recoverable", "positioned", "epoch"}
        assert (await it.bob.push())["pub"]["data"] == "hi"
        assert session.channels == {"room:a"}
        assert set(await it.ann[0].presence("room:a")) == {it.bob.id}


async def test_what_the_server_cannot_do_raises_and_the_client_hears_nothing() -> None:
    """The refusals a client would be answered with."""
    async with house(Limits(channels=2)) as it:
        session = it.session(it.bob)
        await session.subscribe("room:a")
        wrong: Any
        for channel, wrong in (("room:a", AlreadySubscribed), ("nowhere", UnknownChannel), ("room:ä", BadRequest)):
            with pytest.raises(wrong):
                await session.subscribe(channel)
        await session.subscribe("room:b")
        with pytest.raises(LimitExceeded):
            await session.subscribe("room:c")

        assert [set(await it.bob.push()) for _ in range(2)] == [{"channel", "subscribe"}] * 2
        assert await silent(it.bob)


async def test_the_server_may_take_a_session_out_of_a_channel() -> None:
    """Whoever put it in; taking it out of where it is not does nothing."""
    async with house() as it:
        session = it.session(it.bob)
        await session.unsubscribe("room:a")
        await it.bob.subscribe("room:a")
        await session.unsubscribe("room:a")
        await it.hub.publish("room:a", "late")

        assert (await it.bob.push())["unsubscribe"]["code"] == 2000
        assert await silent(it.bob)
        assert (await it.bob.subscribe("room:a"))["recoverable"]


async def test_a_server_side_subscription_that_is_to_be_taken_up_again_closes_the_connection() -> None:
    """A client cannot subscribe to it by itself: 3010 has it reconnect."""
    async with house() as it:
        session = it.session(it.bob)
        await session.subscribe("room:a")
        await session.unsubscribe("room:a", codes.UNSUBSCRIBED_INSUFFICIENT_STATE)

        assert (await it.bob.closed()).code == 3010


async def test_a_client_may_leave_what_the_server_put_it_into() -> None:
    """It was told of it, and may not want it."""
    async with house() as it:
        await it.session(it.bob).subscribe("room:a")
        assert await it.bob.unsubscribe("room:a") == {}
        assert it.session(it.bob).channels == frozenset()


async def test_a_session_that_is_gone_can_be_used_without_harm() -> None:
    """Whoever kept it cannot know."""
    async with house() as it:
        session = it.session(it.bob)
        session.disconnect()
        await session.subscribe("room:a")
        await session.unsubscribe("room:a")
        session.disconnect()

        assert session.channels == frozenset()
        assert (await it.bob.closed()).code == 3503


async def test_subscribing_before_the_connection_is_let_in_is_refused() -> None:
    """In `on_connect` that is what `Accept(channels=…)` is for: silence would lose the subscription."""
    hub = Hub()
    hub.channel("room:{name}")
    told: list[str] = []

    @hub.on_connect
    async def too_early(session: Session) -> None:
        try:
            await session.subscribe("room:a")
        except UsageError as error:
            told.append(str(error))

    async with serving(hub) as app, connect(app):
        assert len(told) == 1
        assert "Accept(channels=" in told[0]


async def test_a_subscription_the_server_could_not_begin_leaves_nothing() -> None:
    """What was published while history was read got lost on its way here: the client has to come again (3010)."""
    broker = RemoteBroker(MemoryBroker())
    async with running(ChannelOptions(history=History(), presence=True), broker=broker) as engine:
        wire, session = engine.client()
        await engine.settle()

        async def meanwhile() -> None:
            broker.lose = lambda message: isinstance(message, Publication) and message.offset == 1
            await engine.publish("a", 1, 2)

        broker.after_history = meanwhile
        await session.subscribe("a")
        await engine.settle()

        assert wire.close_code == 3010
        assert session.channels == frozenset()
        assert engine.node.topic("a") is None
        assert await engine.node.presence.members("a") == {}


async def test_a_client_too_slow_for_the_news_of_its_subscription_is_not_subscribed() -> None:
    """It is closed with 3008, and nothing of the subscription is left."""
    async with house(Limits(outbox_bytes=10_000)) as it:
        session = it.session(it.bob)
        it.bob.freeze()
        while session.outbox.waiting_bytes() < 9_990:
            session.send("x" * min(1_000, 9_960 - session.outbox.waiting_bytes()))
        await session.subscribe("room:a")

        assert session.channels == frozenset()
        assert await it.ann[0].presence("room:a") == {}
        it.bob.thaw()
        assert (await it.bob.closed()).code == 3008


async def test_one_who_is_still_connecting_is_disconnected_too() -> None:
    """A ban does not miss the session whose handler still thinks."""
    hub = Hub()
    gate, thinking = asyncio.Event(), asyncio.Event()

    @hub.on_connect
    async def slow(session: Session) -> str:
        session.user = "42"
        thinking.set()
        await gate.wait()
        return "42"

    async with serving(hub) as app, line(app) as client:
        answer = client.batch({"connect": {}})[0]
        await asyncio.wait_for(thinking.wait(), 5)
        await hub.user("42").disconnect()
        gate.set()
        with pytest.raises(Closed, match="3503"):
            await client.answer(answer)
