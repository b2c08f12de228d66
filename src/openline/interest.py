"""Which channels this node follows at the broker: exactly those with somebody in them or on the way.

Following and unfollowing one channel never overlap: with a broker on the network a late "unfollow" would otherwise
undo the "follow" of somebody who came meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from openline.brokers.base import Broker
from openline.locks import Locks


@final
class Interest:
    """Keeps the broker following what is needed."""

    __slots__ = ("_broker", "_followed", "_locks")

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._followed: set[str] = set()
        self._locks = Locks()

    async def begin(self, channel: str) -> None:
        """Follow a channel; everything published from the return on arrives.

        Raises:
            BrokerUnavailable: it is not followed.
        """
        if self._broker.immediate:
            if channel not in self._followed:
                await self._broker.follow(channel)
                self._followed.add(channel)
            return
        await self._exclusive(channel, lambda: True)

    async def end(self, channel: str, needed: Callable[[], bool]) -> None:
        """Unfollow a channel, unless it is needed again by then."""
        if self._broker.immediate:
            if channel in self._followed and not needed():
                self._followed.discard(channel)
                await self._broker.unfollow(channel)
            return
        await self._exclusive(channel, needed)

    async def _exclusive(self, channel: str, needed: Callable[[], bool]) -> None:
        async with self._locks.hold(channel):
            if needed() and channel not in self._followed:
                await self._broker.follow(channel)
                self._followed.add(channel)
            elif not needed() and channel in self._followed:
                self._followed.discard(channel)
                await self._broker.unfollow(channel)
