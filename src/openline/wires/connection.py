"""An open WebSocket on an asyncio transport: messages in, control frames answered, the end with a deadline.

Invariants of this file:

1. Frames are taken in the order in which they came. Whole, unfragmented frames of ordinary size are read here. From the
   first byte of anything else on, `websockets` reads the connection, and says what is wrong with a frame that is wrong.
   So a connection whose client keeps to whole frames, as clients do, owns no parser.
2. While reading is paused, nothing that was received is acted upon; it waits, with what is wrong with it.
3. No client has the loop for itself: after some hundred frames, or a large read, the others have their turn first.
4. The end is told once: when the client closed or broke the protocol, or the connection is lost. No message follows it,
   and none follows `close`.
5. From the moment something ends the connection a timer runs that aborts it. A peer that reads nothing holds nobody.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, final

from websockets.extensions import Extension
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from openline.framing import close_frame
from openline.wires.message import Fragments

try:
    from websockets.speedups import apply_mask
except ImportError:  # websockets without its compiled part
    from websockets.utils import apply_mask

#: Shared by every parser: one that makes its own asks the logging module for each connection.
LOGGER: Final = logging.getLogger("openline.wires")

#: A read of this size says that there is more: its connection waits a turn.
LARGE_READ_BYTES: Final = 65_536
#: About how many frames of one client are acted upon in a turn.
FRAMES_IN_A_TURN: Final = 256
_FRAMES_IN_A_TURN: Final = range(FRAMES_IN_A_TURN)
#: About how much compressed frames may become in a turn: as much as comes uncompressed in one read.
INFLATED_IN_A_TURN: Final = 262_144
#: What the parser is given at once: hardly more than that many of the smallest frames.
_PIECE_BYTES: Final = 2_048

TEXT, BINARY, _PING, _PONG = 0x81, 0x82, 0x89, 0x8A  # first bytes of whole frames
COMPRESSED: Final = 0x40  #: in the first byte, where compression was agreed on
_LONGEST_REASON: Final = 123
#: What a client is told; anything else in the parser's own words.
_REASONS: Final = {1007: "invalid UTF-8", 1009: "message too big"}


@final
class _Unread:
    """What was received and waits: for the end of a pause, or for the next turn."""

    __slots__ = ("data", "frames", "is_due")

    def __init__(self, data: bytes, frames: Sequence[Frame]) -> None:
        self.data = data  #: as it came
        self.frames = frames  #: what the parser has read before it
        self.is_due = False  #: the callback that goes on with it is on its way


class Connection(asyncio.Protocol, ABC):
    """One WebSocket after its handshake. Subclasses say what becomes of its messages.

    Args:
        transport: an open one; the caller makes this its protocol.
        connections: where the server counts its connections; left when this one is lost.
        message_bytes: the largest message taken, fragments together; past it the socket is closed with 1009.
        close_seconds: how long a close may take that begins here: an answer to the peer's, or to a broken frame.
    """

    __slots__ = (
        "__weakref__",
        "_close_seconds",
        "_connections",
        "_end",
        "_end_is_told",
        "_fragments",
        "_is_deaf",
        "_is_full",
        "_is_paused",
        "_late_pong",
        "_message_bytes",
        "_parser",
        "_timer",
        "_transport",
        "_unread",
        "is_open",
    )

    #: The first bytes of the frames that are read without the parser.
    _ordinary: ClassVar = frozenset((TEXT, BINARY, _PING, _PONG))

    def __init__(
        self, transport: asyncio.Transport, connections: set[Any], *, message_bytes: int | None, close_seconds: float
    ) -> None:
        self._transport = transport
        self._connections = connections
        self._message_bytes = message_bytes
        self._close_seconds = close_seconds
        #: Messages pass. It turns false with the first sign of an end, and then only the end of the peer is waited for.
        self.is_open = True
        #: Nothing that is read matters any more.
        self._is_deaf = False
        #: Code and reason of whichever side began the close.
        self._end: tuple[int, str] | None = None
        self._end_is_told = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False
        self._is_paused = False
        self._parser: ServerProtocol | None = None
        self._fragments: Fragments | None = None
        self._unread: _Unread | None = None
        self._late_pong: bytes | None = None

    # --- what a subclass makes of it ------------------------------------------------------------------------------

    @abstractmethod
    def _take(self, payload: bytes, *, binary: bool) -> None:
        """Take one whole message."""

    @abstractmethod
    def _ended(self, code: int, reason: str) -> None:
        """The conversation is over: 1006 where no close was seen. Called once; no message follows."""

    @abstractmethod
    def _ponged(self, payload: bytes) -> None:
        """The peer answered a ping, or sent a pong unasked."""

    def _too_large(self) -> None:
        """The peer sent a message larger than is taken, and is closed with 1009 for it."""

    def _extensions(self) -> list[Extension]:
        """Give what the parser needs beyond RFC 6455: what was agreed on at the handshake."""
        return []

    def _inflate(self, payload: bytes) -> bytes | None:
        """Give a whole compressed message as it was; None where the parser has to say what is wrong with it."""
        raise NotImplementedError("only where `_ordinary` has compressed frames")

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""
        if self._unread is not None:
            self._unread.data += data  # a transport may have had it in hand when it was paused
            return
        self._read(data)
        if len(data) >= LARGE_READ_BYTES and not (self._is_paused or self._is_deaf or self._transport.is_closing()):
            # A loop may read on at once for as long as a client floods.
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.read_on)

    def _read(self, data: bytes, frames: Sequence[Frame] = ()) -> None:
        """Act on these frames and on those in `data`, as long as reading is not paused and the turn is not over."""
        if self._is_deaf:
            return
        if self._parser is None:
            data = self._read_ordinary_frames(data)
            if not data:
                return
            self._parser = self._make_parser()
        self._read_with(self._parser, data, frames)

    def _read_ordinary_frames(self, data: bytes) -> bytes:
        """Take the whole, ordinary frames that `data` begins with; give what is left for the parser."""
        limit, ordinary = self._message_bytes, self._ordinary
        position, size, room = 0, len(data), INFLATED_IN_A_TURN
        for _ in _FRAMES_IN_A_TURN:
            if size - position < 6 or self._is_paused:
                break
            head, length, start = data[position], data[position + 1] - 0x80, position + 2
            if head not in ordinary or not 0 <= length < 127 or (length == 126 and head >= _PING):
                return data[position:]
            if length == 126:
                length = int.from_bytes(data[start : start + 2], "big")
                start += 2
            end = start + 4 + length
            if end > size or (limit is not None and length > limit):
                return data[position:]
            payload = apply_mask(data[start + 4 : end], data[start : start + 4])
            if head & COMPRESSED:
                if room <= 0:
                    break
                inflated = self._inflate(payload)
                if inflated is None:
                    return data[position:]
                payload = inflated
                room -= len(payload)
            position = end
            self._take_whole(head, payload)
        left = data[position:]
        if left and (self._is_paused or len(left) >= 6):
            self._keep_unread(left)
            return b""
        return left

    def _take_whole(self, head: int, payload: bytes) -> None:
        if not self.is_open:
            return
        if head == _PONG:
            self._ponged(payload)
        elif head == _PING:
            self._send_pong(bytes((_PONG, len(payload))) + payload)
        else:
            self._take(payload, binary=head & 0x0F == 2)

    def _make_parser(self) -> ServerProtocol:
        parser = ServerProtocol(state=State.OPEN, max_size=self._message_bytes, logger=LOGGER)
        parser.extensions = self._extensions()
        return parser

    def _read_with(self, parser: ServerProtocol, data: bytes, frames: Sequence[Frame]) -> None:
        """Act on what the parser has read, then have it read on, piece by piece, and say at last what is wrong."""
        position, taken, room = 0, 0, INFLATED_IN_A_TURN
        while True:
            for number, frame in enumerate(frames):
                if self._is_paused:
                    self._keep_unread(data[position:], frames[number:])
                    return
                if not self._take_frame(parser, frame):
                    # Whatever else was read does not matter any more.
                    parser = self._parser = self._make_parser()
                    parser.fail(CloseCode.INVALID_DATA)
                    break
                if self._is_deaf:
                    return
            taken += len(frames)
            room -= sum(len(frame.data) for frame in frames)
            if self._is_paused or ((taken >= FRAMES_IN_A_TURN or room <= 0) and position < len(data)):
                self._keep_unread(data[position:])
                return
            if parser.close_expected():
                self._fail(parser)
                return
            if position >= len(data):
                return
            parser.receive_data(data[position : position + _PIECE_BYTES])
            parser.data_to_send()  # its own answers to pings and closes; the others are given with the frames
            position += _PIECE_BYTES
            frames = [event for event in parser.events_received() if isinstance(event, Frame)]

    def _take_frame(self, parser: ServerProtocol, frame: Frame) -> bool:
        """Act on a frame that the parser finds right; say whether it is, as text."""
        match frame.opcode:
            case Opcode.CLOSE if parser.close_rcvd is not None:
                self._peer_closed(parser.close_rcvd)
            case Opcode.PING | Opcode.PONG | Opcode.TEXT | Opcode.BINARY as opcode if frame.fin:
                self._take_whole(0x80 | opcode, bytes(frame.data))
            case _:
                return self._take_fragment(frame)
        return True

    def _take_fragment(self, frame: Frame) -> bool:
        fragments = self._fragments
        if fragments is None:
            fragments = self._fragments = Fragments(binary=frame.opcode is Opcode.BINARY)
        try:
            fragments.add(frame.data)
        except UnicodeDecodeError:
            return False
        if frame.fin:
            self._fragments = None
            if self.is_open:
                self._take(bytes(fragments.payload), binary=fragments.binary)
        return True

    # --- pausing --------------------------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Give out no more messages for now."""
        if self.is_open:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Give out messages again, at the earliest after the current callback."""
        if self._is_paused:
            self._is_paused = False
            if self._unread is None:
                self.read_on()
            else:
                self._go_on_soon(self._unread)

    def _keep_unread(self, data: bytes, frames: Sequence[Frame] = ()) -> None:
        """Keep this for the end of the pause, or for the next turn."""
        self._unread = _Unread(data, frames)
        if not self._is_paused:
            self._transport.pause_reading()
            self._go_on_soon(self._unread)

    def _go_on_soon(self, unread: _Unread) -> None:
        if not unread.is_due:
            unread.is_due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Act on what waits, then read on."""
        unread = self._unread
        if unread is not None:
            unread.is_due = False
            if not self._is_paused and not self._transport.is_closing():
                self._unread = None
                self._read(unread.data, unread.frames)
                self.read_on()

    def read_on(self) -> None:
        """Let the transport read, unless there is a reason not to."""
        if not (self._is_paused or self._is_deaf or self._unread is not None or self._transport.is_closing()):
            self._transport.resume_reading()

    # --- writing --------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        """Put bytes behind everything that was written before."""
        self._transport.write(data)

    def pause_writing(self) -> None:
        """The transport's buffer is full; may come from inside a write."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        self._is_full = False
        if self._late_pong is not None and self.is_open:
            self._write(self._late_pong)
        self._late_pong = None

    def _send_pong(self, frame: bytes) -> None:
        """Answer a ping. A peer that sends pings and reads nothing gets one answer, when it reads again."""
        if self._is_full:
            self._late_pong = frame
        elif not self._transport.is_closing():  # each write to one that was reset is a line in asyncio's log
            self._write(frame)

    # --- the end --------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Send a close frame behind what was written and wait for the peer's; abort at the deadline. Idempotent.

        Args:
            code: one that may stand in a close frame.
            reason: what does not fit, past 123 bytes of UTF-8, is cut.
            deadline_seconds: from now, for everything: what was written, the peer's answer, the end of TCP.
        """
        if not self.is_open:
            return
        reason = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
        self._end = (code, reason)
        self._write(close_frame(code, reason))
        self._shut()
        self._set_deadline(deadline_seconds)
        self.resume_reading()  # the peer's close may be among what was held back

    def _shut(self) -> None:
        """No message passes any more, in or out."""
        self.is_open = False

    def _peer_closed(self, received: Close) -> None:
        """Answer the peer's close, if it is not the answer to ours."""
        if self.is_open:
            self._end = (int(received.code), received.reason)
            self._write(close_frame(*self._end))
        self._hang_up()
        self._tell_end()

    def _fail(self, parser: ServerProtocol) -> None:
        """Say what was wrong with a frame; read no more."""
        if parser.close_rcvd is not None:  # in the middle of a message, which is the peer's right
            self._peer_closed(parser.close_rcvd)
            return
        sent = parser.close_sent
        if self.is_open and sent is not None:
            code = int(sent.code)
            self._end = (code, _REASONS.get(code, sent.reason))
            self._write(close_frame(*self._end))
            if code == CloseCode.MESSAGE_TOO_BIG:
                self._too_large()
        self._shut()
        self._is_deaf = True
        self._set_deadline(self._close_seconds)
        # Closing a socket that has unread bytes resets it, and the peer might never see why. Where TCP can be closed
        # in one direction the peer is left to finish; TLS reads to the end by itself.
        if self._transport.can_write_eof():
            with suppress(OSError):  # it has gone meanwhile, and the transport does not know yet
                self._transport.write_eof()
            if not self._transport.is_closing():
                self._transport.resume_reading()  # to its end; what it was paused for does not matter any more
        else:
            self._transport.close()
        self._tell_end()

    def _hang_up(self) -> None:
        """Close the transport once what was written is out."""
        self._shut()
        self._is_deaf = True
        self._set_deadline(self._close_seconds)
        self._transport.close()

    def _set_deadline(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _tell_end(self) -> None:
        if not self._end_is_told:
            self._end_is_told = True
            self._unread = None
            self._ended(*(self._end or (1006, "")))

    def eof_received(self) -> None:
        """The peer sends no more: the transport closes when it has sent what it holds, or at the deadline."""
        self._shut()
        self._is_deaf = True
        self._set_deadline(self._close_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._shut()
        self._is_deaf = True
        self._parser = self._fragments = self._unread = None
        self._connections.discard(self)
        self._tell_end()
