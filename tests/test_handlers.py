"""Handlers: how a function of the app is called, and what it costs."""
# Annotations are types here, not text: most handlers and their types are made inside the tests.

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Depends, Header
from fastapi import Path as PathParameter
from starlette.requests import HTTPConnection

from openline.session import Session
from tests.calling import WHERE, call, declare

# --- what it costs --------------------------------------------------------------------------------------------------


def test_a_handler_with_nothing_to_inject_does_without_fastapi() -> None:
    """Parts, message, session and what the event supplies need no injection."""

    async def plain(name: int, message: str, session: Session, code: int) -> None: ...

    async def injected(name: int, token: Annotated[str, Header()]) -> None: ...

    assert not declare(plain, supplied={"code": int}).injects
    assert declare(injected).injects


def test_a_handler_tells_whether_it_reads_the_handshake() -> None:
    """Only then a connection has to keep it: a plain dependency and a part of the name need none of it."""

    async def database() -> None: ...

    async def of_part(name: str) -> None: ...

    async def of_connection(connection: HTTPConnection) -> None: ...

    async def of_route(tenant: Annotated[str, PathParameter()]) -> None: ...

    def reads(dependency: Callable[..., Any]) -> bool:
        async def said(value: Annotated[Any, Depends(dependency)]) -> None: ...

        return declare(said).reads_handshake

    async def itself(connection: HTTPConnection) -> None: ...

    async def plain(name: str) -> None: ...

    assert not reads(database)
    assert not reads(of_part)
    assert reads(of_connection)
    assert reads(of_route)
    assert declare(itself).reads_handshake
    assert not declare(plain).reads_handshake


# --- how it is called -----------------------------------------------------------------------------------------------


async def test_an_async_handler_runs_in_the_task_of_its_caller() -> None:
    """No task of its own: context variables and cancellation are the caller's."""
    variable = contextvars.ContextVar("variable", default="unset")

    async def said(name: str) -> Any:
        variable.set(name)
        return asyncio.current_task()

    assert await call(said) is asyncio.current_task()
    assert variable.get() == "lobby"


async def test_a_plain_handler_runs_in_the_thread_pool() -> None:
    """The event loop is not held up; context variables are there to read."""
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set by the caller")

    def said(name: str, message: str) -> Any:
        return threading.current_thread(), variable.get(), name, message

    thread, value, *given = await call(said)
    assert thread is not threading.current_thread()
    assert value == "set by the caller"
    assert given == ["lobby", "hi"]


class Room:
    """Handlers of an app with a class."""

    def __init__(self, title: str) -> None:
        self.title = title

    async def said(self, name: str, message: str) -> str:
        """Be a method."""
        return f"{self.title} {name}: {message}"

    async def __call__(self, name: str) -> str:
        """Be a callable object."""
        return f"{self.title} {name}"


async def test_methods_callable_objects_partials_and_wrappers_are_handlers() -> None:
    """Whatever can be called by name."""

    async def prefixed(prefix: str, name: str) -> str:
        return f"{prefix} {name}"

    @functools.wraps(prefixed)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return prefixed(*args, **kwargs)

    assert await call(Room("the").said) == "the lobby: hi"
    assert await call(Room("the")) == "the lobby"
    assert await call(functools.partial(prefixed, "the")) == "the lobby"
    assert await call(functools.partial(wrapper, prefix="the")) == "the lobby"
    assert await call(lambda name: prefixed("the", name)) == "the lobby"


async def test_what_a_handler_raises_is_raised_as_it_is() -> None:
    """From the event loop or from a thread: what a client is told of it is not decided here."""
    error = LookupError("gone")

    async def on_the_loop() -> None:
        raise error

    def in_a_thread() -> None:
        raise error

    for function in (on_the_loop, in_a_thread):
        with pytest.raises(LookupError) as caught:
            await call(function)
        assert caught.value is error


def test_a_handler_tells_what_it_returns() -> None:
    """For who writes its answer as JSON, and for who describes it."""

    async def rooms() -> list[str]: ...  # type: ignore[empty-body]

    async def unannotated(name: str): ...  # type: ignore[no-untyped-def]  # noqa: ANN202  # the case itself

    async def nothing() -> None: ...

    assert declare(rooms).returns == list[str]
    assert declare(unannotated).returns is None
    assert declare(nothing).returns is type(None)


def test_a_handler_says_who_it_is() -> None:
    """In errors that speak of a second one."""

    async def said() -> None: ...

    assert repr(declare(said)) == f"Handler({WHERE}: test_a_handler_says_who_it_is.<locals>.said())"
