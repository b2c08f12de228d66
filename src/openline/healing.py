"""How topics are brought to where their streams stand, when what should have arrived did not.

Three things bring a topic here: an arrival that does not follow the one before (`begin`), a broker that was cut off and
says so (`doubt`), and, now and then, nothing at all: a message may be lost without anybody noticing, and if nothing is
published after it nobody ever will. So a topic that has not moved for a while is compared with its stream (`wake`).

Invariants of this file:

1. What is missing is let in before anything newer; `Topic` sees to the order, this file to the reading.
2. While the broker is away nothing is given up: it is asked again until it answers or nobody is left in the topic.
3. A channel is compared once at a time, and only so many at once: ten thousand topics after a reconnect are read in
   turn, and not in one moment. One that cannot be read holds up no other.
4. What came into doubt is read after that, from the beginning to the end of the reading.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from itertools import islice
from typing import Any, Final, final

from openline.brokers.base import Broker, Page
from openline.counters import Counters
from openline.notices import Notices
from openline.publication import Position
from openline.topic import Topic

_log: Final = logging.getLogger("openline")

#: Seconds between two tries to read history, while the broker is away.
RETRY_SECONDS: Final = 0.5
#: How many channels are compared with their streams at the same time.
COMPARED_AT_ONCE: Final = 64


@final
class Healing:
    """Reads what topics miss.

    Args:
        topics: the live ones, by channel.
        spawn: runs work in a task somebody looks after.
        healed: told of each topic that was changed: it may have something to deliver, or be deserted.
        seconds: between two looks at the topics that do not move.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Mapping[str, Topic],
        counters: Counters,
        notices: Notices,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        healed: Callable[[Topic], None],
        seconds: float,
    ) -> None:
        self.wake_tick = 0
        self._broker = broker
        self._topics = topics
        self._counters = counters
        self._notices = notices
        self._spawn = spawn
        self._healed = healed
        self._seconds = seconds
        #: Channels to be compared, in the order in which they came into doubt.
        self._doubted: dict[str, None] = {}
        self._comparing = False
        #: Channels that came into doubt while somebody healed them, who may have read before what is in doubt.
        self._doubted_again: set[str] = set()
        #: Where topics stood when they were looked at last.
        self._seen: dict[str, Position] = {}

    def reset(self) -> None:
        """Begin anew: what was under way is gone with the event loop it ran in."""
        self.wake_tick = 0
        self._doubted.clear()
        self._doubted_again.clear()
        self._seen.clear()
        self._comparing = False

    # --- a gap that showed ----------------------------------------------------------------------------------------

    async def heal(self, topic: Topic) -> None:
        """Read what a topic misses, until it misses nothing or nobody is in it."""
        while topic.healing and self._is_live(topic):
            page = await self._read(topic)
            if page is None:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._close(topic, page)
        if topic.channel in self._doubted_again:
            self._doubted_again.discard(topic.channel)
            self.doubt((topic.channel,))

    def _is_live(self, topic: Topic) -> bool:
        return self._topics.get(topic.channel) is topic

    async def _read(self, topic: Topic) -> Page | None:
        """Read what comes after a topic; None where the broker does not answer."""
        history = topic.options.history
        assert history is not None, "only a topic with history has positions"  # noqa: S101
        try:
            return await self._broker.history(topic.channel, history=history, since=topic.position)
        except Exception as error:  # noqa: BLE001  # whatever it was, the topic may not stay silent for good
            # Subscribers stay: the gap is healed, or they are told, once the broker is back.
            words = "channel %s: history cannot be read: %r; trying again"
            self._notices.take("histories_failed", words, topic.channel, error)
            return None

    def _close(self, topic: Topic, page: Page) -> None:
        if topic.heal(page):
            self._counters.gaps_healed += 1
            _log.info("channel %s missed something and got it from history", topic.channel)
        else:
            words = "channel %s missed what history no longer holds; its subscribers are told"
            self._notices.take("gaps_lost", words, topic.channel)
        self._healed(topic)

    # --- a gap that may be there ----------------------------------------------------------------------------------

    def doubt(self, channels: Iterable[str]) -> None:
        """Compare these channels with their streams, save those without history or anybody in them.

        Where somebody is joining who is the first to have a position, it is compared once he has one: what he read may
        be of before.
        """
        for channel in channels:
            topic = self._topics.get(channel)
            if topic is not None and topic.options.history is not None:
                self._doubted[channel] = None
        if self._doubted and not self._comparing:
            self._comparing = True
            self._spawn(self._compare_all())

    async def _compare_all(self) -> None:
        unread: dict[str, None] = {}
        try:
            while self._doubted:
                channels = tuple(islice(self._doubted, COMPARED_AT_ONCE))
                for channel in channels:
                    del self._doubted[channel]
                compared = await asyncio.gather(*(self._compare(channel) for channel in channels))
                unread.update((channel, None) for channel, done in zip(channels, compared, strict=True) if not done)
                if not any(compared):
                    await asyncio.sleep(RETRY_SECONDS)
                if not self._doubted:
                    self._doubted, unread = unread, {}
        finally:
            self._comparing = False

    async def _compare(self, channel: str) -> bool:
        """Compare a topic with its stream; False where that could not be done yet."""
        topic = self._topics.get(channel)
        while topic is not None and self._is_live(topic) and not topic.healing:
            asked = topic.position
            if asked is None:
                return not topic.joining
            page = await self._read(topic)
            if page is None:
                return False
            self._counters.positions_compared += 1
            if not self._is_live(topic) or topic.healing:
                continue
            if topic.position is None or topic.position.epoch != asked.epoch:
                continue  # it was given up meanwhile: what was read may be of before
            # What was missing may have arrived after all.
            if topic.misses(asked, page.top):
                topic.healing = True
                self._close(topic, page)
            return True
        if topic is not None and self._is_live(topic):
            # Somebody heals it, and read perhaps before what is in doubt was published.
            self._doubted_again.add(channel)
        return True

    def wake(self, now: float) -> float:
        """Doubt the topics that have not moved since the last time."""
        seen, self._seen = self._seen, {}
        for channel, topic in self._topics.items():
            if topic.position is not None:
                self._seen[channel] = topic.position
        self.doubt([channel for channel, position in self._seen.items() if seen.get(channel) is position])
        return now + self._seconds
