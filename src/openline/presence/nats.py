"""The presence of NATS: sessions and the leases of their nodes in a stream that every node reads (`Roster`).

Each node renews its lease and looks at those of the others. One that does not change for a while is taken: by whoever
writes so first, who then removes the sessions and announces that they left. Nobody compares clocks, and time in which
the store did not answer does not count, for anybody.

Invariants of this file:

1. `_own` is what this node entered and did not remove. It is entered again in a new home when the store forgot it, or
   when others took the node for dead.
2. What could not be removed is in `_unremoved`, and is removed as soon as the store answers.
3. Joins of a node that was taken for dead are announced once it is known that the leaves were.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple, final

from openline.errors import BrokerUnavailable, DeclarationError
from openline.jetstream.address import NatsAddress
from openline.jetstream.link import Link
from openline.jetstream.roster import Lease, Roster, Session
from openline.jetstream.streams import Gone
from openline.jetstream.task import WatchedTask
from openline.presence.base import Announce, PresenceStats
from openline.publication import Arrival, ClientInfo

_log: Final = logging.getLogger("openline")

#: A lease that was not renewed for this many looks is taken.
_LOOKS: Final = 2.75
#: How long `stop` tries to remove the sessions of its node.
_STOP_SECONDS: Final = 0.7
#: Sessions entered again, or taken out late, at the same time; between two such batches the lease is renewed.
_AT_ONCE: Final = 256


class _Again(NamedTuple):
    """Who is to be entered again after a move."""

    told: bool  #: it was announced that they left
    homes: tuple[str, ...]  #: where they were, and may be still
    sessions: tuple[Session, ...]


class _Claim:
    """A home that this node took as its own node died."""

    __slots__ = ("emptied", "sessions", "taken", "unsure")

    def __init__(self, taken: int) -> None:
        self.taken = taken  #: the sequence of the lease that says so
        self.sessions: list[Session] | None = None  #: who was there, once that was read
        self.unsure = False  #: they may have been removed from here without an answer
        self.emptied = False


@final
class NatsPresence:
    """Keeps who is in which channel in a stream of NATS, in the memory of its server.

    Reading a channel takes one round trip for each thousand sessions in it; counting reads them too.

    Args:
        look_seconds: between two renewals of this node's lease, and two looks at the others'. A node that died is gone
            after four times that.
    Raises:
        DeclarationError: an argument makes no sense; the message names it.
    """

    immediate = False

    def __init__(self, address: NatsAddress, *, look_seconds: float = 2.0) -> None:
        if not 0 < look_seconds <= 2:
            raise DeclarationError(f"NatsPresence.look_seconds is {look_seconds!r}: it must be above 0, and at most 2")
        self._look_seconds = look_seconds
        self._link = Link(
            address, "the NATS presence", receive=lambda subject, headers, data: None, restored=self._look_now
        )
        self._roster = Roster(self._link, address)
        self._task = WatchedTask()
        self._node = ""
        self._moves = 0
        self._announce: Announce = _tell_nobody
        self._lease = 0
        self._own: dict[tuple[str, str], Session] = {}
        self._unremoved: set[tuple[str, str]] = set()
        self._is_behind = False  # and it is in the log that it is
        self._watched: dict[str, tuple[Lease, float]] = {}
        self._looked = 0.0
        self._claims: dict[str, _Claim] = {}
        self._again: _Again | None = None
        self._moving = asyncio.Lock()
        self._due = asyncio.Event()

    @property
    def problem(self) -> str:
        """What is wrong as of now, in words for whoever looks after the server; "" while all works."""
        return self._link.problem

    @property
    def _home(self) -> str:
        return f"{self._node}_{self._moves}"

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self, node: str, announce: Announce) -> None:
        """Connect, and enter this node among the others; see `Presence.start`.

        Raises:
            BrokerUnavailable: no server could be reached, or JetStream is off there; nothing is left behind.
        """
        self._node, self._moves, self._lease = node, 0, 0
        self._announce = announce
        self._due = asyncio.Event()
        self._moving = asyncio.Lock()
        self._again = None
        await self._link.start(f"openline {node} presence")
        try:
            async with self._link.within():
                await self._roster.open()
                self._lease = await self._roster.say(self._home, "alive", 0)
        except BaseException as error:
            await self._link.stop()
            if isinstance(error, Gone):
                raise BrokerUnavailable("the stream of NATS for presence vanished") from error
            raise
        self._task.start(self._tend(), "the NATS presence's lease")

    async def stop(self) -> None:
        """End, within about a second; the sessions of this node are removed. Idempotent; may be started again."""
        self._announce = _tell_nobody
        await self._task.stop()
        if not self._link.problem:
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._roster.empty(self._home)
                    await self._roster.end(self._home)
            except (BrokerUnavailable, TimeoutError):
                _log.warning("NATS does not answer: it is left to the other nodes to see that this one is gone")
        await self._link.stop()
        self._own.clear()
        self._unremoved.clear()
        self._watched.clear()
        self._claims.clear()

    # --- sessions -------------------------------------------------------------------------------------------------

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Enter a session, or replace what is known of it; see `Presence.add`.

        Raises:
            BrokerUnavailable: it is not entered.
        """
        key, session = (channel, info.client), Session(channel, info, announced)
        async with self._link.within():
            before = self._own.get(key)
            self._own[key] = session
            self._unremoved.discard(key)
            try:
                await self._enter(session)
            except BaseException:
                if self._own.get(key) is session:
                    if before is None:
                        del self._own[key]
                        self._unremoved.add(key)  # it may have been entered
                    else:
                        self._own[key] = before
                raise

    async def _enter(self, session: Session) -> None:
        while True:
            home = self._home
            try:
                await self._roster.enter(home, session)
            except Gone:
                await self._move(home, told=False)
                self._look_now()
            else:
                if home == self._home:
                    return

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out. While NATS does not answer it is noted, and done later."""
        key = (channel, client)
        if self._own.pop(key, None) is None and key not in self._unremoved:
            return
        self._unremoved.add(key)
        try:
            async with self._link.within():
                await self._take_out(key)
        except BrokerUnavailable:
            if not self._is_behind:
                self._is_behind = True
                _log.info("sessions cannot be taken out of presence as of now; it is tried again")

    async def _take_out(self, key: tuple[str, str]) -> None:
        again = self._again
        # Before it is done: who enters meanwhile, and fails, is to be removed once more.
        self._unremoved.discard(key)
        try:
            with suppress(Gone):  # and the session with it
                for home in (self._home, *(again.homes if again is not None else ())):
                    await self._roster.take_out(home, *key)
        except BaseException:
            if key not in self._own:
                self._unremoved.add(key)
            raise

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone in a channel by session id, in the order in which they were entered.

        Raises:
            BrokerUnavailable: nothing can be said.
        """
        async with self._link.within():
            try:
                sessions = await self._roster.in_channel(channel)
            except Gone:
                self._look_now()  # and whoever was there is entered again
                sessions = [session for session in self._own.values() if session.channel == channel]
        return {session.info.client: session.info for session in sessions}

    async def stats(self, channel: str) -> PresenceStats:
        """Count who is in a channel.

        Raises:
            BrokerUnavailable: nothing can be said.
        """
        members = await self.members(channel)
        return PresenceStats(len(members), len({info.user for info in members.values()}))

    # --- leases ---------------------------------------------------------------------------------------------------

    def _look_now(self) -> None:
        self._due.set()

    async def _tend(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._look_seconds
            try:
                if await self._renew():
                    await self._look_at_others()
            except (BrokerUnavailable, Gone):
                self._watched.clear()  # time in which nobody could renew anything does not count
            except Exception:  # noqa: BLE001  # tried again
                self._watched.clear()
                _log.exception("looking after presence in NATS failed")
            try:
                async with asyncio.timeout_at(due):
                    await self._due.wait()
            except TimeoutError:
                pass
            self._due.clear()

    async def _renew(self) -> bool:
        """Renew the lease and do what is left to do; tell whether this node is among the others."""
        if not await self._renew_lease() or not await self._enter_everyone():
            return False
        while self._unremoved:
            some = tuple(itertools.islice(self._unremoved, _AT_ONCE))
            async with self._link.within():
                await _all_of(self._take_out_late(key) for key in some)
            if not await self._renew_lease():
                return False
        self._is_behind = False
        return True

    async def _take_out_late(self, key: tuple[str, str]) -> None:
        if key in self._unremoved:  # who came back meanwhile is not in it any more
            await self._take_out(key)

    async def _renew_lease(self) -> bool:
        """Renew the lease, or move; False if this node is taken for dead and is to wait until that is told."""
        home = self._home
        async with self._link.within():
            try:
                written = await self._roster.say(home, "alive", self._lease)
                found = None if written else {lease.home: lease for lease in await self._roster.leases()}.get(home)
            except Gone:
                written, found = 0, None
            if found is not None and found.word == "taken":
                return False  # its leaves are about to be announced
            if found is not None and found.word == "alive":
                written = found.sequence  # by this node, which was not told
            if written:
                self._lease = written
            else:
                await self._move(home, told=found is not None)
        return True

    async def _move(self, old: str, *, told: bool) -> None:
        """Take another home.

        Args:
            old: the one to leave; if it was left meanwhile, that is enough.
            told: others announced that everyone in it left.
        """
        async with self._moving:
            if old == self._home:
                _log.warning("presence in NATS: this node was %s", "taken for dead" if told else "forgotten")
                again = self._again
                homes = (old, *(again.homes if again is not None else ()))
                self._again = _Again(told or (again is not None and again.told), homes, tuple(self._own.values()))
                self._moves += 1
                self._lease = 0
                await self._roster.open()
                self._lease = await self._roster.say(self._home, "alive", 0)

    async def _enter_everyone(self) -> bool:
        """Enter those who were in an old home in the new one; tell whether this node is still among the others."""
        again = self._again
        if again is None:
            return True
        for first in range(0, len(again.sessions), _AT_ONCE):
            async with self._link.within():
                await _all_of(map(self._enter_again, again.sessions[first : first + _AT_ONCE]))
            if not await self._renew_lease():
                return False
        async with self._link.within():
            for home in again.homes:  # after that: nobody is missing meanwhile
                await self._roster.empty(home)
        if again is not self._again:
            self._look_now()  # it moved on: they are entered there
            return True
        self._again = None
        for session in again.sessions if again.told else ():
            if session.announced and self._own.get((session.channel, session.info.client)) is session:
                self._announce(session.channel, Arrival(session.info, joined=True))
        return True

    async def _enter_again(self, session: Session) -> None:
        key = (session.channel, session.info.client)
        if self._own.get(key) is session:
            await self._roster.enter(self._home, session)
            if key not in self._own:  # it was taken out meanwhile, and that may have come first
                await self._roster.take_out(self._home, *key)

    async def _look_at_others(self) -> None:
        async with self._link.within():
            leases = await self._roster.leases()
        now = time.monotonic()
        if now - self._looked > self._look_seconds * 2:
            self._watched.clear()  # this node stood still, or the store did, and with it everyone
        self._looked = now
        watched: dict[str, tuple[Lease, float]] = {}
        for lease in leases:
            if lease.home == self._home or lease.word == "gone":
                continue
            known, since = self._watched.get(lease.home, (None, now))
            watched[lease.home] = (lease, since if known == lease else now)
        self._watched = watched
        for lease, since in watched.values():
            if lease.home not in self._claims and now - since >= self._look_seconds * _LOOKS:
                async with self._link.within():
                    taken = await self._roster.say(lease.home, "taken", lease.sequence)
                if taken:
                    self._claims[lease.home] = _Claim(taken)
        for home, claim in tuple(self._claims.items()):
            async with self._link.within():
                await self._see_out(home, claim)

    async def _see_out(self, home: str, claim: _Claim) -> None:
        """Remove the sessions of a home that this node took, and announce that they left.

        Whoever removed them announces: of two who took a home, as one of them stood still for long, that is one. Where
        the answer is lost it is tried again; that nobody else took the home meanwhile then says who removed them.
        """
        if claim.sessions is None:
            claim.sessions = await self._roster.in_home(home)
        unsure, claim.unsure = claim.unsure, True
        claim.emptied = await self._roster.empty(home) or claim.emptied
        unchanged = await self._roster.say(home, "gone", claim.taken)
        del self._claims[home]
        if claim.emptied or (unsure and unchanged):
            _log.info("presence in NATS: a node is gone, and %d sessions with it", len(claim.sessions))
            for session in claim.sessions:
                if session.announced:
                    self._announce(session.channel, Arrival(session.info, joined=False))


async def _all_of(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all, and raise what one of them raised."""
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        if outcome is not None:
            raise outcome


def _tell_nobody(channel: str, arrival: Arrival) -> None:
    """Be told of an arrival and do nothing."""
