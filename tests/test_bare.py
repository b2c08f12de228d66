"""Messages without a protocol: what of the engine's words has any, and how they are framed."""

from __future__ import annotations

import pytest

from openline.bare import BARE, bare, unframed
from openline.codes import UNSUBSCRIBED_BY_SERVER
from openline.protocol.codec import DecodeError
from openline.protocol.messages import Reply
from openline.protocol.pushes import channel_push, message_push, unsubscribe_push
from openline.publication import Arrival, ClientInfo, Publication


def wrapped(data: bytes, *, raw: bool = False) -> list[str | bytes]:
    """Give the messages a publication goes out as."""
    encoding = BARE.raw if raw else BARE
    return list(unframed(encoding.wrap([encoding.codec.encode(channel_push("a", Publication(data)))])))


@pytest.mark.parametrize(
    ("data", "text"),
    [(b'"hello"', "hello"), (b'""', ""), (rb'"\"\u00e9\ud83d\ude00"', '"é😀'), (b'{"a":1}', '{"a":1}'), (b"1", "1")],
)
def test_json_goes_out_as_its_text(data: bytes, text: str) -> None:
    """A text as itself, without quotes and escapes; all else as it is written."""
    assert wrapped(data) == [text]


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b'"quoted"', b"x" * 70_000])
def test_raw_payloads_are_binary_messages(data: bytes) -> None:
    """Whatever is in them."""
    assert wrapped(data, raw=True) == [data]


def test_what_came_from_outside_and_is_no_text() -> None:
    """It goes out as it came: one odd message ends nobody's line."""
    assert BARE.codec.encode(channel_push("a", Publication(b'"half'))) == b'\x81"half'


def test_each_message_has_a_frame_of_its_own() -> None:
    """However many go out at once: the client looks no further than one message."""
    codec = BARE.codec
    messages = [codec.encode(channel_push("a", Publication(data))) for data in (b"1", b'"two"', b"3" * 200)]
    assert list(unframed(BARE.wrap(messages))) == ["1", "two", "3" * 200]
    assert bare("x") + bare(b"y") == b"\x81\x01x\x82\x01y"


def test_what_has_no_words() -> None:
    """Replies, joins and leaves, ends of subscriptions: nothing, not even an empty message."""
    arrival = Arrival(ClientInfo("ada", "1"), joined=True)
    for reply in (Reply(id=1), Reply(), channel_push("a", arrival), unsubscribe_push("a", UNSUBSCRIBED_BY_SERVER)):
        assert BARE.wrap([BARE.codec.encode(reply)]) == b""


def test_messages_outside_every_channel() -> None:
    """As publications are."""
    assert list(unframed(BARE.wrap([BARE.codec.encode(message_push(b'"hi"'))]))) == ["hi"]


def test_there_are_no_commands() -> None:
    """What a client sends is for the route."""
    with pytest.raises(DecodeError):
        BARE.codec.decode(b"{}")
    assert BARE.codec.carries(b"\xff")
    assert BARE.codec.quote(b"x") == b"x"
