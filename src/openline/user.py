"""Everything one user has open, on whatever device."""

from __future__ import annotations

from typing import final

from openline import codes
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.errors import AlreadySubscribed, Disconnect, OpenlineError
from openline.node import Node
from openline.session import Session


@final
class User:
    """All sessions of one user; get it from `Hub.user`. A user with none is no error."""

    __slots__ = ("_node", "id")

    def __init__(self, node: Node, identifier: str) -> None:
        self._node = node
        self.id = identifier

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The user's sessions on this node."""
        return self._node.sessions_of(self.id)

    async def send(self, data: object) -> None:
        """Push a message to every session, outside every channel.

        Args:
            data: what Pydantic can write as JSON.
        """
        for session in self.sessions:
            session.send(data)

    async def subscribe(self, channel: str) -> None:
        """Put every session into a channel; one that is in it already stays.

        Raises:
            Refusal: no pattern matches, or a session is in too many channels.
            BrokerUnavailable: the broker did not answer. Every other session was tried.
        """
        failure: OpenlineError | None = None
        for session in self.sessions:
            try:
                await session.subscribe(channel)
            except AlreadySubscribed:
                continue
            except OpenlineError as error:
                failure = failure or error  # the user's other sessions have theirs all the same
        if failure is not None:
            raise failure

    async def unsubscribe(self, channel: str, code: UnsubscribeCode = codes.UNSUBSCRIBED_BY_SERVER) -> None:
        """Take every session out of a channel."""
        for session in self.sessions:
            await session.unsubscribe(channel, code)

    async def disconnect(self, code: DisconnectCode | int = codes.CLOSED_FORCED, reason: str | None = None) -> None:
        """Close every session, also one that is still connecting; by default the clients stay away.

        Raises:
            DeclarationError: the code or reason is not one a client can be sent.
        """
        end = Disconnect(code, reason).code
        for session in tuple(self._node.sessions.values()):
            if session.user == self.id:
                session.end(end)

    def __repr__(self) -> str:
        return f"<User {self.id!r} sessions={len(self.sessions)}>"
