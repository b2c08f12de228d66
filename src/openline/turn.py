"""The end of the turn: everything that was published and answered in one turn of the event loop leaves together.

Invariants of this file:

1. A turn first runs the fan-outs, then flushes every dirty outbox once: one write per client and turn.
2. A turn passes at most `SLICE` subscribers, then lets the loop go round, so that a large topic delays nobody's
   heartbeat, and a small topic waits at most a slice for a large one.
3. The busier the node, the longer the turn and the larger the batch; an idle node adds no delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, final

from openline.outbox import Outbox, flush_all
from openline.topic import Topic

_log: Final = logging.getLogger("openline")

#: Subscribers passed in one turn: about five milliseconds, the kernel's sends included.
SLICE: Final = 512


@final
class Turn:
    """Collects what is dirty and sends it at the end of the turn."""

    __slots__ = ("_loop", "_outboxes", "_scheduled", "_topics", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outboxes: list[Outbox] = []
        self._topics: deque[Topic] = deque()
        self._waiting: set[Topic] = set()
        self._scheduled = False

    def topic(self, topic: Topic) -> None:
        """A topic has something to deliver."""
        if topic not in self._waiting:
            self._waiting.add(topic)
            self._topics.append(topic)
            self._schedule()

    def outbox(self, outbox: Outbox) -> None:
        """An outbox has something to flush."""
        self._outboxes.append(outbox)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._end)

    def _end(self) -> None:
        try:
            self._run_topics()
        finally:
            # From here on whatever becomes dirty is of the next turn.
            self._scheduled = False
            outboxes, self._outboxes = self._outboxes, []
            if self._topics:
                self._schedule()
            flush_all(outboxes)

    def _run_topics(self) -> None:
        left = SLICE
        topics = self._topics
        # One batch of a topic a turn: what is offered is flushed before more of it is, so that an outbox fills up only
        # if its client does not read.
        for _ in range(len(topics)):
            if left <= 0:
                break
            topic = topics.popleft()
            self._waiting.discard(topic)
            try:
                # Even a topic that everybody left costs something, so that no list of them is endless.
                left -= max(1, topic.run(left, self._outboxes))
            except Exception:  # noqa: BLE001  # its subscribers were told; the other topics have theirs
                _log.exception("channel %s could not be delivered", topic.channel)
            finally:
                if topic.waiting:
                    self.topic(topic)
