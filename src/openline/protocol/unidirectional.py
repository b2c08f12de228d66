"""What is said to clients that only listen: pushes and nothing else, each without the reply around it.

Such a client says one thing, as it opens the line: a connect request without the command around it. The answer to that
is a push as well, the first; the last says why the line ends.

On an event stream each event also has an id that says where the client stands in all its channels, so that a browser
which comes back by itself says so in turn. What is shared by all clients of a channel can only name that channel: it
carries a *mark*, and `EventIds` makes of the marks what one client is sent.

Invariants of this file:

1. A mark, like an id, is entries with a space between two, and an entry is ``offset:epoch:channel``. In a mark the
   epoch may be left out, which means the one that is known, and ``-`` for an offset means that the channel is left.
2. An event's id says where the client stands once it has that event. So it may be cut off between any two.
3. No id is longer than `LONGEST_ID_BYTES`: it comes back as a header, of which servers and proxies take some KiB. Where
   the channels are too many for that, ids say `TOO_MANY`, and who comes back with it is told that it was not recovered.

Source: docs/reference/protocol.md, "Unidirectional transports".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, final

import msgspec

from openline import codes
from openline.codes import DisconnectCode, ErrorCode
from openline.protocol.codec import Codec, DecodeError, NestedTooDeep
from openline.protocol.json import DEEPEST_LINE, JSONCodec, depth_past, one_line
from openline.protocol.messages import (
    Command,
    ConnectPush,
    ConnectRequest,
    Push,
    Reply,
    SubscribeRequest,
    SubscribeResult,
)
from openline.publication import Position

#: An id longer than this is not given out.
LONGEST_ID_BYTES: Final = 4_096
#: The id of a client that is in more channels than an id has room for.
TOO_MANY: Final = "*"
#: The id of the last event begins with this where the client is not to come back; the code follows.
FINAL: Final = "!"

_decoder: Final = msgspec.json.Decoder(ConnectRequest)
_encoder: Final = msgspec.json.Encoder()
#: A position no stream has: who asks for it is told that it was not recovered.
NOWHERE: Final = Position("_", 0)


class Opening(ConnectRequest):
    """What a client that only listens says: its request, with what the request of HTTP around it adds.

    Its `subs` are the channels it wants to be in, as if each was asked for by a command, beside positions in those the
    server subscribes it to.
    """

    since: dict[str, Position] | None = None  #: where it stands by what it was given last; None for nothing of the kind
    lost: bool = False  #: it was somewhere, but nobody can say where
    positioned: bool = False  #: it wants to know where it stands, in every channel that can say so
    deferred: bool = False  #: what was missed is pushed behind the answer, and not within it
    quiet: bool = False  #: a look at the channels named, not a stay: nobody hears of it, and each has to have history
    refusal: ErrorCode | None = None  #: set where it is refused

    def wish(self, channel: str) -> SubscribeRequest:
        """Say what it wants in a channel, whoever puts it there."""
        wish = msgspec.structs.replace(self.subs.get(channel) or SubscribeRequest(), channel=channel)
        wish.recoverable = wish.recoverable or self.positioned
        position = NOWHERE if self.lost else (self.since or {}).get(channel)
        if position is not None:
            wish.recover, wish.epoch, wish.offset = True, position.epoch, position.offset
        return wish


def read_opening(frame: bytes) -> Opening:
    """Read a bare connect request: JSON, on as many lines as it likes.

    Raises:
        DecodeError: it is none, or nests too deep to be read.
    """
    if depth := depth_past(frame, DEEPEST_LINE):
        raise NestedTooDeep(f"a request nests {depth} deep, and {DEEPEST_LINE} is the most that is read")
    try:
        request = _decoder.decode(one_line(frame))
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(f"no connect request: {error}") from error
    return opening(request)


def opening(request: ConnectRequest) -> Opening:
    """Give the same request as what a client that only listens says."""
    return Opening(**{name: getattr(request, name) for name in ConnectRequest.__struct_fields__})


def ending(refusal: ErrorCode) -> DisconnectCode:
    """Say with what a line ends whose connect was refused: there is no reply that could carry an error.

    Its reason is the refusal's own words where they can be one.
    """
    code = _ENDINGS.get(refusal.number, codes.CLOSED_INTERNAL_ERROR)
    if refusal == codes.INTERNAL_ERROR or (refusal in codes.ERRORS and refusal.number in _ENDINGS):
        return code
    words = refusal.message.encode()[: codes.MAX_REASON_BYTES].decode(errors="ignore").strip()
    if not words or words[0] in '{["-0123456789' or words in ("true", "false", "null"):
        return code  # a client would read JSON out of it
    return DisconnectCode(code.number, words)


_ENDINGS: Final = {
    codes.PERMISSION_DENIED.number: codes.CLOSED_PERMISSION_DENIED,
    codes.TOKEN_EXPIRED.number: codes.CLOSED_CONNECTION_EXPIRED,
    codes.EXPIRED.number: codes.CLOSED_CONNECTION_EXPIRED,
    codes.TOO_MANY_REQUESTS.number: codes.CLOSED_TOO_MANY_REQUESTS,
}


class UnidirectionalCodec(JSONCodec):
    """Pushes as JSON text, one a line; a ping is an empty one."""

    def decode(self, frame: bytes) -> Iterator[Command]:
        """Give the one command a client may send.

        Raises:
            DecodeError: it is no connect request.
        """
        yield Command(id=1, connect=read_opening(frame))

    def encode(self, reply: Reply) -> bytes:
        """Encode one message. The answer to connect becomes a push; other answers are not for such a client."""
        return _encoder.encode(pushed(reply))


def pushed(reply: Reply) -> Push:
    """Give what a client is told of a reply that only listens."""
    if reply.connect is not None:
        fields = {name: getattr(reply.connect, name) for name in reply.connect.__struct_fields__}
        return Push(connect=ConnectPush(**fields))
    return Push() if reply.push is None else reply.push


@final
class EventCodec(UnidirectionalCodec):
    """Pushes as the lines of an event, without the empty one behind it: a mark where one is needed, and the data."""

    def encode(self, reply: Reply) -> bytes:
        """Encode one message."""
        push = pushed(reply)
        mark = _mark(push)
        data = b"data: " + _encoder.encode(push)
        return data if mark is None else b"id: %b\n%b" % (mark.encode(), data)


def _mark(push: Push) -> str | None:
    """Say what a push changes of where a client stands; None for nothing."""
    if push.pub is not None:
        return f"{push.pub.offset}:{push.pub.epoch}:{push.channel}" if push.pub.offset else None
    if push.connect is not None:
        return " ".join(entry(*where) for where in positions_of(push.connect.subs).items())
    if push.subscribe is not None:
        return f"{push.subscribe.offset}:{push.subscribe.epoch}:{push.channel}" if push.subscribe.positioned else None
    if push.unsubscribe is not None:
        return f"-::{push.channel}"
    if push.disconnect is not None:
        code = DisconnectCode(push.disconnect.code, push.disconnect.reason)
        return None if code.reconnect else f"{FINAL}{code.number}"
    return None


def positions_of(subs: Mapping[str, SubscribeResult]) -> dict[str, Position]:
    """Say where a client stands in its channels, those with positions, once it has what came with its connect."""
    return {
        channel: Position(result.epoch, result.publications[-1].offset if result.publications else result.offset)
        for channel, result in subs.items()
        if result.positioned
    }


class WholeEvents:
    """The body of an event stream: what `EventCodec` writes, an empty line behind each event."""

    def wrap(self, messages: Sequence[bytes], codec: Codec) -> bytes:
        """Give whole events."""
        return b"".join([b"%b\n\n" % message for message in messages])


UNIDIRECTIONAL: Final = UnidirectionalCodec()
EVENT: Final = EventCodec()
WHOLE_EVENTS: Final = WholeEvents()


# --- ids ----------------------------------------------------------------------------------------------------------


def entry(channel: str, position: Position) -> str:
    """Write one entry of an id."""
    return f"{position.offset}:{position.epoch}:{channel}"


def write_positions(positions: Mapping[str, Position]) -> str:
    """Write an id, or a cursor."""
    return " ".join(entry(channel, position) for channel, position in positions.items())


def read_positions(text: str) -> dict[str, Position] | None:
    """Read an id or a cursor; None where it is none: nobody wrote that here."""
    positions: dict[str, Position] = {}
    for piece in text.split():
        offset, _, rest = piece.partition(":")
        epoch, _, channel = rest.partition(":")
        if not (offset.isascii() and offset.isdecimal() and len(offset) <= 20 and epoch and channel):
            return None
        if int(offset) >= 2**64:
            return None
        positions[channel] = Position(epoch, int(offset))
    return positions


@final
class EventIds:
    """The ids of one client's events: makes of each chunk what that client is sent.

    Args:
        retry_ms: how long a browser waits before it comes back; told with the first event.
    """

    __slots__ = ("_id", "_positions", "_retry_ms")

    def __init__(self, retry_ms: int) -> None:
        self._retry_ms = retry_ms
        #: Epoch and offset by channel, all as bytes.
        self._positions: dict[bytes, tuple[bytes, bytes]] = {}
        self._id = b""

    def __call__(self, chunk: bytes) -> bytes:
        """Rewrite the ids in a chunk. To be called in the order in which chunks leave."""
        if b"id: " in chunk:
            events = chunk.split(b"\n\n")  # an event has no empty line: its data is on one
            chunk = b"\n\n".join([self._rewritten(event) for event in events])
        if self._retry_ms:
            chunk, self._retry_ms = b"retry: %d\n%b" % (self._retry_ms, chunk), 0
        return chunk

    def _rewritten(self, event: bytes) -> bytes:
        if not event.startswith(b"id: "):
            return event
        mark, _, data = event[4:].partition(b"\n")
        if mark.startswith(FINAL.encode()):
            return event
        before = self._id
        self._note(mark)
        # Without an id of its own an event leaves the one before it in force.
        return data if self._id == before else b"id: %b\n%b" % (self._id, data)

    def _note(self, mark: bytes) -> None:
        positions = self._positions
        for piece in mark.split():
            offset, epoch, channel = piece.split(b":", 2)
            if offset == b"-":
                positions.pop(channel, None)
            elif epoch:
                positions[channel] = (epoch, offset)
            elif channel in positions:
                positions[channel] = (positions[channel][0], offset)
        whole = b" ".join([b"%b:%b:%b" % (offset, epoch, name) for name, (epoch, offset) in positions.items()])
        self._id = whole if len(whole) <= LONGEST_ID_BYTES else TOO_MANY.encode()
