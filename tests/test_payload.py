"""Messages of one declared type: what comes from a client, what an app sends."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from typing_extensions import TypedDict

from openline.errors import BadRequest, DeclarationError, UsageError
from openline.payload import Payload, reasons, type_name
from openline.protocol.json import is_json


class Said(BaseModel):
    """A message of the tests."""

    author: str
    text: str


class Moved(BaseModel):
    """A message with what JSON makes hard."""

    at: float
    when: datetime = Field(default=datetime(2026, 1, 1, tzinfo=UTC), alias="whenMoved")

    model_config = ConfigDict(populate_by_name=True)


class Typing(TypedDict):
    """A message that is a dict with known keys."""

    typing: bool


@dataclasses.dataclass
class Point:
    """A message that is a dataclass."""

    x: int
    y: int


def refused(payload: Payload, data: bytes) -> str:
    """Give the words a client is refused with."""
    with pytest.raises(BadRequest) as caught:
        payload.validate(data)
    with pytest.raises(BadRequest) as admitting:
        payload.admit(data)
    assert admitting.value.code == caught.value.code
    assert caught.value.code.number == 107
    return caught.value.code.message


# --- a declared type ------------------------------------------------------------------------------------------------


def test_a_message_becomes_an_instance_of_its_type() -> None:
    """A model, with what its fields are made of."""
    assert Payload(Said).validate(b'{"author": "ann", "text": "hi"}') == Said(author="ann", text="hi")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"author": "ann"}', "text: Field required"),
        (b"{}", "author: Field required; text: Field required"),
        (b'{"author": "ann", "text": 7}', "text: Input should be a valid string"),
        (b"[]", "Input should be an object"),
        (b"{", "message is not JSON"),
        (b"", "message is not JSON"),
        (b"\xff\xfe", "message is not JSON"),
        (b'{"author": "\\ud800", "text": "half a character"}', "message is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "message is not JSON"),
    ],
)
def test_a_message_that_does_not_fit_is_refused_by_its_field(data: bytes, words: str) -> None:
    """107 names the field and the reason, and says nothing of what was sent."""
    assert refused(Payload(Said), data) == words


def test_a_field_deep_inside_is_named_by_its_path() -> None:
    """Lists and models within are part of the name."""
    assert refused(Payload(list[Said]), b'[{"author": "a", "text": "b"}, {"author": "c"}]') == "1.text: Field required"


def test_many_faults_are_told_in_a_line_of_bounded_length() -> None:
    """Three are told, the others counted; names of the client's making are cut."""
    assert refused(Payload(list[int]), b'["a", "b", "c", "d", "e"]').endswith("; and 2 more")

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

    words = refused(Payload(Strict), b'{"%s": 1}' % (b"k" * 5000))
    assert len(words) == 400


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_no_json_client_could_be_sent_are_refused(number: bytes) -> None:
    """Pydantic would take them, and they would come out as null."""
    assert refused(Payload(Moved), b'{"at": %s}' % number) == "message is not JSON"
    assert refused(Payload(), number) == "message is not JSON"


def test_a_validator_of_the_app_speaks_to_the_client() -> None:
    """What it raises as ValueError is the reason; the input is not repeated."""

    class Clean(BaseModel):
        text: str

        @field_validator("text")
        @classmethod
        def no_shouting(cls, text: str) -> str:
            """Refuse capitals."""
            if text.isupper():
                raise ValueError("do not shout")
            return text

    assert refused(Payload(Clean), b'{"text": "SECRET"}') == "text: Value error, do not shout"


def test_what_travels_on_is_what_the_type_says() -> None:
    """Fields the type does not have stay behind, defaults are filled in, and it is one line."""
    sent = b'{"author": "ann",\n "text": "a\\nb", "admin": true}'
    assert Payload(Said).admit(sent) == b'{"author":"ann","text":"a\\nb"}'

    assert Payload(Moved).admit(b'{"at": 1}') == b'{"at":1.0,"whenMoved":"2026-01-01T00:00:00Z"}'


def test_a_message_goes_out_under_the_names_it_comes_in() -> None:
    """Aliases are for both ways."""
    payload = Payload(Moved)
    message = Moved(at=2, when=datetime(2026, 5, 4, tzinfo=UTC))

    assert payload.encode(message) == b'{"at":2.0,"whenMoved":"2026-05-04T00:00:00Z"}'
    assert payload.validate(payload.encode(message)) == message


@pytest.mark.parametrize(
    ("type_", "value", "data"),
    [
        (Said, Said(author="ann", text="hi"), b'{"author":"ann","text":"hi"}'),
        (Said, {"author": "ann", "text": "hi"}, b'{"author":"ann","text":"hi"}'),
        (Typing, {"typing": True}, b'{"typing":true}'),
        (Point, Point(1, 2), b'{"x":1,"y":2}'),
        (str, "hi", b'"hi"'),
        (list[int], [1, 2], b"[1,2]"),
        (Said | Typing, {"typing": False}, b'{"typing":false}'),
        (Literal["up", "down"], "up", b'"up"'),
        (Annotated[int, Field(ge=0)], 3, b"3"),
        (int | None, None, b"null"),
        (type(None), None, b"null"),
    ],
)
def test_what_the_app_sends_is_written_as_its_type(type_: Any, value: Any, data: bytes) -> None:
    """Instances, and what Pydantic makes an instance of."""
    assert Payload(type_).encode(value) == data


@pytest.mark.parametrize(
    ("type_", "value", "words"),
    [
        (Said, Point(1, 2), "Point cannot be sent as a message of type Said"),
        (Said, {"author": "ann"}, "dict cannot be sent as a message of type Said: text: Field required"),
        (Said, None, "NoneType cannot be sent as a message of type Said"),
        (int, "x", "str cannot be sent as a message of type int"),
        (bytes, "x", "str cannot be sent as a message of type bytes"),
        (None, object(), "object cannot be sent as a message of type JSON"),
        (None, b"{", "bytes cannot be sent as a message of type JSON: payload is not JSON"),
        (None, "\ud800", "str cannot be sent as a message of type JSON"),
    ],
)
def test_the_wrong_type_is_the_apps_fault_and_is_named(type_: Any, value: Any, words: str) -> None:
    """A clear error where it was sent, not a message that surprises every client."""
    with pytest.raises(UsageError) as caught:
        Payload(type_).encode(value)
    assert str(caught.value).startswith(words)


def test_a_copy_that_was_never_validated_is_not_sent() -> None:
    """`model_copy(update=…)` takes anything; what does not fit its field is an error."""
    wrong = Said(author="ann", text="hi").model_copy(update={"author": 7})

    with pytest.raises(UsageError, match="Said cannot be sent as a message of type Said"):
        Payload(Said).encode(wrong)


def test_a_subclass_tells_no_more_than_the_declared_type() -> None:
    """What a handler's subclass holds besides is not for the channel."""

    class Stored(Said):
        password: str

    assert Payload(Said).encode(Stored(author="ann", text="hi", password="x")) == b'{"author":"ann","text":"hi"}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_in_json_becomes_null(number: float) -> None:
    """As a browser's JSON.stringify has it; alone, in a model, in anything."""
    assert Payload(Moved).encode(Moved.model_construct(at=number)).startswith(b'{"at":null')
    assert Payload().encode([number]) == b"[null]"


def test_a_model_that_insists_on_nan_is_not_sent() -> None:
    """`ser_json_inf_nan="constants"` writes what is no JSON; a text that merely says NaN is none of that."""

    class Insisting(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="constants")

        at: float
        text: str = "NaN Infinity"

    for payload in (Payload(Insisting), Payload()):
        with pytest.raises(UsageError, match="NaN and Infinity are not JSON"):
            payload.encode(Insisting(at=math.nan))
        assert is_json(payload.encode(Insisting(at=1)))


@pytest.mark.parametrize("type_", [42, "Nowhere", type(iter(()))])
def test_a_type_pydantic_does_not_know_is_refused_when_declared(type_: Any) -> None:
    """The declaration fails, not the first message."""
    with pytest.raises(DeclarationError, match="is not a type Pydantic validates"):
        Payload(type_)


# --- any JSON -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", [None, Any, object])
def test_any_json_travels_as_it_came(type_: Any) -> None:
    """Not decoded and written anew: the bytes are the client's, big numbers and the order of keys included."""
    payload = Payload(type_)
    data = b'{"b": 123456789012345678901234567890.5, "a": [1, 2.50]}'

    assert payload.type is None
    assert payload.admit(data) is data
    assert payload.validate(b'{"a": [1, null]}') == {"a": [1, None]}


def test_any_json_over_several_lines_is_put_on_one() -> None:
    """A raw newline would break the framing; one within a string is escaped and stays."""
    assert Payload().admit(b'{\n"a":\r\n "b\\nc"}') == b'{"a":"b\\nc"}'


@pytest.mark.parametrize("data", [b"", b"{", b"{'a': 1}", b"\xff", b"1 2", b"[" * 100_000])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """As by a typed channel."""
    assert refused(Payload(), data) == "message is not JSON"


class Colour(Enum):
    """Something of the app's."""

    RED = "red"


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'.encode()),
        (Said(author="ann", text="hi"), b'{"author":"ann","text":"hi"}'),
        ([Point(1, 2), Colour.RED], b'[{"x":1,"y":2},"red"]'),
        (datetime(2026, 1, 1, tzinfo=UTC), b'"2026-01-01T00:00:00Z"'),
        (UUID(int=0), b'"00000000-0000-0000-0000-000000000000"'),
        ((1, 2), b"[1,2]"),
        (Moved(at=1), b'{"at":1.0,"whenMoved":"2026-01-01T00:00:00Z"}'),
        (b'{"already": "JSON"}', b'{"already": "JSON"}'),
        (b'{\n"already": "JSON"}', b'{"already":"JSON"}'),
        (None, b"null"),
    ],
)
def test_the_app_may_send_whatever_can_be_json(value: Any, data: bytes) -> None:
    """Models, dataclasses, dates and their like; bytes are JSON already."""
    assert Payload().encode(value) == data


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_what_is_sent_is_always_json_on_one_line(value: Any) -> None:
    """Whatever the strings hold and whatever the floats are."""
    try:
        data = Payload().encode(value)
    except UsageError:
        assert not _is_unicode(value)  # half a surrogate pair is no text
        return
    assert is_json(data)
    assert b"\n" not in data
    assert Payload().admit(data) is data


def _is_unicode(value: Any) -> bool:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return False
    return True


# --- raw ------------------------------------------------------------------------------------------------------------


def test_raw_bytes_are_not_looked_at() -> None:
    """In and out untouched, JSON or not."""
    payload = Payload(bytes)
    data = b"\x00\xff\n{"

    assert payload.raw
    assert payload.validate(data) is data
    assert payload.admit(data) is data
    assert payload.encode(data) == data
    assert payload.encode(bytearray(data)) == data
    assert payload.encode(memoryview(data)) == data


# --- words ----------------------------------------------------------------------------------------------------------


def test_reasons_make_do_with_what_there_is() -> None:
    """An error an app made by hand need not look like Pydantic's."""
    assert reasons([{"loc": ("header", "x-token"), "msg": "Field required"}]) == "header.x-token: Field required"
    assert reasons([{"msg": "too late"}]) == "too late"
    assert reasons([{"loc": ("a",)}, "by hand"]) == "a: not valid; by hand"


@pytest.mark.parametrize(
    ("type_", "name"),
    [(Said, "Said"), (Annotated[Said, "text"], "Said"), (list[int], "list[int]"), (int | None, "int | None")],
)
def test_a_type_is_named_as_a_program_writes_it(type_: Any, name: str) -> None:
    """So that an error can be compared with the source."""
    assert type_name(type_) == name
    assert name in repr(Payload(type_))


def test_a_payload_of_any_json_says_so() -> None:
    """In a traceback."""
    assert repr(Payload()) == "Payload(any JSON)"
