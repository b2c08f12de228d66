"""From the bytes of a request to parameters, and to the payloads in them."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from openline import Limits
from openline.api.messages import ChannelRequest, HistoryRequest, PublishRequest, SubscribeRequest
from openline.api.reading import NotJSON, Reader
from openline.errors import BadRequest, PayloadTooBig

READER = Reader(Limits(json_depth=4))

#: Any JSON value, as Python has it.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_parameters_are_read_by_their_types() -> None:
    """What is left out has its default, and what nobody knows is passed over."""
    request = READER.parameters(b'{"channel":"a","data":{"x": 1.0},"later":[]}', PublishRequest)
    assert (request.channel, bytes(request.data)) == ("a", b'{"x": 1.0}')  # type: ignore[arg-type]
    assert (request.tags, request.skip_history, request.version) == ({}, False, 0)


def test_null_is_absent_save_where_it_is_a_payload() -> None:
    """Within a payload it stays anyway."""
    request = READER.parameters(b'{"channel":"a","tags":null,"b64data":null,"data":null}', PublishRequest)
    assert (bytes(request.data), request.tags, request.b64data) == (b"null", {}, "")  # type: ignore[arg-type]
    assert READER.parameters(b'{"channel":"a","override":null}', SubscribeRequest).override is None


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "missing required field `channel`"),
        (b'{"channel":null}', "missing required field `channel`"),
        (b'{"channel":1}', "channel: Expected `str`, got `int`"),
        (b'{"channel":"a","limit":"1"}', "limit: Expected `int`, got `str`"),
        (b'{"channel":"a","limit":99999999999}', "limit"),
        (b'{"channel":"a","since":{"offset":-1}}', "since.offset"),
        (b'{"channel":"a","since":[]}', "since: Expected `object | null`, got `array`"),
        (b"[]", "Expected `object`, got `array`"),
        (b"3", "Expected `object`, got `int`"),
    ],
)
def test_what_does_not_fit_is_named(body: bytes, words: str) -> None:
    """By the path to it."""
    with pytest.raises(BadRequest, match=re.escape(words)):
        READER.parameters(body, HistoryRequest)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[1", b'{"channel":"\xff"}', b'{"a":1}x', b"\x00", b'{"channel":"a"', b"nul"],
)
def test_what_is_no_json_is_told_apart(body: bytes) -> None:
    """Also where what could be read of it would not fit."""
    with pytest.raises(NotJSON):
        READER.parameters(body, ChannelRequest)


def test_what_nests_too_deep_is_not_gone_into() -> None:
    """Around a payload there is room for what the API itself needs."""
    body = b'{"channel":"a","data":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(BadRequest, match=r"nests \d+ deep, and 4 is the limit"):
        READER.parameters(body, PublishRequest)
    with pytest.raises(BadRequest, match="data nests 5 deep, and 4"):
        READER.payload(Raw(b"[[[[[]]]]]"), "", "data")
    assert READER.payload(Raw(b"[[[[]]]]"), "", "data") == b"[[[[]]]]"


@pytest.mark.parametrize("base64", ["x", "A", "AA=", "AA== ", "\n", "é"])
def test_base64_is_taken_strictly(base64: str) -> None:
    """What is written wrong is told rather than guessed."""
    with pytest.raises(BadRequest, match="b64data is not base64"):
        READER.payload(UNSET, base64, "data")


def test_a_payload_has_to_be_there_and_what_goes_with_something_need_not() -> None:
    """For the latter null is nothing."""
    with pytest.raises(BadRequest, match="data is missing"):
        READER.payload(UNSET, "", "data")
    assert READER.embedded(UNSET, "", "info") == READER.embedded(Raw(b" null "), "", "info") == b""
    assert READER.embedded(Raw(b"1"), "eyJhIjoKMX0=", "info") == b'{"a":1}'
    for written in ("AA==", "gA=="):
        with pytest.raises(BadRequest, match="b64info is not JSON"):
            READER.embedded(UNSET, written, "info")


@given(VALUES)
def test_any_payload_travels_as_it_was_written(value: Any) -> None:
    """Whatever is around it."""
    written = json.dumps(value).encode()
    body = b'{"channel":"a","data":' + written + b',"tags":null}'
    request = Reader(Limits(json_depth=64)).parameters(body, PublishRequest)
    assert json.loads(bytes(request.data)) == value  # type: ignore[arg-type]


@given(st.binary(max_size=40))
def test_any_bytes_are_parameters_or_are_refused(body: bytes) -> None:
    """Nothing else comes of them."""
    with contextlib.suppress(BadRequest, NotJSON):
        READER.parameters(body, PublishRequest)


def test_what_is_too_large_is_not_looked_into() -> None:
    """Neither one command nor one payload: however bad it is within, the answer is its size."""
    reader = Reader(Limits(message_bytes=100))
    with pytest.raises(BadRequest, match="is the limit of one command"):
        reader.parameters(b'{"channel":"a","data":[' + b"[]," * 1_000_000 + b"]", PublishRequest)
    for bad in (b"[" * 101, b"[" + b"[]," * 50, b'"' + b"\\ud800" * 20 + b'"'):
        with pytest.raises(PayloadTooBig):
            reader.payload(Raw(bad), "", "data")
        with pytest.raises(PayloadTooBig):
            reader.embedded(UNSET, base64.b64encode(bad).decode(), "info")


async def test_no_more_commands_are_made_than_are_carried_out() -> None:
    """Nor anything of what nobody knows; a batch has the same parameters, null or not."""
    reader = Reader(Limits(), ["publish"])
    with pytest.raises(BadRequest, match="more than 10000 commands"):
        await reader.commands(b'{"commands":[' + b"{}," * 20_000 + b"{}]}")
    body = b'{"commands":[' + b'{"x":[1]},' * 9_999 + b'{"publish":{"channel":"\\ud83d"}}],"parallel":null}'
    commands = (await reader.commands(body)).commands
    assert (len(commands), commands[0].given()) == (10_000, ("", b""))
    assert commands[-1].given() == ("publish", b'{"channel":"\\ufffd"}')
