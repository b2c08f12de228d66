"""The kit's Protobuf: the same commands and replies as in JSON, byte for byte."""

from __future__ import annotations

import json

import pytest

from openline.testing.binary import decode_replies, encode_commands
from tests.protocol.vectors import COMMANDS, REPLIES, Vector


@pytest.mark.parametrize(
    "vector", [vector for vector in REPLIES if vector.commands == 1], ids=lambda vector: vector.name
)
def test_a_reply_says_in_protobuf_what_it_says_in_json(vector: Vector) -> None:
    """Save for zeros, which Protobuf does not write."""
    [reply] = decode_replies(vector.binary)

    assert without_zeros(reply) == without_zeros(json.loads(vector.json))


@pytest.mark.parametrize("vector", COMMANDS, ids=lambda vector: vector.name)
def test_a_command_is_written_as_the_vectors_say(vector: Vector) -> None:
    """To the byte: these are what other clients send."""
    assert encode_commands([json.loads(vector.json)]) == vector.binary


def without_zeros(value: object) -> object:
    """Leave out what says nothing."""
    if isinstance(value, list):
        return [without_zeros(item) for item in value]
    if not isinstance(value, dict):
        return value
    said = {key: without_zeros(item) for key, item in value.items()}
    return {key: item for key, item in said.items() if item not in (0, "", False, None, [], {})}


def test_payloads_that_are_no_json_stay_bytes() -> None:
    """Both ways."""
    frame = encode_commands([{"id": 1, "publish": {"channel": "raw", "data": b"\x00\xff"}}, {"send": {"data": "x"}}])

    assert b"\x00\xff" in frame
    assert b'"x"' in frame


def test_a_message_longer_than_127_bytes_has_a_longer_length() -> None:
    """A varint: seven bits a byte, the lowest first."""
    frame = encode_commands([{"id": 1, "publish": {"channel": "a", "data": "x" * 300}}])

    assert frame[0] & 0x7F | frame[1] << 7 == len(frame) - 2
