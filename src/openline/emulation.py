"""What clients say beside a stream: requests that come to any node, brought to the one that holds the stream.

A stream goes one way only. What its client has to say it posts, and a load balancer gives each request to whichever
node it likes. Each such session has a secret, which its client alone was told, and posts name it and its node.

Invariants of this file:

1. A session is found by its secret from the moment its wire opened to the moment it ended.
2. Frames that one node brings are taken in the order in which they came to it. Frames that come to different nodes, or
   on different connections, may overtake each other.
3. A frame that is carried to another node arrives at most once, as all words between nodes do.
"""

from __future__ import annotations

import enum
import secrets
from typing import Final, Protocol, final

from openline import codes
from openline.errors import BrokerUnavailable, PayloadTooBig
from openline.life import State
from openline.node import Node
from openline.session import Session

#: Bytes of a secret.
_SECRET_BYTES: Final = 24


class Upstream(Protocol):
    """A wire whose client's frames come another way."""

    def take(self, frame: bytes) -> bool:
        """Take one whole message of the client; False where too much waits already."""


class Fate(enum.Enum):
    """What became of a frame."""

    TAKEN = enum.auto()  #: by its session, or it is on its way to another node
    GONE = enum.auto()  #: its session has ended
    FULL = enum.auto()  #: too many wait for their session to take them
    TOO_LARGE = enum.auto()
    NOWHERE = enum.auto()  #: there is no such node
    AWAY = enum.auto()  #: the broker, which carries it to its node; or this node does not know yet whether it is there


def new_secret() -> str:
    """Give a name for a session that nobody can guess."""
    return secrets.token_urlsafe(_SECRET_BYTES)


@final
class Emulation:
    """The sessions of one node that have a secret, and the way to those of the others."""

    __slots__ = ("_node", "_node_id", "_sessions")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._node_id = ""
        self._sessions: dict[str, tuple[Session, Upstream]] = {}
        node.cluster.take_frame = self._hear

    def add(self, session: Session, upstream: Upstream) -> None:
        """Find a session from now on."""
        if self._node_id != self._node.id:
            self._node_id = self._node.id
            self._sessions.clear()  # of a loop that was killed
        self._sessions[session.secret] = (session, upstream)

    def forget(self, session: Session) -> None:
        """Find a session no more. Idempotent."""
        if session.secret:
            self._sessions.pop(session.secret, None)

    async def bring(self, node: str, secret: str, frame: bytes) -> Fate:
        """Bring a frame to its session.

        Args:
            node: that holds the stream, by what the client was told.
            secret: of the session.
            frame: one whole message of the client.
        """
        limit = self._node.limits.message_bytes
        if len(frame) > limit:
            words = "a message larger than Limits.message_bytes (%d) was posted beside a stream: refused with 413"
            self._node.notices.take("messages_too_large", words, limit)
            return Fate.TOO_LARGE
        if node == self._node.id:
            fate = self._give(secret, frame)
            if fate is Fate.FULL:
                words = "what was posted beside a stream was refused with 429: too much waits to be carried out"
                self._node.notices.take("frames_refused", words)
            return fate
        return await self._forward(node, secret, frame)

    async def _forward(self, node: str, secret: str, frame: bytes) -> Fate:
        found = await self._node.cluster.find(node)
        if found is None:
            words = "what was posted beside a stream was refused with 429: its node is not known, as this one is new"
            self._node.notices.take("frames_refused", words)
            return Fate.AWAY
        if not found:
            return Fate.NOWHERE
        try:
            await self._node.cluster.forward(node, secret, frame)
        except PayloadTooBig:
            return Fate.TOO_LARGE
        except BrokerUnavailable as error:
            words = "what was posted beside a stream was refused with 429: it could not be carried to its node: %s"
            self._node.notices.take("frames_refused", words, error)
            return Fate.AWAY
        return Fate.TAKEN

    def _give(self, secret: str, frame: bytes) -> Fate:
        found = self._sessions.get(secret)
        if found is None or found[0].life is State.ENDED:
            return Fate.GONE
        return Fate.TAKEN if found[1].take(frame) else Fate.FULL

    def _hear(self, secret: str, frame: bytes) -> None:
        """Take a frame from another node, whose client cannot be told any more what becomes of it."""
        if self._give(secret, frame) is Fate.FULL:
            session = self._sessions[secret][0]
            words = "session %s of user %r posted more than it lets be carried out: closed with %d"
            code = codes.CLOSED_TOO_MANY_REQUESTS
            self._node.notices.take("frames_refused", words, session.id, session.user, code.number)
            session.end(code)
