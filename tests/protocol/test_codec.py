"""What holds for both codecs alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.framing import MESSAGES, Encoding
from openline.protocol import client_pb2
from openline.protocol.codec import Codec, DecodeError
from openline.protocol.json import JSON
from openline.protocol.messages import Command
from openline.protocol.protobuf import PROTOBUF
from tests.protocol.plain import commands, plain


def in_json(sent: list[Command]) -> bytes:
    """Write commands as a JSON client does."""
    return "\n".join(json.dumps(plain(command, always=False)) for command in sent).encode()


def in_protobuf(sent: list[Command]) -> bytes:
    """Write commands as a Protobuf client does."""
    frame = b""
    for command in sent:
        message = client_pb2.Command(**_as_bytes(plain(command, always=False))).SerializeToString()
        size, prefix = len(message), b""
        while size > 0x7F:
            prefix += bytes([size % 128 + 128])
            size //= 128
        frame += prefix + bytes([size]) + message
    return frame


def _as_bytes(fields: dict[str, Any]) -> dict[str, Any]:
    """Give the payloads of a message, and of the messages in it, as the generated classes take them."""
    given: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "data":
            given[name] = json.dumps(value).encode()
        elif name == "subs":
            given[name] = {channel: _as_bytes(request) for channel, request in value.items()}
        elif isinstance(value, dict) and name not in ("headers", "tf"):
            given[name] = _as_bytes(value)
        else:
            given[name] = value
    return given


def comparable(command: Command) -> dict[str, Any]:
    """Give a command whose payloads compare as values: the two writers space JSON differently."""
    return plain(command, always=False)


@given(st.lists(commands, min_size=1, max_size=3))
def test_both_codecs_read_the_same_commands(sent: list[Command]) -> None:
    """Whatever clients can say, and however much of it in one frame, means the same in both encodings."""
    expected = [comparable(command) for command in sent]
    assert expected == [comparable(command) for command in JSON.decode(in_json(sent))]
    assert expected == [comparable(command) for command in PROTOBUF.decode(in_protobuf(sent))]


@given(
    field=st.sampled_from(["id", "offset", "flag", "limit", "type"]),
    number=st.sampled_from([0, -1, 2**31, 2**32, 2**63, 2**64, -(2**31), -(2**63)]).flatmap(
        lambda edge: st.integers(edge - 2, edge + 2)
    ),
)
def test_both_codecs_have_the_same_range_of_numbers(field: str, number: int) -> None:
    """A number that the schema cannot hold is refused in JSON, and every other is taken."""
    requests: dict[str, dict[str, Any]] = {
        "id": {"id": number},
        "offset": {"history": {"since": {"offset": number}}},
        "flag": {"subscribe": {"flag": number}},
        "limit": {"history": {"limit": number}},
        "type": {"sub_refresh": {"type": number}},
    }
    request = requests[field]
    try:
        client_pb2.Command(**request)
    except ValueError:
        with pytest.raises(DecodeError):
            list(JSON.decode(json.dumps(request).encode()))
    else:
        [command] = JSON.decode(json.dumps(request).encode())
        assert request == comparable(command) or number == 0


@pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=lambda codec: codec.name)
class TestEach:
    """Each codec by itself."""

    def test_an_empty_frame_is_refused(self, codec: Codec) -> None:
        """A frame holds at least one command, be it a pong."""
        with pytest.raises(DecodeError):
            list(codec.decode(b""))

    def test_nothing_is_read_before_it_is_asked_for(self, codec: Codec) -> None:
        """Whoever reads a frame can stop after any command, as after a failed connect."""
        assert codec.decode(b"\x80") is not None

    def test_one_message_is_joined_without_being_copied(self, codec: Codec) -> None:
        """The common case costs nothing."""
        message = bytes(300)
        assert codec.join([message]) is message

    def test_says_how_it_is_sent(self, codec: Codec) -> None:
        """Text frames for JSON, binary ones for Protobuf."""
        assert codec.binary is (codec.name == "protobuf")
        assert f"Encoding({codec.name}, WholeMessages)" == repr(Encoding(codec, MESSAGES))
