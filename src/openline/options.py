"""The options of hubs and channels: frozen values, checked when they are made.

Seconds are bare numbers; every other unit is in the name.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import msgspec

from openline.errors import DeclarationError

#: How a channel with history brings its subscribers up to date.
#: "stream": all that was missed, for every subscriber; "cache": the newest publication, for every subscriber;
#: "asked": stream recovery or bare positions, for the clients that ask for it.
Recovery = Literal["stream", "cache", "asked"]

#: Who is told of those who come and go: nobody; the clients that ask; every subscriber.
JoinLeave = bool | Literal["forced"]

#: What becomes of a client that does not keep up with a channel, once more waits for it than `Limits.outbox_bytes`.
#: "disconnect": it is closed with 3008 and resumes; "drop_oldest": publications of this channel that wait for it give
#: way to newer ones; "latest_only": while it is behind at all, one publication waits for it, always the newest (beside
#: what the turn brought in which it fell behind).
Slow = Literal["disconnect", "drop_oldest", "latest_only"]

#: No payload may nest deeper, whatever the limit says: Pydantic reads 200 levels, and Python's stack ends soon after.
DEEPEST_JSON: Final = 200


def _at_least(owner: str, field: str, value: object, minimum: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
        raise DeclarationError(f"{owner}.{field} is {value!r}: it must be a number, and at least {minimum}")


def _whole(owner: str, field: str, value: object, otherwise: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DeclarationError(f"{owner}.{field} is {value!r}: it must be a whole number, and at least 1{otherwise}")


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
    """What clients may cost. Each field says what happens past it.

    Seconds are finite; what is counted is a whole number from 1 on. `docs/limits.md` says more of each.
    """

    message_bytes: int = 65_536  #: one incoming message, past it closed with 1009; also one publication with its tags
    json_depth: int = 64  #: arrays and objects within each other in a client's payload, 200 at most; past it error 107
    outbox_bytes: int = 1_048_576  #: what waits for one client; past it the session is closed with 3008
    channels: int = 128  #: subscriptions of one session; past it error 106, server-side 3505
    name_length: int = 255  #: characters of a channel's name; past it error 107
    connections: int | None = None  #: on this node, None for no limit; past it the handshake is refused with HTTP 503
    connections_per_user: int | None = None  #: on this node, save anonymous ones; None for no limit; past it 3504
    commands_per_second: float = 500  #: of one session, connect aside, `math.inf` for no limit; past it error 111
    commands_burst: int = 1_000  #: commands at once, before `commands_per_second` counts; at least `channels` pass
    waiting_commands: int = 256  #: commands of one session that wait for a running one; past it reading stops
    recovery_publications: int = 300  #: of a recovery, read at a time; the rest follows as the client reads
    history_publications: int = 300  #: publications in one history reply; a larger `limit` is cut to this
    connect_seconds: float = 10  #: time from the socket's opening to the connect command; past it 3502
    close_seconds: float = 5  #: time for the peer to answer a close; past it the socket is aborted
    expiry_grace_seconds: float = 25  #: time after an expiry in which a client's new token is still in time
    idempotency_seconds: float = 300  #: how long an idempotency key is remembered
    position_check_seconds: float = 15  #: between two looks whether an idle topic missed a message; 30 at most

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if field.endswith("_seconds"):
                least = 0 if field == "expiry_grace_seconds" else 0.001
                _at_least("Limits", field, value, least)
                if not math.isfinite(value):
                    raise DeclarationError(f"Limits.{field} is {value!r}: it must be finite, and at least {least}")
            elif field == "commands_per_second":
                _at_least("Limits", field, value, 0.001)
            elif not field.startswith("connections"):
                _whole("Limits", field, value)
            elif value is not None:
                _whole("Limits", field, value, "; None for no limit")
        if self.position_check_seconds > 30:
            # Streams nothing was published in are forgotten after a minute; looking keeps them.
            raise DeclarationError(
                f"Limits.position_check_seconds is {self.position_check_seconds!r}: it must be at most 30"
            )
        if self.json_depth > DEEPEST_JSON:
            raise DeclarationError(
                f"Limits.json_depth is {self.json_depth!r}: it must be at most {DEEPEST_JSON}, "
                "past which readers of JSON, Pydantic's among them, begin to give up"
            )


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
    join_leave: JoinLeave = False
    protected: bool = False  #: clients need a subscription token
    slow: Slow = "disconnect"  #: another one only without history
    delta: bool = False  #: subscribers may have patches instead of whole payloads; only with history
    filters: bool = False  #: subscribers may say by tags what they want

    def __post_init__(self) -> None:
        if self.join_leave not in (False, True, "forced"):
            raise DeclarationError(f"join_leave is {self.join_leave!r}: it must be False, True or 'forced'")
        if self.slow not in get_args(Slow):
            raise DeclarationError(f"slow is {self.slow!r}: it must be one of {', '.join(map(repr, get_args(Slow)))}")
        if self.slow != "disconnect" and self.history is not None:
            raise DeclarationError(
                f"slow={self.slow!r} and history exclude each other: who recovers is promised every publication, "
                "so none may be dropped for it"
            )
        if self.delta and self.history is None:
            raise DeclarationError("delta needs history: a patch is of use only to who has all that was before it")


class Override(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is otherwise for one subscription than its channel declares; None leaves an option as it is."""

    presence: bool | None = None  #: the session is shown in presence
    join_leave: bool | None = None  #: its coming and going is announced
    force_push_join_leave: bool | None = None  #: it is told who comes and goes, asked or not
    force_positioning: bool | None = None  #: it has positions, asked or not
    force_recovery: bool | None = None  #: it recovers, asked or not


#: Every option as declared.
AS_DECLARED: Final = Override()
