"""What handlers return to let a client in: `Accept` a connection, `Allow` a subscription."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from openline.errors import DeclarationError, sendable


def _unix_seconds(moment: float | datetime | None, owner: str) -> float | None:
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise DeclarationError(f"{owner}.expire_at: a datetime needs its time zone, {moment!r} has none")
        return moment.timestamp()
    return moment


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """Returned by `on_connect`: who is connected, and with what."""

    user: str = ""  #: the user's id; "" is anonymous
    info: Any = None  #: shown to others in presence, joins and publications; written as JSON
    data: Any = None  #: given to this client as it connects; written as JSON
    channels: Sequence[str] = ()  #: subscriptions the client begins with, personal channels among them
    expire_at: float | datetime | None = None  #: unix seconds or an aware datetime; then the connection ends (3005)

    def __post_init__(self) -> None:
        user: object = self.user
        if not isinstance(user, str) or sendable(user) != user:
            raise DeclarationError(f"Accept.user is {self.user!r}: a user id is a string")
        if isinstance(self.channels, str):
            raise DeclarationError(f"Accept.channels is {self.channels!r}: it is a list of names")
        _unix_seconds(self.expire_at, "Accept")

    @property
    def expires_at(self) -> float | None:
        """The expiry in unix seconds."""
        return _unix_seconds(self.expire_at, "Accept")


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """Returned by `on_subscribe`: what goes with the subscription."""

    info: Any = None  #: shown to others of this channel; written as JSON
    data: Any = None  #: given to this client as it subscribes; written as JSON
    expire_at: float | datetime | None = None  #: unix seconds or an aware datetime; then the subscription ends (2501)

    def __post_init__(self) -> None:
        _unix_seconds(self.expire_at, "Allow")

    @property
    def expires_at(self) -> float | None:
        """The expiry in unix seconds."""
        return _unix_seconds(self.expire_at, "Allow")
