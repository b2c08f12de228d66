"""An open WebSocket on an asyncio transport: messages in, control frames answered, the end with a deadline.

Invariants of this file:

1. Frames are taken in the order in which they came. Whole, unfragmented frames of ordinary size are read here. From the
   first byte of anything else on, `websockets` reads the connection, and says what is wrong with a frame that is wrong.
   So a connection whose client keeps to whole frames, as clients do, owns no parser.
2. While reading is paused, nothing that was read is acted upon; it waits, with what the parser would answer.
3. The end is told once: when the client closed or broke the protocol, or the connection is lost. No message follows it,
   and none follows `close`.
4. From the moment something ends the connection a timer runs that aborts it. A peer that reads nothing holds nobody.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Any, Final

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from openline.framing import close_frame

try:
    from websockets.speedups import apply_mask
except ImportError:  # websockets without its compiled part
    from websockets.utils import apply_mask

#: Shared by every parser: one that makes its own asks the logging module for each connection.
LOGGER: Final = logging.getLogger("openline.wires")

#: A read of this size says that there is more: its connection waits a turn.
LARGE_READ_BYTES: Final = 65_536

_TEXT, _BINARY, _PING, _PONG = 0x81, 0x82, 0x89, 0x8A  # first bytes of whole frames
_QUICK: Final = frozenset((_TEXT, _BINARY, _PING, _PONG))
_LONGEST_REASON: Final = 123
#: What a client is told; anything else in the parser's own words.
_REASONS: Final = {1007: "invalid UTF-8", 1009: "message too big"}


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
        "_fragments_are_binary",
        "_held",
        "_is_deaf",
        "_is_full",
        "_is_paused",
        "_late_pong",
        "_message_bytes",
        "_parser",
        "_timer",
        "_transport",
        "is_open",
    )

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
        self._fragments: bytearray | None = None
        self._fragments_are_binary = False
        self._held: list[Frame] | None = None
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

    # --- reading --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what the peer sent."""
        size = len(data)
        if self._parser is None and not self._is_paused:
            data = self._read_whole_frames(data)
        if data and not self._is_deaf:
            if self._parser is None:
                self._parser = ServerProtocol(state=State.OPEN, max_size=self._message_bytes, logger=LOGGER)
            self._parser.receive_data(data)
            self._pass_on(self._parser, (self._held or []) + _frames(self._parser))
        if size >= LARGE_READ_BYTES and not (self._is_paused or self._is_deaf or self._transport.is_closing()):
            # A loop may read on at once for as long as a client floods: the others have their turn first.
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.read_on)

    def _read_whole_frames(self, data: bytes) -> bytes:
        """Take the ordinary frames that `data` begins with; give what is left."""
        limit = self._message_bytes
        position, size = 0, len(data)
        while size - position >= 6 and not self._is_deaf and not self._is_paused:
            head, length, start = data[position], data[position + 1] - 0x80, position + 2
            if head not in _QUICK or not 0 <= length < 127 or (length == 126 and head >= _PING):
                break
            if length == 126:
                length = int.from_bytes(data[start : start + 2], "big")
                start += 2
            end = start + 4 + length
            if end > size or (limit is not None and length > limit):
                break
            position = end
            self._take_whole(head, apply_mask(data[start + 4 : end], data[start : start + 4]))
        return data[position:] if position else data

    def _take_whole(self, head: int, payload: bytes) -> None:
        if not self.is_open:
            return
        if head == _PONG:
            self._ponged(payload)
        elif head == _PING:
            self._send_pong(bytes((_PONG, len(payload))) + payload)
        else:
            self._take(payload, binary=head == _BINARY)

    def _pass_on(self, parser: ServerProtocol, frames: list[Frame]) -> None:
        """Act on what the parser read, then on what it has to say, unless reading is paused on the way."""
        self._held = None
        for position, frame in enumerate(frames):
            if self._is_paused:
                self._held = frames[position:]
                return
            self._take_frame(parser, frame)
            if self._is_deaf:
                return
        if self._is_paused:
            self._held = []
        elif parser.parser_exc is not None:
            self._fail(parser)
        elif (pongs := parser.data_to_send()) and self.is_open:
            # The answer to the latest ping will do (RFC 6455, 5.5.3).
            self._send_pong(pongs[-1])

    def _take_frame(self, parser: ServerProtocol, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.CLOSE:
                self._peer_closed(parser)
            case Opcode.PING:
                pass  # the parser has the pong
            case Opcode.PONG:
                if self.is_open:
                    self._ponged(bytes(frame.data))
            case Opcode.CONT if self._fragments is not None:
                self._fragments += frame.data
                if frame.fin:
                    payload, self._fragments = bytes(self._fragments), None
                    self._take_if_open(payload, binary=self._fragments_are_binary)
            case Opcode.TEXT | Opcode.BINARY as opcode:
                if frame.fin:
                    self._take_if_open(bytes(frame.data), binary=opcode is Opcode.BINARY)
                else:
                    self._fragments = bytearray(frame.data)
                    self._fragments_are_binary = opcode is Opcode.BINARY

    def _take_if_open(self, payload: bytes, *, binary: bool) -> None:
        if self.is_open:
            self._take(payload, binary=binary)

    def pause_reading(self) -> None:
        """Give out no more messages for now."""
        if self.is_open:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Give out messages again, at the earliest after the current callback."""
        if self._is_paused:
            self._is_paused = False
            if self._held is None:
                self.read_on()
            else:
                asyncio.get_running_loop().call_soon(self._release)

    def _release(self) -> None:
        """Give out what was read before a pause, then read on."""
        if self._parser is not None and self._held is not None and not self._is_paused:
            self._pass_on(self._parser, self._held)
            self.read_on()

    def read_on(self) -> None:
        """Let the transport read, unless there is a reason not to."""
        if not self._is_paused and not self._is_deaf and not self._transport.is_closing():
            self._transport.resume_reading()

    # --- writing --------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The transport's buffer is full; may come from inside a write."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The transport's buffer has drained."""
        self._is_full = False
        if self._late_pong is not None and self.is_open:
            self._transport.write(self._late_pong)
        self._late_pong = None

    def _send_pong(self, frame: bytes) -> None:
        """Answer a ping. A peer that sends pings and reads nothing gets one answer, when it reads again."""
        if self._is_full:
            self._late_pong = frame
        else:
            self._transport.write(frame)

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
        self.is_open = False
        self._transport.write(close_frame(code, reason))
        self._set_deadline(deadline_seconds)
        self._held = None
        if self._parser is not None and self._parser.close_expected():
            self._hang_up()  # the peer's close was among what was held
        elif self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _peer_closed(self, parser: ServerProtocol) -> None:
        """Answer the peer's close, if it is not the answer to ours."""
        received = parser.close_rcvd
        if self.is_open and received is not None:
            self._end = (int(received.code), received.reason)
            self._transport.write(b"".join(parser.data_to_send()))
        self._hang_up()
        self._tell_end()

    def _fail(self, parser: ServerProtocol) -> None:
        """Say what was wrong with a frame; read no more."""
        sent = parser.close_sent
        if self.is_open and sent is not None:
            code = int(sent.code)
            self._end = (code, _REASONS.get(code, sent.reason))
            self._transport.write(close_frame(*self._end))
        self.is_open, self._is_deaf = False, True
        self._set_deadline(self._close_seconds)
        # Closing a socket that has unread bytes resets it, and the peer might never see why. Where TCP can be closed
        # in one direction the peer is left to finish; TLS reads to the end by itself.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._tell_end()

    def _hang_up(self) -> None:
        """Close the transport once what was written is out."""
        self.is_open, self._is_deaf = False, True
        self._set_deadline(self._close_seconds)
        self._transport.close()

    def _set_deadline(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _tell_end(self) -> None:
        if not self._end_is_told:
            self._end_is_told = True
            self._held = None
            self._ended(*(self._end or (1006, "")))

    def eof_received(self) -> None:
        """The peer sends no more: the transport closes when it has sent what it holds, or at the deadline."""
        self.is_open, self._is_deaf = False, True
        self._set_deadline(self._close_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.is_open, self._is_deaf = False, True
        self._parser = None
        self._connections.discard(self)
        self._tell_end()


def _frames(parser: ServerProtocol) -> list[Frame]:
    return [event for event in parser.events_received() if isinstance(event, Frame)]


def is_utf8(payload: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    if payload.isascii():
        return True
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
