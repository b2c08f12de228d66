"""How many connections there may be, of everybody and of one user: as many as the limit says, and never one more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastapi import Depends

from openline import Accept, Hub, Limits
from openline.testing import Client, Closed, HandshakeRefused, connect, line
from tests.serving import ended, refused, serving

both_codecs = pytest.mark.parametrize("protobuf", [False, True], ids=["json", "protobuf"])


# --- connections in all -----------------------------------------------------------------------------------------------


async def test_a_full_node_refuses_the_handshake_with_503(caplog: pytest.LogCaptureFixture) -> None:
    """And not with a code that sends the client away for good: a place may be free in a moment, here or elsewhere."""
    hub = Hub(limits=Limits(connections=2))
    async with serving(hub) as app, connect(app):
        async with line(app):  # one that has not sent its connect takes a place too
            for _ in range(2):
                with pytest.raises(HandshakeRefused) as caught:
                    async with line(app):
                        pass
                assert (caught.value.status, caught.value.body) == (503, "too many connections")
        async with connect(app):
            assert len(hub.sessions) == 2

    assert hub.counters.connections_refused == 2
    assert hub.counters.sessions_opened == 3
    assert sum("Limits.connections allows (2)" in message for message in caplog.messages) == 1


async def test_handshakes_on_their_way_count() -> None:
    """However many are answered at the same time, no more come in than there are places."""
    hub = Hub(limits=Limits(connections=3))

    async def one(stack: AsyncExitStack) -> bool:
        try:
            await stack.enter_async_context(line(app))
        except HandshakeRefused:
            return False
        return True

    async with serving(hub) as app:
        stacks = [AsyncExitStack() for _ in range(10)]
        came = await asyncio.gather(*map(one, stacks))
        assert sum(came) == 3
        assert len(hub.sessions) == 3
        for stack in reversed(stacks):
            await stack.aclose()
        assert not hub._node.places


async def test_a_handshake_that_comes_to_nothing_gives_its_place_back() -> None:
    """Whoever fails after it was let in, before there is a session."""
    hub = Hub(limits=Limits(connections=1))
    async with serving(hub) as app:
        with pytest.raises(Exception, match="no such transport"):
            async with line(_failing_to_accept(app)):
                pass
        assert not hub._node.places
        async with connect(app):
            pass


def _failing_to_accept(app: Any) -> Any:
    """Give an app whose server cannot send the answer to a handshake."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        async def fail(message: Any) -> None:
            raise OSError("no such transport")

        await app(scope, receive, fail)

    return broken


async def test_a_dependency_that_hangs_at_its_end_takes_no_place() -> None:
    """It holds up its own client, and nobody else's."""
    hub, waiting, go = Hub(limits=Limits(connections=1)), asyncio.Event(), asyncio.Event()

    async def hangs(role: str = "guest") -> AsyncIterator[None]:
        yield
        if role == "hangs":
            waiting.set()
            await go.wait()

    async def come() -> None:
        async with line(app, query="role=hangs"):
            pass

    async with serving(hub, dependencies=[Depends(hangs)]) as app:
        hanging = asyncio.create_task(come())
        await waiting.wait()
        async with connect(app):
            go.set()
            with pytest.raises(HandshakeRefused):
                await hanging


async def test_a_full_node_and_a_user_with_enough_are_both_said(caplog: pytest.LogCaptureFixture) -> None:
    """Each calls for something else, and one does not hide the other."""
    hub = hub_of_people(Limits(connections=2, connections_per_user=1))
    async with serving(hub) as app, connect(app, token="ada"), line(app) as second:
        with pytest.raises(HandshakeRefused):
            async with line(app):
                pass
        assert await ended(second.connect(token="ada")) == 3504

    assert hub.counters.connections_refused == 2
    assert ["Limits.connections " in message for message in caplog.messages] == [True, False]
    assert "Limits.connections_per_user allows (1)" in caplog.messages[1]


# --- connections of a user --------------------------------------------------------------------------------------------


def hub_of_people(limits: Limits) -> Hub:
    """Give a hub that believes what its clients call themselves, after a while."""
    hub = Hub(limits=limits)
    hub.channel("room:{name}")

    @hub.on_connect
    async def who(token: str) -> str:
        await asyncio.sleep(0)
        return token

    return hub


@both_codecs
async def test_one_connection_too_many_of_a_user_is_closed_with_3504(protobuf: bool) -> None:
    """The client stays away: it would meet the same limit. Other users are not concerned."""
    hub = hub_of_people(Limits(connections_per_user=2))
    async with serving(hub) as app, connect(app, token="ada"), connect(app, token="ada"):
        async with line(app, protobuf=protobuf) as third:
            assert await ended(third.connect(token="ada")) == 3504
        async with connect(app, token="bob"):
            assert len(hub.sessions) == 3
        assert len(hub.user("ada").sessions) == 2
        assert hub.counters.connections_refused == 1


async def test_a_place_is_free_when_a_connection_has_ended() -> None:
    """However it ended."""
    hub = hub_of_people(Limits(connections_per_user=1))
    async with serving(hub) as app:
        for end in (Client.close, Client.cut):
            async with connect(app, token="ada") as client:
                end(client)
                await client.closed()
        async with connect(app, token="ada"):
            assert len(hub.sessions) == 1


async def test_anonymous_clients_are_nobodys() -> None:
    """They have no user in common."""
    hub = hub_of_people(Limits(connections_per_user=1))
    async with serving(hub) as app, connect(app), connect(app):
        assert len(hub.sessions) == 2


async def test_connects_that_are_decided_at_the_same_time_count() -> None:
    """All of them wait in `on_connect` when the first is let in."""
    hub = Hub(limits=Limits(connections_per_user=2))
    hub.channel("room:{name}")
    waiting, go = asyncio.Semaphore(0), asyncio.Event()

    @hub.on_connect
    async def who() -> Accept:
        waiting.release()
        await go.wait()
        return Accept(user="ada", channels=["room:a"])

    async with serving(hub) as app, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(line(app)) for _ in range(6)]
        answers = [client.batch({"connect": {}})[0] for client in clients]
        for _ in clients:
            await waiting.acquire()
        go.set()
        codes: list[int] = []
        for client, answer in zip(clients, answers, strict=True):
            try:
                await client.answer(answer)
            except Closed as closed:
                codes.append(closed.code)
        assert codes == [3504] * 4
        assert len(hub.user("ada").sessions) == 2
        assert not hub._node.places


async def test_connects_that_wait_for_a_broker_count_and_give_their_place_back() -> None:
    """Between the decision and the reply a connect may wait; who has left meanwhile takes no place."""
    hub = hub_of_people(Limits(connections_per_user=1))
    async with serving(hub) as app, line(app) as first, line(app) as second:
        node, session = hub._node, next(iter(hub.sessions.values()))
        session.user = "ada"
        with node.places.arriving(session):
            assert await ended(second.connect(token="ada")) == 3504
            first.cut()
            await first.closed()
            async with connect(app, token="ada"):
                assert len(hub.user("ada").sessions) == 1
        assert not node.places
        with pytest.raises(Exception, match="3000"), node.places.arriving(session):
            pass


async def test_a_connect_that_fails_gives_its_place_back() -> None:
    """Here the channel that the server wants for it is none."""
    hub = Hub(limits=Limits(connections_per_user=1))
    hub.channel("room:{name}")
    wanted = iter(["nowhere", "room:a"])

    @hub.on_connect
    async def who() -> Accept:
        return Accept(user="ada", channels=[next(wanted)])

    async with serving(hub) as app:
        async with line(app) as client:
            assert await refused(client.connect()) == 102
        async with connect(app):
            assert len(hub.user("ada").sessions) == 1
