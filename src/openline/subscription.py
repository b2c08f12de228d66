"""One session in one topic, and what a topic needs to know of it."""

from __future__ import annotations

import sys
from typing import Final, Protocol, final
from weakref import WeakValueDictionary

from openline.codes import DisconnectCode, UnsubscribeCode
from openline.framing import Encoding
from openline.outbox import Outbox
from openline.publication import ClientInfo, Position
from openline.reduction import EVERYTHING, Reduction

#: `covered` of a subscription that is over: beyond every batch, so no batch reaches it.
LEFT: Final = sys.maxsize
#: `covered` of one whose reply told of more than its topic has received yet.
AHEAD: Final = sys.maxsize - 1
#: `covered` of one with delta that was not sent what came last, as when it was sent none yet: its next has to be whole.
FRESH: Final = sys.maxsize - 3
#: `covered` of one that catches up with what its topic has delivered already: it is offered what has no position.
BEHIND: Final = sys.maxsize - 2


class Subscriber(Protocol):
    """What a topic and a subscription may ask of the session they belong to."""

    id: str
    outbox: Outbox

    def end(self, code: DisconnectCode) -> None:
        """Close the connection."""

    def lose(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Tell the client that this subscription is over."""


@final
class Audience:
    """Those who get the same bytes for the same batch. Compared by identity: get it from `audience`.

    Attributes:
        join_leave: they are told who comes and goes.
        reduction: how they are sent less than everything.
        delta: they are sent patches where they have what is patched.
        filter: the publications they want; None for all.
    """

    __slots__ = ("__weakref__", "delta", "encoding", "filter", "join_leave", "reduction")

    def __init__(self, encoding: Encoding, join_leave: bool, reduction: Reduction) -> None:
        self.encoding = encoding
        self.join_leave = join_leave
        self.reduction = reduction
        self.delta, self.filter = reduction


#: Kept as long as somebody is in one: of filters there are as many as clients make up.
_audiences: Final[WeakValueDictionary[tuple[Encoding, bool, Reduction], Audience]] = WeakValueDictionary()


def audience(encoding: Encoding, *, join_leave: bool = False, reduction: Reduction = EVERYTHING) -> Audience:
    """Give the one audience of an encoding, a wish for joins and leaves, and what is left out."""
    key = (encoding, join_leave, reduction)
    found = _audiences.get(key)
    if found is None:
        found = _audiences[key] = Audience(encoding, join_leave, reduction)
    return found


@final
class Subscription:
    """One session in one topic.

    A live subscription stands where its topic stands: nothing here changes when a publication is delivered.

    Attributes:
        covered: the highest sequence number of the topic that this subscriber needs no batch for; `AHEAD`, `BEHIND`,
            `FRESH` or `LEFT`.
            The one thing the fan-out looks at: a batch that begins above it is offered whole.
        joined: the topic's sequence number when the subscription went live.
        position: what the subscribe reply covered.
    """

    __slots__ = (
        "audience",
        "channel",
        "client_refresh",
        "covered",
        "ends_at",
        "in_presence",
        "info",
        "is_announced",
        "joined",
        "outbox",
        "position",
        "recoverable",
        "server_side",
        "subscriber",
    )

    def __init__(
        self,
        channel: str,
        subscriber: Subscriber,
        info: ClientInfo,
        *,
        join_leave: bool,
        reduction: Reduction = EVERYTHING,
    ) -> None:
        self.channel = channel
        self.subscriber = subscriber
        self.outbox = subscriber.outbox
        self.audience = audience(self.outbox.encoding, join_leave=join_leave, reduction=reduction)
        self.info = info
        self.covered = LEFT
        self.joined = 0
        self.position = Position.NONE
        self.recoverable = False
        self.server_side = False
        self.in_presence = False
        self.is_announced = False
        self.ends_at: float | None = None  #: monotonic; it ends then unless it is refreshed before
        self.client_refresh = False
