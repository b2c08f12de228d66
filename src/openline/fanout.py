"""A batch of one topic on its way to the outboxes of its subscribers.

Invariants of this file:

1. Each message is encoded once per codec, and each batch joined and framed once per audience; never per client.
2. No subscriber is closed inside the loop: those who have to be are collected and closed after it.
3. A fan-out can stop after any subscriber and go on later. In between a subscriber may leave (`covered` is `LEFT`
   from then on, and the next slice passes it by); a newcomer is not in the list and needs nothing of this batch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, final

from openline import codes
from openline.backlog import Droppable
from openline.codes import DisconnectCode
from openline.options import ChannelOptions
from openline.outbox import Outbox
from openline.protocol.codec import Codec
from openline.protocol.pushes import channel_push
from openline.publication import Arrival, Message
from openline.subscription import BEHIND, LEFT, Audience, Subscription

#: About what a push takes beside its payloads: names, ids, brackets.
ENVELOPE_BYTES: Final = 200


@final
class Entry:
    """One message of a topic, with its place in the order of this node."""

    __slots__ = ("_encoded", "is_arrival", "message", "offset", "sequence")

    def __init__(self, sequence: int, message: Message) -> None:
        self.sequence = sequence
        self.message = message
        self.is_arrival = isinstance(message, Arrival)
        self.offset = 0 if isinstance(message, Arrival) else message.offset
        self._encoded: dict[Codec, bytes] = {}

    @property
    def size_bytes(self) -> int:
        """About what the push takes on the wire."""
        message = self.message
        info = message.info
        size = ENVELOPE_BYTES
        if not isinstance(message, Arrival):
            size += len(message.data)
            if message.tags:
                size += sum(len(key) + len(value) for key, value in message.tags.items())
        return size if info is None else size + len(info.connection) + len(info.channel) + len(info.user)

    def encoded(self, channel: str, codec: Codec) -> bytes:
        """Give the push in this codec."""
        encoded = self._encoded.get(codec)
        if encoded is None:
            encoded = self._encoded[codec] = codec.encode(channel_push(channel, self.message))
        return encoded


@final
class Batch:
    """What a topic received in one turn."""

    __slots__ = ("_channel", "_entries", "_options", "_whole", "first", "unfit")

    def __init__(self, channel: str, entries: list[Entry], options: ChannelOptions) -> None:
        self._channel = channel
        self._entries = entries
        self._options = options
        self.first = entries[0].sequence
        #: For each audience seen so far; an empty chunk where it gets nothing of this batch.
        self._whole: dict[Audience, tuple[bytes, Droppable | None]] = {}
        #: Audiences whose codec cannot carry a payload of this batch.
        self.unfit: set[Audience] = set()

    def whole(self, audience: Audience) -> tuple[bytes, Droppable | None]:
        """Give the bytes for an audience, made on first asking, and what is to be known if they may be dropped."""
        whole = self._whole.get(audience)
        if whole is None:
            whole = self._whole[audience] = self._wrap(audience, self._entries)
        return whole

    def part(self, subscription: Subscription) -> tuple[bytes, Droppable | None]:
        """Give the bytes for one subscriber that needs only some of the batch."""
        known = sys.maxsize if subscription.covered == BEHIND else subscription.position.offset
        missing = [
            entry
            for entry in self._entries
            if entry.sequence > subscription.joined and (not entry.offset or entry.offset > known)
        ]
        return self._wrap(subscription.audience, missing)

    def _wrap(self, audience: Audience, entries: list[Entry]) -> tuple[bytes, Droppable | None]:
        codec = audience.encoding.codec
        if not audience.join_leave:
            entries = [entry for entry in entries if not entry.is_arrival]
        if self._options.raw and not all(self._fits(entry, codec) for entry in entries):
            self.unfit.add(audience)
            return b"", None
        if not entries:
            return b"", None
        encoded = [entry.encoded(self._channel, codec) for entry in entries]
        chunk = audience.encoding.wrap(encoded)
        if self._options.slow == "disconnect" or entries[0].is_arrival:
            return chunk, None
        newest = b""
        if self._options.slow == "latest_only":
            newest = audience.encoding.wrap(encoded[-1:])
        return chunk, Droppable(self._channel, len(entries), newest)

    @staticmethod
    def _fits(entry: Entry, codec: Codec) -> bool:
        message = entry.message
        return isinstance(message, Arrival) or codec.carries(message.data)


@final
class Fanout:
    """One batch being offered to the subscribers a topic had when it began."""

    __slots__ = ("_batch", "_next", "_subscriptions")

    def __init__(self, batch: Batch, subscriptions: Sequence[Subscription]) -> None:
        self._batch = batch
        self._subscriptions = subscriptions
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether every subscriber was offered its bytes."""
        return self._next >= len(self._subscriptions)

    def run(self, subscribers: int, dirty: list[Outbox]) -> int:
        """Offer the batch to at most so many more subscribers; give how many were passed.

        Nearly all of them want the whole batch, and have nothing else waiting: for those `Outbox.offer` is written out
        here, as a call for each would cost as much as everything else. `_offer` does the same for the others.

        Args:
            dirty: the outboxes that the turn flushes at its end; those that begin to wait are put to them.
        """
        batch = self._batch
        first = batch.first
        audience, chunk, size = None, b"", 0
        others: list[Subscription] = []
        part = self._subscriptions[self._next : self._next + subscribers]
        for subscription in part:
            if subscription.covered >= first:
                others.append(subscription)
                continue
            if subscription.audience is not audience:
                audience = subscription.audience
                chunk, _ = batch.whole(audience)
                size = len(chunk) or sys.maxsize  # there is no room for nothing
            outbox = subscription.outbox
            room = outbox.room_bytes - size
            if room >= 0 and outbox.first is None:
                outbox.room_bytes = room
                outbox.first = chunk
                dirty.append(outbox)
            else:
                others.append(subscription)
        self._next += len(part)
        self._offer(others)
        return len(part)

    def _offer(self, subscriptions: Sequence[Subscription]) -> None:
        """Offer the batch, or what they need of it, to subscribers with whom something is not as usual."""
        batch = self._batch
        failed: list[tuple[Subscription, DisconnectCode]] = []
        for subscription in subscriptions:
            if subscription.covered == LEFT:
                continue
            if subscription.covered >= batch.first:
                chunk, droppable = batch.part(subscription)
            else:
                chunk, droppable = batch.whole(subscription.audience)
            if not chunk:
                if subscription.audience in batch.unfit:
                    failed.append((subscription, codes.CLOSED_INAPPROPRIATE_PROTOCOL))
            elif not subscription.outbox.offer(chunk, droppable):
                failed.append((subscription, codes.CLOSED_SLOW))
        for subscription, code in failed:
            subscription.subscriber.end(code)
