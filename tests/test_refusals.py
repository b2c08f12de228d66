"""What a client is told of an exception."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from fastapi import HTTPException, WebSocketException
from fastapi.exceptions import RequestValidationError, ResponseValidationError, WebSocketRequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from openline.errors import (
    BrokerUnavailable,
    DeclarationError,
    Disconnect,
    HubNotStarted,
    PayloadTooBig,
    PermissionDenied,
    Refusal,
    UnknownChannel,
    UsageError,
)
from openline.refusals import BY_STATUS, refusal


def told(error: BaseException) -> tuple[int, str]:
    """Give the number and the words a client is told."""
    answer = refusal(error)
    assert answer is not None
    return answer.code[0], answer.code[1]


@pytest.mark.parametrize("error", [PermissionDenied("not yours"), UnknownChannel(), Disconnect(4000, "bye")])
def test_openlines_own_refusals_pass_as_they_are(error: Refusal | Disconnect) -> None:
    """They are what the app wanted to say."""
    assert refusal(error) is error


@pytest.mark.parametrize(
    ("status", "number"),
    [
        (400, 107),
        (401, 101),
        (402, 103),
        (403, 103),
        (404, 102),
        (405, 108),
        (408, 100),
        (409, 107),
        (410, 108),
        (413, 106),
        (418, 107),
        (422, 107),
        (423, 103),
        (425, 111),
        (429, 111),
        (451, 103),
        (500, 100),
        (501, 108),
        (502, 100),
        (503, 100),
        (507, 106),
    ],
)
def test_an_http_error_is_the_nearest_refusal(status: int, number: int) -> None:
    """Its detail is the message, of FastAPI's exception and of Starlette's."""
    assert told(HTTPException(status, "because")) == (number, "because")
    assert told(StarletteHTTPException(status, "because")) == (number, "because")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_work_later_is_temporary(status: int) -> None:
    """The client tries again by itself."""
    answer = refusal(HTTPException(status))
    assert isinstance(answer, Refusal)
    assert answer.code.temporary


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        (None, "Forbidden"),
        ("", "permission denied"),
        ({"reason": "muted", "for": [1, 2]}, '{"reason":"muted","for":[1,2]}'),
        ([1], "[1]"),
        (7, "7"),
        ({"odd": object}, '{"odd":"<class \'object\'>"}'),
    ],
)
def test_a_detail_becomes_words(detail: object, words: str) -> None:
    """JSON where it is no text, the status's or the code's own words where there is none."""
    assert told(HTTPException(403, detail)) == (103, words)


def test_a_redirect_is_a_fault_of_the_app() -> None:
    """No client of the protocol could follow it."""
    assert refusal(HTTPException(307, headers={"Location": "/login"})) is None


@pytest.mark.parametrize("number", [3000, 3500, 4000, 4999])
def test_a_close_in_the_protocols_range_ends_the_connection(number: int) -> None:
    """With the reason it was given."""
    answer = refusal(WebSocketException(number, "enough for today"))

    assert isinstance(answer, Disconnect)
    assert answer.code == (number, "enough for today")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (None, "disconnected by the app"),
        ("", "disconnected by the app"),
        ("404 no such room", "closed: 404 no such room"),
        ('{"reconnect": true}', 'closed: {"reconnect": true}'),
        ("null", "closed: null"),
        ("é" * 100, "closed: " + "é" * 57),
    ],
)
def test_a_close_reason_that_would_mislead_a_client_is_mended(reason: str | None, words: str) -> None:
    """Neither empty nor JSON nor too long for a close frame, and never half a character."""
    assert told(WebSocketException(4001, reason)) == (4001, words)


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (1000, 107),
        (1003, 107),
        (1007, 107),
        (1008, 103),
        (1009, 106),
        (1011, 100),
        (1012, 100),
        (1013, 111),
        (5000, 107),
    ],
)
def test_a_close_of_the_websocket_protocol_is_a_refusal(code: int, number: int) -> None:
    """A server cannot send it to a client of this protocol, so the command is refused and the connection stays."""
    assert told(WebSocketException(code, "because")) == (number, "because")
    assert told(WebSocketException(code))[1]


@pytest.mark.parametrize("kind", [RequestValidationError, WebSocketRequestValidationError])
def test_a_validation_error_of_fastapi_names_the_field(kind: type[RequestValidationError]) -> None:
    """As one of the message would."""
    error = kind([{"type": "missing", "loc": ("header", "x-token"), "msg": "Field required", "input": None}])
    assert told(error) == (107, "header.x-token: Field required")


def test_a_payload_too_big_is_a_bad_request() -> None:
    """With both sizes."""
    assert told(PayloadTooBig(10, 5)) == (107, "payload of 10 bytes exceeds the limit of 5 bytes")


def test_a_group_of_one_is_the_one() -> None:
    """A task group around a handler does not hide what it raised; a group of several is nobody's refusal."""
    assert told(ExceptionGroup("tasks", [ExceptionGroup("inner", [HTTPException(403, "no")])])) == (103, "no")
    assert refusal(ExceptionGroup("tasks", [PermissionDenied(), ValueError()])) is None


def an_error_of_a_model() -> ValidationError:
    """Give what a handler raises that builds a model wrongly."""

    class Model(BaseModel):
        field: int

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({})
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret"),
        KeyError("secret"),
        TimeoutError(),
        UsageError("secret"),
        DeclarationError("secret"),
        HubNotStarted("secret"),
        BrokerUnavailable("secret"),
        ResponseValidationError([]),
        an_error_of_a_model(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_anything_else_is_a_fault_of_the_app(error: BaseException) -> None:
    """Nothing of it goes on the wire: the caller answers 100 and logs it."""
    assert refusal(error) is None


def test_the_table_speaks_of_errors_only() -> None:
    """No status below 400 is a refusal."""
    assert all(status >= 400 for status in BY_STATUS)


whole_characters = st.characters(exclude_categories=["Cs"])


@given(
    st.sampled_from([status.value for status in HTTPStatus if status >= 400]),
    st.none() | st.text(whole_characters) | st.integers(),
)
def test_a_message_is_never_empty(status: int, detail: object) -> None:
    """Clients index into it."""
    assert told(HTTPException(status, detail))[1]


@given(st.integers(3000, 4999), st.none() | st.text(whole_characters))
def test_any_close_reason_can_be_sent(number: int, reason: str | None) -> None:
    """Whatever an app writes, what is sent is a close frame a client understands."""
    words = told(WebSocketException(number, reason))[1]
    assert words
    assert len(words.encode()) <= 123
