"""Everything one user has open, on whatever device and on whatever node."""

from __future__ import annotations

from typing import final

from openline import codes
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.errors import Disconnect
from openline.orders import Orders
from openline.session import Session


@final
class User:
    """All sessions of one user; get it from `Hub.user`. A user with none is no error.

    Each call reaches every node and returns when all have answered. One that does not in time is a
    `BrokerUnavailable` which names it; the others have done it all the same, and it may be asked for again.
    """

    __slots__ = ("_orders", "id")

    def __init__(self, orders: Orders, identifier: str) -> None:
        self._orders = orders
        self.id = identifier

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The user's sessions on this node."""
        return self._orders.node.sessions_of(self.id)

    async def send(self, data: object) -> None:
        """Push a message to every session, outside every channel.

        Args:
            data: what Pydantic can write as JSON.
        Raises:
            BrokerUnavailable: a node did not answer.
        """
        await self._orders.send(self.id, data)

    async def subscribe(self, channel: str) -> None:
        """Put every session into a channel; one that is in it already stays.

        Raises:
            Refusal: no pattern matches, or a session is in too many channels.
            BrokerUnavailable: the broker or a node did not answer. Every other session was tried.
        """
        await self._orders.subscribe(self.id, channel)

    async def unsubscribe(self, channel: str, code: UnsubscribeCode = codes.UNSUBSCRIBED_BY_SERVER) -> None:
        """Take every session out of a channel.

        Raises:
            BrokerUnavailable: a node did not answer.
        """
        await self._orders.unsubscribe(self.id, channel, code)

    async def disconnect(self, code: DisconnectCode | int = codes.CLOSED_FORCED, reason: str | None = None) -> None:
        """Close every session, also one that is still connecting; by default the clients stay away.

        Raises:
            DeclarationError: the code or reason is not one a client can be sent.
            BrokerUnavailable: a node did not answer.
        """
        await self._orders.disconnect(self.id, Disconnect(code, reason).code)

    def __repr__(self) -> str:
        return f"<User {self.id!r} sessions={len(self.sessions)}>"
