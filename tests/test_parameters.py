"""What the parameters of a handler may ask for: each rule, and what does not fit it."""
# Annotations are types here, not text: most handlers and their types are made inside the tests.

import dataclasses
import threading
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType, TypedDict

from openline.errors import BadRequest, UnknownChannel
from openline.handlers import Handler
from openline.payload import Payload
from openline.session import Session
from tests import calling
from tests.calling import ANN, BARE, OF_SAID, SAID, SENT, Said, refused


@dataclasses.dataclass
class Point:
    """A message that is a dataclass."""

    x: int


class Typing(TypedDict):
    """A message that is a dict."""

    typing: bool


def declare(function: Callable[..., Any], **event: Any) -> Handler:
    """Declare a handler for a channel of `Said`, unless told otherwise."""
    return calling.declare(function, **{**OF_SAID, **event})


async def call(function: Callable[..., Any], **event: Any) -> Any:
    """Declare a handler for a channel of `Said`, unless told otherwise, and call it."""
    return await calling.call(function, **{"sent": SENT, **OF_SAID, **event})


# --- the session and the message ------------------------------------------------------------------------------------


async def test_the_handler_of_the_design_is_given_part_message_and_session() -> None:
    """Each by its rule: the part by name, message and session by annotation."""

    async def said(name: str, message: Said, session: Session) -> Said:
        return message.model_copy(update={"author": f"{session.user} in {name}"})

    assert await call(said) == Said(author="ann in lobby", text="hi")


async def test_the_names_of_message_and_session_are_the_apps_own() -> None:
    """Their annotations say what they are, also within `Annotated` and with None allowed."""

    async def said(who: Session, words: Said) -> Any:
        return who, words

    async def annotated(who: Session | None, words: Annotated[Said, "what was said"]) -> Any:
        return who, words

    assert await call(said) == (ANN, SAID)
    assert await call(annotated) == (ANN, SAID)


async def test_a_message_by_its_annotation_goes_before_a_part_by_its_name() -> None:
    """No part of a name is a model."""

    async def said(name: Said) -> Any:
        return name

    assert await call(said) == SAID


async def test_a_handler_may_ask_for_nothing() -> None:
    """Then the message is not validated either: who publishes it does that."""

    async def said() -> str:
        return "called"

    assert await call(said, sent=b"not JSON") == "called"
    assert declare(said).payload is None


@pytest.mark.parametrize(
    ("type_", "sent", "value"),
    [
        (str, b'"hi"', "hi"),
        (dict, b'{"a":1}', {"a": 1}),
        (dict[str, int], b'{"a":1}', {"a": 1}),
        (list[int], b"[1]", [1]),
        (int | None, b"null", None),
        (bytes, b"\x00raw", b"\x00raw"),
    ],
)
async def test_a_message_of_pythons_own_type_is_asked_for_by_its_name(type_: Any, sent: bytes, value: Any) -> None:
    """Any parameter may be a ``str``: only the name tells which is the message."""

    async def said(message: Any) -> Any:
        return message

    async def misnamed(words: Any) -> None: ...

    said.__annotations__["message"] = misnamed.__annotations__["words"] = type_

    assert await call(said, sent=sent, message=Payload(type_)) == value
    assert "'words'" in refused(misnamed, message=Payload(type_))


async def test_a_message_by_name_needs_no_annotation() -> None:
    """It is validated as what was declared all the same."""

    async def said(message) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001  # the case itself
        return message

    async def anything(message: object) -> Any:
        return message

    assert await call(said) == SAID
    assert await call(anything) == SAID


def test_a_message_annotated_as_something_else_is_refused() -> None:
    """The message is what the channel declared; a base class of it will do."""

    async def other(message: dict[str, Any]) -> None: ...

    async def base(message: BaseModel) -> None: ...

    assert "'message' of test_a_message_annotated_as_something_else_is_refused.<locals>.other()" in refused(
        other, **OF_SAID
    )
    assert "is given as Said" in refused(other, **OF_SAID)
    assert declare(base).payload is not None


async def test_a_union_of_models_is_asked_for_as_declared() -> None:
    """The whole union: a handler of one member would be called with the other."""

    async def both(event: Said | Typing) -> Any:
        return event

    async def one(event: Typing) -> None: ...

    union = Payload(Said | Typing)
    assert await call(both, sent=b'{"typing":true}', message=union) == {"typing": True}
    assert "'event'" in refused(one, message=union)


async def test_a_type_alias_is_what_it_stands_for() -> None:
    """On either side of the declaration."""
    alias = TypeAliasType("alias", Annotated[Said, "text"])

    async def by_type(words: Said) -> Any:
        return words

    async def by_alias(words: Any) -> Any:
        return words

    by_alias.__annotations__["words"] = alias
    assert await call(by_type, message=Payload(alias)) == SAID
    assert await call(by_alias) == SAID


async def test_without_a_declared_type_the_annotation_is_the_type() -> None:
    """Of the parameter named for it, or of the one that is a model or a collection."""

    async def model(said: Said) -> Any:
        return said

    async def point(point: Point | None) -> Any:
        return point

    async def known_keys(state: Typing) -> Any:
        return state

    async def numbers(numbers: list[int]) -> Any:
        return numbers

    async def number(message: int) -> Any:
        return message

    async def anything(message: Any) -> Any:
        return message

    untyped: dict[str, Any] = {"message": Payload()}
    assert await call(model, **untyped) == SAID
    assert await call(point, sent=b'{"x":1}', **untyped) == Point(1)
    assert await call(known_keys, sent=b'{"typing":true}', **untyped) == {"typing": True}
    assert await call(numbers, sent=b"[1,2]", **untyped) == [1, 2]
    assert await call(number, sent=b"3", **untyped) == 3
    assert await call(anything, sent=b'{"x":[1]}', **untyped) == {"x": [1]}
    with pytest.raises(BadRequest, match="1: Input should be a valid integer"):
        await call(numbers, sent=b'[1,"x"]', **untyped)


def test_a_message_of_a_type_nobody_validates_is_refused() -> None:
    """When it is declared; the parameter is named."""

    async def said(message: threading.Thread) -> None: ...

    assert "'message'" in refused(said, message=Payload())
    assert "Thread is not a type Pydantic validates" in refused(said, message=Payload())


async def test_the_event_names_its_message() -> None:
    """A connect's or a call's is its data."""

    async def connect(data: dict[str, int]) -> Any:
        return data

    async def message(message: str) -> None: ...

    data: dict[str, Any] = {"message": Payload(), "message_name": "data"}
    assert await call(connect, sent=b'{"a":1}', **data) == {"a": 1}
    assert "'data'" in refused(message, **data)


async def test_sending_nothing_is_a_default_or_null() -> None:
    """Data may be left out: the parameter's default is for that, else the type says whether None will do."""

    async def with_default(data: Said = SAID) -> Any:
        return data

    async def or_none(data: Said | None) -> Any:
        return data

    async def needed(data: Said) -> None: ...

    async def raw(data: bytes) -> Any:
        return data

    data: dict[str, Any] = {"message": Payload(), "message_name": "data", "sent": b""}
    assert await call(with_default, **data) == SAID
    assert await call(or_none, **data) is None
    assert await call(raw, **data) == b""
    with pytest.raises(BadRequest, match="Input should be an object"):
        await call(needed, **data)


def test_only_one_parameter_takes_the_message() -> None:
    """Two would be a mistake nobody sees."""

    async def twice(first: Said, second: Said) -> None: ...

    assert "'second'" in refused(twice, **OF_SAID)
    assert "takes the message, and so does 'first'" in refused(twice, **OF_SAID)


async def test_a_message_that_does_not_fit_never_reaches_the_handler() -> None:
    """The client is told the field."""

    async def said(message: Said) -> None:
        raise AssertionError("called")

    with pytest.raises(BadRequest, match="text: Field required"):
        await call(said, sent=b'{"author":"ann"}')


# --- the parts of the channel's name --------------------------------------------------------------------------------


class Floor(Enum):
    """A type whose values are texts."""

    GROUND = "ground"


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "12", "12"),
        (int, "12", 12),
        (bool, "true", True),
        (UUID, str(UUID(int=1)), UUID(int=1)),
        (Floor, "ground", Floor.GROUND),
        (Literal["a", "b"], "a", "a"),
        (int | str, "x", "x"),
        (Annotated[int, Field(ge=10)], "12", 12),
        (Annotated[int, PathParameter(ge=10)], "12", 12),
        (Any, "12", "12"),
    ],
)
async def test_a_part_is_what_its_annotation_says(annotation: Any, text: str, value: object) -> None:
    """Validated from the text of the name."""

    async def said(name: Any) -> Any:
        return name

    said.__annotations__["name"] = annotation
    given = await call(said, name=text)
    assert given == value
    assert type(given) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "x"),
        (Floor, "roof"),
        (Annotated[int, Field(ge=10)], "9"),
        (Annotated[int, PathParameter(ge=10)], "9"),
    ],
)
async def test_a_part_that_does_not_fit_is_of_no_such_channel(annotation: Any, text: str) -> None:
    """102 names the part; the handler is not called."""

    async def said(name: Any) -> None:
        raise AssertionError("called")

    said.__annotations__["name"] = annotation
    with pytest.raises(UnknownChannel, match="unknown channel: name: Input should be") as caught:
        await call(said, name=text)
    assert caught.value.code.number == 102


def test_a_part_of_a_type_nobody_validates_is_refused() -> None:
    """When it is declared."""

    async def said(name: threading.Thread) -> None: ...

    assert "'name'" in refused(said, **OF_SAID)
    assert "Thread is not a type Pydantic validates" in refused(said, **OF_SAID)


# --- what else the event supplies -----------------------------------------------------------------------------------


async def test_other_values_of_an_event_are_given_by_name() -> None:
    """With their type, a wider one, or none at all."""
    supplied = {"code": int, "reason": str}

    async def left(code: int, reason: str) -> Any:
        return code, reason

    async def wider(reason: str | None, code) -> Any:  # type: ignore[no-untyped-def]  # noqa: ANN001  # the case itself
        return code, reason

    async def narrower(code: bool) -> None: ...

    for function in (left, wider):
        handler = declare(function, supplied=supplied)
        given = await handler(
            ANN, BARE, parts={"name": "lobby"}, supplied={"code": 3000, "reason": "connection closed"}
        )
        assert given == (3000, "connection closed")
    assert "'code'" in refused(narrower, supplied=supplied)
    assert "is given as int" in refused(narrower, supplied=supplied)
