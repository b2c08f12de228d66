"""What FastAPI injects into handlers: read from the handshakes of real WebSockets."""
# Annotations are types here, not text: most handlers and their types are made inside the tests.

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, FastAPI, Header, Path, Query, Security
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPAuthorizationCredentials,
    HTTPBasic,
    HTTPBasicCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
    OpenIdConnect,
    SecurityScopes,
)
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from openline.errors import BadRequest, UnknownChannel, UsageError
from openline.handshake import Handshake
from openline.injection import CurrentSession, current_session
from openline.session import Session
from tests.calling import ANN, BARE, call, declare, real_handshake, somebody, told

# --- what is read from the handshake --------------------------------------------------------------------------------


async def test_headers_cookies_and_query_are_those_of_the_handshake() -> None:
    """In the handler and in its dependencies, validated; beside what is Openline's."""

    async def limit(limit: int = 10) -> int:
        return limit

    async def said(
        name: str,
        session: Session,
        message: str,
        x_token: Annotated[str, Header()],
        who: Annotated[str, Cookie()],
        tag: Annotated[list[str], Query()],
        limit: Annotated[int, Depends(limit)],
    ) -> Any:
        return name, session, message, x_token, who, tag, limit

    given = await call(said, real_handshake(query="tag=a&tag=b&limit=5"))
    assert given == ("lobby", ANN, "hi", "secret", "ann", ["a", "b"], 5)


async def test_a_model_of_headers_and_one_of_the_query_are_filled() -> None:
    """FastAPI's parameter models work as on a route."""

    class Tags(BaseModel):
        x_token: str
        x_tag: list[str] = []

    class Page(BaseModel):
        limit: int = 10

    async def said(tags: Annotated[Tags, Header()], page: Annotated[Page, Query()]) -> Any:
        return tags, page

    given = await call(said, real_handshake(query="limit=5"))
    assert given == (Tags(x_token="secret", x_tag=["one"]), Page(limit=5))


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        (Header(), "header.x-missing: Field required"),
        (Cookie(), "cookie.x_missing: Field required"),
        (Query(), "query.x_missing: Field required"),
    ],
)
async def test_what_the_handshake_lacks_is_a_bad_request(marker: Any, words: str) -> None:
    """107 names the field; the handler is not called."""

    async def said(x_missing: Annotated[str, marker]) -> None:
        raise AssertionError("called")

    with pytest.raises(BadRequest) as caught:
        await call(said, real_handshake())
    assert told(caught.value) == (107, words)


async def test_a_dependency_takes_the_parts_of_the_channel_and_of_the_route() -> None:
    """As path parameters: the channel's by their name, the route's where they say so."""

    async def room(name: str, tenant: Annotated[str, Path()]) -> str:
        return f"{tenant}/{name}"

    async def said(room: Annotated[str, Depends(room)]) -> str:
        return room

    assert await call(said, real_handshake()) == "acme/lobby"


async def test_a_part_that_does_not_fit_a_dependency_is_of_no_such_channel() -> None:
    """102, as it is for the handler's own."""

    async def room(name: int) -> int:
        return name

    async def said(room: Annotated[int, Depends(room)]) -> int:
        return room

    assert await call(said, name="12") == 12
    with pytest.raises(UnknownChannel, match="unknown channel: name: Input should be a valid integer"):
        await call(said, name="x")


async def test_the_connection_itself_can_be_asked_for() -> None:
    """It reads the handshake, the app and the lifespan's state."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {"pool": "a pool"}

    app = FastAPI(lifespan=lifespan)

    async def said(connection: HTTPConnection) -> Any:
        return connection.headers["x-token"], connection.state.pool, connection.app, connection.url.path

    assert await call(said, real_handshake(app)) == ("secret", "a pool", app, "/acme/connection/websocket")


# --- the session ----------------------------------------------------------------------------------------------------


async def test_a_dependency_asks_for_the_current_session_however_deep() -> None:
    """And the handler may too."""

    async def user(session: CurrentSession) -> str:
        return session.user

    async def greeting(user: Annotated[str, Depends(user)]) -> str:
        return f"hello {user}"

    async def said(greeting: Annotated[str, Depends(greeting)], session: CurrentSession, same: Session) -> Any:
        return greeting, session is same

    assert await call(said) == ("hello ann", True)
    assert not declare(said).reads_handshake


async def test_calls_at_the_same_time_have_each_its_session() -> None:
    """One handshake and one handler: nothing of a call is seen by another."""
    both_inside = asyncio.Barrier(2)

    async def user(session: CurrentSession) -> AsyncIterator[str]:
        await both_inside.wait()
        yield session.user

    async def said(user: Annotated[str, Depends(user)], session: Session) -> Any:
        await both_inside.wait()
        return user, session.user

    bob = somebody("bob")
    handler = declare(said, parts=())
    first, second = await asyncio.gather(handler(ANN, BARE), handler(bob, BARE))

    assert first == ("ann", "ann")
    assert second == ("bob", "bob")


def test_the_current_session_is_there_for_handlers_only() -> None:
    """On an HTTP route the mistake is named."""
    app = FastAPI()

    @app.get("/")
    async def route(session: CurrentSession) -> None: ...

    with TestClient(app) as client, pytest.raises(UsageError, match="here is no session"):
        client.get("/")


# --- security schemes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "headers", "query", "value"),
    [
        (OAuth2PasswordBearer(tokenUrl="token"), {"Authorization": "Bearer abc"}, "", "abc"),
        (
            HTTPBearer(),
            {"Authorization": "Bearer abc"},
            "",
            HTTPAuthorizationCredentials(scheme="Bearer", credentials="abc"),
        ),
        (
            HTTPBasic(),
            {"Authorization": "Basic YW5uOnB3"},
            "",
            HTTPBasicCredentials(username="ann", password="pw"),
        ),
        (APIKeyHeader(name="X-Key"), {"X-Key": "key"}, "", "key"),
        (APIKeyCookie(name="key"), {"Cookie": "key=key"}, "", "key"),
        (APIKeyQuery(name="key"), {}, "key=key", "key"),
        (OpenIdConnect(openIdConnectUrl="/openid"), {"Authorization": "Bearer abc"}, "", "Bearer abc"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_security_schemes_read_the_handshake(
    scheme: Any, headers: dict[str, str], query: str, value: object
) -> None:
    """As on a route; without credentials the client is told 101."""

    async def said(credentials: Annotated[Any, Security(scheme)]) -> Any:
        return credentials

    assert await call(said, real_handshake(headers=headers, query=query)) == value
    assert declare(said).reads_handshake
    with pytest.raises(HTTPException) as caught:
        await call(said, real_handshake(headers={}))
    assert told(caught.value) == (101, "Not authenticated")


async def test_security_scopes_gather_along_the_way() -> None:
    """A dependency of a dependency sees the scopes of both."""

    async def user(scopes: SecurityScopes, token: Annotated[str, Depends(OAuth2PasswordBearer("token"))]) -> Any:
        return token, scopes.scopes

    async def member(user: Annotated[Any, Security(user, scopes=["read"])]) -> Any:
        return user

    async def said(member: Annotated[Any, Security(member, scopes=["write"])]) -> Any:
        return member

    assert await call(said, real_handshake()) == ("abc", ["write", "read"])


# --- dependencies of every kind -------------------------------------------------------------------------------------


async def test_dependencies_of_every_kind_mix() -> None:
    """Plain ones in a thread, async ones in the caller's task, classes and objects; under both kinds of handler."""
    tasks: list[Any] = []

    def plain() -> str:
        assert threading.current_thread() is not threading.main_thread()
        return "plain"

    async def in_task() -> str:
        tasks.append(asyncio.current_task())
        return "async"

    def plain_yielding(plain: Annotated[str, Depends(plain)]) -> Iterator[str]:
        yield f"{plain} yielding"

    async def yielding(in_task: Annotated[str, Depends(in_task)]) -> AsyncIterator[str]:
        tasks.append(asyncio.current_task())
        yield f"{in_task} yielding"
        tasks.append(asyncio.current_task())

    class Page:
        def __init__(self, limit: int = 10) -> None:
            self.limit = limit

    class Checker:
        async def __call__(self, name: str) -> str:
            return f"checked {name}"

    async def said(
        one: Annotated[str, Depends(plain_yielding)],
        two: Annotated[str, Depends(yielding)],
        page: Annotated[Page, Depends()],
        checked: Annotated[str, Depends(Checker())],
        older: str = Depends(plain),
    ) -> Any:
        return one, two, page.limit, checked, older

    def said_plainly(one: Annotated[str, Depends(plain_yielding)], two: Annotated[str, Depends(yielding)]) -> Any:
        return one, two

    assert await call(said) == ("plain yielding", "async yielding", 10, "checked lobby", "plain")
    assert await call(said_plainly) == ("plain yielding", "async yielding")
    assert set(tasks) == {asyncio.current_task()}


async def test_a_dependency_used_twice_is_solved_once_a_call() -> None:
    """And again for the next call; with ``use_cache=False`` every time."""
    calls: list[str] = []

    async def counted() -> int:
        calls.append("counted")
        return len(calls)

    async def first(value: Annotated[int, Depends(counted)]) -> int:
        return value

    async def second(value: Annotated[int, Depends(counted)]) -> int:
        return value

    async def said(
        first: Annotated[int, Depends(first)],
        second: Annotated[int, Depends(second)],
        uncached: Annotated[int, Depends(counted, use_cache=False)],
    ) -> Any:
        return first, second, uncached

    assert await call(said) == (1, 1, 2)
    assert await call(said) == (3, 3, 4)


async def test_a_context_variable_set_by_an_async_dependency_is_set_in_the_handler() -> None:
    """They share a task, before and after a yield."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def tenant() -> AsyncIterator[None]:
        token = variable.set("acme")
        yield
        variable.reset(token)

    async def said(tenant: Annotated[None, Depends(tenant)]) -> str:
        return variable.get()

    def said_plainly(tenant: Annotated[None, Depends(tenant)]) -> str:
        return variable.get()

    assert await call(said) == "acme"
    assert await call(said_plainly) == "acme"
    assert variable.get() == "unset"


# --- overrides ------------------------------------------------------------------------------------------------------


async def test_overrides_of_the_app_are_respected_from_the_next_call_on() -> None:
    """Deep dependencies, security schemes and the session too; what replaces one may ask for other things."""
    app = FastAPI()
    scheme = OAuth2PasswordBearer(tokenUrl="token")
    log: list[str] = []

    async def database() -> str:
        raise AssertionError("the real one")

    async def user(database: Annotated[str, Depends(database)], token: Annotated[str, Depends(scheme)]) -> str:
        return f"{token} in {database}"

    async def said(user: Annotated[str, Depends(user)], session: CurrentSession) -> Any:
        return user, session.user

    async def fake_database(name: str, x_tag: Annotated[str, Header()]) -> AsyncIterator[str]:
        yield f"fake {name} {x_tag}"
        log.append("closed")

    bob = somebody("bob")
    handshake = real_handshake(app)
    handler = declare(said)
    app.dependency_overrides = {database: fake_database, scheme: lambda: "fake token", current_session: lambda: bob}

    assert await handler(ANN, handshake, parts={"name": "lobby"}) == ("fake token in fake lobby one", "bob")
    assert log == ["closed"]

    app.dependency_overrides = {}
    with pytest.raises(AssertionError, match="the real one"):
        await handler(ANN, handshake, parts={"name": "lobby"})


async def test_an_app_without_overrides_will_do() -> None:
    """A Starlette app around the router, or none at all."""

    async def value() -> int:
        return 1

    async def said(value: Annotated[int, Depends(value)]) -> int:
        return value

    assert await call(said, Handshake.bare(Starlette())) == 1
    assert await call(said, BARE) == 1
