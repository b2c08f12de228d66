"""The opening request, kept and given back."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from openline.handshake import SESSION_KEY, Handshake


def scope_of(**changes: Any) -> dict[str, Any]:
    """Give the scope of a WebSocket handshake as a server makes it."""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50_000),
        "root_path": "",
        "path": "/connection/websocket",
        "raw_path": b"/connection/websocket",
        "query_string": b"format=json&tag=a&tag=b",
        "headers": [(b"host", b"chat.example"), (b"cookie", b"who=ann"), (b"accept", b"a"), (b"accept", b"b")],
        "subprotocols": ["centrifuge-json"],
        "state": {"pool": "a pool"},
        "extensions": {"websocket.http.response": {}},
        **changes,
    }


def test_the_request_reads_as_the_handshake_did() -> None:
    """Headers, cookies, query and URL come back whole; the method is GET and the scheme HTTP's."""
    request = Handshake.of(scope_of()).request()

    assert request.method == "GET"
    assert str(request.url) == "http://chat.example/connection/websocket?format=json&tag=a&tag=b"
    assert request.cookies == {"who": "ann"}
    assert request.headers.getlist("accept") == ["a", "b"]
    assert request.query_params.getlist("tag") == ["a", "b"]
    assert request.client is not None
    assert request.client.host == "127.0.0.1"
    assert request.state.pool == "a pool"


def test_a_secure_socket_makes_a_secure_request() -> None:
    """The scheme wss stands for https."""
    assert Handshake.of(scope_of(scheme="wss")).request().url.scheme == "https"


def test_every_request_is_its_own() -> None:
    """What one call writes into its scope, state or path parameters is not there for the next."""
    handshake = Handshake.of(scope_of(path_params={"tenant": "acme"}))
    first = handshake.request()
    first.state.pool = "another"
    first.scope["path_params"]["tenant"] = "evil"
    first.scope["headers"].clear()
    first.scope["fastapi_inner_astack"] = "of the first call"

    second = handshake.request()

    assert second.state.pool == "a pool"
    assert second.path_params == {"tenant": "acme"}
    assert second.headers["host"] == "chat.example"
    assert "fastapi_inner_astack" not in second.scope


def test_the_scope_of_the_server_is_not_touched_nor_followed() -> None:
    """Changing the server's scope later changes nothing, and keeping it changes nothing of it."""
    scope = scope_of()
    handshake = Handshake.of(scope)
    assert scope == scope_of()

    scope["headers"].clear()
    scope["state"].clear()

    assert handshake.request().headers["cookie"] == "who=ann"
    assert handshake.request().state.pool == "a pool"


def test_the_session_and_the_parts_of_the_channel_are_in_the_scope() -> None:
    """Dependencies find the session under its key, and the parts before the route's path parameters."""
    handshake = Handshake.of(scope_of(path_params={"tenant": "acme", "name": "of the route"}))
    session = object()

    request = handshake.request(session, {"name": "lobby"})

    assert request.scope[SESSION_KEY] is session
    assert request.path_params == {"tenant": "acme", "name": "lobby"}


def test_what_middleware_left_is_kept_and_what_belongs_to_one_call_is_not() -> None:
    """The user of an authentication middleware is there; exit stacks, routes and extensions are let go."""
    left = {"user": "ann", "auth": ["member"], "session": {"cart": 1}}
    passing = {
        "fastapi_inner_astack": 1,
        "starlette.exception_handlers": 2,
        "openline.wire": 3,
        "route": 4,
        "router": 5,
    }

    scope = Handshake.of(scope_of(**left, **passing)).request().scope

    assert left.items() <= scope.items()
    assert not {*passing, "extensions", "subprotocols"} & set(scope)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-empty", b"")],
        [(b"", b"nameless")],
        [(b"x-folded", b"one\ntwo"), (b"x-next", b"three")],
        [(b"x-latin", "café".encode("latin-1")), (b"x-latin", b"\xff\xfe")],
    ],
    ids=["none", "empty", "nameless", "line feed", "bytes"],
)
def test_headers_come_back_as_they_came(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever a server lets through, the list is the same, a line feed in a value included."""
    assert Handshake.of(scope_of(headers=headers)).headers == headers


def test_an_escaped_path_keeps_its_raw_form() -> None:
    """The raw path is the server's where it cannot be made from the path."""
    raw = b"/caf%C3%A9/connection/websocket"
    request = Handshake.of(scope_of(path="/café/connection/websocket", raw_path=raw)).request()

    assert request.scope["raw_path"] == raw
    assert Handshake.of(scope_of()).request().scope["raw_path"] == b"/connection/websocket"


def test_a_handshake_is_small() -> None:
    """With a dozen headers it takes less than half of the scope it was made of."""

    def kept_bytes(make: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            kept = [make() for _ in range(100)]
            return tracemalloc.get_traced_memory()[0] // len(kept)
        finally:
            tracemalloc.stop()

    def headers() -> list[tuple[bytes, bytes]]:
        return [(f"x-header-{number}".encode(), f"the value of {number}".encode()) for number in range(12)]

    whole = kept_bytes(lambda: scope_of(headers=headers()))
    assert kept_bytes(lambda: Handshake.of(scope_of(headers=headers()))) < whole / 2


def test_a_bare_handshake_knows_its_app_alone() -> None:
    """It can be shared by all connections of a hub whose handlers read nothing else."""
    app = FastAPI()
    request = Handshake.bare(app).request("session")

    assert request.app is app
    assert request.scope[SESSION_KEY] == "session"
    assert not request.headers
    assert not request.query_params
    assert "app" not in Handshake.bare().request().scope


class SignIn:
    """A middleware that says who is there."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a scope that names the user."""
        await self.app({**scope, "user": "ann"}, receive, send)


def test_the_handshake_of_a_real_app() -> None:
    """Through middleware, a mount and a router's prefix all that was in the request is there for a dependency."""
    kept: list[Request] = []
    inner = FastAPI()
    inner.add_middleware(SignIn)

    @inner.websocket("/{tenant}/connection/websocket")
    async def connect(websocket: WebSocket) -> None:
        kept.append(Handshake.of(websocket.scope).request())
        await websocket.accept()
        await websocket.close()

    outer = FastAPI()
    outer.mount("/chat", inner)
    with (
        TestClient(outer) as client,
        client.websocket_connect("/chat/acme/connection/websocket?x=1", headers={"X-Token": "secret"}),
    ):
        pass

    (request,) = kept
    assert request.headers["x-token"] == "secret"
    assert request.query_params["x"] == "1"
    assert request.path_params == {"tenant": "acme"}
    assert request.user == "ann"
    assert request.app is inner
    assert request.url.path == "/chat/acme/connection/websocket"
    assert str(request.base_url) == "http://testserver/"
    assert not [key for key in request.scope if key.startswith(("fastapi", "starlette"))]
