"""What presence guarantees.

1. A session that was added is seen on every node until it is removed, its lease runs out, or its node is gone.
2. Adding again renews the lease and replaces what is known of the session.
3. Removing what is not there is no error.
4. Failure is loud: what cannot be done in time raises `BrokerUnavailable`; so does a presence that is not started or
   was stopped, for everything but `start`, `stop` and `remove`.

`openline.testing.check_presence` checks all of this against any implementation.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from openline.publication import ClientInfo


class PresenceStats(NamedTuple):
    """How many are in a channel."""

    clients: int  #: sessions
    users: int  #: different user ids; all anonymous sessions count as one


class Presence(Protocol):
    """Who is in which channel, across nodes; one instance per node."""

    #: A promise that no coroutine here ever suspends: callers then need no task.
    immediate: bool

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End; the sessions this node added are removed. Idempotent."""

    async def add(self, channel: str, info: ClientInfo) -> None:
        """Enter a session; `info.client` is its id."""

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out."""

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone in a channel by session id, in no particular order."""

    async def stats(self, channel: str) -> PresenceStats:
        """Count who is in a channel."""
