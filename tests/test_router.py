"""The router: where the line opens, what runs at the handshake, and what starts and stops the hub."""
# Annotations are types here, not text: dependencies are made inside the tests.

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, WebSocket, WebSocketException
from fastapi.requests import HTTPConnection

from openline import DeclarationError, Hub
from openline.testing import Client, HandshakeRefused, connect, line, started
from tests.serving import nothing_is_left, refused, serving


async def handshake(app: Any, **options: Any) -> Client:
    """Open a line and let it go again."""
    async with line(app, **options) as client:
        return client


async def refusal(app: Any, **options: Any) -> HandshakeRefused:
    """Open a line and give how it was refused."""
    with pytest.raises(HandshakeRefused) as caught:
        await handshake(app, **options)
    return caught.value


# --- routes -----------------------------------------------------------------------------------------------------------


async def test_the_line_opens_at_connection_websocket() -> None:
    """And nowhere else."""
    async with serving(Hub()) as app:
        await handshake(app)
        assert (await refusal(app, path="/connection/elsewhere")).status in (403, 404)


async def test_a_router_may_have_a_prefix() -> None:
    """As any router of FastAPI, and routers within routers."""
    hub = Hub()
    outer = APIRouter(prefix="/v1")
    outer.include_router(hub.router, prefix="/live")
    app = FastAPI()
    app.include_router(outer)
    async with started(app), connect(app, path="/v1/live/connection/websocket") as client:
        assert client.id in hub.sessions


async def test_several_hubs_of_one_app_know_nothing_of_each_other() -> None:
    """Each has its own prefix, channels and clients."""
    public, staff = Hub(), Hub()
    public.channel("news")
    staff.channel("news")
    staff.channel("plans")
    app = FastAPI()
    app.include_router(public.router)
    app.include_router(staff.router, prefix="/staff")
    async with started(app):
        async with connect(app) as guest, connect(app, path="/staff/connection/websocket") as clerk:
            for client in (guest, clerk):
                await client.subscribe("news")
            assert await refused(guest.subscribe("plans")) == 102
            await public.publish("news", "for all")
            await staff.publish("news", "for staff")

            assert (await guest.publication())["data"] == "for all"
            assert (await clerk.publication())["data"] == "for staff"
            assert (set(public.sessions), set(staff.sessions)) == ({guest.id}, {clerk.id})
        await nothing_is_left(public)
        await nothing_is_left(staff)


async def test_websocket_routes_of_the_apps_own_stay_what_they_are() -> None:
    """The hub is a router among others."""
    app = FastAPI()
    app.include_router(Hub().router)

    @app.websocket("/echo")
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept("echo")

    async with started(app), line(app, path="/echo", subprotocols=["echo"]) as client:
        assert client.subprotocol == "echo"


@pytest.mark.parametrize(
    ("options", "subprotocol", "binary"),
    [
        ({}, None, False),
        ({"subprotocols": ["centrifuge-json"]}, "centrifuge-json", False),
        ({"subprotocols": ["centrifuge-protobuf"]}, "centrifuge-protobuf", True),
        ({"subprotocols": ["centrifuge-json", "centrifuge-protobuf"]}, "centrifuge-protobuf", True),
        ({"subprotocols": [""]}, None, False),
        ({"subprotocols": ["chat"]}, None, False),
        ({"query": "format=protobuf"}, None, True),
        ({"query": "cf_protocol=protobuf"}, None, True),
        ({"query": "format=json"}, None, False),
        ({"query": "cf_protocol=protobuf", "subprotocols": ["centrifuge-json"]}, None, True),
    ],
)
async def test_the_client_chooses_json_or_protobuf(
    options: dict[str, Any], subprotocol: str | None, binary: bool
) -> None:
    """By subprotocol or query; only a subprotocol that is known and meant is echoed."""
    hub = Hub()
    async with serving(hub) as app, line(app, **options) as client:
        assert client.subprotocol == subprotocol
        assert next(iter(hub.sessions.values())).protocol == ("protobuf" if binary else "json")


async def test_protobuf_without_its_library_refuses_the_handshake_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """JSON is there all the same."""
    monkeypatch.delitem(sys.modules, "openline.protocol.protobuf", raising=False)
    monkeypatch.setitem(sys.modules, "google.protobuf.message", None)
    hub = Hub()
    async with serving(hub) as app:
        for _ in range(3):
            told = await refusal(app, subprotocols=["centrifuge-protobuf"])
            assert told.status == 501
            assert "openline[protobuf]" in told.body
        await handshake(app)

    assert hub.counters.handshakes_refused == 3
    assert sum("openline[protobuf]" in message for message in caplog.messages) == 1


# --- origins ----------------------------------------------------------------------------------------------------------


async def test_a_page_from_elsewhere_is_refused_with_403(caplog: pytest.LogCaptureFixture) -> None:
    """No session begins. The log names the page and what would let it in, once; every refusal is counted."""
    hub = Hub()
    async with serving(hub) as app:
        for _ in range(3):
            told = await refusal(app, headers={"origin": "https://evil.example"})
            assert (told.status, told.body) == (403, "pages of this origin may not connect here")
        await handshake(app, headers={"origin": "http://test"})
        await handshake(app)

    lines = [message for message in caplog.messages if "https://evil.example" in message]
    assert len(lines) == 1
    assert "host 'test'" in lines[0]
    assert "Hub(origins=['https://evil.example'])" in lines[0]
    assert (hub.counters.origins_refused, hub.counters.sessions_opened) == (3, 2)


async def test_a_long_origin_makes_no_long_line(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may write anything there; line feeds are shown as such."""
    async with serving(Hub()) as app:
        await refusal(app, headers={"origin": "https://evil.example\n" + "x" * 10_000})

    (line_of_it,) = [message for message in caplog.messages if "evil" in message]
    assert len(line_of_it) < 1000
    assert "\n" not in line_of_it


@pytest.mark.parametrize(
    ("headers", "said", "hint"),
    [
        (
            {"origin": "https://app.example.com/"},
            "'https://app.example.com/'",
            "Hub(origins=['https://app.example.com/'])",
        ),
        ({"origin": "null"}, "has no origin, 'null'", "Hub(origins=['null']) would let in every such page"),
        ({"origin": "*"}, "'*'", None),
        ({"origin": "https://*.example.com"}, "'https://*.example.com'", None),
        ({"origin": "app.example.com"}, "'app.example.com'", None),
        ({"origin": "https://" + "x" * 1000}, "https://xxx", None),
    ],
)
async def test_the_log_advises_only_what_would_help(
    headers: dict[str, str], said: str, hint: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever somebody writes there is not to be listed because the log says so."""
    async with serving(Hub()) as app:
        await refusal(app, headers=headers)

    (words,) = caplog.messages
    assert said in words
    assert ("Hub(origins=" in words) is (hint is not None)
    assert hint is None or hint in words


async def test_several_origin_headers_are_refused_without_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    """No browser sends them, so there is nothing to list."""

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            pages = ((b"origin", b"https://a.example"), (b"origin", b"https://b.example"))
            scope = {**scope, "headers": [*scope["headers"], *pages]}
        await app(scope, receive, send)

    async with serving(Hub()) as app:
        assert (await refusal(twice)).status == 403

    (words,) = caplog.messages
    assert "several Origin headers, 'https://a.example, https://b.example'" in words
    assert "Hub(origins=" not in words


async def test_pages_that_are_listed_may_connect() -> None:
    """By name or by wildcard, beside those of the same host."""
    hub = Hub(origins=["https://*.example.com", "http://localhost:*"])
    async with serving(hub) as app:
        for origin in ("https://app.example.com", "http://localhost:5173", "http://test"):
            await handshake(app, headers={"origin": origin})
        for origin in ("https://example.com", "https://app.example.com.evil.example", "null"):
            assert (await refusal(app, headers={"origin": origin})).status == 403


async def test_a_proxys_word_is_not_taken_for_the_host() -> None:
    """A client can send it as well. What may connect through a proxy that changes the host is listed."""
    elsewhere = {"origin": "https://app.example.com", "x-forwarded-host": "app.example.com"}
    async with serving(Hub()) as app:
        assert (await refusal(app, headers=elsewhere)).status == 403
    async with serving(Hub(origins=["https://app.example.com"])) as app:
        await handshake(app, headers=elsewhere)


def test_what_is_no_origin_is_refused_when_the_hub_is_made() -> None:
    """Not when the first page comes."""
    with pytest.raises(DeclarationError, match=r"'app\.example\.com' has no scheme"):
        Hub(origins=["app.example.com"])


# --- dependencies of the router ---------------------------------------------------------------------------------------


async def test_the_routers_dependencies_run_at_the_handshake_and_are_closed_before_the_line_is_held() -> None:
    """Once for each line, in the order of FastAPI."""
    log: list[str] = []

    async def first() -> AsyncIterator[None]:
        log.append("first open")
        yield
        log.append("first close")

    def second(_: Annotated[None, Depends(first)]) -> Iterator[None]:
        log.append("second open")
        yield
        log.append("second close")

    async with serving(Hub(), dependencies=[Depends(second)]) as app, line(app) as client:
        assert log == ["first open", "second open", "second close", "first close"]
        await client.connect()
    assert len(log) == 4


@pytest.mark.parametrize(
    ("error", "status"), [(HTTPException(401, "members only"), 401), (WebSocketException(1008, "members only"), 403)]
)
async def test_a_dependency_that_raises_refuses_the_handshake(error: Exception, status: int) -> None:
    """The client is told why, no session begins, and what was opened is closed."""
    hub, log = Hub(), []

    def resource() -> Iterator[None]:
        try:
            yield
        finally:
            log.append("closed")

    def guard(_: Annotated[None, Depends(resource)], key: Annotated[str, Header()] = "") -> None:
        if key != "right":
            raise error

    async with serving(hub, dependencies=[Depends(guard)]) as app:
        told = await refusal(app)
        assert told.status == status
        assert "members only" in told.body
        assert log == ["closed"]
        assert hub.counters.sessions_opened == 0
        await handshake(app, headers={"key": "right"})
        assert hub.counters.sessions_opened == 1


async def test_a_handshake_that_lacks_what_a_dependency_wants_is_refused() -> None:
    """As FastAPI refuses any."""
    hub = Hub()

    def wants(page: Annotated[int, Query()]) -> None:
        """Want a number."""

    async with serving(hub, dependencies=[Depends(wants)]) as app:
        assert (await refusal(app, query="page=five")).status == 403
        assert hub.counters.sessions_opened == 0
        await handshake(app, query="page=5")


async def test_a_dependency_that_fails_to_close_refuses_the_handshake() -> None:
    """What it could not do is known before the client is let in."""
    hub = Hub()

    def fails() -> Iterator[None]:
        yield
        raise HTTPException(503, "could not commit")

    async with serving(hub, dependencies=[Depends(fails)]) as app:
        assert (await refusal(app)).status == 503
        assert hub.counters.sessions_opened == 0


async def test_a_bug_in_a_dependency_is_the_apps_and_begins_no_session() -> None:
    """A server logs it and answers 500; the testing kit raises it."""
    hub = Hub()

    def bug() -> None:
        raise KeyError("a bug")

    async with serving(hub, dependencies=[Depends(bug)]) as app:
        with pytest.raises(KeyError):
            await handshake(app)
        assert hub.counters.sessions_opened == 0


async def test_dependencies_of_two_includes_hold_each_for_its_own() -> None:
    """The same hub behind a guarded door and an open one."""
    hub = Hub()

    def guard() -> None:
        raise HTTPException(403)

    app = FastAPI()
    app.include_router(hub.router)
    app.include_router(hub.router, prefix="/guarded", dependencies=[Depends(guard)])
    async with started(app):
        await handshake(app)
        await refusal(app, path="/guarded/connection/websocket")


# --- the lifespan -----------------------------------------------------------------------------------------------------


async def test_the_hub_runs_as_long_as_the_app() -> None:
    """Not a moment before or after."""
    hub = Hub()
    hub.channel("news")
    app = FastAPI()
    app.include_router(hub.router)
    assert "not running" in repr(hub)
    async with started(app):
        assert "not running" not in repr(hub)
    assert "not running" in repr(hub)


async def test_an_app_may_be_started_again() -> None:
    """With nothing left of the first time."""
    hub = Hub()
    hub.channel("news")
    app = FastAPI()
    app.include_router(hub.router)
    for _ in range(3):
        async with started(app), connect(app) as client:
            await client.subscribe("news")
            await hub.publish("news", 1)
            assert (await client.publication())["data"] == 1
            assert len(hub.sessions) == 1


async def test_a_router_included_twice_starts_the_hub_once() -> None:
    """And both doors lead to the same hub, until the app stops."""
    hub = Hub()
    hub.channel("news")
    app = FastAPI()
    app.include_router(hub.router)
    app.include_router(hub.router, prefix="/again")
    async with started(app), connect(app) as one, connect(app, path="/again/connection/websocket") as two:
        for client in (one, two):
            await client.subscribe("news")
        await hub.publish("news", "hi")

        assert await one.publication() == await two.publication()
        assert set(hub.sessions) == {one.id, two.id}


async def test_the_apps_own_resources_outlive_the_hub() -> None:
    """Handlers that hear of the last clients still have what the app's lifespan opened."""
    hub, log = Hub(), []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        log.append("database opened")
        yield {"database": "here"}
        log.append("database closed")

    @hub.on_disconnect
    async def left() -> None:
        log.append("a client left")

    app = FastAPI(lifespan=lifespan)
    app.include_router(hub.router)
    async with AsyncExitStack() as clients, started(app):
        await clients.enter_async_context(connect(app))

    assert log == ["database opened", "a client left", "database closed"]


async def test_what_the_lifespan_left_is_seen_by_handlers() -> None:
    """As `request.state` is."""
    hub = Hub()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"database": "here"}

    @hub.rpc("where")
    def where(connection: HTTPConnection) -> str:
        return str(connection.state.database)

    app = FastAPI(lifespan=lifespan)
    app.include_router(hub.router)
    async with started(app), connect(app) as client:
        assert await client.rpc("where") == "here"


# --- a hub that never started -----------------------------------------------------------------------------------------


async def test_a_hub_in_a_mounted_app_refuses_handshakes_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """The lifespans of mounted apps are not run: the first thing people run into."""
    hub = Hub()
    inner, outer = FastAPI(), FastAPI()
    inner.include_router(hub.router)
    outer.mount("/inner", inner)
    async with started(outer):
        for _ in range(2):  # anybody may come as often as they like
            await refusal(outer, path="/inner/connection/websocket")
        told = await refusal(outer, path="/inner/connection/websocket")

        assert told.status == 503
        assert "mounted" in told.body
        assert "hub.running()" in told.body
        assert sum("a handshake was refused: the hub is not running" in message for message in caplog.messages) == 1
        assert hub.counters.handshakes_refused == 3


async def test_a_mounted_hub_runs_where_the_outer_app_runs_it() -> None:
    """As the refusal says."""
    hub = Hub()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with hub.running():
            yield

    inner, outer = FastAPI(), FastAPI(lifespan=lifespan)
    inner.include_router(hub.router)
    outer.mount("/inner", inner)
    async with started(outer), connect(outer, path="/inner/connection/websocket") as client:
        assert client.id in hub.sessions


async def test_a_router_included_too_late_refuses_handshakes_and_says_why() -> None:
    """The lifespan was over by then; in some versions FastAPI takes routes still."""
    hub = Hub()
    app = FastAPI()
    async with started(app):
        app.include_router(hub.router)
        assert "included after the app had started" in (await refusal(app)).body


async def test_without_a_lifespan_handshakes_are_refused() -> None:
    """As under a server that runs with it off."""
    hub = Hub()
    app = FastAPI()
    app.include_router(hub.router)

    assert "lifespan off" in (await refusal(app)).body


async def test_the_cause_is_told_as_well_as_the_server_can() -> None:
    """One that cannot answer a handshake with a body closes it with as much of the cause as fits."""
    app = FastAPI()
    app.include_router(Hub().router)

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {}}, receive, send)

    told = await refusal(server)
    assert told.status == 403
    assert told.body.startswith("the hub is not running")
    assert len(told.body.encode()) <= 123
