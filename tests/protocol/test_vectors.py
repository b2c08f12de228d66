"""Both codecs against the vectors: the same structs from both encodings, and exactly these bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from openline import codes
from openline.protocol import client_pb2
from openline.protocol.codec import Codec, DecodeError
from openline.protocol.json import JSON
from openline.protocol.messages import Command, Reply
from openline.protocol.protobuf import PROTOBUF
from tests.protocol.plain import plain, plain_message
from tests.protocol.vectors import COMMANDS, FRAMES, REFUSED, REPLIES, RefusedVector, Vector

#: Fields of the schema that no struct has: a vector shows that they are skipped.
SKIPPED = {"connect": {"flag", "dict", "profile"}}


def named(vectors: list[Vector]) -> pytest.MarkDecorator:
    """Run a test once for each vector, under its name."""
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector.name)


def reply_of(vector: Vector) -> Reply:
    """Read a reply without the package's codecs."""
    return msgspec.json.decode(vector.text, type=Reply)


def body(frame: bytes) -> bytes:
    """Take the one message out of its frame, by Protobuf's own reader of lengths."""
    length, size = 0, 0
    for size, byte in enumerate(frame):
        length |= (byte & 0x7F) << 7 * size
        if byte < 0x80:
            break
    assert len(frame) == size + 1 + length
    return frame[size + 1 :]


@named(COMMANDS)
def test_a_command_means_the_same_in_both_encodings(vector: Vector) -> None:
    """JSON text and Protobuf bytes of one command give equal structs."""
    [from_json] = JSON.decode(vector.text)
    [from_protobuf] = PROTOBUF.decode(vector.binary)
    assert from_json == from_protobuf


@named(COMMANDS)
def test_a_command_means_what_its_json_says(vector: Vector) -> None:
    """Nothing of a command is lost or made up on the way into its struct."""
    [command] = JSON.decode(vector.text)
    expected = vector.value
    for kind, names in SKIPPED.items():
        for name in names:
            expected.get(kind, {}).pop(name, None)
    assert expected == plain(command, always=False)


@named(FRAMES)
def test_a_frame_gives_its_commands_in_order(vector: Vector) -> None:
    """Several commands in one frame are given out one after the other, the same in both encodings."""
    from_json = list(JSON.decode(vector.text))
    assert vector.commands == len(from_json)
    assert from_json == list(PROTOBUF.decode(vector.binary))


@named(REPLIES)
def test_a_reply_is_encoded_to_exactly_these_bytes(vector: Vector) -> None:
    """Both encodings of a reply are pinned byte for byte: field order, what is written and what is left out."""
    reply = reply_of(vector)
    assert vector.text == JSON.encode(reply)
    assert vector.binary == PROTOBUF.encode(reply)


@named(REPLIES)
def test_a_reply_means_the_same_in_both_encodings(vector: Vector) -> None:
    """The generated classes read from the Protobuf bytes what the JSON text says."""
    message = client_pb2.Reply.FromString(body(vector.binary))
    assert plain(reply_of(vector), always=False) == plain_message(message)


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector.name)
def test_what_is_not_of_the_protocol_is_refused(vector: RefusedVector) -> None:
    """A broken frame raises DecodeError at its first broken piece; the commands before it were given out."""
    if vector.json is not None:
        assert vector.before == given_out_before_refusal(JSON, vector.json.encode())
    if vector.protobuf is not None:
        assert vector.before == given_out_before_refusal(PROTOBUF, bytes.fromhex(vector.protobuf))


def given_out_before_refusal(codec: Codec, frame: bytes) -> int:
    """Count the commands of a frame that has to end in a refusal."""
    given_out: list[Command] = []
    with pytest.raises(DecodeError):
        given_out.extend(codec.decode(frame))
    return len(given_out)


# --- nothing is without a vector ----------------------------------------------------------------------------------


def fields_in_use(structs: Iterator[msgspec.Struct]) -> set[str]:
    """Give every field, as Struct.field, that is not at its zero value in one of the structs or what they hold."""
    found: set[str] = set()
    for struct in structs:
        for name in struct.__struct_fields__:
            value = getattr(struct, name)
            if value:
                found.add(f"{type(struct).__name__}.{name}")
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            found |= fields_in_use(item for item in held if isinstance(item, msgspec.Struct))
    return found


def fields_of(struct: type[msgspec.Struct]) -> set[str]:
    """Give every field, as Struct.field, of a type of struct and of all it can hold."""
    found: set[str] = set()
    waiting: list[Any] = [struct]
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            names = {f"{hint.__name__}.{name}" for name in hint.__struct_fields__}
            if not names <= found or not names:
                found |= names
                waiting += get_type_hints(hint).values()
        else:
            waiting += get_args(hint)
    return found


def test_every_field_of_a_command_is_in_a_vector() -> None:
    """No request, and no field of one, is left to chance."""
    assert fields_of(Command) == fields_in_use(command for vector in COMMANDS for command in JSON.decode(vector.text))


def test_every_field_of_a_reply_is_in_a_vector() -> None:
    """No result, push or error, and no field of one, is left to chance."""
    assert fields_of(Reply) == fields_in_use(reply_of(vector) for vector in REPLIES)


def test_every_result_and_push_has_a_vector_that_is_empty_or_always_written() -> None:
    """What a client dereferences is written even if there is nothing in it."""
    texts = [vector.value for vector in REPLIES]
    for name in ("connect", "subscribe", "unsubscribe", "publish", "rpc", "refresh", "sub_refresh"):
        least = min((text[name] for text in texts if name in text), key=len)
        assert least == {} or (name == "connect" and set(least) == {"client"})
    assert {"presence": {}} in [text.get("presence") for text in texts]
    assert {"num_clients": 0, "num_users": 0} in [text.get("presence_stats") for text in texts]
    assert {"publications": [], "epoch": "", "offset": 0} in [text.get("history") for text in texts]


def test_every_code_has_a_vector() -> None:
    """Each error, disconnect and unsubscribe code is pinned with its words."""
    replies = [reply_of(vector) for vector in REPLIES]
    pushed = [reply.push for reply in replies if reply.push is not None]
    errors = {(reply.error.code, reply.error.message, reply.error.temporary) for reply in replies if reply.error}
    ends = {(push.disconnect.code, push.disconnect.reason) for push in pushed if push.disconnect}
    losses = {(push.unsubscribe.code, push.unsubscribe.reason) for push in pushed if push.unsubscribe}
    assert set(map(tuple, codes.ERRORS)) <= errors
    assert set(map(tuple, codes.DISCONNECTS)) <= ends
    assert set(map(tuple, codes.UNSUBSCRIBES)) == losses
