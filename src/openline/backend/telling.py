"""What a back end is told and not asked: it waits for nobody, and is tried again for a while.

Invariants of this file:

1. Whoever tells never waits; what waits to be told is bounded.
2. What concerns one client is told in its order, each once the one before was heard or given up.
3. Whoever asks about a channel that such a word is of can wait for that: else the word would come after the answer, and
   undo it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple, final

from openline.backend.caller import Caller, Unanswered
from openline.backend.headers import Header
from openline.backend.journal import Journal

_log: Final = logging.getLogger("openline")

#: So much is told at once; what concerns one client is always in the same of them.
LANES: Final = 8
#: So many wait in one of them.
WAITING: Final = 1_000
#: How long the last of them may take as the server ends.
LAST_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0


class _Word(NamedTuple):
    about: tuple[str, str]
    event: str
    url: str
    body: bytes
    headers: Sequence[Header]
    done: asyncio.Event


@final
class Teller:
    """Tells the back end of one hub what has ended.

    Args:
        retries: tries after the first, each later than the one before.
    """

    def __init__(self, caller: Caller, journal: Journal, *, retries: int) -> None:
        self._caller = caller
        self._journal = journal
        self._retries = retries
        self._lanes: list[asyncio.Queue[_Word]] = []
        #: By client and channel, the last word that is not told yet.
        self._untold: dict[tuple[str, str], _Word] = {}

    def tell(
        self, client: str, event: str, url: str, body: bytes, headers: Sequence[Header], *, channel: str = ""
    ) -> None:
        """Have an event told, in the order of its client's. One too many is dropped, counted and logged.

        Args:
            channel: the event is of; "" for none.
        """
        self._journal.counts[event].asked += 1
        if not self._lanes:
            self._journal.failed(event, url, "the events are not running", dropped=1)
            return
        lane = self._lanes[zlib.crc32(client.encode()) % LANES]
        word = _Word((client, channel), event, url, body, headers, asyncio.Event())
        try:
            lane.put_nowait(word)
        except asyncio.QueueFull:
            self._journal.failed(event, url, f"{WAITING} others wait already", dropped=1)
        else:
            self._untold[word.about] = word

    async def heard(self, client: str, channel: str) -> None:
        """Wait until everything so far of a client in a channel was heard or given up."""
        word = self._untold.get((client, channel))
        if word is not None:
            await word.done.wait()

    def _done(self, word: _Word) -> None:
        word.done.set()
        if self._untold.get(word.about) is word:
            del self._untold[word.about]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell until the block ends; then what still waits has a last moment."""
        self._lanes = [asyncio.Queue(WAITING) for _ in range(LANES)]
        failure: BaseException | None = None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._serve(lane)) for lane in self._lanes]
            try:
                yield
                await self._end()
            except BaseException as error:  # noqa: BLE001  # raised again below: the group would wrap it
                failure = error
            lanes, self._lanes = self._lanes, []
            for task in tasks:
                task.cancel()
        self._count_left(lanes)
        if failure is not None:
            raise failure

    def _count_left(self, lanes: Sequence[asyncio.Queue[_Word]]) -> None:
        for lane in lanes:
            while not lane.empty():
                word = lane.get_nowait()
                self._done(word)
                self._journal.failed(word.event, word.url, "the server ended before it was told", dropped=1)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(LAST_SECONDS):
                for lane in self._lanes:
                    await lane.join()
        except TimeoutError:
            pass  # what is left is counted by `running`

    async def _serve(self, lane: asyncio.Queue[_Word]) -> None:
        while True:
            word = await lane.get()
            try:
                await self._try(word)
            except asyncio.CancelledError:
                self._journal.failed(word.event, word.url, "the server ended before it was told", dropped=1)
                raise
            except Exception:  # noqa: BLE001  # one that fails must not silence those behind it
                self._journal.counts[word.event].dropped += 1
                _log.exception("%s event failed", word.event)
            finally:
                self._done(word)
                lane.task_done()

    async def _try(self, word: _Word) -> None:
        pause = _FIRST_PAUSE_SECONDS
        for left in range(self._retries, -1, -1):
            try:
                await self._caller.ask(word.event, word.url, word.body, word.headers, repeatable=True, tries=1)
            except Unanswered as error:
                if not left or not error.passing:
                    self._journal.failed(word.event, word.url, error, dropped=1)
                    return
            else:
                return
            self._journal.counts[word.event].retried += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # spread, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
