"""What a node said: what it may say while something is broken, and what it may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

#: A node whose engine is away says so, as an error: it is for whoever looks after the server.
_AWAY: Final = re.compile(r"^ERROR openline.*(the broker is away|after a command was answered or a session ended: )")

#: One that cannot reach its engine does not start, and says why.
_NOT_STARTED: Final = re.compile(
    r"^ERROR: +Traceback.*\n(?:(?!ERROR:).*\n)*?openline\.errors\.BrokerUnavailable: .*\n(?:(?!ERROR:).*\n)*?"
    r"ERROR: +Application startup failed\. Exiting\.$",
    re.MULTILINE,
)

#: Whatever begins so is a fault of the program, however broken its surroundings are.
_WRONG: Final = re.compile(
    r"^ERROR|^CRITICAL|Traceback|exception was never retrieved|was never awaited|Task was destroyed|Unhandled|"
    r"Exception ignored|Fatal error on"
)


def faults(log: str, *, engine_stays: bool = False) -> Iterator[str]:
    """Give the lines of a log that no node may write.

    Args:
        engine_stays: its engine was there all the time, so it had no reason to say it was away.
    """
    if not engine_stays:
        log = _NOT_STARTED.sub("", log)
    for line in log.splitlines():
        if _WRONG.search(line) and (engine_stays or not _AWAY.search(line)):
            yield line


def warnings(log: str) -> int:
    """Count what was said as a warning or an error."""
    return sum(line.startswith(("WARNING", "ERROR")) for line in log.splitlines())
