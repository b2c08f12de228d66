"""What a broker guarantees.

1. Order: publications of one channel that are kept reach every node that follows it in one order, that of their
   offsets; those without history reach it in the order of each publisher.
2. Positions: within an epoch the offsets of a channel strictly increase and none is ever given twice; every
   publication names its predecessor. A broker that may have lost the tail of a stream leaves a distance no lost
   offset lies in, or starts a new epoch; what it had confirmed and may have lost is never passed over in silence.
3. Atomic: a publication is in history exactly if it was, is being or will be carried to the nodes.
4. Interest only: a node receives nothing of a channel it does not follow. `follow` returns once everything
   published from then on will arrive.
5. Delivery to a node is at most once per publication, and may fail: nodes compare each arrival's predecessor with
   where they stand and read history when something is missing. A broker that was cut off from what it follows names
   those channels, `Recipient.doubt`, once it follows them again: what was missed may be the newest there is.
6. Idempotency: within its lifetime a key is published once per channel; a repeat gives the first position.
   A broker may bound how many keys it remembers, and says so.
7. Failure is loud: what cannot be done in time raises `BrokerUnavailable`; so does a broker that is not started or
   was stopped, for everything but `start`, `stop` and `unfollow`. `problem` says what is wrong while it is.
8. Words between nodes: what is told reaches each node it is for at most once, in the order of each teller.

What is published with and without history in one channel has no order between the two: only what is kept has a place.
`openline.testing.check_broker` checks all of this against any implementation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position, Publication


class Recipient(Protocol):
    """Who a broker carries things to: the node. Nothing here waits, and nothing raises."""

    def deliver(self, channel: str, message: Message) -> None:
        """Take what arrived in a channel that is followed."""

    def doubt(self, channels: Iterable[str]) -> None:
        """Something of these channels may have been missed: compare where they stand with their streams."""

    def hear(self, word: bytes) -> None:
        """Take what a node told."""


class Page(NamedTuple):
    """Part of a stream."""

    publications: list[Publication]  #: oldest first, or newest first when read in reverse
    top: Position  #: where the stream stands; offset 0 while nothing was published in this epoch


class Broker(Protocol):
    """Carries publications between nodes and keeps history; one instance per node."""

    #: A promise that no coroutine of this broker ever suspends: its callers then need no task.
    immediate: bool

    #: Whether others than hubs and publishers may put something into what it carries. It has no position then, and is
    #: looked at before clients are given it.
    is_open: bool

    @property
    def problem(self) -> str:
        """What is wrong as of now, in words for whoever looks after the server; "" while all works."""

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Begin; the recipient is called for everything that arrives until `stop` returns.

        Args:
            node: the name of this node, which no other has: letters and digits.
            recipient: None for one who only publishes and reads. It follows nothing and is told nothing.
        Raises:
            BrokerUnavailable: it cannot be reached; nothing is left behind.
        """

    async def stop(self) -> None:
        """End; everything held is let go. Idempotent."""

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel. Returns when confirmed; following twice is following once."""

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel; one not followed is no error."""

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
        """Append to the channel's history and carry to the nodes that follow it.

        Args:
            data: carried as it is; any bytes.
            history: how much is kept; None carries without keeping or position. Every caller gives a channel the same,
                or None for what is not to be kept.
            idempotency_key: a repeat of one that is remembered publishes nothing and gives the first position.
            version: of the state the data shows; one not above the last seen is not published (0: not checked).
                Only with history, and remembered as long as the stream's epoch is.
            version_epoch: names whose versions these are. A version is compared with the last one seen; if that is of
                another epoch, it is published.
        Returns:
            The publication's position; `Position.NONE` without history. For a skipped version the top.
        Raises:
            BrokerUnavailable: it may or may not be out; retry with the same key.
        """

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Carry a join or leave to the nodes that follow the channel; it is not kept."""

    async def tell(self, word: bytes, node: str = "") -> None:
        """Carry a word to one node by its name, or to every node, the teller's own too. One that is gone is no error.

        Raises:
            BrokerUnavailable: it may or may not be out.
        """

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read a stream.

        Args:
            history: as it is given to `publish`. Nothing older or more than this is shown.
            since: start after this offset (before it in reverse); its epoch is not compared. None: from the oldest
                kept (the newest in reverse).
            limit: publications at most; 0 only the top, -1 all.
        Returns:
            The page and the top, both of one moment. A stream that is not there is born: it has an epoch from then on.
            Reading is using: `meta_seconds` count from here again. One in which nothing was ever published may be
            forgotten sooner, after `History.seconds`, unless it is followed. What is forgotten begins anew: in another
            epoch, or above all that was and without a predecessor, so that nobody who stood at a publication of before
            recovers over what is gone.
        Raises:
            BrokerUnavailable: nothing can be said.
        """

    async def forget(self, channel: str) -> None:
        """Drop the publications of a channel's history; its epoch, top offset and last version stay."""
