"""What a function of the app asks for, read from its signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from typing_extensions import TypeAliasType

from openline.errors import DeclarationError
from openline.signatures import is_async, name_of, read_signature, without_alias

if TYPE_CHECKING:
    from somewhere import Elsewhere  # type: ignore[import-not-found]


class Said:
    """A type of the tests."""


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Give the parameters and their types."""
    return {name: parameter.annotation for name, parameter in read_signature(function, "here").parameters.items()}


async def handler(name: str, said: Said | None = None) -> Said:
    """Be a plain handler."""
    return said or Said()


class Room:
    """A class with handlers."""

    async def enter(self, name: str, said: Said) -> None:
        """Be a method."""

    @classmethod
    async def leave(cls, name: str) -> None:
        """Be a class method."""

    @staticmethod
    async def look(name: str) -> None:
        """Be a static method."""


class Caller:
    """A callable object."""

    async def __call__(self, name: str, said: Said) -> None:
        """Be called."""


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as apps do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_annotations_written_as_text_are_types() -> None:
    """This file has `from __future__ import annotations`: all of them are text."""
    assert annotations_of(handler) == {"name": str, "said": Said | None}
    assert read_signature(handler, "here").return_annotation is Said


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Room().enter, {"name": str, "said": Said}),
        (Room.leave, {"name": str}),
        (Room.look, {"name": str}),
        (Caller(), {"name": str, "said": Said}),
        (wrapping(handler), {"name": str, "said": Said | None}),
        (functools.partial(Room().enter, said=Said()), {"name": str}),
        (functools.partial(functools.partial(Room().enter, "lobby")), {"said": Said}),
        (functools.partial(Caller(), "lobby"), {"said": Said}),
        (lambda name: None, {"name": inspect.Parameter.empty}),
    ],
    ids=["method", "class method", "static method", "object", "wrapped", "partial", "partials", "both", "lambda"],
)
def test_every_kind_of_callable_says_what_it_asks_for(function: Callable[..., Any], expected: dict[str, Any]) -> None:
    """Without ``self``, and without what a partial has been given."""
    assert annotations_of(function) == expected


def test_types_of_an_enclosing_function_are_found_where_the_code_refers_to_them() -> None:
    """A closure holds them."""

    class Local:
        pass

    async def local(said: Local, again: Annotated[Local, "text"]) -> Local:
        return Local()

    assert annotations_of(local) == {"said": Local, "again": Annotated[Local, "text"]}


def test_a_type_that_cannot_be_found_is_named_with_the_cure() -> None:
    """A class made inside a function that only the annotation speaks of is in no closure."""

    class Local:
        pass

    async def local(said: Local) -> None:
        pass

    with pytest.raises(DeclarationError) as caught:
        read_signature(local, "room:{name} on_publish")
    words = str(caught.value)
    assert "room:{name} on_publish" in words
    assert "'said'" in words
    assert "'Local'" in words
    assert "from __future__ import annotations" in words


def test_a_closure_over_what_is_not_there_yet_is_no_obstacle() -> None:
    """A handler that calls itself is decorated before its name is assigned."""

    def decorate(function: Callable[..., Any]) -> dict[str, Any]:
        return annotations_of(function)

    @decorate
    async def again(name: str) -> None:
        again  # noqa: B018  # the closure is the point

    assert again == {"name": str}


def test_a_return_type_only_type_checkers_know_is_none() -> None:
    """It is no reason to refuse the handler."""

    async def local(name: str) -> Elsewhere: ...

    assert read_signature(local, "here").return_annotation is inspect.Signature.empty


@pytest.mark.parametrize("bad", ["1 +", "Said[", "'a b'"])
def test_an_annotation_that_is_no_type_is_named(bad: str) -> None:
    """Text that is no Python, or no name."""

    def local(said: Any) -> None: ...

    local.__annotations__["said"] = bad
    with pytest.raises(DeclarationError, match="'said'"):
        read_signature(local, "here")


def test_a_type_statement_stands_for_its_type() -> None:
    """As in ``type Alias = …`` of Python 3.12, one inside another too."""
    inner = TypeAliasType("inner", Annotated[Said, "text"])
    outer = TypeAliasType("outer", inner)

    def local(said: Any) -> None: ...

    local.__annotations__["said"] = outer
    assert annotations_of(local) == {"said": Annotated[Said, "text"]}
    assert without_alias(Said) is Said


def positional_only(name: str, /) -> None:
    """Have a parameter without a name to be called by."""


def starred(*names: str) -> None:
    """Take anything."""


def double_starred(**names: str) -> None:
    """Take anything by name."""


@pytest.mark.parametrize(
    ("function", "shown"),
    [(positional_only, "name: 'str'"), (starred, r"\*names"), (double_starred, r"\*\*names")],
)
def test_a_handler_is_called_by_names_alone(function: Callable[..., Any], shown: str) -> None:
    """What cannot be is refused, and shown."""
    with pytest.raises(DeclarationError, match=shown):
        read_signature(function, "here")


def yielding() -> Iterator[int]:
    """Yield."""
    yield 1


async def yielding_async() -> AsyncIterator[int]:
    """Yield."""
    yield 1


@pytest.mark.parametrize("function", [yielding, yielding_async, functools.partial(yielding), wrapping(yielding_async)])
def test_a_handler_does_not_yield(function: Callable[..., Any]) -> None:
    """It has one answer; its dependencies may yield."""
    with pytest.raises(DeclarationError, match=r"yielding.* yields, and a handler returns"):
        read_signature(function, "here")


@pytest.mark.parametrize("thing", [Said, 7, "handler", None])
def test_a_handler_is_a_function(thing: Any) -> None:
    """A class, or what cannot be called, is refused."""
    with pytest.raises(DeclarationError, match="a handler is a function"):
        read_signature(thing, "here")


def test_a_builtin_without_a_signature_is_refused() -> None:
    """It does not say what it asks for."""
    with pytest.raises(DeclarationError, match="does not say what it asks for"):
        read_signature(iter, "here")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (handler, True),
        (Room().enter, True),
        (Caller(), True),
        (functools.partial(handler), True),
        (functools.partial(Caller()), True),
        (wrapping(handler), True),
        (positional_only, False),
        (functools.partial(positional_only), False),
        (wrapping(positional_only), False),
        (print, False),
    ],
)
def test_a_function_is_async_if_it_or_what_it_wraps_is(function: Callable[..., Any], expected: bool) -> None:
    """A decorator that hands on the awaitable of an ``async def`` must not go to a thread."""
    assert is_async(function) is expected


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (handler, "handler()"),
        (Room().enter, "Room.enter()"),
        (functools.partial(handler), "handler()"),
        (Caller(), "Caller.__call__()"),
    ],
)
def test_a_function_is_named_as_in_the_source(function: Callable[..., Any], name: str) -> None:
    """So that an error can be found."""
    assert name_of(function) == name
