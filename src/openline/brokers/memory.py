"""The broker of a single process: the reference implementation of `openline.brokers.base`.

Invariants of this file:

1. No coroutine here suspends, so every call is one atomic step and no lock is needed.
2. A stream has one entry in `_unused` while it is in `_streams`, and one in `_ageing` while it may keep publications.
   An entry's moment is not after the one at which there is something to let go of; if it turns out to be before, the
   entry is put back with the right one. So a busy stream costs a heap operation per lifetime, not per publication.
3. Ages are measured on a clock that never goes back (`_moment`). The wall clock only dates publications.
4. Nothing is freed by a timer. What a call touches is brought up to date at once; of the rest, every call lets go of
   a little: as much as it can add, so that idle streams and old keys do not pile up.
"""

from __future__ import annotations

import heapq
import secrets
import string
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple, final

from openline.brokers.base import Page, Recipient
from openline.errors import BrokerUnavailable, DeclarationError
from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position, Publication

#: Entries looked at per call and kind. A call causes two at most: one entry put back, one taken off for good.
_SWEPT_PER_CALL = 2
#: How many streams are looked at to find one to forget early.
_LOOKED_AT = 16
#: A letter for every byte, for epochs. That some letters come a little more often does not matter to a name.
_LETTERS = (string.ascii_letters.encode() * 5)[:256]
#: What an empty stream holds, in place of deques of its own: those cost 1.5 KiB even with nothing in them, and a
#: stream outlives its publications by a month. Never changed.
_NO_PUBLICATIONS: deque[Publication] = deque()
_NO_MOMENTS: deque[float] = deque()


class _Stream:
    """One channel's history: its newest publications, where it stands, and how long each of the two is kept."""

    __slots__ = ("ageing", "channel", "kept", "meta_seconds", "moments", "seconds", "top", "used", "version")

    def __init__(self, channel: str, history: History, moment: float) -> None:
        self.channel = channel
        self.kept = _NO_PUBLICATIONS  #: oldest first; offsets follow each other without a hole
        self.moments = _NO_MOMENTS  #: when each of `kept` was taken
        self.ageing = False  #: whether it has an entry in the broker's `_ageing`
        self.seconds = history.seconds
        self.meta_seconds = history.meta_seconds
        self.used = moment
        self._be_born()

    def _be_born(self) -> None:
        self.clear()
        self.top = Position(secrets.token_bytes(8).translate(_LETTERS).decode(), 0)
        self.version: tuple[str, int] = ("", 0)  #: epoch and number of the newest version seen

    def clear(self) -> None:
        self.kept = _NO_PUBLICATIONS
        self.moments = _NO_MOMENTS

    def begin_use(self, moment: float) -> None:
        """Be used from now on; one that was unused for too long begins anew."""
        if self.unused_at() < moment:
            self._be_born()
        self.used = moment

    def touch(self, history: History, moment: float, *, followed: bool) -> None:
        """Bring up to date before a use: what is too old or too much is gone after this."""
        if followed:
            self.used = moment
        else:
            self.begin_use(moment)
        self.seconds = history.seconds
        self.meta_seconds = history.meta_seconds
        kept, moments, seconds = self.kept, self.moments, self.seconds
        while moments and (moments[0] + seconds < moment or len(kept) > history.size):
            kept.popleft()
            moments.popleft()

    def append(
        self, data: bytes, info: ClientInfo | None, tags: dict[str, str] | None, size: int, time: float
    ) -> Publication:
        """Add the next publication to a stream that was just touched."""
        epoch, previous = self.top.epoch, self.top.offset
        publication = Publication(data, previous + 1, previous, epoch, info, tags, time)
        self.top = Position(epoch, previous + 1)
        if self.kept is _NO_PUBLICATIONS:
            self.kept, self.moments = deque(), deque()
        self.kept.append(publication)
        self.moments.append(self.used)
        if len(self.kept) > size:
            self.kept.popleft()
            self.moments.popleft()
        return publication

    def page(self, since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        """Read; the arguments are those of `Broker.history`."""
        kept = self.kept
        if not kept or limit == 0:
            return []
        skipped = 0  # how many of `kept` lie before the page, counted from the end where it starts
        if since is not None:
            skipped = max(0, kept[-1].offset - since.offset + 1 if reverse else since.offset - kept[0].offset + 1)
        stop = len(kept) if limit < 0 else min(skipped + limit, len(kept))
        if skipped >= stop:
            return []
        return list(islice(reversed(kept) if reverse else kept, skipped, stop))

    def emptied_at(self) -> float:
        """Tell after which moment nothing of this stream is kept any more; -1 if nothing is."""
        return self.moments[-1] + self.seconds if self.moments else -1.0

    def unused_at(self) -> float:
        """Tell after which moment the stream itself is forgotten."""
        # One that was only asked about, by a client that makes up names perhaps, is not worth a month.
        return self.used + (self.meta_seconds if self.top.offset else self.seconds)


class _Key(NamedTuple):
    """An idempotency key: what it stands for and until when."""

    until: float
    name: tuple[str, str]  #: the channel and the key itself
    position: Position


#: Entries of a heap: a moment, a number that tells equal moments apart, the stream.
_Due = list[tuple[float, int, _Stream]]


@final
class MemoryBroker:
    """Carries publications within one process and keeps their history in its memory.

    Epochs are eight random letters and offsets count by one, so the predecessor of a publication is its offset less
    one. All is gone with the process, or with `stop`: what is published after that is in new streams with new epochs.

    Args:
        now: the wall clock in unix seconds. Set back, it makes what is kept stay longer by the jump, no more.
        idempotency_seconds: how long an idempotency key is remembered.
        idempotency_keys: keys remembered at most (about 400 bytes each); past it the oldest is forgotten early.
        streams: kept at most, save those that are followed (about 500 bytes each and what they hold); past it the one
            that would be forgotten first is forgotten early.
    Raises:
        DeclarationError: an argument makes no sense; the message names it.
    """

    #: No coroutine of this broker ever suspends.
    immediate = True
    #: Nobody else is in this process.
    is_open = False

    __slots__ = (
        "_ageing",
        "_behind",
        "_followed",
        "_idempotency_keys",
        "_idempotency_seconds",
        "_keys",
        "_keys_by_age",
        "_last_moment",
        "_most_streams",
        "_node",
        "_now",
        "_pushed",
        "_recipient",
        "_running",
        "_streams",
        "_unused",
    )

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        *,
        idempotency_seconds: float = 300,
        idempotency_keys: int = 1_000_000,
        streams: int = 250_000,
    ) -> None:
        if not idempotency_seconds > 0:
            raise DeclarationError(f"MemoryBroker.idempotency_seconds is {idempotency_seconds!r}: it must be above 0")
        if not idempotency_keys >= 1:
            raise DeclarationError(f"MemoryBroker.idempotency_keys is {idempotency_keys!r}: it must be at least 1")
        if not streams >= 1:
            raise DeclarationError(f"MemoryBroker.streams is {streams!r}: it must be at least 1")
        self._now = now
        self._most_streams = streams
        self._idempotency_seconds = idempotency_seconds
        self._idempotency_keys = idempotency_keys
        self._running = False
        self._node = ""
        self._recipient: Recipient | None = None
        self._followed: set[str] = set()
        self._streams: dict[str, _Stream] = {}
        self._ageing: _Due = []
        self._unused: _Due = []
        self._pushed = 0
        self._keys: dict[tuple[str, str], _Key] = {}
        self._keys_by_age: deque[_Key] = deque()
        self._last_moment = float("-inf")
        self._behind = 0.0  # by how much the wall clock was set back, all jumps together

    @property
    def problem(self) -> str:
        """What is wrong: that it is not started, or nothing."""
        return "" if self._running else "the memory broker is not started"

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Begin; the recipient is called from inside `publish`, `announce` and `tell` until `stop`."""
        self._running = True
        self._node = node
        self._recipient = recipient

    async def stop(self) -> None:
        """End; streams, keys and interest are let go. Idempotent; the broker may be started again."""
        self._running = False
        self._recipient = None
        for held in (self._followed, self._streams, self._ageing, self._unused, self._keys, self._keys_by_age):
            held.clear()

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel; following twice is following once."""
        self._check_running()
        stream = self._streams.get(channel)
        if stream is not None and channel not in self._followed:
            stream.begin_use(self._moment())
        self._followed.add(channel)

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel; one not followed is no error."""
        if channel in self._followed:
            moment = self._moment()  # while it is followed still: telling the time sweeps
            self._followed.discard(channel)
            stream = self._streams.get(channel)
            if stream is not None:
                stream.used = moment  # those who come right back find it as they left it

    async def publish(
        self,
        channel: str,
        data: bytes,
        *,
        history: History | None,
        info: ClientInfo | None = None,
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Append to the channel's history and, if the channel is followed, deliver before this returns.

        See `Broker.publish` for the arguments. All of it is one step: no other call sees a part of it.

        Raises:
            BrokerUnavailable: the broker is not started; nothing is out.
        """
        self._check_running()
        moment = self._moment()
        if idempotency_key:
            first = self._keys.get((channel, idempotency_key))
            if first is not None and first.until >= moment:
                return first.position
        if tags is not None:
            tags = dict(tags)  # readers see what was published, whatever the caller does with its own
        if history is None:
            publication = Publication(data, info=info, tags=tags)
            position = Position.NONE
        else:
            stream = self._stream(channel, history, moment)
            if version:
                epoch, newest = stream.version
                if version_epoch == epoch and version <= newest:
                    return stream.top
                stream.version = (version_epoch, version)
            # Without `_behind` the moment is what the wall clock says.
            publication = stream.append(data, info, tags, history.size, moment - self._behind)
            position = stream.top
            if not stream.ageing:
                stream.ageing = True
                self._push(self._ageing, stream.emptied_at(), stream)
        if idempotency_key:
            self._remember(_Key(moment + self._idempotency_seconds, (channel, idempotency_key), position))
        self._deliver(channel, publication)
        return position

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Deliver a join or leave if the channel is followed; it is not kept."""
        self._check_running()
        self._deliver(channel, arrival)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Give a word to the one node there is, if it is for it."""
        self._check_running()
        if self._recipient is not None and node in ("", self._node):
            self._recipient.hear(word)

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read a stream; see `Broker.history`.

        Raises:
            BrokerUnavailable: the broker is not started.
        """
        self._check_running()
        stream = self._stream(channel, history, self._moment())
        return Page(stream.page(since, limit, reverse), stream.top)

    async def forget(self, channel: str) -> None:
        """Drop the publications of a channel's history; its epoch, top offset and version stay."""
        self._check_running()
        stream = self._streams.get(channel)
        if stream is not None:
            stream.clear()

    def __repr__(self) -> str:
        kept = sum(len(stream.kept) for stream in self._streams.values())
        return f"MemoryBroker(streams={len(self._streams)}, publications={kept}, keys={len(self._keys)})"

    def _check_running(self) -> None:
        if not self._running:
            raise BrokerUnavailable(self.problem)

    def _deliver(self, channel: str, message: Message) -> None:
        if channel in self._followed and self._recipient is not None:
            self._recipient.deliver(channel, message)

    def _stream(self, channel: str, history: History, moment: float) -> _Stream:
        stream = self._streams.get(channel)
        if stream is None:
            if len(self._streams) >= self._most_streams:
                self._forget_one(moment)
            stream = self._streams[channel] = _Stream(channel, history, moment)
            self._push(self._unused, stream.unused_at(), stream)
        stream.touch(history, moment, followed=channel in self._followed)
        return stream

    def _push(self, due: _Due, moment: float, stream: _Stream) -> None:
        self._pushed += 1
        heapq.heappush(due, (moment, self._pushed, stream))

    def _remember(self, key: _Key) -> None:
        self._keys[key.name] = key
        self._keys_by_age.append(key)
        if len(self._keys_by_age) > self._idempotency_keys:
            self._forget_oldest_key()

    def _forget_oldest_key(self) -> None:
        key = self._keys_by_age.popleft()
        # A key that came again after its time has a younger namesake further back, which is the one to look up.
        if self._keys[key.name] is key:
            del self._keys[key.name]

    def _moment(self) -> float:
        """Tell the time on the clock that ages are measured on, and let go of a little of what is over."""
        moment = self._now() + self._behind
        if moment < self._last_moment:
            self._behind += self._last_moment - moment
            moment = self._last_moment
        self._last_moment = moment
        if self._ageing and self._ageing[0][0] < moment:
            self._sweep_ageing(moment)
        if self._unused and self._unused[0][0] < moment:
            self._sweep_unused(moment)
        for _ in range(_SWEPT_PER_CALL):
            if not self._keys_by_age or self._keys_by_age[0].until >= moment:
                break
            self._forget_oldest_key()
        return moment

    def _sweep_ageing(self, moment: float) -> None:
        due = self._ageing
        for _ in range(_SWEPT_PER_CALL):
            if not due or due[0][0] >= moment:
                return
            _, number, stream = due[0]
            emptied_at = stream.emptied_at()
            if emptied_at >= moment:
                heapq.heapreplace(due, (emptied_at, number, stream))
            else:
                heapq.heappop(due)
                stream.clear()
                stream.ageing = False

    def _forget_one(self, moment: float) -> None:
        """Forget the stream that nobody will use for longest, as far as a few looks tell."""
        due, passed = self._unused, list[tuple[float, int, _Stream]]()
        for _ in range(min(_LOOKED_AT, len(due))):
            noted, number, stream = heapq.heappop(due)
            unused_at = self._unused_at(stream, moment)
            if stream.channel in self._followed or unused_at > noted:
                passed.append((unused_at, number, stream))
                continue
            stream.clear()
            del self._streams[stream.channel]
            break
        for entry in passed:
            heapq.heappush(due, entry)

    def _unused_at(self, stream: _Stream, moment: float) -> float:
        # Subscribers stand in the stream they follow, however quiet it is.
        return moment + stream.seconds if stream.channel in self._followed else stream.unused_at()

    def _sweep_unused(self, moment: float) -> None:
        due = self._unused
        for _ in range(_SWEPT_PER_CALL):
            if not due or due[0][0] >= moment:
                return
            _, number, stream = due[0]
            unused_at = self._unused_at(stream, moment)
            if unused_at >= moment:
                heapq.heapreplace(due, (unused_at, number, stream))
            else:
                heapq.heappop(due)
                del self._streams[stream.channel]
