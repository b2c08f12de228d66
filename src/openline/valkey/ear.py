"""What is subscribed to at one master: the connection, and how it is told from the answers what holds.

Subscriptions are confirmed one by one, and refused without a name. So each batch ends with a PING that carries a mark:
when the mark comes back, all that was confirmed holds, and what of the batch was not has been refused. From then on,
and not before, is it delivered: what the server sent before the mark was published before `follow` returned. The same
mark lets a channel be followed again that was only just left and is still subscribed to.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, final

from openline.urls import Endpoint
from openline.valkey.dialing import dial
from openline.valkey.fleet import Fleet
from openline.valkey.line import Line
from openline.valkey.pauses import Pauses
from openline.valkey.slots import slot_of
from openline.valkey.trouble import Refused, Trouble
from openline.valkey.words import pack

_log: Final = logging.getLogger("openline.valkey")

#: Subscriptions in one batch.
_BATCH: Final = 1_000
_MESSAGES: Final = frozenset({b"message", b"smessage"})
_CONFIRMED: Final = frozenset({b"subscribe", b"ssubscribe"})
_ENDED: Final = frozenset({b"unsubscribe", b"sunsubscribe"})
#: Refusals of whatever is asked, for a while.
_REFUSES_ALL: Final = frozenset({"BUSY", "LOADING", "MASTERDOWN"})


@final
class Interest:
    """One pub/sub channel that is followed, or was a moment ago."""

    __slots__ = (
        "confirmed",
        "ear",
        "missed",
        "name",
        "open",
        "route",
        "sharded",
        "topic",
        "waiter",
        "waiting",
        "wanted",
    )

    def __init__(self, topic: bytes, name: str, route: bytes, *, sharded: bool) -> None:
        self.topic = topic  #: what the server knows it by
        self.name = name  #: what we know it by
        self.route = route  #: the key that says which master it is at
        self.sharded = sharded
        self.wanted = False  #: somebody follows it
        self.confirmed = False  #: the server has it
        self.open = False  #: what arrives is delivered
        self.missed = False  #: it was open, and something may have been missed since
        self.waiting = 0  #: how many calls wait for it to open
        self.waiter: asyncio.Future[str] | None = None  #: done once it is open (""), or with what went wrong
        self.ear: Ear | None = None

    def tell(self, problem: str) -> None:
        """Wake whoever waits for it."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(problem)


class Head(Protocol):
    """Whom an ear belongs to."""

    def heard(self, name: str, payload: bytes) -> None:
        """Something arrived in a channel that is open."""

    def missed(self, names: Sequence[str]) -> None:
        """These are open again, and something may have been missed before."""

    def refused(self, interests: Sequence[Interest], refusal: Refused | None) -> None:
        """The server does not have these, or not any more."""


@final
class Ear:
    """The subscriptions at one master.

    Attributes:
        endpoint: the master.
        interests: what is subscribed to there, or is to be.
        problem: why there is no connection; "" while there is one.
    """

    __slots__ = (
        "_batches",
        "_fleet",
        "_head",
        "_left",
        "_line",
        "_marks",
        "_new",
        "_refusal",
        "_sending",
        "endpoint",
        "interests",
        "problem",
    )

    def __init__(self, endpoint: Endpoint, fleet: Fleet, head: Head) -> None:
        self.endpoint = endpoint
        self.interests: dict[bytes, Interest] = {}
        self.problem = f"{endpoint} is being connected to"
        self._fleet = fleet
        self._head = head
        self._line: Line | None = None
        self._left = asyncio.Event()
        self._new: list[Interest] = []
        self._sending = False
        self._batches: deque[tuple[bytes, list[Interest]]] = deque()
        self._marks = 0
        self._refusal: Refused | None = None

    # --- what is wanted -------------------------------------------------------------------------------------------

    def add(self, interest: Interest) -> None:
        """Subscribe at the end of this turn; what is subscribed already only waits for a mark."""
        interest.ear = self
        self.interests[interest.topic] = interest
        if self._line is not None:
            self._new.append(interest)
            if not self._sending:
                self._sending = True
                asyncio.get_running_loop().call_soon(self._send)

    def remove(self, interests: Iterable[Interest]) -> None:
        """Unsubscribe."""
        gone = [interest for interest in interests if self.interests.get(interest.topic) is interest]
        for interest in gone:
            del self.interests[interest.topic]
            interest.ear = None
            interest.confirmed = False
        if self._line is not None:
            for words in _commands(gone, b"UNSUBSCRIBE"):
                self._line.say(words)

    def leave(self) -> None:
        """Let go of the server: `keep` ends."""
        self._left.set()
        if self._line is not None:
            self._line.lose("nothing is followed there any more")

    def _send(self) -> None:
        self._sending = False
        new, self._new = self._new, []
        # What was moved away or let go of in the same turn is not subscribed to.
        new = [interest for interest in new if interest.ear is self]
        if self._line is None:
            return  # all of it is sent once there is a line
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            for words in _commands([interest for interest in batch if not interest.confirmed], b"SUBSCRIBE"):
                self._line.say(words)
            self._marks += 1
            mark = b"mark %d" % self._marks
            self._batches.append((mark, batch))
            self._line.post(pack((b"PING", mark)))

    # --- what is heard --------------------------------------------------------------------------------------------

    def _hear(self, reply: Any) -> bool:
        """Take what the server says; False for what is an answer to a command."""
        if self._line is None:
            return False  # we are not let in yet
        if isinstance(reply, list):
            kind = reply[0]
            if kind in _MESSAGES:
                interest = self.interests.get(reply[1])
                if interest is not None and interest.open:
                    self._head.heard(interest.name, reply[2])
                return True
            if kind in _CONFIRMED:
                interest = self.interests.get(reply[1])
                if interest is not None:
                    interest.confirmed = True
                return True
            if kind in _ENDED:
                self._end(self.interests.get(reply[1]))
                return True
            if kind == b"pong":
                self._arrive(reply[1])
        elif isinstance(reply, Refused):
            if reply.code in _REFUSES_ALL:
                self._line.lose(f"{self.endpoint}: {reply}")  # the mark too, which nothing would tell of
            self._refusal = reply
            return True
        else:
            self._arrive(reply)  # so it is while nothing is subscribed to
        return False

    def _arrive(self, mark: bytes) -> None:
        """A mark came back: its batch is decided."""
        if not self._batches or self._batches[0][0] != mark:
            return  # a sign of life that the line asked for
        _, batch = self._batches.popleft()
        refusal, self._refusal = self._refusal, None
        missed, refused = [], []
        for interest in batch:
            if interest.ear is not self:
                continue
            if not interest.confirmed:
                refused.append(interest)
            elif interest.wanted:
                interest.open = True
                if interest.missed:
                    interest.missed = False
                    missed.append(interest.name)
                interest.tell("")
        if missed:
            self._head.missed(missed)
        if refused:
            self._head.refused(refused, refusal)

    def _end(self, interest: Interest | None) -> None:
        """The server ended a subscription by itself, as when its slot has moved; ours are not in the table any more."""
        if interest is not None and interest.confirmed:
            self._close(interest)
            self._head.refused([interest], None)

    def _close(self, interest: Interest) -> None:
        interest.confirmed = False
        interest.missed = interest.missed or interest.open
        interest.open = False

    # --- the connection -------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Keep a connection to the server and everything subscribed, until `leave`."""
        pauses, fleet = Pauses.for_calls(self._fleet.address.timeout), self._fleet
        try:
            while not self._left.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(pauses.next()):
                        await self._left.wait()
                        return
                try:
                    line = await dial(
                        self.endpoint, fleet.address, fleet.encryption, name=f"{fleet.name}-ear", push=self._hear
                    )
                except Trouble as error:
                    self.problem = str(error)
                    fleet.look()
                    continue
                await self._use(line, pauses)
        finally:
            self._drop_line("the connection was closed")

    async def _use(self, line: Line, pauses: Pauses) -> None:
        if self._left.is_set():
            line.lose("the connection was closed")
            return
        self._line, self.problem = line, ""
        self._new = [interest for interest in self.interests.values() if interest.wanted]
        self._send()
        reason = await pauses.outlive(line.lost)
        if not self._left.is_set():
            _log.warning("subscriptions: %s; trying again", reason)
        self._drop_line(reason)
        self._fleet.look()

    def _drop_line(self, reason: str) -> None:
        if self._line is not None:
            self._line.lose(reason)
        self._line, self.problem = None, reason
        self._batches.clear()
        self._new, self._refusal = [], None
        for interest in tuple(self.interests.values()):
            self._close(interest)


def _commands(interests: Sequence[Interest], verb: bytes) -> list[bytes]:
    """Write the commands for a batch: one for all; of a cluster's own channels, one for each slot."""
    plain: list[bytes] = []
    slots: dict[int, list[bytes]] = {}
    for interest in interests:
        if interest.sharded:
            slots.setdefault(slot_of(interest.topic), []).append(interest.topic)
        else:
            plain.append(interest.topic)
    commands = [pack((b"S" + verb, *topics)) for topics in slots.values()]
    return [*commands, pack((verb, *plain))] if plain else commands
