"""Following a channel from within the app: each publication once and in order, at the pace of whoever asks for them.

A follower reads history from where it stands until that meets what arrives live, and goes live in the call that decides
it, as a session does when it joins. From then on it is a subscriber of the topic like any other, with an outbox of its
own. Whatever ends that stay (it was too slow, something was lost that the node could not heal) sends it back to reading
history from its own position. So it never asks for anything while it keeps up, and needs no other way when it does not.

Invariants of this file:

1. A follower's position is that of the last publication it gave out; what comes next follows it, or is an error.
2. What waits for a follower is bounded: `HIGH_BYTES` here and `Limits.outbox_bytes` in all.
3. A follower that ended is in no topic.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, final

from openline import codes
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.errors import BrokerUnavailable, FellBehind, HubNotStarted, UnrecoverablePosition
from openline.framing import MESSAGES, Encoding
from openline.node import Node
from openline.options import ChannelOptions
from openline.outbox import Direct, Outbox
from openline.protocol.packed import PACKED
from openline.publication import ClientInfo, Position, Publication
from openline.recovery import BrokenTail, Wish, decide
from openline.subscription import Subscription
from openline.topic import Topic

_log: Final = logging.getLogger("openline")

#: Seconds between two tries, while the broker is away.
RETRY_SECONDS: Final = 0.5
#: Taken off the outbox and not asked for; past it the rest waits there.
HIGH_BYTES: Final = 65_536
_LOW_BYTES: Final = 16_384

_ENCODING: Final = Encoding(PACKED, MESSAGES)
_NOBODY: Final = ClientInfo("", "")


@final
class Stay:
    """A follower's time in a topic, from going live to the first thing it is not given.

    It is the subscriber, its wire and the owner of its outbox in one.

    Args:
        wake: called when there is something to look at.
    Attributes:
        cut: what ended it; None while it lasts. What came before that is still here.
    """

    encoding = _ENCODING
    name = "follow"
    direct: Direct | None = None

    def __init__(self, node: Node, topic: Topic, wake: Callable[[], None]) -> None:
        self.id = str(uuid.uuid4())
        self.cut: DisconnectCode | UnsubscribeCode | None = None
        self._node = node
        self._wake = wake
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self.outbox = Outbox(self, node.limits.outbox_bytes, self)
        self.subscription = Subscription(topic.channel, self, _NOBODY, join_leave=False)

    def take(self) -> Sequence[Publication]:
        """Give the next publications that have come, oldest first; none where there are none."""
        if not self._chunks:
            return ()
        chunk = self._chunks.popleft()
        self._size -= len(chunk)
        if self.outbox.is_paused and self._size <= _LOW_BYTES:
            self.outbox.resume()
        return tuple(PACKED.unpack(chunk))

    def leave(self) -> None:
        """Be in the topic no more."""
        self.outbox.drop()
        topic = self._node.topic(self.subscription.channel)
        if topic is not None:
            topic.leave(self.subscription)
            self._node.desert(topic)

    # --- as a subscriber ------------------------------------------------------------------------------------------

    def end(self, code: DisconnectCode) -> None:
        """It did not keep up."""
        self._end(code)

    def lose(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        """The topic missed something for good, or stands elsewhere."""
        self.outbox.flush()
        self._end(code)

    def _end(self, code: DisconnectCode | UnsubscribeCode) -> None:
        self.cut = code
        self.leave()
        self._wake()

    def dirty(self) -> None:
        """Something waits: it comes at the end of the turn."""
        self._node.turn.outbox(self.outbox)

    def skipped(self, publications: int) -> None:
        """So many publications were dropped, as the channel declared."""
        self._node.counters.publications_dropped += publications

    # --- as a wire ------------------------------------------------------------------------------------------------

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Keep these until they are taken."""
        self._chunks += (chunk, *more)
        self._size += len(chunk) + sum(map(len, more))
        self._wake()
        if self._size > HIGH_BYTES and not self.outbox.is_paused:
            self.outbox.pause()

    def unsent_bytes(self) -> int:
        """How much was not taken."""
        return self._size

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """There is nothing to close."""

    def ping(self) -> bool:
        """There is nobody to be pinged."""
        return False

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""


@final
class Follower:
    """One who follows a channel.

    Args:
        since: where it stands; None to begin where the channel stands when it is first asked.
    """

    __slots__ = ("_begun", "_channel", "_node", "_options", "_position", "_ready", "_stay", "_stopped", "_woken")

    def __init__(self, node: Node, channel: str, options: ChannelOptions, since: Position | None) -> None:
        self._node = node
        self._channel = channel
        self._options = options
        self._position = since
        self._ready: deque[Publication] = deque()
        self._stay: Stay | None = None
        self._woken = asyncio.Event()
        self._begun = self._stopped = False

    def stop(self) -> None:
        """Give nothing more."""
        self._stopped = True
        self._woken.set()

    def leave(self) -> None:
        """Follow no more. Idempotent."""
        if self._stay is not None:
            self._stay.leave()
            self._stay = None

    async def next(self) -> Publication | None:
        """Wait for what comes next; None once it was stopped.

        Raises:
            UnrecoverablePosition, FellBehind: it cannot be had.
            BrokerUnavailable: the first time.
        """
        while not self._stopped:
            if self._ready:
                publication = self._ready.popleft()
                if publication.offset:
                    self._position = Position(publication.epoch, publication.offset)
                return publication
            if self._stay is None:
                await self._step_or_wait()
            elif publications := self._stay.take():
                self._ready.extend(publications)
            elif self._stay.cut is not None:
                self._come_back(self._stay.cut)
            else:
                await self._wait(None)
        return None

    async def _wait(self, seconds: float | None) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _come_back(self, cut: DisconnectCode | UnsubscribeCode) -> None:
        """Read history from where it stands, where there is one."""
        self._stay = None
        if self._options.history is not None:
            _log.info("a follower of channel %s goes on from history: %d %s", self._channel, *cut)
        elif cut == codes.CLOSED_SLOW:
            raise FellBehind(self._channel, self._node.limits.outbox_bytes)
        else:
            raise UnrecoverablePosition(f"channel {self._channel} lost something, and keeps no history")

    async def _step_or_wait(self) -> None:
        """Take one step towards where the channel stands. While the broker is away, wait for it."""
        try:
            await self._step()
        except BrokerUnavailable as error:
            if self._stopped:
                return
            if not self._begun:
                raise
            words = "a follower of channel %s goes on later: %s"
            self._node.notices.take("histories_failed", words, self._channel, error)
            await self._wait(RETRY_SECONDS)
        except BrokenTail:
            # The topic gave up a gap while history was read, and what arrived next is beyond it: read again.
            await self._wait(RETRY_SECONDS)
        else:
            self._begun = True

    async def _step(self) -> None:
        node, history = self._node, self._options.history
        topic = await node.enter_topic(self._channel, self._options)
        try:
            if history is None:
                self._go_live(topic, Position.NONE)
                return
            asked = self._position
            limit = 0 if asked is None else node.limits.recovery_publications
            page = await node.broker.history(self._channel, history=history, since=asked, limit=limit)
            recovered = decide(Wish("stream", True, asked), page, topic.tail, node.limits)
            if asked is not None and not recovered.whole:
                raise UnrecoverablePosition(f"history of channel {self._channel} does not hold what follows {asked}")
            if not recovered.follows:
                if topic.is_past(recovered.position):
                    return  # the topic gave up a gap meanwhile, and what was read is of before: read again
                self._go_live(topic, recovered.position)
            self._ready.extend(recovered.publications)
            if asked is None or not recovered.publications:
                self._position = recovered.position
        finally:
            node.leave_topic(topic)

    def _go_live(self, topic: Topic, position: Position) -> None:
        stay = self._stay = Stay(self._node, topic, self._woken.set)
        if not topic.join(stay.subscription, position):
            self._node.heal(topic)


@final
class Following:
    """The followers of one node.

    Args:
        watch: called with this while there are followers: it is to call `server_ends`.
        forget: called once there are none.
    """

    __slots__ = ("__weakref__", "_followers", "_forget", "_node", "_watch")

    def __init__(self, node: Node, *, watch: Callable[[Following], None], forget: Callable[[Following], None]) -> None:
        self._node = node
        self._watch = watch
        self._forget = forget
        self._followers: dict[Follower, None] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let there be followers until the block ends."""
        self._followers.clear()  # of a loop that was killed
        try:
            yield
        finally:
            self.server_ends()

    def server_ends(self) -> None:
        """Have every follower end."""
        for follower in tuple(self._followers):
            follower.stop()

    async def follow(
        self, channel: str, options: ChannelOptions, since: Position | None
    ) -> AsyncGenerator[Publication, None]:
        """Give what is published in a channel from a position on, or from now on, until the hub stops.

        Raises:
            HubNotStarted: the hub does not run in this event loop.
            UnrecoverablePosition, FellBehind, BrokerUnavailable: as `Follower.next`.
        """
        if not self._node.runs_here:
            raise HubNotStarted("follow: the hub is not running, or runs in another event loop")
        follower = Follower(self._node, channel, options, since)
        self._followers[follower] = None
        self._watch(self)
        try:
            while (publication := await follower.next()) is not None:
                yield publication
        finally:
            follower.leave()
            self._followers.pop(follower, None)
            if not self._followers:
                self._forget(self)

    def __len__(self) -> int:
        """Count them."""
        return len(self._followers)
