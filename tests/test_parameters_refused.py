"""What the parameters of a handler may not ask for: it is refused when it is declared, and the cure is named."""
# Annotations are types here, not text: most handlers and their types are made inside the tests.

import threading
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Body, Depends, File, Form, Query, Request, Response, UploadFile, WebSocket
from pydantic import BaseModel

from tests.calling import OF_SAID, declare, refused


class Point(BaseModel):
    """A model that is not the message."""

    x: int


def test_a_misspelt_part_is_refused_and_the_parts_are_told() -> None:
    """FastAPI would make it a required query parameter, and every call would fail."""

    async def said(nam: str) -> None: ...

    words = refused(said, supplied={"code": int}, **OF_SAID)
    assert "parameter 'nam' of test_a_misspelt_part_is_refused_and_the_parts_are_told.<locals>.said()" in words
    assert "a part of the channel's name (name)" in words
    assert "'code'" in words
    assert "the message of type Said ('message')" in words
    assert "Annotated[str, Query()]" in words


def test_a_parameter_with_a_default_is_no_query_parameter_either() -> None:
    """It is not read from the handshake behind the app's back."""

    async def said(name: str, limit: int = 10) -> None: ...

    assert "Annotated[int, Query()]" in refused(said)


def test_a_model_that_is_not_the_message_is_refused() -> None:
    """FastAPI would read it from a body."""

    async def said(point: Point) -> None: ...

    assert "'point'" in refused(said, **OF_SAID)
    assert "the message of type Said" in refused(said, **OF_SAID)
    assert "Query" not in refused(said, **OF_SAID)
    assert "the message" not in refused(said, message=None)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Request, "is a Request"),
        (WebSocket, "is a WebSocket"),
        (Response, "is a Response"),
        (BackgroundTasks, "is a BackgroundTasks"),
        (Annotated[str, Body()], "read from a request body (Body)"),
        (Annotated[dict[str, int], Body(embed=True)], "read from a request body (Body)"),
    ],
)
def test_what_needs_a_request_to_answer_is_refused(annotation: Any, kind: str) -> None:
    """In the handler and in any dependency of it, with what to do instead."""

    async def handler(thing: Any) -> None: ...

    async def dependency(thing: Any) -> None: ...

    async def between(value: Annotated[None, Depends(dependency)]) -> None: ...

    async def deep(value: Annotated[None, Depends(between)]) -> None: ...

    handler.__annotations__["thing"] = dependency.__annotations__["thing"] = annotation

    for words in (refused(handler), refused(handler, **OF_SAID), refused(deep)):
        assert "'thing'" in words
        assert kind in words
        assert ": " in words.split(kind)[1]
    assert "<locals>.dependency" in refused(deep)


@pytest.mark.parametrize(
    "annotation", [Annotated[str, Form()], Annotated[bytes, File()], UploadFile, Annotated[UploadFile, File()]]
)
def test_forms_and_files_are_refused(annotation: Any) -> None:
    """Whether or not the library that reads them is installed."""

    async def handler(thing: Any) -> None: ...

    async def dependency(thing: Any) -> None: ...

    async def deep(value: Annotated[None, Depends(dependency)]) -> None: ...

    handler.__annotations__["thing"] = dependency.__annotations__["thing"] = annotation
    assert "there is none" in refused(handler)
    assert "there is none" in refused(deep)
    assert "pip install" not in refused(deep)


def test_markers_as_defaults_count_too() -> None:
    """The older way to write them."""

    async def body(thing: str = Body()) -> None: ...

    async def query(thing: str = Query()) -> None: ...

    assert "request body" in refused(body)
    assert declare(query).injects


def test_a_dependency_fastapi_cannot_declare_is_refused() -> None:
    """With what FastAPI says about it."""

    async def dependency(thread: threading.Thread) -> None: ...

    async def said(value: Annotated[None, Depends(dependency)]) -> None: ...

    async def marked_twice(name: Annotated[str, Query()]) -> None: ...

    assert "Thread" in refused(said)
    assert "'name'" in refused(marked_twice)
