"""How fast one client may ask: a bucket of commands for each session, in one number.

A session's bucket is `asked_until`, the moment at which all it has asked is paid off, each command at the time that the
rate grants it. That moment lies in the past for a session that asks seldom; as far as a burst into the future it may
lie. So there is no timer, and a session that never asks holds nothing.

Invariants of this file:

1. Of commands that keep to the rate none is refused, and none of a burst's number at once after a while of silence.
2. What is refused costs the client too, an eighth of a command. So one that asks up to eight times too fast is held at
   the rate; one that goes on beyond that falls ever further behind, and is closed once it is a second burst behind.
"""

from __future__ import annotations

from typing import Final, Protocol, final

from openline import codes
from openline.codes import DisconnectCode
from openline.counters import Counters
from openline.notices import Notices
from openline.options import Limits
from openline.protocol.messages import Reply
from openline.protocol.pushes import error_reply
from openline.timers import Clock

#: What a refused command costs, of what one that is carried out does.
_REFUSED_SHARE: Final = 1 / 8


class Asking(Protocol):
    """What a quota asks of a session."""

    id: str
    user: str
    asked_until: float

    def push(self, reply: Reply) -> bool:
        """Queue one message."""

    def end(self, code: DisconnectCode) -> None:
        """Close the connection."""


@final
class Quota:
    """The rate at which each session of a node may ask.

    Args:
        limits: of them `commands_per_second`, `commands_burst`, and `channels`: who comes back subscribes to all at
            once.
        clock: the time.
        counters: of the node.
        notices: what says that somebody is too fast.
    """

    __slots__ = ("_burst_seconds", "_clock", "_counters", "_notices", "_rate", "_step_seconds")

    def __init__(self, limits: Limits, clock: Clock, counters: Counters, notices: Notices) -> None:
        self._rate = limits.commands_per_second
        self._step_seconds = 1 / limits.commands_per_second
        # Half a step more: what is added up a thousand times is not exact.
        self._burst_seconds = (max(limits.commands_burst, limits.channels) + 0.5) * self._step_seconds
        self._clock = clock
        self._counters = counters
        self._notices = notices

    def lets(self, session: Asking, identifier: int) -> bool:
        """Say whether a command is carried out. If not, it was refused here: with 111, or with the session's end."""
        now = self._clock.monotonic()
        until = session.asked_until
        until = (until if until > now else now) + self._step_seconds  # noqa: FURB136  # `max` costs twice as much
        if until - now <= self._burst_seconds:
            session.asked_until = until
            return True
        self._refuse(session, identifier, now)
        return False

    def _refuse(self, session: Asking, identifier: int, now: float) -> None:
        session.asked_until += self._step_seconds * _REFUSED_SHARE
        self._notices.take(
            "commands_too_fast",
            "session %s of user %r asks faster than Limits.commands_per_second (%g): refused with %d",
            session.id,
            session.user,
            self._rate,
            codes.TOO_MANY_REQUESTS.number,
        )
        if session.asked_until - now > 2 * self._burst_seconds:
            code = codes.CLOSED_TOO_MANY_REQUESTS
            self._notices.take(
                "floods",
                "session %s of user %r goes on asking too fast: closed with %d",
                session.id,
                session.user,
                code.number,
            )
            session.end(code)
        elif identifier:  # a `send` has none, and nobody waits for an answer to it
            self._counters.refusals += 1
            session.push(error_reply(identifier, codes.TOO_MANY_REQUESTS))
