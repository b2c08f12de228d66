"""Lines to an app in the test's own process: what the app sees of one, and how either side's failure shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.responses import PlainTextResponse

from openline.testing import HandshakeRefused, line, started


async def open_line(app: Any, **options: Any) -> None:
    """Open a line and let it go again."""
    async with line(app, **options):
        pass


def app_with_lifespan(log: list[str], *, fails: str = "") -> FastAPI:
    """Give an app that notes when it starts and stops, and may fail to."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append("start")
        if fails == "start":
            raise RuntimeError("no database")
        yield {"database": "here"}
        log.append("stop")
        if fails == "stop":
            raise RuntimeError("cannot let go")

    return FastAPI(lifespan=lifespan)


async def test_an_app_is_started_before_the_block_and_stopped_after_it() -> None:
    """The block is given what the lifespan left."""
    log: list[str] = []
    async with started(app_with_lifespan(log)) as state:
        assert log == ["start"]
        assert state == {"database": "here"}
    assert log == ["start", "stop"]


async def test_an_app_is_stopped_after_a_block_that_fails() -> None:
    """The error comes out as it is."""
    log: list[str] = []

    async def fail() -> None:
        async with started(app_with_lifespan(log)):
            raise KeyError("the test's own")

    with pytest.raises(KeyError, match="the test's own"):
        await fail()
    assert log == ["start", "stop"]


@pytest.mark.parametrize(("fails", "words"), [("start", "no database"), ("stop", "cannot let go")])
async def test_an_app_that_fails_to_start_or_stop_fails_the_test(fails: str, words: str) -> None:
    """With its own words."""

    async def run() -> None:
        async with started(app_with_lifespan([], fails=fails)):
            pass

    with pytest.raises(RuntimeError, match=words):
        await run()


async def test_an_app_that_raises_where_it_should_answer_fails_the_test_with_its_error_as_the_cause() -> None:
    """Not every app says in the words of ASGI that it has failed."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("a bug")

    async def run() -> None:
        async with started(broken):
            pass

    with pytest.raises(RuntimeError, match="lifespan startup failed: KeyError") as caught:
        await run()
    assert isinstance(caught.value.__cause__, KeyError)


async def test_the_app_sees_a_handshake_as_a_server_would_show_it() -> None:
    """Path, query, headers, subprotocols, and what the lifespan left."""
    seen: dict[str, Any] = {}
    app = app_with_lifespan([])

    @app.websocket("/somewhere")
    async def look(websocket: WebSocket) -> None:
        seen["headers"] = dict(websocket.headers)
        seen["query"] = dict(websocket.query_params)
        seen["subprotocols"] = websocket.scope["subprotocols"]
        seen["state"] = websocket.state.database
        await websocket.accept("b")

    options: dict[str, Any] = {"path": "/somewhere", "query": "x=1&y=2", "subprotocols": ["a", "b"]}
    async with started(app), line(app, headers={"X-Key": "k"}, **options) as client:
        assert client.subprotocol == "b"

    assert seen == {
        "headers": {"host": "test", "x-key": "k"},
        "query": {"x": "1", "y": "2"},
        "subprotocols": ["a", "b"],
        "state": "here",
    }


async def test_a_refused_handshake_is_raised_with_status_and_body() -> None:
    """Refused by a response, or by a close, which servers make 403 of."""
    app = FastAPI()

    @app.websocket("/denied")
    async def deny(websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse("full house", status_code=503))

    @app.websocket("/closed")
    async def close(websocket: WebSocket) -> None:
        await websocket.close(1008, "not you")

    @app.websocket("/silent")
    async def say_nothing(websocket: WebSocket) -> None:
        """Return without an answer."""

    for path, status, body in (
        ("/denied", 503, "full house"),
        ("/closed", 403, "not you"),
        ("/silent", 500, "the app"),
    ):
        with pytest.raises(HandshakeRefused, match=f"{status} {body}") as caught:
            await open_line(app, path=path)
        assert caught.value.status == status


async def test_an_app_that_fails_before_it_answers_fails_the_test_with_its_own_error() -> None:
    """And not with a group of errors around it."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        await open_line(broken)


async def test_an_app_that_fails_later_fails_the_test_too() -> None:
    """Wherever the test stands then."""

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        websocket = WebSocket(scope, receive, send)
        await websocket.accept()
        raise KeyError("a bug")

    async def wait() -> None:
        async with line(broken) as client:
            await client.push()

    with pytest.raises(KeyError, match="a bug"):
        await wait()


async def test_an_app_that_never_answers_fails_the_test_within_the_limit() -> None:
    """And is stopped."""
    stopped: list[bool] = []

    async def hesitant(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(True)

    with pytest.raises(TimeoutError):
        await open_line(hesitant, limit_seconds=0.01)
    assert stopped == [True]
