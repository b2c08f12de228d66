"""Long polling: where channels stand goes in, what was published since comes out, on whichever node is asked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jwt
import pytest
from fastapi import FastAPI

from openline import JWT, History, Hub, Limits, PermissionDenied, Session, TooManyRequests
from openline.testing import connect
from tests.serving import serving
from tests.streaming import Answer, Request, ask, http_scope, requested

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


def a_hub(size: int = 100, **options: Any) -> Hub:
    """Give a hub with a channel anybody may follow, one for members, one with a token, and one without history."""
    hub = Hub(**options)
    kept = History(size=size, seconds=300)
    hub.channel("news:{name}", history=kept, presence=True, join_leave=True)
    hub.channel("asked:{name}", history=kept, recovery="asked")
    hub.channel("plain:{name}")
    if "auth" in options:
        hub.channel("vault:{name}", history=kept, protected=True)
    club = hub.channel("club:{name}", history=kept)

    @club.on_subscribe
    async def enter(name: str, session: Session) -> None:
        if session.user != "ann":
            raise PermissionDenied("members only")

    return hub


def token(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode({"sub": "ann"} | claims, SECRET, algorithm="HS256")


def poll_url(*channels: str, since: str = "", wait: str = "", token: str = "") -> str:
    """Give where to poll."""
    given = [("channel", channel) for channel in channels]
    given += [(name, value) for name, value in (("since", since), ("wait", wait), ("token", token)) if value]
    return "/connection/poll?" + "&".join(f"{name}={value.replace(' ', '%20')}" for name, value in given)


async def poll(app: FastAPI, *channels: str, **query: str) -> dict[str, Any]:
    """Poll once; give the answer."""
    answer = await ask(app, "GET", poll_url(*channels, **query))
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, Any] = json.loads(answer.body)
    return told


async def waiting(hub: Hub) -> None:
    """Wait until the one poll there is has nothing to say yet."""
    async with asyncio.timeout(5):
        while not any(session.channels for session in hub.sessions.values()):  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0)


def data_of(answer: dict[str, Any], channel: str = "news:a") -> list[Any]:
    """Give the data of a channel's publications."""
    return [publication["data"] for publication in answer["channels"][channel]["publications"]]


def error_of(answer: Answer) -> tuple[int, int]:
    """Give status and code of a refusal."""
    error = json.loads(answer.body)["error"]
    assert error["message"]
    assert answer.headers["cache-control"] == "no-store"
    return answer.status, error["code"]


# --- what is answered -------------------------------------------------------------------------------------------------


async def test_the_first_poll_says_at_once_where_its_channels_stand() -> None:
    """Without a cursor nothing is waited for; the answer has one."""
    hub = a_hub()
    async with serving(hub) as app:
        await hub.publish("news:a", "before")
        answer = await poll(app, "news:a", "asked:b")
        assert data_of(answer) == []
        first = answer["channels"]["news:a"]
        assert (first["offset"], set(first)) == (1, {"publications", "epoch", "offset"})
        assert answer["since"] == " ".join(
            f"{channel['offset']}:{channel['epoch']}:{name}" for name, channel in answer["channels"].items()
        )


async def test_what_was_published_since_comes_at_once() -> None:
    """With a cursor for the next poll, which then has nothing to say and waits no longer than it was told."""
    hub = a_hub()
    async with serving(hub) as app:
        since = (await poll(app, "news:a"))["since"]
        for number in range(3):
            await hub.publish("news:a", number, tags={"kind": "number"})
        answer = await poll(app, "news:a", since=since)
        assert data_of(answer) == [0, 1, 2]
        assert answer["channels"]["news:a"]["recovered"]
        assert answer["channels"]["news:a"]["publications"][0]["tags"] == {"kind": "number"}
        again = await poll(app, "news:a", since=answer["since"], wait="0")
        assert (data_of(again), again["since"]) == ([], answer["since"])


@pytest.mark.parametrize("channel", ["news:b", "asked:b"])
async def test_a_poll_waits_for_the_next_publication(channel: str) -> None:
    """Of any of its channels."""
    hub = a_hub()
    async with serving(hub) as app:
        since = (await poll(app, "news:a", channel))["since"]
        polling = asyncio.create_task(poll(app, "news:a", channel, since=since))
        await waiting(hub)
        assert next(iter(hub.sessions.values())).transport == "poll"
        await hub.publish(channel, "now")
        answer = await polling
        assert data_of(answer, channel) == ["now"]
        assert data_of(answer) == []
        assert data_of(await poll(app, "news:a", channel, since=since), channel) == ["now"]


async def test_a_channel_that_is_new_among_the_others_is_answered_at_once() -> None:
    """With where it stands; those that are not asked for any more leave the cursor."""
    hub = a_hub()
    async with serving(hub) as app:
        since = (await poll(app, "news:a"))["since"]
        answer = await poll(app, "news:b", since=since)
        assert set(answer["channels"]) == {"news:b"}
        assert answer["since"].endswith(":news:b")


async def test_what_history_no_longer_holds_is_told_with_the_new_position() -> None:
    """For each channel by itself."""
    hub = a_hub(size=2)
    async with serving(hub) as app:
        since = (await poll(app, "news:a", "news:b"))["since"]
        for number in range(5):
            await hub.publish("news:a", number)
        await hub.publish("news:b", "kept")
        answer = await poll(app, "news:a", "news:b", since=since)
        lost, kept = answer["channels"]["news:a"], answer["channels"]["news:b"]
        assert (lost["recovered"], lost["publications"], lost["offset"]) == (False, [], 5)
        assert kept["recovered"]
        assert data_of(answer, "news:b") == ["kept"]
        await hub.publish("news:a", "next")
        assert data_of(await poll(app, "news:a", since=answer["since"])) == ["next"]


async def test_a_cursor_of_another_life_of_the_stream_is_told_as_lost() -> None:
    """The epoch is another."""
    hub = a_hub()
    async with serving(hub) as app:
        answer = await poll(app, "news:a", since="3:another:news:a")
        assert not answer["channels"]["news:a"]["recovered"]


async def test_more_than_fits_comes_with_the_next_polls() -> None:
    """Each at once, until all is there."""
    hub = a_hub(1_000, limits=Limits(recovery_publications=7, outbox_bytes=20_000))
    async with serving(hub) as app:
        answer = await poll(app, "news:a", "news:b")
        for number in range(200):
            await hub.publish("news:a", [number, "x" * 200])
            await hub.publish("news:b", [number, "x" * 200])
        got: dict[str, list[int]] = {"news:a": [], "news:b": []}
        while len(got["news:a"]) < 200 or len(got["news:b"]) < 200:
            request = Request(http_scope("GET", poll_url("news:a", "news:b", since=answer["since"])), b"")
            await request.run(app)
            body = await request.piece() or b""
            assert len(body) < 60_000
            answer = json.loads(body)
            for channel, numbers in got.items():
                numbers += [number for number, _ in data_of(answer, channel)]
        assert got == {"news:a": list(range(200)), "news:b": list(range(200))}


# --- who may ----------------------------------------------------------------------------------------------------------


async def test_handlers_and_tokens_decide_on_polls_as_on_any_line() -> None:
    """The token is a header or a parameter."""
    hub = a_hub(auth=JWT(secret=SECRET, anonymous=True))
    async with serving(hub) as app:
        assert error_of(await ask(app, "GET", poll_url("club:a"))) == (403, 103)
        assert "club:a" in (await poll(app, "club:a", token=token()))["channels"]
        bearer = {"authorization": f"Bearer {token()}"}
        assert (await ask(app, "GET", poll_url("club:a"), headers=bearer)).status == 200
        assert error_of(await ask(app, "GET", poll_url("club:a", token=token(exp=1)))) == (401, 109)
        assert error_of(await ask(app, "GET", poll_url("club:a", token="made up"))) == (401, 3500)
        assert error_of(await ask(app, "GET", poll_url("vault:a", token=token()))) == (403, 103)
        server_side = token(subs={"vault:a": {}})
        assert "vault:a" in (await poll(app, "vault:a", token=server_side))["channels"]


@pytest.mark.parametrize(
    ("where", "status", "code", "named"),
    [
        ("/connection/poll", 400, 107, "channel"),
        (poll_url("nowhere"), 404, 102, "unknown channel"),
        (poll_url("plain:a"), 400, 108, "plain:a keeps no history"),
        (poll_url("news:a", wait="61"), 400, 107, "wait"),
        (poll_url("news:a", wait="-1"), 400, 107, "wait"),
        (poll_url("news:a", wait="nan"), 400, 107, "wait"),
        (poll_url("news:a", wait="soon"), 400, 107, "wait"),
        (poll_url("news:a", since="nonsense"), 400, 107, "since"),
        (poll_url("news:a", since="9" * 30 + ":e:news:a"), 400, 107, "since"),
        (poll_url(*(f"news:{number}" for number in range(10_000))), 400, 107, "128"),
        (poll_url("x" * 300), 400, 107, "255"),
    ],
)
async def test_what_cannot_be_asked_is_named(where: str, status: int, code: int, named: str) -> None:
    """With a status and a code."""
    async with serving(a_hub()) as app:
        answer = await ask(app, "GET", where)
        assert error_of(answer) == (status, code)
        assert named in answer.body.decode()


async def test_what_may_be_better_in_a_moment_says_so() -> None:
    """429 for too many, 503 where there is no place or something failed."""
    hub = a_hub(limits=Limits(connections=1))

    @hub.on_connect
    async def enter(token: str) -> None:
        if token == "many":
            raise TooManyRequests
        if token == "fail":
            raise RuntimeError("nobody's business")

    async with serving(hub) as app:
        assert error_of(await ask(app, "GET", poll_url("news:a", token="many"))) == (429, 111)
        assert error_of(await ask(app, "GET", poll_url("news:a", token="fail"))) == (503, 100)
        async with connect(app):
            assert error_of(await ask(app, "GET", poll_url("news:a"))) == (503, 100)


async def test_pages_of_other_origins_are_kept_out_and_listed_ones_may_read() -> None:
    """As on every line over HTTP."""
    page = {"origin": "https://elsewhere.example"}
    async with serving(a_hub()) as app:
        assert error_of(await ask(app, "GET", poll_url("news:a"), headers=page)) == (403, 103)
    async with serving(a_hub(origins=["https://elsewhere.example"])) as app:
        answer = await ask(app, "GET", poll_url("news:a"), headers=page)
        assert answer.headers["access-control-allow-origin"] == page["origin"]
        wanted = page | {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
        assert (await ask(app, "OPTIONS", "/connection/poll", headers=wanted)).status == 204


# --- what is left of it -----------------------------------------------------------------------------------------------


async def test_nobody_sees_a_poll_come_or_go() -> None:
    """Neither presence nor those who hear of joins; handlers of the connection are asked and told each time."""
    hub = a_hub()
    told: list[str] = []

    @hub.on_disconnect
    async def left(session: Session, code: int) -> None:
        told.append(f"{session.transport} {code}")

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("news:a", join_leave=True)
        joined = await client.push()
        since = (await poll(app, "news:a"))["since"]
        await hub.publish("news:a", 1)
        assert data_of(await poll(app, "news:a", since=since)) == [1]
        assert len(await client.presence("news:a")) == 1
        assert "join" in joined
        assert "pub" in await client.push()
        assert told == ["poll 3000", "poll 3000"]


async def test_a_client_that_goes_away_while_it_waits_leaves_nothing() -> None:
    """`serving` looks for what is left."""
    hub = a_hub()
    async with serving(hub) as app:
        since = (await poll(app, "news:a"))["since"]
        request = Request(http_scope("GET", poll_url("news:a", since=since)), b"")
        running = asyncio.create_task(request.run(app))
        await waiting(hub)
        request.leave()
        await asyncio.wait_for(running, 5)
        assert not hub.sessions


async def test_a_hub_that_stops_answers_those_who_wait() -> None:
    """With what they had: the next poll goes to another node."""
    hub = a_hub()
    async with asyncio.TaskGroup() as tasks, serving(hub, left_open=True) as app:
        since = (await poll(app, "news:a"))["since"]
        polling = tasks.create_task(poll(app, "news:a", since=since))
        await waiting(hub)
    assert (await polling)["since"] == since


async def test_who_is_sent_away_while_waiting_is_told_so() -> None:
    """A terminal end is an error, any other an answer as before."""
    hub = a_hub()
    async with serving(hub) as app:
        since = (await poll(app, "news:a"))["since"]
        for code, status in ((3503, 403), (3011, 200)):
            request = Request(http_scope("GET", poll_url("news:a", since=since)), b"")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(request.run(app))
                await waiting(hub)
                next(iter(hub.sessions.values())).disconnect(code)
            assert request.status == status


async def test_a_crowd_that_polls_hears_everything() -> None:
    """Fifty clients, each following by one poll after the other."""
    hub = a_hub()

    async def follow(app: FastAPI, since: str) -> list[int]:
        got: list[int] = []
        while len(got) < 20:
            answer = await poll(app, "news:a", since=since)
            since = answer["since"]
            got += data_of(answer)
        return got

    async with serving(hub) as app:
        since = (await poll(app, "news:a"))["since"]
        async with asyncio.TaskGroup() as tasks:
            following = [tasks.create_task(follow(app, since)) for _ in range(50)]
            for number in range(20):
                await hub.publish("news:a", number)
                for _ in range(number):
                    await asyncio.sleep(0)
        assert all(each.result() == list(range(20)) for each in following)


async def test_head_and_post_are_not_offered() -> None:
    """There is one way to ask."""
    async with serving(a_hub()) as app:
        assert (await ask(app, "POST", poll_url("news:a"))).status == 405
        async with requested(app, Request(http_scope("GET", poll_url("news:a")), b"")) as request:
            assert request.status == 200
