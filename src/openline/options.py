"""The options of hubs and channels: frozen values, checked when they are made.

Seconds are bare numbers; every other unit is in the name.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openline.errors import DeclarationError

#: How a channel with history brings its subscribers up to date.
#: "stream": all that was missed, for every subscriber; "cache": the newest publication, for every subscriber;
#: "asked": stream recovery or bare positions, for the clients that ask for it.
Recovery = Literal["stream", "cache", "asked"]


def _at_least(owner: str, field: str, value: float, minimum: float) -> None:
    if not value >= minimum:
        raise DeclarationError(f"{owner}.{field} is {value!r}: it must be at least {minimum}")


class History(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a channel is kept for those who come back.

    A publication is kept until it is older than `seconds` or `size` newer ones exist, whichever is first.
    """

    size: int = 100  #: publications kept per channel
    seconds: float = 300  #: age at which a publication is forgotten
    meta_seconds: float = 30 * 24 * 3600  #: age of an unused stream at which its epoch and top offset are forgotten

    def __post_init__(self) -> None:
        _at_least("History", "size", self.size, 1)
        _at_least("History", "seconds", self.seconds, 0.001)
        _at_least("History", "meta_seconds", self.meta_seconds, self.seconds)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one client may cost. Each field says what happens past it."""

    message_bytes: int = 65_536  #: one incoming WebSocket message; past it the socket is closed with 1009
    outbox_bytes: int = 1_048_576  #: what waits for one client; past it the session is closed with 3008
    channels: int = 128  #: subscriptions of one session; past it error 106, server-side 3505
    name_length: int = 255  #: characters of a channel's name; past it error 107
    recovery_publications: int = 300  #: publications in one recovery; past it the client is told `recovered: false`
    history_publications: int = 300  #: publications in one history reply; a larger `limit` is cut to this
    waiting_commands: int = 256  #: commands of one session that wait for a running one; past it reading stops
    connect_seconds: float = 10  #: time from the socket's opening to the connect command; past it 3502
    close_seconds: float = 5  #: time for the peer to answer a close; past it the socket is aborted
    expiry_grace_seconds: float = 25  #: time after an expiry in which a client's new token is still in time
    idempotency_seconds: float = 300  #: how long an idempotency key is remembered

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            _at_least("Limits", field, getattr(self, field), 0 if field == "expiry_grace_seconds" else 0.001)


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """How dead peers are found: the server pings, the client answers."""

    ping_seconds: int = 25  #: between two pings; the first comes after a random half to whole of it
    pong_seconds: float = 10  #: for the answer; past it the session is closed with 3012

    def __post_init__(self) -> None:
        _at_least("Heartbeat", "ping_seconds", self.ping_seconds, 1)
        if not isinstance(self.ping_seconds, int):
            raise DeclarationError(f"Heartbeat.ping_seconds is {self.ping_seconds!r}: clients are told whole seconds")
        if not 0 < self.pong_seconds < self.ping_seconds:
            raise DeclarationError(
                f"Heartbeat.pong_seconds is {self.pong_seconds!r}: it must lie between 0 and "
                f"ping_seconds ({self.ping_seconds}), else two pings are unanswered at once"
            )


class ChannelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a declared channel offers, as the engine sees it."""

    raw: bool = False  #: payloads are any bytes, not JSON
    history: History | None = None
    recovery: Recovery = "stream"  #: only with history
    presence: bool = False
    join_leave: bool = False
    protected: bool = False  #: clients need a subscription token


class Override(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a token changes of a channel's options for one subscription; None leaves an option as declared."""

    presence: bool | None = None  #: the session is shown in presence
    join_leave: bool | None = None  #: its coming and going is announced
    force_push_join_leave: bool | None = None  #: it is told who comes and goes, asked or not
    force_positioning: bool | None = None  #: it has positions, asked or not
    force_recovery: bool | None = None  #: it recovers, asked or not


#: Every option as declared.
AS_DECLARED: Final = Override()
