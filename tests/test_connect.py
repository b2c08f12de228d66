"""The connect command: what it is answered with, what may come with it in one frame, and what a refusal leaves."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from openline import JWT, Accept, Disconnect, Heartbeat, History, Hub, Limits, PermissionDenied, Session
from openline.testing import Client, Closed, VirtualClock, connect, line
from tests.serving import ended, refused, serving


def hub_of(accept: Accept | None = None, *, clock: VirtualClock | None = None, limits: Limits | None = None) -> Hub:
    """Give a hub with rooms, which lets everybody in as told."""
    hub = Hub(clock=clock, limits=limits)
    hub.channel("room:{name}", history=History(), presence=True, join_leave=True, publish=True)
    if accept is not None:

        @hub.on_connect
        async def let_in() -> Accept:
            return accept

    return hub


# --- the reply --------------------------------------------------------------------------------------------------------


async def test_the_reply_names_the_client_the_server_and_the_heartbeat() -> None:
    """And nothing that is not so: no expiry, no data, no subscriptions."""
    async with serving(hub_of()) as app, line(app) as client:
        result = await client.connect()

        assert set(result) == {"client", "version", "ping", "pong"}
        assert uuid.UUID(result["client"]).version == 4
        assert result["version"]
        assert (result["ping"], result["pong"]) == (25, True)


async def test_the_heartbeat_told_is_the_one_configured() -> None:
    """The client waits for pings of this interval."""
    hub = Hub(heartbeat=Heartbeat(ping_seconds=7, pong_seconds=3))
    async with serving(hub) as app, line(app) as client:
        assert (await client.connect())["ping"] == 7


async def test_every_connection_has_an_id_of_its_own() -> None:
    """It is what others see in presence, and new at every reconnect."""
    hub = hub_of()
    async with serving(hub) as app, connect(app) as one, connect(app) as two:
        assert one.id != two.id
        assert set(hub.sessions) == {one.id, two.id}


async def test_a_connect_without_an_id_closes_with_3501() -> None:
    """There would be no way to answer it."""
    async with serving(hub_of()) as app, line(app) as client:
        client.send_frame('{"connect":{}}')

        assert (await client.closed()).code == 3501


# --- in one frame with others -----------------------------------------------------------------------------------------


async def together(client: Client) -> list[asyncio.Future[dict[str, object]]]:
    """Send connect and two subscribes in one frame, as the JavaScript SDK does."""
    return client.batch(
        {"connect": {"name": "js"}}, {"subscribe": {"channel": "room:a"}}, {"subscribe": {"channel": "room:b"}}
    )


@pytest.mark.parametrize("handler", [False, True], ids=["at once", "after a handler that waits"])
async def test_connect_and_subscribes_of_one_frame_are_done_in_order(handler: bool) -> None:
    """The client does not wait for one reply before it sends the next command."""
    hub = hub_of()
    if handler:

        @hub.on_connect
        async def think() -> str:
            await asyncio.sleep(0)
            return "ann"

    async with serving(hub) as app, line(app) as client:
        answers = await together(client)
        results = [await client.answer(answer) for answer in answers]

        assert results[0]["pong"]
        assert all(result["positioned"] for result in results[1:])
        assert hub.sessions[results[0]["client"]].channels == {"room:a", "room:b"}


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a wait"])
async def test_what_comes_in_one_frame_with_a_refused_connect_is_ignored(waits: bool) -> None:
    """The error is the only answer: neither more errors nor a close, so that the client sees why."""
    hub = hub_of()

    @hub.on_connect
    async def refuse() -> None:
        if waits:
            await asyncio.sleep(0)
        raise PermissionDenied("not you")

    async with serving(hub) as app, line(app) as client:
        connecting, *others = await together(client)
        assert await refused(client.answer(connecting)) == 103
        assert not client.is_closed

        client.send_frame('{"id":9,"subscribe":{"channel":"room:a"}}')
        assert (await client.closed()).code == 3501
        assert len(client.frames) == 1
        for other in others:
            with pytest.raises(Closed):
                await client.answer(other)


async def test_a_second_connect_closes_with_3501_even_while_the_first_is_decided() -> None:
    """There is one connect in the life of a connection."""
    hub = hub_of()
    gate = asyncio.Event()

    @hub.on_connect
    async def think() -> None:
        await gate.wait()

    async with serving(hub) as app, line(app) as client:
        client.batch({"connect": {}}, {"connect": {}})

        assert (await client.closed()).code == 3501
        gate.set()


@pytest.mark.parametrize("frame", ['{"id":2,"connect":{}}', '{"id":2,"rpc":{"method":"x"}}', "{}", "junk"])
async def test_after_a_refused_connect_whatever_comes_closes_with_3501(frame: str) -> None:
    """A new try needs a new connection."""
    hub = hub_of()

    @hub.on_connect
    def refuse() -> None:
        raise PermissionDenied

    async with serving(hub) as app, line(app) as client:
        assert await refused(client.connect()) == 103
        client.send_frame(frame)

        assert (await client.closed()).code == 3501


async def test_a_client_that_goes_while_its_connect_is_decided_leaves_nothing() -> None:
    """The handler runs to its end, and its answer is for nobody."""
    hub = hub_of()
    running, gate = asyncio.Event(), asyncio.Event()

    @hub.on_connect
    async def think() -> Accept:
        running.set()
        await gate.wait()
        return Accept(user="ann", channels=["room:a", "room:b"])

    async with serving(hub) as app:
        async with line(app) as client:
            client.batch({"connect": {}})
            await asyncio.wait_for(running.wait(), 5)
        assert not hub.sessions
        gate.set()


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_connection_without_connect_is_closed_as_stale_after_ten_seconds() -> None:
    """An open socket costs something, and this one does nothing with it."""
    clock = VirtualClock()
    async with serving(hub_of(clock=clock)) as app, line(app) as client:
        await clock.advance(9.9)
        assert not client.is_closed
        await clock.advance(0.5)

        closed = await client.closed()
        assert (closed.code, closed.reason) == (3502, "stale")


async def test_a_refused_connection_that_stays_is_closed_as_stale() -> None:
    """Ten seconds after it was opened."""
    clock = VirtualClock()
    hub = hub_of(clock=clock)

    @hub.on_connect
    def refuse() -> None:
        raise PermissionDenied

    async with serving(hub) as app, line(app) as client:
        assert await refused(client.connect()) == 103
        await clock.advance(10.5)

        assert (await client.closed()).code == 3502


async def test_a_connected_client_is_never_stale() -> None:
    """The time limit is for the connect command alone."""
    clock = VirtualClock()
    async with serving(hub_of(clock=clock)) as app, connect(app) as client:
        await clock.advance(600)

        assert not client.is_closed


# --- subscriptions that come with it ----------------------------------------------------------------------------------


async def test_server_side_subscriptions_stand_in_the_reply_and_are_live() -> None:
    """The client did nothing for them; their joins are announced like any."""
    hub = hub_of(Accept(user="ann", channels=["room:a", "room:b"]))
    async with serving(hub) as app, line(app) as client:
        result = await client.connect()
        await hub.publish("room:b", "hi")

        assert set(result["subs"]) == {"room:a", "room:b"}
        assert result["subs"]["room:a"]["recoverable"]
        assert [push["channel"] for push in (await client.push(), await client.push())] == ["room:a", "room:b"]  # joins
        assert (await client.publication("room:b"))["data"] == "hi"
        assert hub.sessions[client.id].channels == {"room:a", "room:b"}


async def test_a_channel_named_twice_is_one_subscription() -> None:
    """A handler may put lists together."""
    hub = hub_of(Accept(channels=["room:a", "room:a"]))
    async with serving(hub) as app, line(app) as client:
        assert set((await client.connect())["subs"]) == {"room:a"}


@pytest.mark.parametrize("channels", [["room:a", "nowhere"], ["room:a", "room:b", "room:ä"]])
async def test_if_one_subscription_fails_the_whole_connect_fails(channels: list[str]) -> None:
    """And those that were begun are undone."""
    hub = hub_of(Accept(channels=channels))
    async with serving(hub) as app, line(app) as client:
        assert await refused(client.connect()) in (102, 107)
        assert await hub._node.presence.members("room:a") == {}
        assert not hub._node._topics


async def test_more_server_side_subscriptions_than_the_limit_close_with_3505() -> None:
    """Not an error: the client can do nothing about it."""
    hub = hub_of(Accept(channels=[f"room:{number}" for number in range(4)]), limits=Limits(channels=3))
    async with serving(hub) as app, line(app) as client:
        assert await ended(client.connect()) == 3505


async def test_as_many_server_side_subscriptions_as_the_limit_are_fine() -> None:
    """But then the client can have no more of its own."""
    hub = hub_of(Accept(channels=[f"room:{number}" for number in range(3)]), limits=Limits(channels=3))
    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.subscribe("room:x")) == 106


async def test_what_was_missed_in_server_side_subscriptions_comes_with_the_reply() -> None:
    """The client says in `subs` where it stood; the server answers by the same rules as for a subscribe."""
    hub = hub_of(Accept(channels=["room:a", "room:b"]))
    async with serving(hub) as app:
        async with connect(app) as client:
            positions = client.positions
        await hub.publish("room:a", "missed")
        async with line(app) as client:
            result = await client.connect(
                subs={
                    "room:a": {"recover": True, "epoch": positions["room:a"].epoch, "offset": 0},
                    "room:b": {"recover": True, "epoch": "gone", "offset": 5},
                    "room:elsewhere": {"recover": True, "epoch": "x", "offset": 1},
                }
            )

        assert set(result["subs"]) == {"room:a", "room:b"}
        recovered = result["subs"]["room:a"]
        assert [publication["data"] for publication in recovered["publications"]] == ["missed"]
        assert recovered["recovered"]
        assert "recovered" not in result["subs"]["room:b"]
        assert result["subs"]["room:b"]["was_recovering"]


async def test_what_was_missed_comes_behind_the_reply_where_its_tags_are_too_much_for_it() -> None:
    """However small the data are: a client in many channels is not closed for what came with them."""
    names = [f"room:{number}" for number in range(6)]
    hub = hub_of(Accept(channels=names), limits=Limits(outbox_bytes=20_000))
    async with serving(hub) as app:
        for name in names:
            await hub.publish(name, name, tags={"long": "x" * 4_000})
        async with line(app) as client:
            result = await client.connect(subs={name: {"recover": True} for name in names})
            missing = {name for name in names if "publications" not in result["subs"][name]}
            behind = {(await client.publication())["data"] for _ in missing}

        assert all(result["subs"][name]["recovered"] for name in names)
        assert behind == missing
        assert 0 < len(missing) < 6


async def test_a_server_side_subscription_that_may_not_fail_to_recover_fails_the_connect() -> None:
    """Flag bit 2 works here as in a subscribe."""
    hub = hub_of(Accept(channels=["room:a"]))
    async with serving(hub) as app, line(app) as client:
        wish = {"recover": True, "epoch": "gone", "flag": 2}

        assert await refused(client.connect(subs={"room:a": wish})) == 112


# --- what a handler sees and says -------------------------------------------------------------------------------------


async def test_the_handler_is_given_what_the_client_says_of_itself() -> None:
    """Token, name, version and data, each as it came."""
    hub = Hub()
    heard: list[object] = []

    @hub.on_connect
    def hear(session: Session, data: dict[str, int], token: str, name: str, version: str) -> None:
        heard.extend((session.id, data, token, name, version))

    async with serving(hub) as app, line(app) as client:
        await client.connect(data={"x": 1}, token="secret", name="web", version="1.2")

        assert heard == [client.id, {"x": 1}, "secret", "web", "1.2"]


async def test_the_data_a_handler_gives_goes_to_the_client() -> None:
    """Any JSON value."""
    hub = hub_of(Accept(data={"rooms": ["a"]}))
    async with serving(hub) as app, line(app) as client:
        assert (await client.connect())["data"] == {"rooms": ["a"]}


async def test_a_handler_may_end_the_connection_instead() -> None:
    """With a code of the app's own."""
    hub = Hub()

    @hub.on_connect
    def refuse() -> None:
        raise Disconnect(4501, "banned")

    async with serving(hub) as app, line(app) as client:
        client.batch({"connect": {}})

        closed = await client.closed()
        assert (closed.code, closed.reason) == (4501, "banned")


async def test_connecting_works_the_same_in_protobuf() -> None:
    """Same result, other bytes; payloads of a client may be no JSON then, which is a bad request."""
    hub = hub_of(Accept(user="ann", data=[1], channels=["room:a"]))
    async with serving(hub) as app, line(app, protobuf=True) as client, line(app, protobuf=True) as broken:
        result = await client.connect(name="go")

        assert client.subprotocol == "centrifuge-protobuf"
        assert (result["data"], result["ping"], set(result["subs"])) == ([1], 25, {"room:a"})
        assert await broken.connect(data=b"\xff") is not None  # no handler reads it
        assert await refused(broken.publish("room:a", b"\xff")) == 107


async def test_what_the_token_says_for_the_app_alone() -> None:
    """`meta` is there for handlers, from the first on, and no client is shown it."""
    auth = JWT(secret="s" * 32)
    hub = Hub(auth=auth)
    seen: list[object] = []

    @hub.on_connect
    async def connected(session: Session) -> None:
        seen.append(session.meta)

    @hub.rpc("plan")
    async def plan(session: Session) -> object:
        return session.meta

    async with serving(hub) as app, connect(app, token=auth.sign("ann", expires_in=None, meta={"plan": 1})) as client:
        assert seen == [{"plan": 1}]
        assert await client.rpc("plan") == {"plan": 1}
