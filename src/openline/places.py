"""How many connections a node and a user may have, and who has a place before they are connected.

Invariant of this file: a handshake or connect that is let in has its place from the moment of the decision on. However
many are decided at the same time, no more come in than there are places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

from openline import codes
from openline.errors import Disconnect
from openline.notices import Notices
from openline.options import Limits
from openline.session import Session


@final
class Places:
    """The places of one node.

    Args:
        sessions: by id, those there are.
        users: the sessions of each user, those that are connected.
    """

    __slots__ = ("_arriving", "_expected", "_limits", "_notices", "_sessions", "_users")

    def __init__(
        self,
        limits: Limits,
        notices: Notices,
        sessions: Mapping[str, Session],
        users: Mapping[str, Mapping[str, Session]],
    ) -> None:
        self._limits = limits
        self._notices = notices
        self._sessions = sessions
        self._users = users
        #: Handshakes on their way to become sessions.
        self._expected: set[object] = set()
        #: The sessions of each user whose connect is let in and not done yet.
        self._arriving: dict[str, set[str]] = {}

    def expect(self, handshake: object) -> bool:
        """Keep a place for a handshake until `expected` is called; False where every place is taken.

        Args:
            handshake: any object that stands for it.
        """
        limit = self._limits.connections
        if limit is not None and len(self._sessions) + len(self._expected) >= limit:
            return False
        self._expected.add(handshake)
        return True

    def expected(self, handshake: object) -> None:
        """A handshake has become a session, or come to nothing. Idempotent."""
        self._expected.discard(handshake)

    @contextmanager
    def arriving(self, session: Session) -> Iterator[None]:
        """Keep a place among the connections of a session's user around a block. Anonymous users are not counted.

        Raises:
            Disconnect: the user's places are taken (3504), or the session has ended.
        """
        user, limit = session.user, self._limits.connections_per_user
        if limit is None or not user:
            yield
            return
        if session.id not in self._sessions:
            raise Disconnect(codes.CLOSED_NORMAL)
        if len(self._users.get(user, ())) + len(self._arriving.get(user, ())) >= limit:
            code = codes.CLOSED_CONNECTION_LIMIT
            words = "user %r has as many connections as Limits.connections_per_user allows (%d): closed with %d"
            self._notices.take("connections_refused", words, user, limit, code.number)
            raise Disconnect(code)
        self._arriving.setdefault(user, set()).add(session.id)
        try:
            yield
        finally:
            self._arrived(user, session.id)  # whoever the session says it is by now

    def arrived(self, session: Session) -> None:
        """A session is connected, or came to nothing. Idempotent."""
        self._arrived(session.user, session.id)

    def _arrived(self, user: str, session: str) -> None:
        arriving = self._arriving.get(user)
        if arriving is not None:
            arriving.discard(session)
            if not arriving:
                del self._arriving[user]

    def clear(self) -> None:
        """Nobody is on the way any more."""
        self._expected.clear()
        self._arriving.clear()

    def __len__(self) -> int:
        """Count those on their way."""
        return len(self._expected) + len(self._arriving)
