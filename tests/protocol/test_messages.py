"""The structs of the wire: what is there, what is not, and which request a command holds."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from openline.protocol.messages import (
    NOTHING,
    PING,
    REQUESTS,
    Command,
    HistoryResult,
    Info,
    PingRequest,
    PresenceResult,
    PresenceStatsResult,
    Pub,
    PublishRequest,
    Reply,
    SendRequest,
    StreamPosition,
    SubscribeRequest,
    raw,
)


def test_a_payload_is_embedded_as_it_is() -> None:
    """`raw` neither copies nor reads what it is given."""
    assert bytes(raw(b'{"x": 1}')) == b'{"x": 1}'


def test_an_empty_payload_is_not_there() -> None:
    """The absent payload is one object, so that it is left off the wire by identity."""
    assert raw(b"") is NOTHING
    assert Pub().data is NOTHING


def test_the_absent_payload_is_false_and_every_other_true() -> None:
    """Codecs may ask for a payload by its truth."""
    assert not NOTHING
    assert raw(b"0")
    assert raw(b"null")


def test_a_command_holds_the_first_request_of_its_fields() -> None:
    """There is no oneof on the wire: of two requests the first in the order of the schema counts."""
    subscribe, publish = SubscribeRequest(channel="a"), PublishRequest(channel="b")
    assert subscribe is Command(id=1, publish=publish, subscribe=subscribe).request()
    assert publish is Command(id=1, publish=publish, send=SendRequest()).request()


def test_an_empty_request_is_one() -> None:
    """A request whose fields are all zero is still the request."""
    ping = PingRequest()
    assert ping is Command(id=1, ping=ping).request()


def test_a_pong_holds_no_request() -> None:
    """An empty command is the client's pong."""
    assert Command().request() is None


def test_every_field_of_a_command_but_its_id_is_a_request() -> None:
    """`REQUESTS` is made from the struct, so that a new request cannot be forgotten."""
    assert (*REQUESTS,) == Command.__struct_fields__[1:]
    assert Command.__struct_fields__[0] == "id"


def test_a_ping_is_an_empty_reply() -> None:
    """A ping has neither id nor anything else."""
    assert Reply() == PING


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Info(user="", client=""), b'{"user":"","client":""}'),
        (PresenceResult(presence={}), b'{"presence":{}}'),
        (PresenceStatsResult(num_clients=0, num_users=0), b'{"num_clients":0,"num_users":0}'),
        (HistoryResult(publications=[], epoch="", offset=0), b'{"publications":[],"epoch":"","offset":0}'),
        (Pub(), b"{}"),
        (StreamPosition(), b"{}"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else "",
)
def test_zero_values_stay_off_the_wire_except_where_clients_need_them(message: msgspec.Struct, text: bytes) -> None:
    """The fields that are always written are those without a default."""
    assert text == msgspec.json.encode(message)


@pytest.mark.parametrize("struct", [StreamPosition, SubscribeRequest])
def test_an_offset_is_a_number_of_64_bits(struct: type[StreamPosition] | type[SubscribeRequest]) -> None:
    """The highest offset is taken, the one above it is not."""
    assert struct(offset=2**64 - 1).offset == 2**64 - 1
    with pytest.raises(ValueError, match="offset"):
        struct(offset=2**64)


def test_equal_payloads_make_equal_messages() -> None:
    """Structs compare by value, embedded payloads included."""
    assert Pub(data=Raw(b"1")) == Pub(data=raw(bytes([0x31])))
    assert Pub(data=Raw(b"1")) != Pub(data=Raw(b"2"))
