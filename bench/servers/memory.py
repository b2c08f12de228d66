"""What a server's memory is used for: served by those that run with `PYTHONTRACEMALLOC=1`."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections import Counter
from typing import Final

#: Where packages begin, so that the name of a file says nothing of the machine.
_FOLDERS: Final = re.compile(r"^.*/(?:src|site-packages|python3\.\d+)/")


async def account() -> dict[str, int]:
    """Give the bytes in use, by the file whose line asked for them."""
    gc.collect()
    found: Counter[str] = Counter()
    for statistic in tracemalloc.take_snapshot().statistics("filename"):
        found[_FOLDERS.sub("", statistic.traceback[0].filename)] += statistic.size
    return found
