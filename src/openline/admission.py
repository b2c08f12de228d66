"""What handlers return: `Accept` a connection, `Allow` a subscription, `Publish` a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from openline.errors import DeclarationError, sendable
from openline.options import AS_DECLARED, Override
from openline.publication import checked_tags


def unix_seconds(moment: float | datetime | None, owner: str) -> float | None:
    """Give a moment in unix seconds.

    Raises:
        DeclarationError: it has no time zone, or is none; `owner` is named.
    """
    if isinstance(moment, bool):
        raise DeclarationError(f"{owner}.expire_at is {moment!r}: it is unix seconds, or a datetime with its time zone")
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise DeclarationError(f"{owner}.expire_at: a datetime needs its time zone, {moment!r} has none")
        return moment.timestamp()
    return moment


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """Returned by `on_connect`: who is connected, and with what. By `on_refresh`: what of it is new."""

    user: str = ""  #: the user's id; "" is anonymous
    info: Any = None  #: shown to others in presence, joins and publications; written as JSON
    data: Any = None  #: given to this client as it connects; written as JSON, but bytes go as they are
    meta: Any = None  #: for the app alone, as `Session.meta`; written as JSON
    channels: Sequence[str] = ()  #: subscriptions the client begins with, personal channels among them
    subscriptions: Mapping[str, Allow] = {}  #: the same, with more to each: by the channel's name
    expire_at: float | datetime | None = None  #: unix seconds or an aware datetime; then the connection ends (3005)

    def __post_init__(self) -> None:
        user: object = self.user
        if not isinstance(user, str) or sendable(user) != user:
            raise DeclarationError(f"Accept.user is {self.user!r}: a user id is a string")
        if isinstance(self.channels, str):
            raise DeclarationError(f"Accept.channels is {self.channels!r}: it is a list of names")
        for channel, allowed in self.subscriptions.items():
            if not isinstance(allowed, Allow):
                raise DeclarationError(f"Accept.subscriptions[{channel!r}] is {allowed!r}: it is an Allow(…)")
        unix_seconds(self.expire_at, "Accept")

    @property
    def expires_at(self) -> float | None:
        """The expiry in unix seconds."""
        return unix_seconds(self.expire_at, "Accept")


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """Returned by `on_subscribe`: what goes with the subscription. By `on_refresh`: what of it is new."""

    info: Any = None  #: shown to others of this channel; written as JSON
    data: Any = None  #: given to this client as it subscribes; written as JSON, but bytes go as they are
    expire_at: float | datetime | None = None  #: unix seconds or an aware datetime; then the subscription ends (2501)
    override: Override = AS_DECLARED  #: what is otherwise for this subscription than the channel declares

    def __post_init__(self) -> None:
        unix_seconds(self.expire_at, "Allow")

    @property
    def expires_at(self) -> float | None:
        """The expiry in unix seconds."""
        return unix_seconds(self.expire_at, "Allow")


class Publish(msgspec.Struct, frozen=True):
    """Returned by `on_publish`: the message as it is published, and how; see `Channel.publish`."""

    message: Any = None  #: of the channel's type; None is the one that came
    tags: Mapping[str, str] | None = None  #: go with the publication to the clients
    idempotency_key: str = ""  #: a repeat publishes nothing; the client is answered all the same
    version: int = 0  #: of the state the message shows; one not above the last seen is not published
    version_epoch: str = ""  #: versions of different epochs are not compared
    skip_history: bool = False  #: carried to those who are there now, and not kept

    def __post_init__(self) -> None:
        if self.tags is not None:
            checked_tags(self.tags)
