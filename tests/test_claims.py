"""Claims: each has its type or the token is invalid, and payloads come out as they were put in."""

from __future__ import annotations

import base64
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import codes
from openline.claims import Claims, InvalidToken
from openline.errors import Disconnect
from openline.options import Override

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)


def claims(payload: str) -> Claims:
    """Read a payload as of a connection token."""
    return Claims(payload, "connection")


@pytest.mark.parametrize(
    "payload", ["", "[]", "null", "1", '"x"', "{", "{'a':1}", "{}x", '{"a":NaN}', "{1:2}", "[" * 50_000]
)
def test_a_payload_is_an_object(payload: str) -> None:
    """Anything but one JSON object is no token's payload."""
    with pytest.raises(InvalidToken, match="payload is no JSON object"):
        claims(payload)


def test_absent_claims() -> None:
    """What is not there is empty, None or no payload."""
    empty = claims("{}")
    assert "a" not in empty
    assert empty.text("a") == ""
    assert empty.texts("a") == []
    assert empty.text_or_texts("a") == []
    assert empty.number("a") is None
    assert empty.embedded("a") == b""
    assert empty.inner("a") == {}
    assert empty.override() == Override()


def test_present_claims() -> None:
    """What is there is given as it is."""
    full = claims('{"a":"x","b":["x","y"],"c":1.5,"d":7,"e":{"f":{"a":"z"}}}')
    assert "a" in full
    assert full.text("a") == "x"
    assert full.texts("b") == ["x", "y"]
    assert full.text_or_texts("a") == ["x"]
    assert full.text_or_texts("b") == ["x", "y"]
    assert (full.number("c"), full.number("d")) == (1.5, 7.0)
    assert full.inner("e")["f"].text("a") == "z"


@pytest.mark.parametrize("value", ["1", "1.5", "true", "null", "[]", "{}", '["x"]'])
def test_text_is_a_string(value: str) -> None:
    """Nothing is turned into a string, null least of all: a user of None is a mistake and nobody's id."""
    with pytest.raises(InvalidToken, match="sub is not a string"):
        claims(f'{{"sub":{value}}}').text("sub")


@pytest.mark.parametrize("value", ['"x"', "1", "null", "{}", "[1]", '["x",null]', '[["x"]]'])
def test_texts_is_a_list_of_strings(value: str) -> None:
    """One wrong entry makes the claim wrong."""
    with pytest.raises(InvalidToken, match="channels is not a list of strings"):
        claims(f'{{"channels":{value}}}').texts("channels")


@pytest.mark.parametrize(
    "value", ['"1"', "true", "false", "null", "[]", "{}", "1e999", "-1e999", "1" * 400, "-" + "9" * 5000]
)
def test_number_is_a_finite_number(value: str) -> None:
    """Neither strings nor flags are numbers, nor is what no clock will ever show."""
    with pytest.raises(InvalidToken, match="exp is not a number"):
        claims(f'{{"exp":{value}}}').number("exp")


@given(number=st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False))
def test_numbers(number: float) -> None:
    """Every number a float can hold is read as that float, small and large and negative."""
    read = claims(json.dumps({"exp": number})).number("exp")
    assert read is not None
    assert math.isfinite(read)
    assert read == float(number)


@given(value=JSON)
def test_embedded_json(value: object) -> None:
    """A payload is the JSON that was embedded, on one line; null is none."""
    for indent in (None, 2):
        payload = claims(json.dumps({"info": value}, indent=indent)).embedded("info")
        if value is None:
            assert payload == b""
        else:
            assert json.loads(payload) == value
            assert b"\n" not in payload


def test_embedded_json_is_not_rewritten() -> None:
    """Numbers keep their digits, beyond what a float could hold."""
    assert claims('{"info": [1.00, 1e3, 123456789012345678901234567890]}').embedded("info") == (
        b"[1.00,1e3,123456789012345678901234567890]"
    )


@pytest.mark.parametrize("payload", [b"1", b'{"a":[1,2]}', '"Änna"'.encode()])
def test_embedded_base64(payload: bytes) -> None:
    """In base64 a payload goes before its namesake."""
    encoded = base64.b64encode(payload).decode()
    assert claims(json.dumps({"b64info": encoded, "info": {"not": "this"}})).embedded("info") == payload


@pytest.mark.parametrize("payload", [b"\x00", b"{", b'"\xff"', b"NaN"])
def test_embedded_base64_is_json(payload: bytes) -> None:
    """What no JSON client could be shown is refused where it comes in, before it can reach anybody."""
    with pytest.raises(InvalidToken, match="b64info is not"):
        claims(json.dumps({"b64info": base64.b64encode(payload).decode()})).embedded("info")


@pytest.mark.parametrize("value", ['"*"', '"QQ"', '"QQ="', '"QQ==="', '"Q Q=="', '"QQ==\\n"', '"\\u2603"', "1", "null"])
def test_base64_is_strict(value: str) -> None:
    """What is not base64 is an error, not somebody's garbled info."""
    with pytest.raises(InvalidToken, match="b64info is not"):
        claims(f'{{"b64info":{value}}}').embedded("info")


def test_empty_base64_is_none() -> None:
    """An empty one leaves the JSON to speak."""
    assert claims('{"b64info":"","info":1}').embedded("info") == b"1"


@pytest.mark.parametrize("value", ["[]", "null", '"a"', '{"a":1}', '{"a":null}', '{"a":[]}'])
def test_inner_claims_are_objects(value: str) -> None:
    """Every entry of an object of objects is one."""
    with pytest.raises(InvalidToken, match="subs is not an object of objects"):
        claims(f'{{"subs":{value}}}').inner("subs")


def test_inner_claims_say_where_they_are() -> None:
    """An error in one of them names the claim around it too, but none of its keys: those are the token's own."""
    with pytest.raises(InvalidToken) as caught:
        claims('{"subs":{"room:secret":{"override":1}}}').inner("subs")["room:secret"].override()
    assert caught.value.problem == "subs: override is not an object of flags"


def test_override() -> None:
    """Each flag is written as an object with its value; unknown flags are nobody's business."""
    said = claims('{"override":{"presence":{"value":true},"force_recovery":{"value":false},"new":{"value":1}}}')
    assert said.override() == Override(presence=True, force_recovery=False)
    every = {name: {"value": True} for name in Override.__struct_fields__}
    assert claims(json.dumps({"override": every})).override() == Override(
        presence=True, join_leave=True, force_push_join_leave=True, force_positioning=True, force_recovery=True
    )


@pytest.mark.parametrize(
    "value", ["[]", "null", "true", '{"presence":true}', '{"presence":{}}', '{"presence":{"value":1}}']
)
def test_override_is_an_object_of_flags(value: str) -> None:
    """A flag that is written otherwise is not taken for unset."""
    with pytest.raises(InvalidToken, match="override is not an object of flags"):
        claims(f'{{"override":{value}}}').override()


def test_errors_say_nothing_of_the_token() -> None:
    """The client and the log are told which claim is wrong, of which kind of token, and not what it says."""
    with pytest.raises(InvalidToken) as caught:
        Claims('{"sub":["my-secret"]}', "subscription").text("sub")
    assert str(caught.value) == "invalid subscription token: sub is not a string"
    assert caught.value.kind == "subscription"
    assert caught.value.problem == "sub is not a string"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_invalid_token_ends_the_connection() -> None:
    """Raised through a handler, the error disconnects with 3500, and the reason on the wire is the code's own."""
    error = InvalidToken("broken", kind="connection")
    assert isinstance(error, Disconnect)
    assert error.code == codes.CLOSED_INVALID_TOKEN


@given(payload=JSON)
def test_never_raises_anything_else(payload: object) -> None:
    """Whatever a claim is, reading it in any way gives a value or the one error."""
    said = claims(json.dumps({"x": payload, "b64x": payload, "override": payload}))
    for read in (
        lambda: said.text("x"),
        lambda: said.texts("x"),
        lambda: said.text_or_texts("x"),
        lambda: said.number("x"),
        lambda: said.embedded("x"),
        lambda: said.inner("x"),
        said.override,
    ):
        try:
            read()
        except InvalidToken as error:
            problem = error.problem
        else:
            continue
        assert " is not " in problem
