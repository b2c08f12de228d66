"""What is counted of the events, and said of those that failed: the first at once, then a line in a while.

Invariant: no line repeats anything of a request or an answer; a URL is shown without what may be a secret in it.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Final, final
from urllib.parse import urlsplit

_log: Final = logging.getLogger("openline")

#: Seconds between two lines of one kind.
SILENT_SECONDS: Final = 10.0
#: Kinds that are remembered; past it the memory starts anew.
_REMEMBERED: Final = 1_000
#: What differs between two lines of one kind: statuses, codes, and where in an answer something stands.
_NUMBERS: Final = re.compile(r"\d+")


@final
class Counts:
    """What became of one kind of event. Plain integers that only grow."""

    __slots__ = ("asked", "dropped", "failed", "retried")

    def __init__(self) -> None:
        self.asked = 0  #: events that came up
        self.failed = 0  #: without an answer in time, or without one that could be read
        self.retried = 0  #: times a request was sent once more
        self.dropped = 0  #: of those the back end is only told of: it never heard

    def __repr__(self) -> str:
        return f"Counts({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"


@final
class Journal:
    """The counts of each event, and the log lines."""

    __slots__ = ("_last", "counts")

    def __init__(self, events: tuple[str, ...]) -> None:
        self.counts = {event: Counts() for event in events}
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def failed(self, event: str, url: str, reason: object, *, dropped: int = 0) -> None:
        """Count an event that failed, and say so unless it was said just now."""
        self.counts[event].failed += 1
        self.counts[event].dropped += dropped
        kind = (event, _NUMBERS.sub("#", str(reason)))
        now = time.monotonic()
        said, silent = self._last.get(kind, (-SILENT_SECONDS, 0))
        if now - said < SILENT_SECONDS:
            self._last[kind] = (said, silent + 1)
            return
        if len(self._last) >= _REMEMBERED:
            self._last.clear()
        self._last[kind] = (now, 0)
        more = f" (and {silent} more since the last such line)" if silent else ""
        _log.warning("%s event to %s failed: %s%s", event, shown(url), reason, more)


def shown(url: str) -> str:
    """Give a URL without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
