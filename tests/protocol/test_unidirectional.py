"""What is said to clients that only listen, byte for byte, and where their events say they stand."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import codes
from openline.codes import DisconnectCode, ErrorCode
from openline.protocol.codec import DecodeError, NestedTooDeep
from openline.protocol.messages import (
    PING,
    ConnectRequest,
    ConnectResult,
    MessagePush,
    Pub,
    Push,
    Reply,
    SubscribePush,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribePush,
    raw,
)
from openline.protocol.pushes import disconnect_push
from openline.protocol.unidirectional import (
    EVENT,
    LONGEST_ID_BYTES,
    NOWHERE,
    TOO_MANY,
    UNIDIRECTIONAL,
    WHOLE_EVENTS,
    EventIds,
    ending,
    opening,
    read_opening,
    read_positions,
    write_positions,
)
from openline.publication import Position

STANDING = {
    "a": SubscribeResult(positioned=True, recoverable=True, epoch="E", offset=4),
    "b:c": SubscribeResult(positioned=True, epoch="F", offset=2, publications=[Pub(offset=3), Pub(offset=7)]),
    "d": SubscribeResult(),
}


def pub(offset: int, channel: str = "a", epoch: str = "") -> Reply:
    """Give the push of a publication."""
    return Reply(push=Push(channel=channel, pub=Pub(data=raw(b"1"), offset=offset, epoch=epoch)))


def event(reply: Reply) -> bytes:
    """Give the event of a message, as all clients share it."""
    return WHOLE_EVENTS.wrap((EVENT.encode(reply),), EVENT)


# --- messages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "written"),
    [
        (PING, b"{}"),
        (pub(5), b'{"channel":"a","pub":{"data":1,"offset":5}}'),
        (Reply(push=Push(message=MessagePush(data=raw(b"2")))), b'{"message":{"data":2}}'),
        (disconnect_push(codes.CLOSED_FORCED), b'{"disconnect":{"code":3503,"reason":"force disconnect"}}'),
        (
            Reply(id=1, connect=ConnectResult(client="c", ping=25, subs={"d": SubscribeResult()})),
            b'{"connect":{"client":"c","subs":{"d":{}},"ping":25}}',
        ),
    ],
)
def test_pushes_stand_without_a_reply_around_them(reply: Reply, written: bytes) -> None:
    """The answer to connect is one of them, and a ping an empty one."""
    assert UNIDIRECTIONAL.encode(reply) == written


def test_a_request_stands_without_a_command_around_it() -> None:
    """On one line or several; its payload is kept, on one."""
    (command,) = UNIDIRECTIONAL.decode(b'{\r\n "token": "t",\n "data": [1,\n 2],\n "subs": {"a": {"offset": 3}}}\n')
    assert command.connect is not None
    assert (command.id, command.connect.token, bytes(command.connect.data)) == (1, "t", b"[1,2]")
    assert command.connect.subs == {"a": SubscribeRequest(offset=3)}


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"{", b'{"subs": []}', b"\xff", b'{"subs": {"a": {"offset": -1}}}', b'{}{"a": 1}']
)
def test_what_is_no_request_is_refused(frame: bytes) -> None:
    """With one kind of error."""
    with pytest.raises(DecodeError):
        read_opening(frame)


@pytest.mark.parametrize("opened", [b"[", b'{"data":', b'{"data":['])
def test_what_nests_too_deep_is_not_read(opened: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(NestedTooDeep):
        read_opening(opened * 50_000)


@given(st.binary(max_size=200))
def test_no_bytes_do_anything_else(frame: bytes) -> None:
    """A request or a refusal."""
    with contextlib.suppress(DecodeError):
        read_opening(frame)


def test_a_wish_says_where_the_client_stands_by_what_it_was_given_last() -> None:
    """That goes before what stood in its request; who is lost stands nowhere."""
    given = opening(ConnectRequest(subs={"a": SubscribeRequest(token="t", recover=True, offset=1)}))
    assert given.wish("a") == SubscribeRequest(channel="a", token="t", recover=True, offset=1)
    given.since, given.positioned = {"a": Position("E", 9)}, True
    assert (given.wish("a").offset, given.wish("a").epoch, given.wish("a").token) == (9, "E", "t")
    assert given.wish("other") == SubscribeRequest(channel="other", recoverable=True)
    given.lost = True
    assert (given.wish("other").recover, given.wish("other").epoch) == (True, NOWHERE.epoch)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "end"),
    [
        (codes.PERMISSION_DENIED, codes.CLOSED_PERMISSION_DENIED),
        (codes.TOKEN_EXPIRED, codes.CLOSED_CONNECTION_EXPIRED),
        (codes.EXPIRED, codes.CLOSED_CONNECTION_EXPIRED),
        (codes.TOO_MANY_REQUESTS, codes.CLOSED_TOO_MANY_REQUESTS),
        (codes.INTERNAL_ERROR, codes.CLOSED_INTERNAL_ERROR),
        (codes.UNKNOWN_CHANNEL, DisconnectCode(3004, "unknown channel")),
        (ErrorCode(103, "members only"), DisconnectCode(3507, "members only")),
        (ErrorCode(400, "x" * 500), DisconnectCode(3004, "x" * codes.MAX_REASON_BYTES)),
        (ErrorCode(400, '{"a": 1}'), codes.CLOSED_INTERNAL_ERROR),
        (ErrorCode(103, "404"), codes.CLOSED_PERMISSION_DENIED),
        (ErrorCode(103, "ä" * 200), DisconnectCode(3507, "ä" * 61)),
    ],
)
def test_an_error_becomes_an_end(refusal: ErrorCode, end: DisconnectCode) -> None:
    """By the table, with the app's own words where a client can be sent them as a reason."""
    assert ending(refusal) == end


# --- ids ----------------------------------------------------------------------------------------------------------


def test_the_first_event_says_where_the_client_stands_and_how_long_to_wait() -> None:
    """After what came with it, in each channel that has positions."""
    ids = EventIds(2_500)
    first = ids(event(Reply(connect=ConnectResult(subs=STANDING))))
    assert first.startswith(b"retry: 2500\nid: 4:E:a 7:F:b:c\ndata: {")
    assert first.endswith(b"}\n\n")
    assert b"retry" not in ids(event(PING))


def test_each_event_says_where_the_client_stands_with_it() -> None:
    """Several in one chunk each say their own; one that changes nothing says nothing."""
    ids = EventIds(0)
    ids(event(Reply(connect=ConnectResult(subs=STANDING))))
    chunk = event(pub(5)) + event(PING) + event(pub(8, "b:c")) + event(pub(0, "d")) + event(pub(6, epoch="G"))
    assert [piece.split(b"\n")[0] for piece in ids(chunk).split(b"\n\n")] == [
        b"id: 5:E:a 7:F:b:c",
        b"data: {}",
        b"id: 5:E:a 8:F:b:c",
        b'data: {"channel":"d","pub":{"data":1}}',
        b"id: 6:G:a 8:F:b:c",
        b"",
    ]


def test_channels_come_and_go() -> None:
    """The last that goes leaves an empty id."""
    ids = EventIds(0)
    begun = SubscribePush(positioned=True, recoverable=True, epoch="E", offset=3)
    assert ids(event(Reply(push=Push(channel="a", subscribe=begun)))).startswith(b"id: 3:E:a\n")
    left = UnsubscribePush(code=2000, reason="x")
    assert ids(event(Reply(push=Push(channel="a", unsubscribe=left)))).startswith(b"id: \n")
    assert ids(event(Reply(push=Push(channel="q", subscribe=SubscribePush())))).startswith(b"data: ")


def test_the_last_event_says_whether_to_stay_away() -> None:
    """By its id, and by none where the client may come back."""
    assert EventIds(0)(event(disconnect_push(codes.CLOSED_FORCED))).startswith(b"id: !3503\n")
    assert EventIds(0)(event(disconnect_push(codes.CLOSED_SHUTDOWN))).startswith(b"data: ")


def test_an_id_has_a_bound() -> None:
    """Past it there is one that says so, until channels are left."""
    ids = EventIds(0)
    many = {f"{number:0100}": SubscribeResult(positioned=True, epoch="E", offset=1) for number in range(60)}
    assert ids(event(Reply(connect=ConnectResult(subs=many)))).startswith(f"id: {TOO_MANY}\n".encode())
    last = b""
    for name in tuple(many)[:30]:
        last = ids(event(Reply(push=Push(channel=name, unsubscribe=UnsubscribePush(code=2000, reason="x")))))
    assert 3_000 < len(last.split(b"\n")[0]) <= LONGEST_ID_BYTES


@given(
    st.dictionaries(
        st.from_regex(r"[!-~]{1,30}", fullmatch=True),
        st.builds(Position, st.from_regex(r"[!-9;-~]{1,12}", fullmatch=True), st.integers(0, 2**64 - 1)),
        max_size=5,
    )
)
def test_positions_are_read_as_they_were_written(positions: dict[str, Position]) -> None:
    """Whatever the channels are called."""
    assert read_positions(write_positions(positions)) == positions


@given(st.text(max_size=50))
def test_whatever_else_comes_back_is_read_or_is_none(text: str) -> None:
    """And never an error."""
    positions = read_positions(text)
    assert positions is None or all(each.epoch and each.offset < 2**64 for each in positions.values())
