"""Clients that only listen: what they say in one request, and what comes back over each of three wires."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest

from openline import JWT, Accept, Heartbeat, History, Hub, Limits, PermissionDenied, Session, TooManyRequests
from openline.testing import HandshakeRefused, VirtualClock
from tests.bare_client import BareClient, bare_line
from tests.listeners import LINES, SSE, events, lines, url
from tests.serving import serving
from tests.streaming import ask

WEBSOCKET = "/connection/uni_websocket"
SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"
FOREIGN = {"origin": "https://elsewhere.example"}


def a_hub(**options: Any) -> Hub:
    """Give a hub with a channel that keeps its messages, one that does not, and one for members."""
    hub = Hub(**options)
    hub.channel("news:{name}", history=History(size=100, seconds=300))
    hub.channel("plain:{name}", join_leave=True, presence=True)
    club = hub.channel("club:{name}", history=History(size=100, seconds=300))

    @club.on_subscribe
    async def enter(name: str, session: Session) -> None:
        if session.user != "ann":
            raise PermissionDenied("members only")

    return hub


def token(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode({"sub": "ann"} | claims, SECRET, algorithm="HS256")


async def said(client: BareClient) -> dict[str, Any]:
    """Wait for the next message of a WebSocket: one object."""
    told: dict[str, Any] = json.loads(await client.next())
    return told


# --- what is said, and what comes back --------------------------------------------------------------------------------


async def test_lines_begin_with_connect_and_bring_each_push_without_a_reply_around_it() -> None:
    """The channels of the request are in the answer with where they stand; pings are not to be answered."""
    hub = a_hub(heartbeat=Heartbeat(ping_seconds=20))
    async with serving(hub) as app, lines(app, body={"subs": {"news:a": {}, "plain:b": {}}}) as client:
        connect = (await client.push())["connect"]
        assert set(connect["subs"]) == {"news:a", "plain:b"}
        assert connect["subs"]["news:a"]["positioned"]
        assert (connect["ping"], connect.get("pong")) == (20, None)
        assert client.request.headers["content-type"] == "application/x-ndjson"
        (session,) = hub.sessions.values()
        assert (session.transport, session.protocol, session.id) == ("uni_http_stream", "json", connect["client"])

        joined = await client.push()
        assert joined["channel"] == "plain:b"
        assert joined["join"]["info"]["client"] == session.id
        await hub.publish("news:a", {"text": "hello"})
        push = await client.push()
        assert push["channel"] == "news:a"
        assert push["pub"]["data"] == {"text": "hello"}
        session.send("by the way")
        assert await client.push() == {"message": {"data": "by the way"}}


async def test_events_bring_the_same_with_ids_and_say_when_to_come_back() -> None:
    """The first says how long to wait; each id names every channel that has positions."""
    hub = a_hub()
    async with serving(hub) as app, events(app, url(SSE, {"subs": {"news:a": {}, "plain:b": {}}})) as client:
        connect = (await client.push())["connect"]
        epoch = connect["subs"]["news:a"]["epoch"]
        assert client.last_id == f"0:{epoch}:news:a"
        assert client.events is not None
        assert 1_000 <= client.events.retry_ms <= 4_000
        assert client.request.headers["content-type"].startswith("text/event-stream")
        assert next(iter(hub.sessions.values())).transport == "uni_sse"

        await hub.publish("plain:b", 1)
        await hub.publish("news:a", 2)
        assert [await client.publication(), client.last_id] == [1, f"0:{epoch}:news:a"]
        assert [await client.publication(), client.last_id] == [2, f"1:{epoch}:news:a"]


async def test_a_websocket_is_asked_by_its_first_message_and_gives_one_push_a_message() -> None:
    """However many leave in one turn. What the client says later goes nowhere."""
    hub = a_hub()
    async with serving(hub) as app, bare_line(app, WEBSOCKET) as client:
        client.send('{"subs": {"news:a": {}}}')
        assert "news:a" in (await said(client))["connect"]["subs"]
        assert next(iter(hub.sessions.values())).transport == "uni_websocket"
        client.send("whatever this is")
        client.send('{"id": 1, "connect": {}}')
        for number in range(3):
            await hub.publish("news:a", number)
        assert [(await said(client))["pub"]["data"] for _ in range(3)] == [0, 1, 2]


async def test_a_websocket_may_be_asked_in_its_url_as_well() -> None:
    """By `cf_connect`, or by channels and a token of their own."""
    hub = a_hub(auth=JWT(secret=SECRET))
    async with serving(hub) as app:
        for where in (
            url(WEBSOCKET, {"token": token(), "subs": {"club:a": {}}}),
            url(WEBSOCKET, channel="club:a", token=token()),
        ):
            async with bare_line(app, where) as client:
                assert set((await said(client))["connect"]["subs"]) == {"club:a"}


async def test_a_websocket_that_says_nothing_is_closed_with_3502() -> None:
    """As any client that does not connect in time."""
    clock = VirtualClock()
    hub = a_hub(clock=clock, limits=Limits(connect_seconds=10))
    async with serving(hub) as app, bare_line(app, WEBSOCKET) as client:
        await clock.advance(11)
        assert (await said(client))["disconnect"]["code"] == 3502
        assert (await client.closed())[0] == 3502


@pytest.mark.parametrize("how", ["query", "header"])
async def test_who_cannot_put_json_into_a_url_names_channels_and_a_token(how: str) -> None:
    """As parameters, the channel as often as there are channels; the token may be a header."""
    hub = a_hub(auth=JWT(secret=SECRET))
    where = "?channel=club:a&channel=news%3Ab" + (f"&token={token()}" if how == "query" else "")
    headers = {"authorization": f"Bearer {token()}"} if how == "header" else {}
    async with serving(hub) as app:
        async with events(app, SSE + where, **headers) as client:
            assert set((await client.push())["connect"]["subs"]) == {"club:a", "news:b"}
        async with lines(app, LINES + where, headers=headers) as client:
            assert set((await client.push())["connect"]["subs"]) == {"club:a", "news:b"}


async def test_channels_of_the_server_come_beside_those_of_the_request() -> None:
    """Those of `on_connect` and of tokens."""
    hub = a_hub()

    @hub.on_connect
    async def connect() -> Accept:
        return Accept(user="ann", channels=["news:own"])

    async with serving(hub) as app, events(app, f"{SSE}?channel=club:a") as client:
        assert set((await client.push())["connect"]["subs"]) == {"club:a", "news:own"}


async def test_a_request_without_channels_is_one_too() -> None:
    """The server may have some for it, or messages outside of all."""
    hub = a_hub()
    async with serving(hub) as app, lines(app, LINES, {}) as client:
        assert "subs" not in (await client.push())["connect"]


async def test_pings_go_on_and_want_no_answer() -> None:
    """An empty object each time; nobody is closed for being silent."""
    clock = VirtualClock()
    hub = a_hub(clock=clock, heartbeat=Heartbeat(ping_seconds=10, pong_seconds=5))
    async with serving(hub) as app, bare_line(app, WEBSOCKET) as client:
        client.send("{}")
        assert "connect" in await said(client)
        for _ in range(3):
            await clock.advance(10)
            assert await said(client) == {}
        assert hub.sessions


# --- refused, and ended -----------------------------------------------------------------------------------------------


REFUSALS = [
    ({"subs": {"club:a": {}}}, 403, 3507, "members only"),
    ({"subs": {"nowhere": {}}}, 404, 3004, "unknown channel"),
    ({"subs": {"no name": {}}}, 400, 3004, "channel name is not printable ASCII without spaces"),
    ({"subs": {"news:a": {"delta": "other"}}}, 400, 3501, "bad request"),
    ({"token": "made up"}, 401, 3500, "invalid token"),
    ({"token": token(exp=1)}, 401, 3005, "connection expired"),
    ({"subs": {"news:a": {}, "news:b": {}, "news:c": {}}}, 400, 3505, "channel limit"),
]


@pytest.mark.parametrize(("request_", "status", "code", "reason"), REFUSALS)
async def test_a_refusal_has_a_status_of_http_and_is_the_only_push(
    request_: dict[str, Any], status: int, code: int, reason: str
) -> None:
    """Nothing was answered before. On a WebSocket it is the one message, and the close says it again."""
    hub = a_hub(auth=JWT(secret=SECRET, anonymous=True), limits=Limits(channels=2))
    told = {"code": code, "reason": reason} | ({"reconnect": True} if code < 3500 else {})
    async with serving(hub) as app:
        answer = await ask(app, "POST", LINES, json.dumps(request_).encode())
        assert answer.status == status
        assert told.items() >= json.loads(answer.body)["disconnect"].items()
        answer = await ask(app, "GET", url(SSE, request_), headers={"accept": "text/event-stream"})
        assert answer.status == status
        async with bare_line(app, WEBSOCKET) as client:
            client.send(json.dumps(request_))
            assert await said(client) == {"disconnect": told}
            assert await client.closed() == (code, reason)


async def test_who_may_come_in_a_moment_is_answered_by_events_that_end() -> None:
    """Browsers come back after those, and after nothing else."""
    hub = a_hub()

    @hub.on_connect
    async def connect() -> None:
        raise TooManyRequests

    async with serving(hub) as app:
        async with events(app, f"{SSE}?channel=news:a") as client:
            assert client.request.status == 200
            assert await client.end() == (3013, "too many requests")
            assert client.events is not None
            assert client.events.retry_ms
        assert (await ask(app, "GET", f"{LINES}?channel=news:a")).status == 429


async def test_a_full_node_has_browsers_come_back_later() -> None:
    """A place may be free by then. Everybody else is told 503, which a load balancer understands."""
    hub = a_hub(limits=Limits(connections=1))
    async with serving(hub) as app, lines(app, LINES, {}) as client:
        await client.push()
        async with events(app, SSE) as late:
            assert (await late.push())["disconnect"]["reconnect"]
            assert late.events is not None
            assert late.events.retry_ms >= 5_000
        assert (await ask(app, "GET", SSE)).status == 503
        assert (await ask(app, "GET", LINES)).status == 503
        with pytest.raises(HandshakeRefused, match="503"):
            async with bare_line(app, WEBSOCKET):
                pass


async def test_a_browser_that_was_sent_away_is_told_to_stop_coming_back() -> None:
    """The last event has an id that says so, and whoever comes back with it is answered 204, on any node."""
    hub = a_hub()
    async with serving(hub) as app:
        async with events(app, f"{SSE}?channel=news:a") as client:
            await client.push()
            next(iter(hub.sessions.values())).disconnect()
            assert await client.end() == (3503, "force disconnect")
            last_id = client.last_id
        again = {"accept": "text/event-stream", "last-event-id": last_id}
        assert (await ask(app, "GET", f"{SSE}?channel=news:a", headers=again)).status == 204


async def test_a_browser_that_may_come_back_keeps_its_place() -> None:
    """The end that says so leaves the id of before in force."""
    hub = a_hub()
    async with serving(hub) as app, events(app, f"{SSE}?channel=news:a") as client:
        await client.push()
        before = client.last_id
        next(iter(hub.sessions.values())).disconnect(3011)
        assert (await client.end())[0] == 3011
        assert client.last_id == before


async def test_pages_of_other_origins_are_kept_out() -> None:
    """On all three wires; one that is listed may read the answer."""
    hub = a_hub()
    async with serving(hub) as app:
        for path in (SSE, LINES):
            assert (await ask(app, "GET", path, headers=FOREIGN)).status == 403
        with pytest.raises(HandshakeRefused, match="403"):
            async with bare_line(app, WEBSOCKET, headers=FOREIGN):
                pass
    listed = a_hub(origins=["https://elsewhere.example"])
    async with serving(listed) as app, events(app, SSE, **FOREIGN) as client:
        assert client.request.headers["access-control-allow-origin"] == FOREIGN["origin"]


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        ("no json", 400),
        ("[]", 400),
        ('{"subs": 3}', 400),
        ("[" * 5_000, 400),
        ('{"data": ' + "[" * 5_000 + "]" * 5_000 + "}", 400),
        ('{"data": ' + "[" * 100 + "]" * 100 + "}", 400),
        (json.dumps({"subs": {f"news:{number}": {} for number in range(2_000)}}), 400),
        ('{"name": "' + "x" * 70_000 + '"}', 413),
    ],
)
async def test_whatever_is_sent_to_open_a_line_is_answered(frame: str, status: int) -> None:
    """What is no request, nests too deep, asks for too much or is too large."""
    async with serving(a_hub()) as app:
        assert (await ask(app, "POST", LINES, frame.encode())).status == status
        assert (await ask(app, "GET", url(SSE, cf_connect=frame))).status == status


async def test_ten_thousand_channels_in_a_url_are_refused_at_once() -> None:
    """Without asking the app about any of them."""
    where = SSE + "?" + "&".join(f"channel=club:{number}" for number in range(10_000))
    async with serving(a_hub()) as app:
        assert (await ask(app, "GET", where)).status == 400
