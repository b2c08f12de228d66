"""The CPU of any process, as Linux counts it: to the nanosecond, all of its threads, those that have ended left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.running import Failed


def cpu_seconds(processes: Iterable[int]) -> float:
    """Give the CPU time that these processes have used, user and system.

    Raises:
        Failed: one of them has ended.
    """
    return sum(map(_cpu_nanoseconds, processes)) / 1e9


def _cpu_nanoseconds(process: int) -> int:
    total = 0
    for thread in Path(f"/proc/{process}/task").glob("*/schedstat"):
        try:
            total += int(thread.read_text().split()[0])
        except OSError:
            continue  # this thread has ended
    if not total:
        raise Failed(f"process {process} has ended: its CPU time is lost")
    return total
