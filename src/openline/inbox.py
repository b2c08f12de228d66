"""What a client asks: its commands in order, one at a time.

Invariants of this file:

1. A command is begun when the one before it was answered. One that need not wait is carried out in the call that took
   it; one that has to gets a task, and those behind it queue.
2. The queue is bounded: at the bound the wire stops reading, and goes on as the queue shrinks.
3. A command with a large answer waits while its client is behind with reading. Else a client that recovers several
   channels in one frame, as the SDKs do, would be closed as too slow each time it comes back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

import msgspec

from openline.outbox import Outbox
from openline.protocol import messages
from openline.protocol.messages import Request


class CatchUp(msgspec.Struct, frozen=True, gc=False):
    """Not a client's, but asked in its name: bring its subscription to a channel further towards the top."""

    channel: str


#: What an inbox holds.
Task = Request | CatchUp

#: Requests whose answers may be as large as half an outbox.
_LARGE: Final = (
    messages.SubscribeRequest,
    messages.HistoryRequest,
    messages.PresenceRequest,
    messages.RpcRequest,
    CatchUp,
)


class Asker(Protocol):
    """What an inbox asks of the session it belongs to."""

    outbox: Outbox

    @property
    def takes_commands(self) -> bool:
        """Whether commands still count: the connection stands and was not refused."""

    def waits(self, request: Task) -> bool:
        """Tell whether carrying out a request may have to wait."""

    async def carry_out(self, identifier: int, request: Task) -> None:
        """Carry out a request and queue its reply. Never raises."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task that somebody looks after."""

    def pause_reading(self) -> None:
        """Let the client send no more."""

    def resume_reading(self) -> None:
        """Let the client send again."""


@final
class Inbox:
    """The commands of one session.

    Args:
        limit: how many may wait before the wire stops reading.
    """

    __slots__ = ("_limit", "_running", "_waiting")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = False
        #: Made when it is first needed: few clients ask faster than they are answered.
        self._waiting: deque[tuple[int, Task]] | None = None

    def put(self, asker: Asker, identifier: int, request: Task) -> None:
        """Take a command: carry it out, or queue it."""
        if self._running or self._waiting or (isinstance(request, _LARGE) and asker.outbox.is_behind()):
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((identifier, request))
            if len(self._waiting) == self._limit:
                asker.pause_reading()
            if not asker.outbox.is_paused:
                self.resume(asker)
            return
        work = asker.carry_out(identifier, request)
        if asker.waits(request):
            self._running = True
            asker.spawn(self._run(asker, work))
        else:
            finish(work)

    def resume(self, asker: Asker) -> None:
        """Go on with what waited, as the client has read or the turn will end."""
        if self._waiting and not self._running:
            self._running = True
            asker.spawn(self._run(asker))

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting = None

    async def _run(self, asker: Asker, work: Coroutine[Any, Any, None] | None = None) -> None:
        """Carry out one command that waits, then those that queued behind it."""
        try:
            if work is not None:
                await work
            while self._waiting and asker.takes_commands:
                if isinstance(self._waiting[0][1], _LARGE) and asker.outbox.is_behind():
                    if asker.outbox.is_paused:
                        return  # `resume` goes on
                    await asyncio.sleep(0)  # the turn ends meanwhile, and others have theirs
                    continue
                identifier, request = self._waiting.popleft()
                if len(self._waiting) == self._limit - 1:
                    asker.resume_reading()
                await asker.carry_out(identifier, request)
        finally:
            self._running = False
        if self._waiting:
            self._waiting.clear()
            asker.resume_reading()


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that was promised never to wait, without a task.

    Raises:
        RuntimeError: it waited all the same: a broker, presence or hook broke its promise.
    """
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError(f"{work!r} was promised not to wait, and did")
