"""Everything one user has open, on whatever device and on whatever node."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import final

from openline import codes
from openline.admission import Allow, unix_seconds
from openline.application import Admission
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.errors import Disconnect
from openline.orders import Orders, Target
from openline.publication import Position
from openline.rules import encoded
from openline.session import Session


@final
class User:
    """All sessions of one user; get it from `Hub.user`. A user with none is no error.

    Each call reaches every node and returns when all have answered. One that does not in time is a
    `BrokerUnavailable` which names it; the others have done it all the same, and it may be asked for again.
    """

    __slots__ = ("_orders", "_target", "id")

    def __init__(self, orders: Orders, identifier: str) -> None:
        self._orders = orders
        self._target = Target(identifier)
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
        await self._orders.send(self._target, data)

    async def subscribe(self, channel: str, allow: Allow | None = None, *, since: Position | None = None) -> None:
        """Put every session into a channel; one that is in it already stays as it is. No handler is asked.

        Args:
            allow: what goes with the subscription; its data is written as JSON. At its expiry the connection ends
                (3006), as a client cannot renew what the server began.
            since: what was published after this is brought along.
        Raises:
            Refusal: no pattern matches, a session is in too many channels, or history no longer holds what was
                published after `since`: then the session is not subscribed, as its client would not be told.
            BrokerUnavailable: the broker or a node did not answer. Every other session was tried.
        """
        allow = Allow() if allow is None else allow
        admission = Admission(
            info=encoded(allow.info), data=encoded(allow.data), expires_at=allow.expires_at, override=allow.override
        )
        await self._orders.subscribe(self._target, channel, admission, since)

    async def unsubscribe(self, channel: str, code: UnsubscribeCode = codes.UNSUBSCRIBED_BY_SERVER) -> None:
        """Take every session out of a channel.

        Raises:
            BrokerUnavailable: a node did not answer.
        """
        await self._orders.unsubscribe(self._target, channel, code)

    async def disconnect(
        self,
        code: DisconnectCode | int = codes.CLOSED_FORCED,
        reason: str | None = None,
        *,
        spare: Sequence[str] = (),
    ) -> None:
        """Close every session, also one that is still connecting; by default the clients stay away.

        Args:
            spare: the ids of sessions that stay, such as the one in which a password was changed.
        Raises:
            DeclarationError: the code or reason is not one a client can be sent.
            BrokerUnavailable: a node did not answer.
        """
        await self._orders.disconnect(self._target, Disconnect(code, reason).code, spared=spare)

    async def refresh(self, expire_at: float | datetime | None = None, *, info: object = None) -> None:
        """Say anew when the connections end, and what others see of them.

        Args:
            expire_at: unix seconds or an aware datetime; what is past ends them now (3005), None is never.
            info: shown to others from now on, in presence at once; written as JSON. None leaves it as it is.
        Raises:
            DeclarationError: a datetime has no time zone.
            BrokerUnavailable: a node did not answer.
        """
        await self._orders.refresh(self._target, unix_seconds(expire_at, "User.refresh"), encoded(info))

    def __repr__(self) -> str:
        return f"<User {self.id!r} sessions={len(self.sessions)}>"
