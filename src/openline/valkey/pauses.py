"""How long to wait before trying again."""

from __future__ import annotations

import asyncio
import random
from typing import Final, final

_FIRST_SECONDS: Final = 0.05
_LONGEST_SECONDS: Final = 2.0
#: A connection that broke sooner is one that could not be made.
_HELD_SECONDS: Final = 1.0


@final
class Pauses:
    """Pauses between attempts: none before the first, then random ones from 0 to a bound that doubles each time.

    Many nodes that lost the same server so do not come back all at the same moment.

    Args:
        longest: bound of the longest pause, in seconds.
    """

    __slots__ = ("_attempts", "_longest")

    def __init__(self, longest: float = _LONGEST_SECONDS) -> None:
        self._attempts = 0
        self._longest = longest

    @classmethod
    def for_calls(cls, timeout: float) -> Pauses:
        """Make pauses between connections: a call that comes when the server is back lives to see the next attempt.

        Args:
            timeout: seconds a call has.
        """
        return cls(min(_LONGEST_SECONDS, timeout / 3))

    def reset(self) -> None:
        """An attempt succeeded: the next is made at once."""
        self._attempts = 0

    async def outlive(self, lost: asyncio.Future[str]) -> str:
        """Wait for the end of a connection; one that held for a moment was a success, one that broke at once was not.

        Args:
            lost: done, with the reason, once it has ended.
        Returns:
            The reason.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        reason = await asyncio.shield(lost)
        if loop.time() - began >= _HELD_SECONDS:
            self.reset()
        return reason

    def next(self) -> float:
        """Give the seconds to wait before the next attempt."""
        attempts = self._attempts
        self._attempts = min(attempts + 1, 16)
        if not attempts:
            return 0.0
        return random.uniform(0, min(self._longest, _FIRST_SECONDS * 2**attempts))  # noqa: S311  # only spreads
