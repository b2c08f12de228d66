"""A batch of one topic on its way to the outboxes of its subscribers.

Invariants of this file:

1. Each message is encoded once per codec, and each batch joined and framed once per audience; never per client.
2. No subscriber is closed inside the loop: those who have to be are collected and closed after it.
3. A fan-out can stop after any subscriber and go on later. In between a subscriber may leave (`covered` is `LEFT`
   from then on, and the next slice passes it by); a newcomer is not in the list and needs nothing of this batch.
4. A patch is of the publication that was sent to the same subscriber right before: who was not sent what came last is
   `FRESH`, and gets the first one whole. Everybody else was sent the end of the last batch, and all of each after it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, final

from openline import codes
from openline.backlog import Droppable
from openline.codes import DisconnectCode
from openline.filters import Filter
from openline.framing import Encoding
from openline.options import ChannelOptions
from openline.outbox import Outbox
from openline.protocol.codec import Codec
from openline.protocol.delta import Patches
from openline.protocol.packed import PackedCodec
from openline.protocol.pushes import channel_push, pub_message, pub_push
from openline.publication import EMPTY, Arrival, Message, Publication
from openline.subscription import BEHIND, FRESH, LEFT, Audience, Subscription

#: What is offered: a chunk, empty where an audience gets nothing, and what is to be known if it may be dropped.
_Offer = tuple[bytes, Droppable | None]
_NOTHING: Final[_Offer] = (b"", None)


@final
class Entry:
    """One message of a topic, with its place in the order of this node."""

    __slots__ = ("_encoded", "_patch", "_wanted", "base", "is_arrival", "message", "offset", "sequence")

    def __init__(self, sequence: int, message: Message, base: Publication | None = None) -> None:
        self.sequence = sequence
        self.message = message
        #: What everybody who has been sent all until now was sent before this; None where that is not known.
        self.base = base
        self.is_arrival = isinstance(message, Arrival)
        self.offset = 0 if isinstance(message, Arrival) else message.offset
        self._encoded: dict[Codec | tuple[Codec, bool], bytes] = {}
        self._patch: bytes | None = EMPTY  #: of the base; `EMPTY` until it is asked for
        self._wanted: dict[Filter, bool] | None = None  #: made when the first is asked about

    def encoded(self, channel: str, codec: Codec) -> bytes:
        """Give the push in this codec."""
        encoded = self._encoded.get(codec)
        if encoded is None:
            if isinstance(codec, PackedCodec):
                encoded = codec.pack(self.message)
            else:
                encoded = codec.encode(channel_push(channel, self.message))
            self._encoded[codec] = encoded
        return encoded

    def encoded_delta(self, channel: str, codec: Codec, publication: Publication, patches: Patches | None) -> bytes:
        """Give the push of a publication for subscriptions with delta.

        Args:
            publication: the message.
            patches: whoever gets it has the base: a patch will do, if it is shorter. None: it has not.
        """
        patch = None if patches is None else self._patch_of(publication, patches)
        key = (codec, patch is not None)
        encoded = self._encoded.get(key)
        if encoded is None:
            data = codec.quote(publication.data if patch is None else patch)
            push = pub_push(channel, pub_message(publication, data, delta=patch is not None))
            encoded = self._encoded[key] = codec.encode(push)
        return encoded

    def _patch_of(self, publication: Publication, patches: Patches) -> bytes | None:
        if self._patch == EMPTY:
            self._patch = None if self.base is None else patches.live(self.base, publication)
        return self._patch

    def is_for(self, wanted: Filter) -> bool:
        """Tell whether those with a filter get this; joins and leaves are for all."""
        message = self.message
        if isinstance(message, Arrival):
            return True
        answers = self._wanted
        if answers is None:
            answers = self._wanted = {}
        known = answers.get(wanted)
        if known is None:
            known = answers[wanted] = wanted.matches(message.tags)
        return known


@final
class Batch:
    """What a topic received in one turn."""

    __slots__ = ("_channel", "_entries", "_options", "_patches", "_whole", "_wrapped", "first")

    def __init__(self, channel: str, entries: list[Entry], options: ChannelOptions, patches: Patches) -> None:
        self._channel = channel
        self._entries = entries
        self._options = options
        self._patches = patches
        self.first = entries[0].sequence
        #: For each audience seen so far; None where its codec cannot carry a payload.
        self._whole: dict[Audience, _Offer | None] = {}
        #: The same by what is in it, as filters that differ often let the same through.
        self._wrapped: dict[tuple[Encoding, bool, bool, tuple[int, ...]], _Offer | None] = {}

    def whole(self, audience: Audience) -> _Offer | None:
        """Give the bytes for an audience, made on first asking, and what is to be known if they may be dropped.

        None: its codec cannot carry a payload that it is to have.
        """
        if audience in self._whole:
            return self._whole[audience]
        whole = self._whole[audience] = self._offer(audience, self._entries)
        return whole

    def part(self, subscription: Subscription) -> _Offer | None:
        """Give the bytes for one subscriber that needs only some of the batch, or knows nothing a patch could be of.

        Once it was given what the next batch goes on from it is a subscriber like the others.
        """
        known = sys.maxsize if subscription.covered == BEHIND else subscription.position.offset
        missing = [
            entry
            for entry in self._entries
            if entry.sequence > subscription.joined and (not entry.offset or entry.offset > known)
        ]
        if subscription.covered == FRESH:
            newest = next((entry for entry in reversed(self._entries) if not entry.is_arrival), None)
            # What its reply covered may stand behind what it did not: then the next is no patch of what it is given.
            if newest is not None and newest in missing:
                subscription.covered = self.first
        return self._offer(subscription.audience, missing, fresh=True)

    def _offer(self, audience: Audience, entries: list[Entry], *, fresh: bool = False) -> _Offer | None:
        """Give what an audience gets of these entries.

        Args:
            fresh: of what is given it is not known what was sent before it.
        """
        if not audience.join_leave:
            entries = [entry for entry in entries if not entry.is_arrival]
        if audience.filter is not None:
            entries = [entry for entry in entries if entry.is_for(audience.filter)]
        if not entries:
            return _NOTHING
        encoding = audience.encoding.raw if self._options.raw else audience.encoding
        key = (encoding, audience.delta, fresh, tuple([entry.sequence for entry in entries]))
        if key in self._wrapped:
            return self._wrapped[key]
        offer = self._wrapped[key] = self._wrap(encoding, entries, delta=audience.delta, fresh=fresh)
        return offer

    def _wrap(self, encoding: Encoding, entries: list[Entry], *, delta: bool, fresh: bool) -> _Offer | None:
        """Join and frame entries, at least one; None where the codec cannot carry one of them."""
        codec = encoding.codec
        if self._options.raw and not all(self._fits(entry, codec) for entry in entries):
            return None
        if delta:
            encoded = self._patched(entries, codec, fresh=fresh)
        else:
            encoded = [entry.encoded(self._channel, codec) for entry in entries]
        chunk = encoding.wrap(encoded)
        if self._options.slow == "disconnect" or entries[0].is_arrival:
            return chunk, None
        newest = b""
        if self._options.slow == "latest_only":
            newest = encoding.wrap(encoded[-1:])
        return chunk, Droppable(self._channel, len(entries), newest)

    def _patched(self, entries: list[Entry], codec: Codec, *, fresh: bool) -> list[bytes]:
        """Encode for a subscription with delta: a patch only of what was sent right before."""
        encoded = []
        sent: Publication | None = None
        for entry in entries:
            message = entry.message
            if isinstance(message, Arrival):
                encoded.append(entry.encoded(self._channel, codec))
                continue
            patched = not fresh if sent is None else entry.base is sent
            encoded.append(entry.encoded_delta(self._channel, codec, message, self._patches if patched else None))
            sent = message
        return encoded

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
                offer = batch.whole(audience)
                chunk = b"" if offer is None else offer[0]
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
                offer = batch.part(subscription)
            else:
                offer = batch.whole(subscription.audience)
            if offer is None:
                failed.append((subscription, codes.CLOSED_INAPPROPRIATE_PROTOCOL))
            elif offer[0] and not subscription.outbox.offer(*offer):
                failed.append((subscription, codes.CLOSED_SLOW))
        for subscription, code in failed:
            subscription.subscriber.end(code)
