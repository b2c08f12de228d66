"""What presence guarantees.

1. A session that was added is seen on every node until it is removed or its node is gone. A node that dies is gone
   when its lease runs out, within ten seconds; one that stops is gone at once.
2. Adding again replaces what is known of the session.
3. Removing what is not there is no error.
4. Failure is loud: what cannot be done in time raises `BrokerUnavailable`; so does a presence that is not started or
   was stopped, for everything but `start`, `stop` and `remove`. `problem` says what is wrong while it is.
5. Of the sessions of a node that died exactly one other node announces that they left. A node that was taken for dead
   and was not, and one whose store forgot it, enters its sessions again by itself, and announces those that others
   were told had left.

`openline.testing.check_presence` checks all of this against any implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from openline.publication import Arrival, ClientInfo

#: Takes the coming or going of a session, in a channel, that nobody else tells of. Never waits and never raises.
Announce = Callable[[str, Arrival], None]


class PresenceStats(NamedTuple):
    """How many are in a channel."""

    clients: int  #: sessions
    users: int  #: different user ids; all anonymous sessions count as one


class Presence(Protocol):
    """Who is in which channel, across nodes; one instance per node."""

    #: A promise that no coroutine here ever suspends: callers then need no task.
    immediate: bool

    @property
    def problem(self) -> str:
        """What is wrong as of now, in words for whoever looks after the server; "" while all works."""

    async def start(self, node: str, announce: Announce) -> None:
        """Begin.

        Args:
            node: the name of this node, which no other has: letters and digits.
            announce: called for the sessions of guarantee 5, until `stop` returns.
        Raises:
            BrokerUnavailable: it cannot be reached; nothing is left behind.
        """

    async def stop(self) -> None:
        """End; the sessions this node added are removed. Idempotent."""

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Enter a session; `info.client` is its id.

        Args:
            announced: its coming was or will be announced in the channel, so its going is too if its node dies.
        """

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out.

        Raises:
            BrokerUnavailable: it may be seen for a while; it is taken out once the store is back.
        """

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone in a channel by session id, in no particular order."""

    async def stats(self, channel: str) -> PresenceStats:
        """Count who is in a channel."""
