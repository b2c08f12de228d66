"""A batch of one topic on its way to the outboxes of its subscribers.

Invariants of this file:

1. Each message is encoded once per codec, and each batch joined and framed once per audience; never per client.
2. No subscriber is closed inside the loop: those who have to be are collected and closed after it.
3. A fan-out can stop after any subscriber and go on later. In between a subscriber may leave (`covered` is `LEFT`
   from then on, and the next slice passes it by); a newcomer is not in the list and needs nothing of this batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from openline import codes
from openline.codes import DisconnectCode
from openline.protocol.codec import Codec
from openline.protocol.pushes import channel_push
from openline.publication import Arrival, Message
from openline.subscription import LEFT, Audience, Subscription

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

    __slots__ = ("_channel", "_entries", "_raw", "chunks", "first", "unfit")

    def __init__(self, channel: str, entries: list[Entry], *, raw: bool) -> None:
        self._channel = channel
        self._entries = entries
        self._raw = raw
        self.first = entries[0].sequence
        #: The bytes for each audience seen so far; empty where it gets nothing of this batch.
        self.chunks: dict[Audience, bytes] = {}
        #: Audiences whose codec cannot carry a payload of this batch.
        self.unfit: set[Audience] = set()

    def chunk(self, audience: Audience) -> bytes:
        """Give the bytes for an audience, made on first asking."""
        chunk = self.chunks.get(audience)
        if chunk is None:
            chunk = self.chunks[audience] = self._wrap(audience, self._entries)
        return chunk

    def chunk_for(self, subscription: Subscription) -> bytes:
        """Give the bytes for one subscriber that needs only some of the batch."""
        missing = [
            entry
            for entry in self._entries
            if entry.sequence > subscription.joined
            and (not entry.offset or entry.offset > subscription.position.offset)
        ]
        return self._wrap(subscription.audience, missing)

    def _wrap(self, audience: Audience, entries: list[Entry]) -> bytes:
        codec = audience.encoding.codec
        if not audience.join_leave:
            entries = [entry for entry in entries if not entry.is_arrival]
        if self._raw and not all(self._fits(entry, codec) for entry in entries):
            self.unfit.add(audience)
            return b""
        if not entries:
            return b""
        return audience.encoding.wrap([entry.encoded(self._channel, codec) for entry in entries])

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

    def run(self, subscribers: int) -> int:
        """Offer the batch to at most so many more subscribers; give how many were passed."""
        batch = self._batch
        first = batch.first
        chunks = batch.chunks
        start = self._next
        part = self._subscriptions[start : start + subscribers]
        failed: list[tuple[Subscription, DisconnectCode]] = []
        for subscription in part:
            if subscription.covered >= first:
                if subscription.covered == LEFT:
                    continue
                chunk = batch.chunk_for(subscription)
            else:
                audience = subscription.audience
                known = chunks.get(audience)
                chunk = batch.chunk(audience) if known is None else known
            if not chunk:
                if subscription.audience in batch.unfit:
                    failed.append((subscription, codes.CLOSED_INAPPROPRIATE_PROTOCOL))
            elif not subscription.outbox.offer(chunk):
                failed.append((subscription, codes.CLOSED_SLOW))
        self._next = start + len(part)
        for subscription, code in failed:
            subscription.subscriber.end(code)
        return len(part)
