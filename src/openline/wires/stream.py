"""The stream wire: the body of an HTTP response on any ASGI server, written for as long as the client stays.

What the client says comes another way, as requests of their own, and is handed in by `StreamWire.take`.

Invariants of this file:

1. Nobody waits for `send` but the one task that writes; `write` only queues.
2. Both tasks are children of the response's call: it returns when the conversation is over, and not before. Nothing is
   left behind, however it ends.
3. From `close` on a timer runs that gives up on a client that reads nothing. What becomes of the socket then is the
   server's own affair, unless it gave the app a `HeldConnection`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from openline.framing import Encoding
from openline.outbox import Receiver
from openline.protocol.messages import DisconnectPush, Push, Reply
from openline.wires.ending import forget, watch
from openline.wires.fast import NOBODY
from openline.wires.held import HeldConnection, held_connection
from openline.wires.unsent import Unsent

_HELD_BYTES: Final = 65_536  #: of frames that wait while reading is paused
_FRAME_COST: Final = 64  #: bytes a frame counts beside its own
#: A server that aborts a connection says so to the app; one that does not has so many seconds more.
_LATE_SECONDS: Final = 1.0

#: No proxy keeps such an answer, changes it, or waits for more of it before passing it on.
_HEADERS: Final = (
    (b"cache-control", b"no-cache, no-store, no-transform, must-revalidate, max-age=0"),
    (b"pragma", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-encoding", b"identity"),  # middleware and proxies that compress leave alone what has one
)


class StreamKind(NamedTuple):
    """One kind of stream.

    Attributes:
        name: of the transport, as shown to the app.
        content_type: of the response.
        opening: the first bytes of the body, so that all on the way pass on that there is an answer.
    """

    name: str
    content_type: str
    opening: bytes = b""


@final
class StreamResponse(Response):
    """A response whose body is a wire: its call ends with the conversation.

    Args:
        open_receiver: makes the receiver of the wire; called once, before anything else. Its `closed` is called once,
            however the call ends.
        kind: what stream it is.
        encoding: what the chunks will be made with; each is a whole piece of the body.
        first: what the client sent with the request, given to the receiver as its first frame; b"" for none.
        more_headers: beside those of every stream, names in lower case.
        rewrite: makes of each chunk what this client is sent; called in order, as they leave.
    """

    def __init__(
        self,
        open_receiver: Callable[[StreamWire], Receiver],
        *,
        kind: StreamKind,
        encoding: Encoding,
        first: bytes = b"",
        more_headers: Sequence[tuple[bytes, bytes]] = (),
        rewrite: Callable[[bytes], bytes] | None = None,
    ) -> None:
        super().__init__()
        self.raw_headers = [(b"content-type", kind.content_type.encode()), *_HEADERS, *more_headers]
        self._open_receiver = open_receiver
        self._kind = kind
        self._encoding = encoding
        self._first = first
        self._rewrite = rewrite

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and hold the stream until the conversation is over."""
        wire = StreamWire(receive, send, self._kind, self._encoding, rewrite=self._rewrite, held=held_connection(scope))
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await wire.run(self._open_receiver, start, self._first)


@final
class StreamWire:
    """A `Wire` on the body of an HTTP response."""

    __slots__ = (
        "_end",
        "_frames",
        "_frames_bytes",
        "_held",
        "_is_ended",
        "_is_reading",
        "_opening",
        "_receive",
        "_receiver",
        "_rewrite",
        "_send",
        "_tasks",
        "_timer",
        "_unsent",
        "encoding",
        "is_open",
        "name",
    )

    direct = None

    def __init__(
        self,
        receive: Receive,
        send: Send,
        kind: StreamKind,
        encoding: Encoding,
        *,
        rewrite: Callable[[bytes], bytes] | None = None,
        held: HeldConnection | None = None,
    ) -> None:
        self.name = kind.name
        self.encoding = encoding
        #: Chunks and frames pass. It turns false with the first sign of an end.
        self.is_open = True
        self._receive = receive
        self._send = send
        self._opening = kind.opening
        self._rewrite = rewrite
        self._held = held
        self._receiver: Receiver = NOBODY
        #: Code and reason of whoever began the close.
        self._end: tuple[int, str] | None = None
        self._unsent = Unsent()
        self._is_ended = False
        self._is_reading = True
        #: What the client sent while the receiver takes nothing.
        self._frames: deque[bytes] = deque()
        self._frames_bytes = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def run(
        self, open_receiver: Callable[[StreamWire], Receiver], start: Mapping[str, Any], first: bytes
    ) -> None:
        """Begin the response and hold it until the conversation is over.

        Args:
            start: the ASGI message the response begins with.
            first: the first frame for the receiver; b"" for none.
        """
        self._receiver = open_receiver(self)
        try:
            if self._held is None:
                watch(self)
            else:
                self._held.when_server_ends(self.server_ends)
            if first:
                self._receiver.receive(first)
            async with asyncio.TaskGroup() as tasks:
                self._tasks.append(tasks.create_task(self._watch(), name="openline.wire.read"))
                self._tasks.append(tasks.create_task(self._send_queued(start), name="openline.wire.write"))
        finally:
            self._is_ended, self.is_open = True, False
            self._forget()
            receiver, self._receiver = self._receiver, NOBODY
            receiver.closed(*(self._end or (1006, "")))

    # --- for the outbox and the session ---------------------------------------------------------------------------

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Queue these chunks; nothing after `close`."""
        if self.is_open:
            self._unsent.offer(self._receiver, chunk, more)

    def unsent_bytes(self) -> int:
        """How much is queued, or with a server that has not said it is done with it."""
        return self._unsent.size_bytes

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Say why after what is queued, then end the body; give up at the deadline. Idempotent."""
        if not self.is_open:
            return
        self._end = (code, reason)
        self.is_open = False
        codec = self.encoding.codec
        last = codec.encode(Reply(push=Push(disconnect=DisconnectPush(code=code, reason=reason))))
        self._unsent.put(self.encoding.wrap((last,)))
        self._frames.clear()
        if self._held is not None and not self._is_ended:
            self._held.end_within(deadline_seconds)
            deadline_seconds += _LATE_SECONDS
        self._timer = asyncio.get_running_loop().call_later(deadline_seconds, self._give_up)

    def ping(self) -> bool:
        """Say that there is none: the protocol's pings are all there is."""
        return False

    def pause_reading(self) -> None:
        """Keep the client's frames for now; `take` says when there are too many."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """Give out frames again, after the current callback."""
        self._is_reading = True
        if self._frames:
            asyncio.get_running_loop().call_soon(self._give_frames)

    # --- for whoever brings what the client says ------------------------------------------------------------------

    def take(self, frame: bytes) -> bool:
        """Take one whole message of the client; False where too much waits for a receiver that takes nothing.

        Once the stream has begun to end, frames are taken and go nowhere.
        """
        if not self.is_open:
            return True
        if self._is_reading and not self._frames:
            self._receiver.receive(frame)
            return True
        cost = len(frame) + _FRAME_COST
        if self._frames and self._frames_bytes + cost > _HELD_BYTES:
            return False
        self._frames.append(frame)
        self._frames_bytes += cost
        return True

    def _give_frames(self) -> None:
        while self._frames and self._is_reading and self.is_open:
            frame = self._frames.popleft()
            self._frames_bytes -= len(frame) + _FRAME_COST
            self._receiver.receive(frame)

    # --- the two tasks --------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Wait until the client is gone, or the response is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass  # what is left of the request's body
        self._give_up()

    async def _send_queued(self, start: Mapping[str, Any]) -> None:
        """Send what is queued as it comes, then the end of the body."""
        try:
            await self._send(dict(start))
            if self._opening:
                await self._send({"type": "http.response.body", "body": self._opening, "more_body": True})
            while self.is_open or self._unsent:
                await self._unsent.changed.wait()
                self._unsent.changed.clear()
                while self._unsent:
                    await self._send_some()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except (OSError, RuntimeError):
            pass  # the client is gone
        self._give_up()

    async def _send_some(self) -> None:
        chunks = self._unsent.take_some()
        size = sum(map(len, chunks))
        if self._rewrite is not None:
            chunks = [self._rewrite(chunk) for chunk in chunks]
        await self._send({"type": "http.response.body", "body": b"".join(chunks), "more_body": True})
        self._unsent.sent(self._receiver, size)

    # --- the end --------------------------------------------------------------------------------------------------

    def server_ends(self) -> None:
        """The server is about to end."""
        self._receiver.shutdown()

    def _give_up(self) -> None:
        self.is_open = False
        for task in self._tasks:
            task.cancel()

    def _forget(self) -> None:
        """Leave nothing behind."""
        if self._timer is not None:
            self._timer.cancel()
        if self._held is not None:
            self._held.when_server_ends(None)
        forget(self)
        self._unsent.drop()
        self._frames.clear()
