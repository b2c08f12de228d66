"""What may go wrong a thousand times a second: counted each time, and said in the log once in a while.

A broker that is away fails every publication, and a client that misbehaves does so a thousand times a second. The
counters have every time; the log has the first of each kind at once, and from then on one line in `SILENT_SECONDS`,
which says how many there were in between. A kind is one message, before its placeholders are filled: what shares a
counter and is put in other words hides nothing.
"""

from __future__ import annotations

import logging
import math
from typing import Final, Literal, final

from openline.counters import Counters
from openline.timers import Clock

_log: Final = logging.getLogger("openline")

#: Seconds between two lines of one kind.
SILENT_SECONDS: Final = 10.0

#: The counters of what goes past a limit and may come in floods.
Excess = Literal[
    "api_keys_refused",
    "api_requests_refused",
    "commands_too_fast",
    "commands_unserved",
    "connections_refused",
    "floods",
    "frames_refused",
    "gaps_lost",
    "handshakes_refused",
    "histories_failed",
    "messages_malformed",
    "messages_too_deep",
    "messages_too_large",
    "origins_refused",
    "publications_failed",
    "publications_malformed",
    "subscriptions_refused",
    "words_unreadable",
]


@final
class Notices:
    """The log lines of one node about clients that go past a limit.

    Args:
        counters: where each is counted.
        clock: the time.
    """

    __slots__ = ("_clock", "_counters", "_last")

    def __init__(self, counters: Counters, clock: Clock) -> None:
        self._counters = counters
        self._clock = clock
        #: For each message: when its last line was, and how often it was not said since.
        self._last: dict[str, tuple[float, int]] = {}

    def take(self, excess: Excess, message: str, *values: object) -> None:
        """Count one more of a kind, and say so unless it was said just now.

        Args:
            excess: the counter.
            message: one line, as logging takes it. It is remembered: what varies stands in `values`.
            values: for its placeholders.
        """
        setattr(self._counters, excess, getattr(self._counters, excess) + 1)
        now = self._clock.monotonic()
        said, silent = self._last.get(message, (-math.inf, 0))
        if now - said < SILENT_SECONDS:
            self._last[message] = (said, silent + 1)
            return
        self._last[message] = (now, 0)
        if silent:
            _log.warning(f"{message} (and %d more since the last such line)", *values, silent)
        else:
            _log.warning(message, *values)
