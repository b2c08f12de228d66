"""Which channels a pattern of the API means: `*`, `?`, `[abc]`, `[!abc]` and `{one,other}`, as a shell has them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import Final, final

from openline.errors import BadRequest

#: Characters of a pattern, and patterns that its braces may stand for.
LONGEST_PATTERN: Final = 1_000
MOST_ALTERNATIVES: Final = 100

_SPECIAL: Final = re.compile(r"[*?\[{]")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")


@final
class Glob:
    """A pattern of channel names. A `*` stands for any characters, `:` too.

    Args:
        text: "" means every channel.
    Raises:
        BadRequest: it is too long, or its braces stand for too much.
    """

    __slots__ = ("_match", "prefix")

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST_PATTERN:
            raise BadRequest(f"pattern is longer than {LONGEST_PATTERN} characters")
        text = text or "*"
        special = _SPECIAL.search(text)
        #: What every name that matches begins with.
        self.prefix = text if special is None else text[: special.start()]
        # What `fnmatch` makes of a `*` does not go back on itself, however many there are.
        self._match = re.compile("|".join(fnmatch.translate(one) for one in _alternatives(text))).match

    def matches(self, channel: str) -> bool:
        """Tell whether a channel is meant."""
        return self._match(channel) is not None


def _alternatives(text: str) -> list[str]:
    """Write a pattern without braces: one for each way to choose."""
    found, waiting = dict[str, None](), [text]
    while waiting:
        pattern = waiting.pop()
        if _BRACES.search(pattern) is None:
            found[pattern] = None
        else:
            waiting += _chosen(pattern)
        if len(found) + len(waiting) > MOST_ALTERNATIVES:
            raise BadRequest(f"pattern stands for more than {MOST_ALTERNATIVES} others")
    return list(found)


def _chosen(pattern: str) -> Iterator[str]:
    braces = _BRACES.search(pattern)
    if braces is not None:
        for choice in braces[1].split(","):
            yield pattern[: braces.start()] + choice + pattern[braces.end() :]
