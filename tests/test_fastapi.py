"""It is FastAPI: what handlers may raise, depend on and read, seen by a client at the other end of the line."""
# Annotations are types here, not text: dependencies and their types are made inside the tests.

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import Cookie, Depends, FastAPI, Header, HTTPException, Query, Security, WebSocketException
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer, OAuth2PasswordBearer
from starlette.requests import HTTPConnection

from openline import (
    BadRequest,
    CurrentSession,
    Disconnect,
    History,
    Hub,
    LimitExceeded,
    NotAvailable,
    PermissionDenied,
    Refusal,
    Session,
    TooManyRequests,
    Unauthorized,
)
from openline.testing import Refused, connect, line, started
from tests.serving import ended, refused, serving

# --- what a handler raises --------------------------------------------------------------------------------------------


async def raised(error: Exception) -> Refused:
    """Have a handler raise, and give what the client is told; then check that the line is as good as before."""
    hub = Hub()
    hub.channel("room:{name}", publish=True)

    @hub.rpc("raise")
    async def fail() -> None:
        raise error

    async with serving(hub) as app, connect(app) as client:
        with pytest.raises(Refused) as caught:
            await client.rpc("raise")
        assert await client.subscribe("room:a") == {}
        assert await client.publish("room:a", 1) == {}
        assert (await client.publication())["data"] == 1
    return caught.value


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (PermissionDenied(), 103, "permission denied"),
        (PermissionDenied("members only"), 103, "members only"),
        (Unauthorized(), 101, "unauthorized"),
        (NotAvailable(), 108, "not available"),
        (LimitExceeded(), 106, "limit exceeded"),
        (BadRequest("no such colour"), 107, "no such colour"),
        (Refusal("out of paint", code=1001), 1001, "out of paint"),
        (HTTPException(401, "log in first"), 101, "log in first"),
        (HTTPException(403), 103, "Forbidden"),
        (HTTPException(404, "no such room"), 102, "no such room"),
        (HTTPException(422, {"colour": "no such"}), 107, '{"colour":"no such"}'),
        (HTTPException(418, "a teapot"), 107, "a teapot"),
        (WebSocketException(1008, "not you"), 103, "not you"),
    ],
)
async def test_a_refusal_is_told_by_its_code_and_in_its_words(error: Exception, code: int, message: str) -> None:
    """Openline's own, and FastAPI's by the nearest code; the connection stays."""
    told = await raised(error)

    assert (told.code, told.message, told.temporary) == (code, message, False)


@pytest.mark.parametrize(
    ("error", "code"), [(TooManyRequests(), 111), (HTTPException(429), 111), (HTTPException(503, "later"), 100)]
)
async def test_what_may_go_better_later_is_temporary(error: Exception, code: int) -> None:
    """SDKs try again by themselves then."""
    told = await raised(error)

    assert (told.code, told.temporary) == (code, True)


@pytest.mark.parametrize("event", ["connect", "subscribe", "publish", "rpc"])
async def test_a_bug_is_error_100_with_the_traceback_in_the_log_and_nothing_of_it_on_the_wire(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the event; the connection stays."""
    hub = Hub()
    room = hub.channel("room:{name}")

    async def fail() -> None:
        raise KeyError("a password of 1234")

    {"connect": hub.on_connect, "subscribe": room.on_subscribe, "publish": room.on_publish, "rpc": hub.rpc("x")}[event](
        fail
    )
    async with serving(hub) as app, line(app) as client:
        if event == "connect":
            assert await refused(client.connect()) == 100
        else:
            await client.connect()
            commands: dict[str, Callable[[], Any]] = {
                "subscribe": lambda: client.subscribe("room:a"),
                "publish": lambda: client.publish("room:a", 1),
                "rpc": lambda: client.rpc("x"),
            }
            assert await refused(commands[event]()) == 100
            assert await client.unsubscribe("room:a") == {}

        assert not any("1234" in str(frame) or "KeyError" in str(frame) for frame in client.frames)
        assert "KeyError: 'a password of 1234'" in caplog.text
        assert "Traceback" in caplog.text
        assert hub.counters.handler_errors == 1
        assert not client.is_closed


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Disconnect(), 3503, "force disconnect"),
        (Disconnect(4000, "come back later"), 4000, "come back later"),
        (WebSocketException(4501, "banned"), 4501, "banned"),
        (WebSocketException(4400, '{"json": 1}'), 4400, 'closed: {"json": 1}'),
    ],
)
async def test_a_handler_may_end_the_connection(error: Exception, code: int, reason: str) -> None:
    """With a code of the protocol or of its own; the reason is one that SDKs understand."""
    hub = Hub()

    @hub.rpc("raise")
    def fail() -> None:
        raise error

    async with serving(hub) as app, connect(app) as client:
        assert await ended(client.rpc("raise")) == code
        assert (await client.closed()).reason == reason


# --- what a handler depends on ----------------------------------------------------------------------------------------


class Database:
    """Notes who has it open."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.fails_to_commit = False

    async def session(self) -> AsyncIterator["Database"]:
        """Open, lend, commit, close."""
        self.log.append("open")
        try:
            yield self
            if self.fails_to_commit:
                raise RuntimeError("could not commit")
            self.log.append("commit")
        except BaseException:
            self.log.append("roll back")
            raise
        finally:
            self.log.append("close")


def hub_with(database: Database) -> Hub:
    """Give a hub that reads and writes a database."""
    hub = Hub()
    room = hub.channel("room:{name}", history=History())

    @room.on_subscribe
    async def may_enter(name: str, db: Annotated[Database, Depends(database.session)]) -> None:
        db.log.append(f"read {name}")

    @hub.rpc("write")
    async def write(db: Annotated[Database, Depends(database.session)], message: str) -> str:
        db.log.append(f"write {message}")
        if message == "trouble":
            raise PermissionDenied
        return "written"

    return hub


async def test_what_a_call_opened_is_closed_before_its_reply() -> None:
    """No database connection is held while a socket is open."""
    database = Database()
    async with serving(hub_with(database)) as app, connect(app) as client:
        assert database.log == []
        await client.subscribe("room:a")
        assert database.log == ["open", "read a", "commit", "close"]
        database.log.clear()
        assert await client.rpc("write", "x") == "written"
        assert database.log == ["open", "write x", "commit", "close"]


async def test_a_call_that_is_refused_rolls_back() -> None:
    """The dependency sees the exception, and the client its code."""
    database = Database()
    async with serving(hub_with(database)) as app, connect(app) as client:
        assert await refused(client.rpc("write", "trouble")) == 103
        assert database.log == ["open", "write trouble", "roll back", "close"]


async def test_a_commit_that_fails_is_an_error_the_client_sees(caplog: pytest.LogCaptureFixture) -> None:
    """The reply is not queued before everything is closed: nobody is told what is not so."""
    database = Database()
    hub = hub_with(database)
    async with serving(hub) as app, connect(app) as client:
        database.fails_to_commit = True
        assert await refused(client.rpc("write", "x")) == 100
        assert await refused(client.subscribe("room:a")) == 100
        assert hub.sessions[client.id].channels == frozenset()
        assert "could not commit" in caplog.text
        database.fails_to_commit = False
        assert await client.rpc("write", "x") == "written"


async def test_nothing_is_open_while_the_line_is() -> None:
    """Neither after a call nor after the handshake."""
    opened: list[str] = []

    def resource(name: str) -> Callable[[], Iterator[str]]:
        def hold() -> Iterator[str]:
            opened.append(name)
            yield name
            opened.remove(name)

        return hold

    hub = Hub()

    @hub.on_connect
    def who(held: Annotated[str, Depends(resource("call"))]) -> str:
        assert opened == ["call"]
        return held

    async with serving(hub, dependencies=[Depends(resource("handshake"))]) as app, line(app) as client:
        assert opened == []
        await client.connect()
        assert opened == []


async def test_a_dependency_is_solved_once_per_call_and_anew_for_each() -> None:
    """As FastAPI caches them within a request."""
    hub = Hub()
    made: list[int] = []

    def number() -> int:
        made.append(len(made))
        return made[-1]

    def double(value: Annotated[int, Depends(number)]) -> int:
        return value * 2

    @hub.rpc("numbers")
    def numbers(one: Annotated[int, Depends(number)], two: Annotated[int, Depends(double)]) -> list[int]:
        return [one, two]

    async with serving(hub) as app, connect(app) as client:
        assert [await client.rpc("numbers"), await client.rpc("numbers")] == [[0, 0], [1, 2]]


async def test_the_apps_overrides_count() -> None:
    """`app.dependency_overrides` is how FastAPI apps are tested; set at any time."""
    hub = Hub()

    def database() -> str:
        return "the real one"

    @hub.rpc("which")
    async def which(db: Annotated[str, Depends(database)]) -> str:
        return db

    async with serving(hub) as app, connect(app) as client:
        assert await client.rpc("which") == "the real one"
        app.dependency_overrides[database] = lambda: "a fake"
        assert await client.rpc("which") == "a fake"
        app.dependency_overrides.clear()
        assert await client.rpc("which") == "the real one"


async def test_dependencies_may_ask_for_the_session() -> None:
    """However deep they are nested."""
    hub = Hub()

    def user(session: CurrentSession) -> str:
        return session.user

    def greeting(name: Annotated[str, Depends(user)]) -> str:
        return f"hello {name}"

    @hub.on_connect
    def who(name: str) -> str:
        return name

    @hub.rpc("greet")
    def greet(text: Annotated[str, Depends(greeting)]) -> str:
        return text

    async with serving(hub) as app, connect(app, name="ann") as ann, connect(app, name="bob") as bob:
        assert [await ann.rpc("greet"), await bob.rpc("greet")] == ["hello ann", "hello bob"]


async def test_headers_cookies_and_query_are_those_of_the_handshake_at_every_call() -> None:
    """The server has long let go of the request; what handlers read of it stays."""
    hub = Hub()

    @hub.rpc("read")
    async def read(
        agent: Annotated[str, Header(alias="user-agent")],
        theme: Annotated[str, Cookie()],
        page: Annotated[int, Query()],
        connection: HTTPConnection,
    ) -> list[Any]:
        return [agent, theme, page, connection.url.path]

    headers = {"User-Agent": "browser", "Cookie": "theme=dark"}
    async with serving(hub) as app, connect(app, headers=headers, query="page=5") as client:
        assert await client.rpc("read") == ["browser", "dark", 5, "/connection/websocket"]
        async with connect(app, query="page=five") as other:
            assert await refused(other.rpc("read")) == 107
        assert await client.rpc("read") == ["browser", "dark", 5, "/connection/websocket"]


OAUTH = OAuth2PasswordBearer(tokenUrl="token")
BEARER = HTTPBearer()
KEY = APIKeyHeader(name="X-Key")


async def by_oauth(token: Annotated[str, Depends(OAUTH)]) -> str:
    """Read the token of an OAuth login."""
    return token


async def by_bearer(credentials: Annotated[HTTPAuthorizationCredentials, Security(BEARER)]) -> str:
    """Read a bearer token."""
    return credentials.credentials


async def by_key(key: Annotated[str, Depends(KEY)]) -> str:
    """Read an API key."""
    return key


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        (by_oauth, {"Authorization": "Bearer secret"}),
        (by_bearer, {"Authorization": "Bearer secret"}),
        (by_key, {"X-Key": "secret"}),
    ],
)
async def test_security_schemes_read_the_handshake(scheme: Callable[..., Any], headers: dict[str, str]) -> None:
    """Where nothing was shown, connect is refused with the code nearest to the status FastAPI gives it."""
    hub = Hub()

    @hub.on_connect
    async def who(token: str, shown: Annotated[str, Depends(scheme)]) -> str:
        return shown

    async with serving(hub) as app, connect(app, headers=headers) as client, line(app) as nobody:
        assert hub.sessions[client.id].user == "secret"
        assert await refused(nobody.connect()) in (101, 103)


# --- where a handler runs ---------------------------------------------------------------------------------------------


async def test_plain_functions_run_in_the_thread_pool_and_hold_nobody_up() -> None:
    """They may block; the event loop goes on meanwhile."""
    hub = Hub()
    hub.channel("room:{name}", publish=True)
    gate = threading.Event()

    @hub.rpc("block")
    def block() -> bool:
        gate.wait(5)
        return threading.current_thread() is threading.main_thread()

    @hub.rpc("async")
    async def run() -> bool:
        return threading.current_thread() is threading.main_thread()

    async with serving(hub) as app, connect(app) as client, connect(app) as other:
        answer = client.batch({"rpc": {"method": "block"}})[0]
        assert await other.rpc("async") is True
        assert not answer.done()
        gate.set()

        assert await client.answer(answer) == {"data": False}


async def test_an_app_may_be_wrapped_in_middleware_of_its_own() -> None:
    """What it puts into the scope, handlers see."""
    hub = Hub()
    app = FastAPI()
    app.include_router(hub.router)

    @hub.on_connect
    def who(connection: HTTPConnection) -> str:
        return str(connection.scope["tenant"])

    async def tenancy(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "tenant": "acme"}, receive, send)

    async with started(tenancy), connect(tenancy) as client:
        assert hub.sessions[client.id].user == "acme"


async def test_a_handler_may_publish_and_subscribe_its_own_session() -> None:
    """Nothing here waits for the reply to be sent."""
    hub = Hub()
    room = hub.channel("room:{name}")

    @room.on_subscribe
    async def greet(name: str, session: Session) -> None:
        if name == "door":
            await session.subscribe("room:lobby")
        await room.publish(f"a guest at the {name}", name="lobby")

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:door")

        assert hub.sessions[client.id].channels == {"room:door", "room:lobby"}
        assert (await client.push())["channel"] == "room:lobby"  # the subscription
        assert (await client.publication("room:lobby"))["data"] == "a guest at the door"
