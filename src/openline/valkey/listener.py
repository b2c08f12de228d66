"""Pub/sub: what a node follows, at whichever master it is, through every loss of a connection.

Invariants of this file:

1. A channel that is followed is in `_interests`, and at the ear of its master, if that has one; it is open from when
   `follow` returns until `unfollow` is called or the connection is lost.
2. What was open and is lost is subscribed to again by itself, and then named in `missed`, once.
3. What is unfollowed delivers nothing from that moment, but stays subscribed for `LINGER_SECONDS`: those who come back
   within that time cost the servers nothing but a PING.
4. There is an ear at a master only while something is followed there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, final

from openline.errors import BrokerUnavailable
from openline.urls import Endpoint
from openline.valkey.ear import Ear, Interest
from openline.valkey.fleet import Fleet
from openline.valkey.trouble import Refused

#: How long what is not followed any more stays subscribed.
LINGER_SECONDS: Final = 2.0
#: Before what a server refused is tried again.
_AGAIN_SECONDS: Final = 0.1

#: Refusals that pass, as the masters change.
_PASSING: Final = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN", "BUSY"})


@final
class Listener:
    """Follows pub/sub channels.

    Args:
        fleet: the masters; started and stopped by its owner.
        heard: called with the name of a channel and what arrived in it.
        missed: called with names in which something may have been missed, once they are followed again.
    """

    __slots__ = ("_ears", "_fleet", "_heard", "_interests", "_leaving", "_loop", "_missed", "_sweeping")

    def __init__(
        self, fleet: Fleet, heard: Callable[[str, bytes], None], missed: Callable[[Sequence[str]], None]
    ) -> None:
        self._fleet = fleet
        self._heard = heard
        self._missed = missed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interests: dict[bytes, Interest] = {}
        self._ears: dict[Endpoint, Ear] = {}
        self._leaving: dict[bytes, float] = {}  #: when what is not followed any more is let go of; soonest first
        self._sweeping: asyncio.TimerHandle | None = None
        fleet.watch(self._settle)

    @property
    def problem(self) -> str:
        """What is wrong as of now; "" while everything followed is subscribed to."""
        return next((ear.problem for ear in self._ears.values() if ear.problem), "")

    def stop(self) -> None:
        """Let go of everything. Idempotent; `follow` begins anew."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        interests, self._interests = self._interests, {}
        for interest in interests.values():
            interest.wanted = interest.open = False
            interest.tell("it was stopped")
        for ear in self._ears.values():
            ear.leave()
        self._ears.clear()
        self._leaving.clear()

    async def follow(self, topic: bytes, name: str, *, route: bytes = b"", sharded: bool = False) -> None:
        """Begin to hear a channel. What is published once this has returned is heard, what was before is not.

        Args:
            topic: what the server knows it by.
            name: what `heard` is called with.
            route: the key that says at which master it is, in place of `topic`.
            sharded: it is one of a cluster's sharded channels.
        Raises:
            BrokerUnavailable: not within `ValkeyAddress.timeout`; unless it was followed before, it is not.
        """
        interest = self._interests.get(topic)
        if interest is None:
            interest = self._interests[topic] = Interest(topic, name, route or topic, sharded=sharded)
        interest.wanted = True
        self._leaving.pop(topic, None)
        if interest.open:
            return
        self._loop = asyncio.get_running_loop()
        if interest.waiter is None:
            interest.waiter = self._loop.create_future()
            self._place(interest)
        await self._opened(interest, interest.waiter)

    async def _opened(self, interest: Interest, waiter: asyncio.Future[str]) -> None:
        interest.waiting += 1
        problem = ""
        try:
            async with asyncio.timeout(self._fleet.address.timeout):
                problem = await asyncio.shield(waiter)
        except TimeoutError:
            problem = self.problem or self._fleet.problem or "a subscription was not confirmed in time"
        finally:
            interest.waiting -= 1
            if not (interest.waiting or interest.open or interest.missed):
                self.unfollow(interest.topic)
        if problem:
            raise BrokerUnavailable(f"{self._fleet.address}: {problem}")

    def unfollow(self, topic: bytes) -> None:
        """Hear no more of a channel, from now on; one not followed is no error."""
        interest = self._interests.get(topic)
        if interest is None or not interest.wanted:
            return
        interest.wanted = interest.open = interest.missed = False
        interest.tell("")  # whoever waits for it was overtaken, and not refused
        self._loop = asyncio.get_running_loop()
        self._leaving[topic] = self._loop.time() + LINGER_SECONDS
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(LINGER_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Let go of what was left long enough ago."""
        assert self._loop is not None  # noqa: S101  # its timer called
        now = self._loop.time()
        gone: dict[Ear, list[Interest]] = {}
        self._sweeping = None
        while self._leaving:
            topic, moment = next(iter(self._leaving.items()))
            if moment > now:
                self._sweeping = self._loop.call_at(moment, self._sweep)
                break
            del self._leaving[topic]
            interest = self._interests.pop(topic)
            if interest.ear is not None:
                gone.setdefault(interest.ear, []).append(interest)
        for ear, interests in gone.items():
            ear.remove(interests)
            self._let_go(ear)

    def _let_go(self, ear: Ear) -> None:
        if not ear.interests and self._ears.get(ear.endpoint) is ear:
            del self._ears[ear.endpoint]
            ear.leave()

    # --- where it is heard ----------------------------------------------------------------------------------------

    def _place(self, interest: Interest) -> None:
        """Have a channel heard by the ear at its master."""
        endpoint = self._fleet.topology.owner(interest.route)
        old = interest.ear
        if old is not None and old.endpoint != endpoint:
            interest.missed = interest.missed or interest.open
            interest.open = False
            old.remove([interest])
            self._let_go(old)
        if endpoint is None:
            return  # `_settle` places it once there is one
        ear = self._ears.get(endpoint)
        if ear is None:
            ear = self._ears[endpoint] = Ear(endpoint, self._fleet, self)
            self._fleet.tasks.spawn(ear.keep(), f"ear {endpoint}")
        ear.add(interest)

    def _settle(self) -> None:
        """The masters may have changed: have everything heard where it is now."""
        topology = self._fleet.topology
        for interest in tuple(self._interests.values()):
            if interest.ear is None or interest.ear.endpoint != topology.owner(interest.route):
                self._place(interest)

    # --- what an ear says -----------------------------------------------------------------------------------------

    def heard(self, name: str, payload: bytes) -> None:
        """Something arrived in a channel that is open."""
        self._heard(name, payload)

    def missed(self, names: Sequence[str]) -> None:
        """These are open again, and something may have been missed before."""
        self._missed(names)

    def refused(self, interests: Sequence[Interest], refusal: Refused | None) -> None:
        """A server does not have these: they are tried again, elsewhere if they have moved."""
        assert self._loop is not None  # noqa: S101  # somebody followed them
        words = str(refusal) if refusal is not None else ""
        self._fleet.look(words)
        if refusal is not None and refusal.code not in _PASSING:
            for interest in interests:
                interest.tell(words)
        self._loop.call_later(_AGAIN_SECONDS, self._retry, interests)

    def _retry(self, interests: Sequence[Interest]) -> None:
        for interest in interests:
            if self._interests.get(interest.topic) is interest and interest.wanted and not interest.confirmed:
                self._place(interest)
