"""One live channel on this node: who is subscribed, where it stands, and what it has to deliver.

Invariants of this file:

1. Where positions count, messages enter in the order of their offsets, each the successor of the one before. What
   is not is held back until the node has read what is missing.
2. A topic has at most one fan-out in progress; what arrives meanwhile is its next batch.
3. A subscription goes live in the call that queued its reply, so nothing can slip between the two.
4. While somebody joins, everything that enters is kept in a tail, so that what arrives between reading history and
   going live is in neither lost nor sent twice.
5. Nothing here waits, and nothing here does I/O.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import Final, final

from openline import codes
from openline.brokers.base import Page
from openline.fanout import Batch, Entry, Fanout
from openline.options import ChannelOptions, Limits
from openline.outbox import Outbox
from openline.protocol.delta import Patches
from openline.publication import Arrival, Message, Position, Publication
from openline.subscription import AHEAD, BEHIND, FRESH, LEFT, Subscription

#: A batch is sealed at this size, so that one frame stays below what clients accept (1 MiB in Python's websockets).
BATCH_BYTES: Final = 262_144

#: Messages held back during a gap. Past it the oldest go: history, which is being read, has them too.
HELD_MESSAGES: Final = 1_024

_LIMITS: Final = Limits()
#: Of the topics where there are none.
_NO_PATCHES: Final = Patches(0, 0)


class Entered(enum.Enum):
    """What became of a message that arrived at a topic."""

    TAKEN = enum.auto()  #: it is in the next batch
    KNOWN = enum.auto()  #: it was there before
    GAP = enum.auto()  #: something before it is missing: read history and call `heal`
    HELD = enum.auto()  #: the same, and somebody reads already


@final
class Topic:
    """One channel with subscribers on this node."""

    __slots__ = (
        "_ahead",
        "_fanout",
        "_held",
        "_newest",
        "_pending",
        "channel",
        "healing",
        "joining",
        "options",
        "patches",
        "position",
        "sequence",
        "subscriptions",
        "tail",
    )

    def __init__(self, channel: str, options: ChannelOptions, limits: Limits = _LIMITS) -> None:
        self.channel = channel
        self.options = options
        #: Where the topic stands; None until it is known, and always without history.
        self.position: Position | None = None
        #: Counts everything that entered, on this node only.
        self.sequence = 0
        self.subscriptions: dict[str, Subscription] = {}
        self.joining = 0
        self.tail: list[Publication] = []
        #: For those who recover with delta: as many as one step of a recovery takes.
        self.patches = _NO_PATCHES
        if options.delta and options.history is not None:
            most = min(limits.recovery_publications, options.history.size)
            self.patches = Patches(most, limits.outbox_bytes // 2)
        self.healing = False
        self._pending: list[Entry] = []
        self._held: deque[Publication] | None = None
        #: What entered last, where the next may be a patch of it.
        self._newest: Publication | None = None
        self._ahead: list[Subscription] = []
        self._fanout: Fanout | None = None

    # --- what arrives ---------------------------------------------------------------------------------------------

    def enter(self, message: Message) -> Entered:
        """Take a message of the broker, or say why not."""
        if isinstance(message, Arrival) or not message.offset:
            self._append(message)
            return Entered.TAKEN
        if self.healing:
            self._hold(message)
            return Entered.HELD
        position = self.position
        if position is None:
            position = Position(message.epoch, message.previous)
        if message.epoch == position.epoch:
            if message.offset <= position.offset:
                return Entered.KNOWN
            if message.previous == position.offset:
                self._advance(message)
                return Entered.TAKEN
        self.healing = True
        self._hold(message)
        return Entered.GAP

    def _hold(self, publication: Publication) -> None:
        if self._held is None:
            self._held = deque(maxlen=HELD_MESSAGES)
        self._held.append(publication)

    def _advance(self, publication: Publication) -> None:
        self.position = Position(publication.epoch, publication.offset)
        if self.joining:
            self.tail.append(publication)
        self._append(publication)
        if self._ahead:
            self._catch_up(self.position)

    def _append(self, message: Message) -> None:
        self.sequence += 1
        base = None
        if self.options.delta and not isinstance(message, Arrival):
            base, self._newest = self._newest, message
        # With nobody live there is nobody to deliver to: those who join get it from history or the tail.
        if self.subscriptions:
            self._pending.append(Entry(self.sequence, message, base))

    def _catch_up(self, position: Position) -> None:
        """Let those who were ahead of the topic stand where it stands, once it has reached them."""
        for subscription in self._ahead:
            ahead = subscription.position
            if subscription.covered == AHEAD and ahead.epoch == position.epoch and ahead.offset <= position.offset:
                reached = self.sequence if ahead.offset == position.offset else self.sequence - 1
                subscription.covered = FRESH if subscription.audience.delta else reached
        self._ahead = [subscription for subscription in self._ahead if subscription.covered == AHEAD]

    # --- a gap ----------------------------------------------------------------------------------------------------

    def heal(self, page: Page) -> bool:
        """Close a gap with what history holds after the topic's position; say whether that was all of it.

        If it was not, every subscriber is told (2500, or 3010 where the server subscribed it) and may come back;
        the topic goes on from the top.
        """
        position = self.position
        self.healing = False
        whole = position is not None and page.top.epoch == position.epoch and _follows(position.offset, page)
        if position is not None and whole:
            for publication in page.publications:
                if publication.offset > position.offset:
                    self._advance(publication)
            # Who joined with another epoch read it before the stream was born anew.
            for subscription in self._ahead:
                if subscription.covered == AHEAD and subscription.position.epoch != position.epoch:
                    self.leave(subscription)
                    subscription.subscriber.lose(subscription, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        else:
            self._give_up(page.top)
        held = tuple(self._held or ())
        self._held = None
        for count, publication in enumerate(held, 1):
            if self.enter(publication) is Entered.GAP:
                # Something newer is missing too: `healing` is set again, and the caller reads again.
                for later in held[count:]:
                    self._hold(later)
                break
        return whole

    def misses(self, asked: Position, top: Position) -> bool:
        """Tell whether a stream that was read from where this topic stood holds what has not arrived since.

        Args:
            asked: where the topic stood when it was read. A top below it means that the stream lost its end.
        """
        position = self.position
        if self.healing or position is None:
            return False  # somebody reads already
        return top.epoch != position.epoch or not asked.offset <= top.offset <= position.offset

    def _give_up(self, top: Position) -> None:
        self.position = top
        self.tail.clear()
        self._ahead.clear()
        self._newest = None  # what comes next does not follow it
        for subscription in tuple(self.subscriptions.values()):
            if subscription.position == top or not subscription.position.epoch:
                self._stands_here(subscription)
            else:
                self.leave(subscription)
                subscription.subscriber.lose(subscription, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)

    # --- who is in ------------------------------------------------------------------------------------------------

    def begin_join(self) -> None:
        """Somebody is about to join: keep a tail from now on."""
        self.joining += 1

    def end_join(self) -> None:
        """Whoever began to join has joined or gave up."""
        self.joining -= 1
        if not self.joining:
            self.tail.clear()

    def is_past(self, position: Position) -> bool:
        """Tell whether the topic has gone on beyond what a newcomer knows, in what it kept no tail of."""
        mine = self.position
        return mine is not None and mine.epoch == position.epoch and mine.offset > position.offset

    def join(self, subscription: Subscription, position: Position) -> bool:
        """Make a subscription live, in the same call that queued its reply.

        Args:
            position: what the reply covered.
        Returns:
            False when the topic stands in another epoch than the newcomer: then it has missed the end of a stream,
            and the caller reads history and calls `heal`.
        """
        subscription.position = position
        self._stands_here(subscription)
        self.subscriptions[subscription.subscriber.id] = subscription
        if not position.epoch:
            return True
        if self.position is None:
            self.position = position
        elif position.epoch != self.position.epoch:
            subscription.covered = AHEAD
            self._ahead.append(subscription)
            if not self.healing:
                self.healing = True
                return False
        elif position.offset > self.position.offset:
            subscription.covered = AHEAD
            self._ahead.append(subscription)
        return True

    def _stands_here(self, subscription: Subscription) -> None:
        """From here on a subscription is offered everything that enters."""
        subscription.joined = self.sequence
        subscription.covered = FRESH if subscription.audience.delta else self.sequence

    def hold(self, subscription: Subscription, position: Position) -> None:
        """Take in a subscription that still catches up: until `join` is called for it, no publication is offered."""
        subscription.position = position
        subscription.joined = self.sequence
        subscription.covered = BEHIND
        self.subscriptions[subscription.subscriber.id] = subscription

    def leave(self, subscription: Subscription) -> None:
        """End a subscription. From here on nothing reaches it, not even of a fan-out that is under way."""
        subscription.covered = LEFT
        if self.subscriptions.get(subscription.subscriber.id) is subscription:
            del self.subscriptions[subscription.subscriber.id]

    @property
    def deserted(self) -> bool:
        """Whether nobody is in the topic or on the way into it."""
        return not self.subscriptions and not self.joining

    # --- what leaves ----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether there is something to deliver."""
        return self._fanout is not None or bool(self._pending)

    def run(self, subscribers: int, dirty: list[Outbox]) -> int:
        """Go on with the fan-out, or begin the next; see `Fanout.run`."""
        fanout = self._fanout
        if fanout is None:
            fanout = self._fanout = Fanout(self._seal(), tuple(self.subscriptions.values()))
        try:
            passed = fanout.run(subscribers, dirty)
        except Exception:
            # A message that cannot be encoded: nobody may believe to have it, and the topic has to go on.
            self._fanout = None
            for subscription in tuple(self.subscriptions.values()):
                self.leave(subscription)
                subscription.subscriber.lose(subscription, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
            raise
        if fanout.done:
            self._fanout = None
        return passed

    def _seal(self) -> Batch:
        """Make a batch of what has arrived, at least one message and at most `BATCH_BYTES`."""
        pending = self._pending
        droppable = self.options.slow != "disconnect"
        size = 0
        for count, entry in enumerate(pending):
            size += entry.message.size_bytes
            # Where publications may be dropped, joins and leaves travel apart, as they may not.
            if count and (size > BATCH_BYTES or (droppable and entry.is_arrival is not pending[0].is_arrival)):
                self._pending = pending[count:]
                return Batch(self.channel, pending[:count], self.options, self.patches)
        self._pending = []
        return Batch(self.channel, pending, self.options, self.patches)


def _follows(offset: int, page: Page) -> bool:
    """Tell whether a page continues a stream without a hole from an offset to its top. It may begin before it."""
    for publication in page.publications:
        if publication.offset <= offset:
            continue
        if publication.previous != offset:
            return False
        offset = publication.offset
    return offset == page.top.offset
