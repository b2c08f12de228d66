"""One connection: commands go out in batches, answers come back in order.

Invariants of this file:

1. Every command is in one of two queues: `_waiting` (not sent; dropping it is safe) or `_sent` (answered in order).
2. What is called in one turn of the event loop leaves in one write at its end. No more is sent than the server may
   have unanswered, so one that stands still is not fed; what waits too long is never sent.
3. A line is used once: when it is lost, everything in `_sent` is `Unanswered`, everything in `_waiting` `Unsent`.
4. Silence is noticed: an idle line asks for a sign of life, and one on which nothing was heard for `silence` seconds
   while something was due is given up. Time in which our own event loop stood still does not count.

Answers are taken in the call that reads them from the socket: no task, no queue, one future each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, Final, Literal, cast, final

import hiredis

from openline.valkey.trouble import Refused, Trouble, Unanswered, Unsent
from openline.valkey.words import pack

_PING: Final = pack((b"PING",))

#: What a server may have unanswered: commands, and bytes beyond the first command.
_SENT_COMMANDS: Final = 4_096
_SENT_BYTES: Final = 4_194_304
#: What may wait to be sent; past it a command is refused at once.
_WAITING_COMMANDS: Final = 65_536
_WAITING_BYTES: Final = 67_108_864

_NEVER: Final = float("inf")

#: "asked" is answered once; "confirms" is a WAIT, which confirms all before it; "said" has no answer of its own.
_Kind = Literal["asked", "confirms", "said"]

#: Takes what comes unasked; says whether it was that, and not the answer to a command.
Push = Callable[[Any], bool]


@final
class _Command:
    """One command on its way. A plain class with slots: there is one for each publication."""

    __slots__ = ("deadline", "future", "kind", "packed")

    def __init__(
        self, packed: bytes, future: asyncio.Future[Any] | None, deadline: float = _NEVER, kind: _Kind = "asked"
    ) -> None:
        self.packed = packed
        self.future = future  #: None where nobody waits for the answer
        self.deadline = deadline
        self.kind = kind


@final
class Line(asyncio.Protocol):
    """A connection to one server.

    Args:
        name: the server, for messages.
        silence: seconds after which a server that owes something and says nothing is given up.
        push: takes what comes unasked, on a connection that subscribes.
    Attributes:
        replicas: how many replicas have to confirm what is sent; 0: none is asked.
        lost: done, with the reason in words, once the connection has ended.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_confirm_ms",
        "_deadline",
        "_expiry",
        "_flushing",
        "_heard",
        "_loop",
        "_paused",
        "_push",
        "_reader",
        "_sent",
        "_sent_bytes",
        "_silence",
        "_transport",
        "_waiting",
        "_waiting_bytes",
        "_watch",
        "lost",
        "name",
        "replicas",
    )

    def __init__(self, name: str, silence: float, push: Push | None = None) -> None:
        self.name = name
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self._silence = silence
        self._push = push
        self.replicas = 0
        self._confirm_ms = max(1, int(min(1.0, silence / 2) * 1000))
        self._answered: list[tuple[_Command, Any]] = []  #: answered, and not yet confirmed
        self._reader = hiredis.Reader(replyError=Refused)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Command] = deque()
        self._waiting_bytes = 0
        self._sent: deque[_Command] = deque()
        self._sent_bytes = 0
        self._paused = False
        self._flushing = False
        self._heard = self._loop.time()
        self._deadline = _NEVER
        self._expiry: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    # --- what is asked --------------------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether commands may be sent."""
        return self._transport is not None and not self.lost.done()

    def call(self, packed: bytes, deadline: float) -> asyncio.Future[Any]:
        """Send a command at the end of this turn.

        Args:
            packed: one command, as it goes over the line.
            deadline: a time of the event loop's clock.
        Returns:
            Its answer. The future raises `Unsent`, `Unanswered` or `Refused`. Cancelling it is safe.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost.done():
            future.set_exception(Unsent(self.lost.result()))
        elif len(self._waiting) >= _WAITING_COMMANDS or self._waiting_bytes >= _WAITING_BYTES:
            future.set_exception(Unsent(f"{self.name} does not keep up: too much waits for it"))
        else:
            self._enter(_Command(packed, future, deadline))
            if deadline < self._deadline:
                self._expire_at(deadline)
        return future

    def post(self, packed: bytes) -> None:
        """Send a command whose answer nobody waits for."""
        if not self.lost.done():
            self._enter(_Command(packed, None))

    def say(self, packed: bytes) -> None:
        """Send a command to which there is no answer of its own: what it brings about is told unasked."""
        if not self.lost.done():
            self._enter(_Command(packed, None, kind="said"))

    def _enter(self, command: _Command) -> None:
        self._waiting.append(command)
        self._waiting_bytes += len(command.packed)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send what waits, as far as the server may be fed."""
        self._flushing = False
        if self._transport is None or self._paused or self.lost.done():
            return
        waiting, sent, batch = self._waiting, self._sent, list[bytes]()
        if not sent:
            self._heard = self._loop.time()  # nothing was due until now
        while waiting and len(sent) < _SENT_COMMANDS and self._sent_bytes < _SENT_BYTES:
            command = waiting.popleft()
            self._waiting_bytes -= len(command.packed)
            if command.future is not None and command.future.done():
                continue  # too late, or nobody waits any more
            batch.append(command.packed)
            if command.kind == "asked":
                sent.append(command)
                self._sent_bytes += len(command.packed)
        if batch and self.replicas:
            confirm = pack((b"WAIT", self.replicas, self._confirm_ms))
            sent.append(_Command(confirm, None, kind="confirms"))
            batch.append(confirm)
            self._sent_bytes += len(confirm)
        if batch:
            self._transport.write(batch[0] if len(batch) == 1 else b"".join(batch))

    # --- what is answered -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take what the server says."""
        self._heard = self._loop.time()
        reader = self._reader
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if self._push is None or not self._push(reply):
                    self._answer(reply)
        except hiredis.ProtocolError as error:
            self.lose(f"{self.name} does not speak the protocol of Valkey and Redis: {error}")
        if self._waiting and not self._flushing and not self._paused:
            self._flush()

    def _answer(self, reply: Any) -> None:
        if not self._sent:
            self.lose(f"{self.name} said something that nobody asked for")
            return
        command = self._sent.popleft()
        self._sent_bytes -= len(command.packed)
        future = command.future
        if command.kind == "confirms":
            self._confirm(reply)
        elif future is None or future.done():
            pass  # nobody waits, or not any more
        elif isinstance(reply, Refused):
            future.set_exception(reply)
        elif self.replicas:
            self._answered.append((command, reply))
        else:
            future.set_result(reply)

    def _confirm(self, reply: Any) -> None:
        """Pass on the answers to what was sent before a WAIT, now that it is answered too."""
        answered, self._answered = self._answered, []
        confirmed = reply if isinstance(reply, int) else 0
        for command, answer in answered:
            future = command.future
            if future is None or future.done():
                continue
            if confirmed >= self.replicas:
                future.set_result(answer)
            else:
                words = f"{confirmed} of {self.replicas} replicas of {self.name} confirmed within {self._confirm_ms} ms"
                future.set_exception(Unanswered(words))

    # --- time -----------------------------------------------------------------------------------------------------

    def _expire_at(self, deadline: float) -> None:
        """Look for what is too late at this time, the earliest deadline there is."""
        self._deadline = deadline
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        now, earliest = self._loop.time(), _NEVER
        self._deadline, self._expiry = _NEVER, None
        for future, deadline in self._unfinished():
            if deadline > now:
                earliest = min(earliest, deadline)
            else:
                future.set_exception(Unanswered(f"{self.name} did not answer in time"))
        kept: deque[_Command] = deque()
        for command in self._waiting:
            if command.future is not None and not command.future.done() and command.deadline <= now:
                command.future.set_exception(Unsent(f"{self.name} did not answer what was sent before in time"))
            if command.future is None or not command.future.done():
                kept.append(command)
                earliest = min(earliest, command.deadline)
        self._waiting = kept
        self._waiting_bytes = sum(len(command.packed) for command in kept)
        if earliest < _NEVER:
            self._expire_at(earliest)

    def _unfinished(self) -> list[tuple[asyncio.Future[Any], float]]:
        """Give what was sent and somebody waits for, with its deadlines."""
        commands = chain((command for command, _ in self._answered), self._sent)
        return [(one.future, one.deadline) for one in commands if one.future is not None and not one.future.done()]

    def _look(self, expected: float) -> None:
        """Find out whether the server is still there."""
        now = self._loop.time()
        if now - expected > self._silence / 2:
            self._heard = now  # it was us who stood still: what came meanwhile is read first
        elif now - self._heard >= self._silence:
            if self._sent:
                self.lose(f"{self.name} is silent: nothing was heard for {now - self._heard:.1f} s")
                return
            self.post(_PING)
        self._look_again()

    def _look_again(self) -> None:
        now = self._loop.time()
        at, late = now + self._silence / 3, self._heard + self._silence
        if now < late < at:
            at = late
        self._watch = self._loop.call_at(at, self._look, at)

    # --- the connection -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # asyncio's promise for stream sockets
        self._transport.set_write_buffer_limits(high=65_536)
        if self.lost.done():
            self._transport.abort()
            return
        self._look_again()
        self._flush()

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        if not self._flushing:
            self._flush()

    def eof_received(self) -> None:
        """The server says no more; the connection closes."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection has ended."""
        self.lose(f"{self.name} closed the connection" + (f": {error}" if error else ""))

    def lose(self, reason: str) -> None:
        """Give the connection up; what was not answered is told. Idempotent."""
        if self.lost.done():
            return
        self.lost.set_result(reason)
        for timer in (self._expiry, self._watch):
            if timer is not None:
                timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        unanswered = [future for future, _ in self._unfinished()]
        unsent = [command.future for command in self._waiting if command.future is not None]
        self._answered, self._waiting = [], deque()
        self._sent.clear()
        _fail(unanswered, Unanswered, reason)
        _fail(unsent, Unsent, reason)


def _fail(futures: list[asyncio.Future[Any]], kind: type[Trouble], reason: str) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(kind(reason))
