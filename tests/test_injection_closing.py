"""The life of a handler's dependencies: opened and closed around one call, whatever becomes of it."""
# Annotations are types here, not text: most handlers and their types are made inside the tests.

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header
from starlette.exceptions import HTTPException

from openline.errors import BadRequest, PermissionDenied, UsageError
from tests.calling import BARE, call, told

# --- opening and closing --------------------------------------------------------------------------------------------


def dependencies(log: list[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Make an async dependency with yield, and a plain one that depends on it; both write what happens to them."""

    async def database() -> AsyncIterator[str]:
        log.append("database opened")
        try:
            yield "database"
        except BaseException as error:
            log.append(f"database saw {type(error).__name__}")
            raise
        finally:
            log.append("database closed")

    def transaction(database: Annotated[str, Depends(database)]) -> Iterator[str]:
        log.append("transaction opened")
        try:
            yield f"transaction in {database}"
        except BaseException as error:
            log.append(f"transaction saw {type(error).__name__}")
            raise
        finally:
            log.append("transaction closed")

    return database, transaction


async def test_dependencies_close_in_reverse_before_the_call_returns() -> None:
    """Nothing is left open when the reply is made."""
    log: list[str] = []
    database, transaction = dependencies(log)

    async def said(transaction: Annotated[str, Depends(transaction)], again: Annotated[str, Depends(database)]) -> str:
        log.append(f"called with {transaction} and {again}")
        return "reply"

    assert await call(said) == "reply"
    assert log == [
        "database opened",
        "transaction opened",
        "called with transaction in database and database",
        "transaction closed",
        "database closed",
    ]


async def test_dependencies_see_what_the_handler_raises() -> None:
    """They roll back; the client is told what the handler said."""
    log: list[str] = []
    _, transaction = dependencies(log)

    async def said(transaction: Annotated[str, Depends(transaction)]) -> None:
        raise PermissionDenied("not yours")

    with pytest.raises(PermissionDenied, match="not yours"):
        await call(said)
    assert log[-4:] == [
        "transaction saw PermissionDenied",
        "transaction closed",
        "database saw PermissionDenied",
        "database closed",
    ]


async def test_a_commit_that_fails_makes_the_call_fail() -> None:
    """The client is not told that it worked: the error of closing is the error of the call."""
    log: list[str] = []
    database, _ = dependencies(log)

    async def committing(database: Annotated[str, Depends(database)]) -> AsyncIterator[None]:
        yield
        raise OSError("commit failed")

    async def said(committing: Annotated[None, Depends(committing)]) -> str:
        return "reply"

    with pytest.raises(OSError, match="commit failed"):
        await call(said)
    assert log == ["database opened", "database saw OSError", "database closed"]


async def test_what_was_opened_is_closed_when_a_later_dependency_refuses() -> None:
    """By raising, or by what the handshake lacks."""
    log: list[str] = []
    database, _ = dependencies(log)

    async def refusing(database: Annotated[str, Depends(database)]) -> None:
        raise HTTPException(429, "slowly")

    async def raising(refused: Annotated[None, Depends(refusing)]) -> None: ...

    async def lacking(database: Annotated[str, Depends(database)], x_missing: Annotated[str, Header()]) -> None: ...

    with pytest.raises(HTTPException) as caught:
        await call(raising)
    assert told(caught.value) == (111, "slowly")
    with pytest.raises(BadRequest):
        await call(lacking)
    assert log[:3] == ["database opened", "database saw HTTPException", "database closed"]
    assert log[3:] == ["database opened", "database saw BadRequest", "database closed"]


async def test_a_dependency_that_swallows_an_exception_is_found_out() -> None:
    """There is no result to return, and None would be taken for one."""

    async def swallowing() -> AsyncIterator[None]:
        with suppress(PermissionDenied):
            yield

    async def said(swallowing: Annotated[None, Depends(swallowing)]) -> str:
        raise PermissionDenied("not yours")

    with pytest.raises(UsageError, match=r"room:\{name\} on_publish.*swallowed an exception: raise it again") as caught:
        await call(said)
    assert isinstance(caught.value.__cause__, PermissionDenied)


async def test_a_dependency_of_function_scope_is_closed_first() -> None:
    """FastAPI's own order: those of the function's scope before those of the request's."""
    log: list[str] = []

    def logged(name: str) -> Callable[[], AsyncIterator[None]]:
        async def dependency() -> AsyncIterator[None]:
            yield
            log.append(name)

        return dependency

    async def said(
        function: Annotated[None, Depends(logged("function"), scope="function")],
        request: Annotated[None, Depends(logged("request"), scope="request")],
    ) -> None: ...

    await call(said)
    assert log == ["function", "request"]


@pytest.mark.parametrize("where", ["handler", "dependency"])
async def test_cancelling_closes_what_was_opened(where: str) -> None:
    """A server that stops leaves no transaction open, in the middle of a call or before it."""
    log: list[str] = []
    database, _ = dependencies(log)
    reached = asyncio.Event()

    async def wait_in(place: str) -> None:
        if place == where:
            reached.set()
            await asyncio.Event().wait()

    async def waiting(database: Annotated[str, Depends(database)]) -> None:
        await wait_in("dependency")

    async def said(waiting: Annotated[None, Depends(waiting)]) -> None:
        await wait_in("handler")

    task = asyncio.create_task(call(said, BARE))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["database opened", "database saw CancelledError", "database closed"]


async def test_closing_after_a_cancel_may_wait() -> None:
    """A rollback that needs the network is awaited, and the cancel goes on afterwards."""
    log: list[str] = []
    reached = asyncio.Event()

    async def database() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.sleep(0)
            log.append("rolled back")

    async def said(database: Annotated[None, Depends(database)]) -> None:
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(call(said, BARE))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["rolled back"]
