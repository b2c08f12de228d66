"""The line over HTTP: how it is opened and refused, and what holds there as it does over WebSocket."""
# Annotations are types here, not text: handlers and dependencies are made inside the tests.

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

import pytest
from fastapi import Cookie, Depends, FastAPI, Header, HTTPException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openline import Accept, Disconnect, History, Hub, Limits, Session
from openline.protocol import client_pb2
from tests.serving import serving
from tests.streaming import EMULATION, SSE, STREAM, Request, StreamClient, ask, http_scope, requested, streaming

CONNECT = b'{"id":1,"connect":{}}'
BINARY = {"content-type": "application/octet-stream"}
PATHS = [STREAM, SSE]


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    """An app with a hub and one channel."""
    hub = Hub()
    hub.channel("news", publish=True)
    async with serving(hub) as app:
        yield app


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "kind"), [(STREAM, "application/x-ndjson"), (SSE, "text/event-stream")])
async def test_a_stream_is_opened_by_a_post(path: str, kind: str) -> None:
    """With the connect command as its body; handlers see what wire it is."""
    hub = Hub()
    async with serving(hub) as app, streaming(app, path) as client:
        assert client.request.headers["content-type"] == kind
        assert client.request.headers["x-accel-buffering"] == "no"
        assert [session.transport for session in hub.sessions.values()] == [path.rpartition("/")[2]]


async def test_an_event_stream_is_opened_by_a_get(app: FastAPI) -> None:
    """As browsers do, with the command in the URL; its first bytes are an empty line."""
    scope = http_scope("GET", f"{SSE}?cf_connect={quote(CONNECT)}")
    async with requested(app, Request(scope, b"")) as request:
        assert request.status == 200
        assert await request.piece() == b"\r\n"
        connected = await request.piece()
        assert connected is not None
        assert connected.startswith(b'data: {"id":1,"connect":{')
        assert connected.endswith(b"}\n\n")


async def test_a_stream_speaks_protobuf_if_asked_to(app: FastAPI) -> None:
    """By the type of its body: commands and replies behind their lengths, posts as EmulationRequest."""

    def packed(command: Any) -> bytes:
        data: bytes = command.SerializeToString()
        return bytes((len(data),)) + data

    async def reply(request: Request) -> Any:
        piece = await request.piece()
        assert piece is not None
        return client_pb2.Reply.FromString(piece[2 if piece[0] & 0x80 else 1 :])

    first = client_pb2.Command(id=1, connect=client_pb2.ConnectRequest())
    scope = http_scope("POST", STREAM, BINARY | {"content-type": "Application/Octet-Stream; x=1"})
    async with requested(app, Request(scope, packed(first))) as request:
        assert request.headers["content-type"] == "application/octet-stream"
        connected = (await reply(request)).connect
        command = client_pb2.Command(id=2, subscribe=client_pb2.SubscribeRequest(channel="news"))
        post = client_pb2.EmulationRequest(node=connected.node, session=connected.session, data=packed(command))
        assert (await ask(app, "POST", EMULATION, post.SerializeToString(), headers=BINARY)).status == 204
        assert (await reply(request)).id == 2


async def test_connect_and_subscribe_come_in_one_body(app: FastAPI) -> None:
    """As some clients send them."""
    body = CONNECT + b'\n{"id":2,"subscribe":{"channel":"news"}}\n'
    async with requested(app, Request(http_scope("POST", STREAM), body[:10], body[10:])) as request:
        client = StreamClient(app, request)
        assert [(await client.line())["id"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    "command",
    ['{"id":2,"publish":{"channel":"news","data":1}}', '{"id":2,"rpc":{"method":"x"}}', '{"send":{"data":1}}', "{}"],
)
@pytest.mark.parametrize("path", PATHS)
async def test_nothing_else_is_done_by_the_request_that_opens_a_stream(path: str, command: str) -> None:
    """A page of another site may have a browser send it, cookies and all; it cannot read on, and so not post."""
    hub = Hub(origins=["*"])
    news = hub.channel("news", publish=True, history=History())
    async with serving(hub) as app:
        for more in (command, f'{{"id":3,"subscribe":{{"channel":"news"}}}}\n{command}', f"{command}\nnonsense"):
            answer = await ask(
                app, "POST", path, CONNECT + b"\n" + more.encode(), headers={"content-type": "text/plain"}
            )
            assert answer.status == 400
        assert not (await news.history(limit=1)).publications
        assert not hub.sessions


@pytest.mark.parametrize("path", PATHS)
async def test_a_refused_connect_ends_the_stream_as_it_ends_a_socket(path: str) -> None:
    """By the last message of a stream that was opened: with 3501 for what is no command, or as the app says."""
    hub = Hub()

    @hub.on_connect
    def who(data: Any) -> None:
        if data == "ban me":
            raise Disconnect(4501, "banned")

    async with serving(hub) as app:
        for body, end in (
            (b'{"id":1,"connect":{"data":"ban me"}}', (4501, "banned")),
            (b"nonsense", (3501, "bad request")),
            (b'{"id":1,"subscribe":{"channel":"news"}}', (3501, "bad request")),
        ):
            async with requested(app, Request(http_scope("POST", path), body)) as request:
                assert request.status == 200
                assert await StreamClient(app, request).end() == end


# --- refusing ---------------------------------------------------------------------------------------------------------


async def test_requests_that_open_nothing() -> None:
    """Each is told what is wrong with it, by its status, and is nobody's error."""
    hub = Hub(limits=Limits(message_bytes=1_000, connect_seconds=0.05))
    async with serving(hub) as app:
        for expected, method, path, body in (
            (400, "POST", STREAM, b""),
            (400, "GET", SSE, b""),
            (400, "POST", SSE, b""),
            (405, "GET", STREAM, b""),
            (405, "DELETE", SSE, b""),
            (405, "GET", EMULATION, b""),
            (413, "POST", STREAM, b"x" * 1_001),
            (413, "GET", f"{SSE}?cf_connect={'x' * 1_001}", b""),
            (413, "POST", EMULATION, b"x" * 4_000),
            (400, "POST", EMULATION, b""),
            (400, "POST", EMULATION, b"[]"),
            (400, "POST", EMULATION, b'{"session":1}'),
            (400, "POST", EMULATION, b'{"session":"x","node":"x"}'),
            (400, "POST", EMULATION, b'{"session":"\xff","node":"x","data":"{}"}'),
            (400, "POST", EMULATION, b"[" * 900),
        ):
            answer = await ask(app, method, path, body)
            assert answer.status == expected, (method, path, body[:20], answer)
            assert expected == 405 or answer.headers["cache-control"] == "no-store"
        halves = (b"x" * 800, b"x" * 800)
        assert (await ask(app, "POST", STREAM, *halves)).status == 413
        assert (await ask(app, "POST", STREAM, b"", headers={"content-length": "9" * 30})).status == 413
        slow = Request(http_scope("POST", STREAM))
        slow._to_app.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        async with requested(app, slow) as request:
            assert request.status == 408
            assert request.headers["connection"] == "close"
        gone = Request(http_scope("POST", STREAM))
        gone.leave()
        await gone.run(app)
        assert not hub.sessions


async def test_of_a_body_that_is_too_large_not_everything_is_read() -> None:
    """Enough for its client to come to reading the answer, and then the connection ends; at once past all measure."""
    hub = Hub(limits=Limits(message_bytes=1_000))
    async with serving(hub) as app:
        for path in (*PATHS, "/connection/uni_sse", "/connection/uni_http_stream", EMULATION):
            for pieces in ((b"x" * 10_000,) * 3, (b"x" * 600_000,) * 3):
                request = Request(http_scope("POST", path), *pieces)
                await request.run(app)
                assert (request.status, request.headers["connection"]) == (413, "close")
                assert request._to_app.qsize() == (0 if len(pieces[0]) == 10_000 else 1)
            scope = http_scope("POST", path, {"content-length": "2000000"}) | {"http_version": "2"}
            request = Request(scope)
            await request.run(app)  # without a byte of it
            assert request.status == 413
            assert "connection" not in request.headers


async def test_posts_to_a_hub_that_stops_are_told_to_wait() -> None:
    """Theirs may be a stream of another node, which an answer of 500 or above would have them give up."""
    hub = Hub()
    async with serving(hub, left_open=True) as app:
        hub._node._accepting = False
        assert (await ask(app, "POST", EMULATION, b"{}")).status == 429
        assert (await ask(app, "OPTIONS", EMULATION)).status == 204
        assert (await ask(app, "POST", STREAM, CONNECT)).status == 503


async def test_a_hub_that_does_not_run_answers_503() -> None:
    """With the reason, as it does over WebSocket."""
    app = FastAPI()
    app.include_router(Hub().router)
    for path, body in ((STREAM, CONNECT), (SSE, CONNECT), (EMULATION, b"{}")):
        answer = await ask(app, "POST", path, body)
        assert answer.status == 503
        assert b"not running" in answer.body


async def test_a_stream_takes_a_place() -> None:
    """Streams count as connections do, from their opening on; a post takes none."""
    hub = Hub(limits=Limits(connections=1))
    async with serving(hub) as app:
        async with streaming(app) as client:
            assert (await ask(app, "POST", STREAM, CONNECT)).status == 503
            assert await client.post('{"id":2,"rpc":{"method":"x"}}') == 204
        async with streaming(app, SSE):
            pass


async def test_a_stream_ends_with_its_hub() -> None:
    """With 3001, and before the app has stopped."""
    hub = Hub()
    async with serving(hub, left_open=True) as app:
        client = await _left_open(app)
    assert await client.end() == (3001, "shutdown")


async def _left_open(app: FastAPI) -> StreamClient:
    request = Request(http_scope("POST", STREAM), CONNECT)
    task = asyncio.create_task(request.run(app))
    await request.began()
    task.add_done_callback(lambda done: done.result())
    client = StreamClient(app, request)
    assert "connect" in await client.line()
    return client


# --- dependencies and handlers ----------------------------------------------------------------------------------------


async def test_the_routers_dependencies_hold() -> None:
    """They run for streams and posts alike, and what they opened is closed before the stream goes on."""
    told: list[str] = []

    async def door(key: Annotated[str | None, Header()] = None) -> AsyncIterator[None]:
        if key != "sesame":
            raise HTTPException(401, "no key")
        told.append("opened")
        yield
        told.append("closed")

    hub = Hub()
    key = {"key": "sesame"}
    async with serving(hub, dependencies=[Depends(door)]) as app:
        for path in (*PATHS, EMULATION):
            assert (await ask(app, "POST", path, CONNECT)).status == 401
        async with streaming(app, headers=key) as client:
            assert told == ["opened", "closed"]
            assert await client.post('{"id":2,"rpc":{"method":"x"}}', **key) == 204
            assert await client.post("{}") == 401
        assert told == ["opened", "closed"] * 2
        assert (await ask(app, "OPTIONS", EMULATION)).status == 204  # which browsers send without any key


async def test_a_dependency_that_fails_to_close_opens_nothing() -> None:
    """It is the app's error, and the client's no more than a status."""

    async def broken() -> AsyncIterator[None]:
        yield
        raise HTTPException(418, "not closed")

    hub = Hub()
    async with serving(hub, dependencies=[Depends(broken)]) as app:
        assert (await ask(app, "POST", STREAM, CONNECT)).status == 418
        assert not hub.sessions


async def test_handlers_read_the_opening_request() -> None:
    """Headers, cookies and what depends on them: those of the stream, whatever is posted later."""
    hub = Hub()

    @hub.on_connect
    def who(user: Annotated[str, Cookie()], x_team: Annotated[str, Header()]) -> Accept:
        return Accept(user=user, info=x_team)

    @hub.rpc("team")
    def team(session: Session, x_team: Annotated[str, Header()]) -> list[Any]:
        return [session.user, session.info, x_team]

    async with serving(hub) as app, streaming(app, headers={"cookie": "user=ann", "x-team": "red"}) as client:
        reply = await client.command("rpc", method="team")
        assert reply["rpc"]["data"] == ["ann", "red", "red"]


# --- whatever comes ---------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_no_body_is_an_error_of_the_servers(app: FastAPI, data: st.DataObject) -> None:
    """Whatever is sent to whichever route, in either encoding: a status below 500, and no exception."""
    path = data.draw(st.sampled_from([STREAM, SSE, EMULATION]))
    headers = data.draw(st.sampled_from([{}, BINARY, {"content-type": "text/plain"}, {"content-length": "x"}]))
    text = st.text(max_size=20)
    frame = st.one_of(st.binary(max_size=80), st.sampled_from([CONNECT, b"{}", b"\n", b"\x00", b"null", b"[]"]))
    post = st.builds(
        lambda session, node, inner: json.dumps({"session": session, "node": node, "data": inner}).encode(),
        text,
        text,
        st.one_of(text, st.integers(), st.none()),
    )
    body = data.draw(st.one_of(frame, post))
    request = Request(http_scope("POST", path, headers), body)
    async with requested(app, request):
        assert 200 <= request.status < 500


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=st.one_of(st.text(max_size=60), st.sampled_from(["{}", "\n", "null", '{"id":2}', '{"id":2,"rpc":{}}'])))
async def test_no_frame_is_an_error_of_the_servers(app: FastAPI, frame: str) -> None:
    """Whatever is posted for a session that stands, it is answered or the session ends by the protocol."""
    async with streaming(app) as client:
        assert await client.post(frame) in (204, 400)
        assert await client.post('{"id":9,"rpc":{"method":"x"}}') == 204
        assert (await client.line()).keys() & {"id", "push"}
