"""Presence of a single process: the reference implementation of `openline.presence.base`.

Invariants of this file:

1. No coroutine here suspends, so every call is one atomic step and no lock is needed.
2. A channel is in `_channels` exactly while a session is in it.
3. `_Channel.sessions_of` counts, for each user in the channel, the sessions of that user; no count is 0.
"""

from __future__ import annotations

from typing import final

from openline.errors import BrokerUnavailable
from openline.presence.base import Announce, PresenceStats
from openline.publication import ClientInfo


class _Channel:
    """Who is in one channel."""

    __slots__ = ("members", "sessions_of")

    def __init__(self) -> None:
        self.members: dict[str, ClientInfo] = {}  #: by session id
        self.sessions_of: dict[str, int] = {}  #: by user id; "" is every anonymous one

    def enter(self, info: ClientInfo) -> None:
        self.leave(info.client)  # who is there already may come again as another user
        self.members[info.client] = info
        self.sessions_of[info.user] = self.sessions_of.get(info.user, 0) + 1

    def leave(self, client: str) -> None:
        info = self.members.pop(client, None)
        if info is None:
            return
        left = self.sessions_of[info.user] - 1
        if left:
            self.sessions_of[info.user] = left
        else:
            del self.sessions_of[info.user]


@final
class MemoryPresence:
    """Keeps who is in which channel in the memory of one process.

    There are no leases: with one node, a session that was not removed is still there. Counting a channel takes the
    same time however many are in it.
    """

    #: No coroutine of this presence ever suspends.
    immediate = True

    __slots__ = ("_channels", "_running")

    def __init__(self) -> None:
        self._running = False
        self._channels: dict[str, _Channel] = {}

    @property
    def problem(self) -> str:
        """What is wrong: that it is not started, or nothing."""
        return "" if self._running else "the memory presence is not started"

    async def start(self, node: str, announce: Announce) -> None:  # nobody dies without this node
        """Begin, with nobody anywhere."""
        self._running = True

    async def stop(self) -> None:
        """End; every session is removed. Idempotent; the presence may be started again."""
        self._running = False
        self._channels.clear()

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Enter a session, or replace what is known of it.

        Raises:
            BrokerUnavailable: the presence is not started.
        """
        self._check_running()
        here = self._channels.get(channel)
        if here is None:
            here = self._channels[channel] = _Channel()
        here.enter(info)

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out; one that is not there is no error, nor is a presence that was stopped."""
        here = self._channels.get(channel)
        if here is None:
            return
        here.leave(client)
        if not here.members:
            del self._channels[channel]

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone in a channel by session id, as of now: the result is the caller's own.

        Raises:
            BrokerUnavailable: the presence is not started.
        """
        self._check_running()
        here = self._channels.get(channel)
        return {} if here is None else dict(here.members)

    async def stats(self, channel: str) -> PresenceStats:
        """Count who is in a channel.

        Raises:
            BrokerUnavailable: the presence is not started.
        """
        self._check_running()
        here = self._channels.get(channel)
        return PresenceStats(0, 0) if here is None else PresenceStats(len(here.members), len(here.sessions_of))

    def _check_running(self) -> None:
        if not self._running:
            raise BrokerUnavailable(self.problem)
