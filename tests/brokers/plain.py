"""A broker made to be obviously right: lists, every rule spelled out, several nodes on one store, nothing fast.

It is the model `MemoryBroker` is held against, and what the contract suite is tried on: as it is, with offsets that
count by more than one, and broken in one place at a time.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

from openline.brokers.base import Broker, Page, Recipient
from openline.errors import BrokerUnavailable
from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position, Publication
from openline.testing.brokers import BrokerNodes

KEY_SECONDS = 10.0


class PlainStream:
    """What a store knows of one channel."""

    def __init__(self, epoch: str, meta_seconds: float, moment: float) -> None:
        self.epoch = epoch
        self.top = 0
        self.kept: list[tuple[float, Publication]] = []
        self.version = 0
        self.version_epoch = ""
        self.seconds = 0.0
        self.meta_seconds = meta_seconds
        self.used = moment


class PlainStore:
    """What the nodes share. Each method is one rule, to be overridden by a store that breaks it.

    Args:
        now: the clock that ages are measured on; it never goes back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.nodes: list[PlainBroker] = []
        self.streams: dict[str, PlainStream] = {}
        self.keys: dict[object, tuple[float, Position]] = {}
        self.epochs = itertools.count(1)
        self.cut_off = False

    # --- positions ---

    def new_epoch(self) -> str:
        """Name the life of a new stream."""
        return f"epoch{next(self.epochs)}"

    def next_offset(self, stream: PlainStream) -> int:
        """Say where the next publication stands."""
        return stream.top + 1

    def predecessor(self, stream: PlainStream) -> int:
        """Say what the next publication names as the one before it."""
        return stream.top

    # --- life of a stream ---

    def stream(self, channel: str, history: History) -> PlainStream:
        """Give a channel's stream, up to date; one that is not there is born."""
        stream = self.streams.get(channel)
        if stream is None or self.is_forgotten(channel, stream):
            stream = self.streams[channel] = PlainStream(self.new_epoch(), history.meta_seconds, self.now())
        self.use(stream, history)
        stream.kept = self.still_kept(stream.kept, history)
        return stream

    def is_forgotten(self, channel: str, stream: PlainStream) -> bool:
        """Tell whether nobody used or followed a stream for too long; one never published in is forgotten sooner."""
        followed = any(channel in node.followed for node in self.nodes)
        return not followed and self.now() - stream.used > (stream.meta_seconds if stream.top else stream.seconds)

    def unfollowed(self, channel: str) -> None:
        """Note that a stream was in use until now."""
        if channel in self.streams:
            self.streams[channel].used = self.now()

    def use(self, stream: PlainStream, history: History) -> None:
        """Note that a stream was used."""
        stream.used = self.now()
        stream.seconds = history.seconds
        stream.meta_seconds = history.meta_seconds

    def still_kept(self, kept: list[tuple[float, Publication]], history: History) -> list[tuple[float, Publication]]:
        """Leave out what is too old or too much."""
        young = [(taken, one) for taken, one in kept if self.now() - taken <= history.seconds]
        return young[-history.size :]

    def page(self, kept: list[Publication], since: Position | None, limit: int, reverse: bool) -> list[Publication]:
        """Cut a page out of what is kept."""
        wanted = list(reversed(kept)) if reverse else kept
        if since is not None and reverse:
            wanted = [one for one in wanted if one.offset < since.offset]
        elif since is not None:
            wanted = [one for one in wanted if one.offset > since.offset]
        return wanted if limit < 0 else wanted[:limit]

    def top(self, stream: PlainStream) -> Position:
        """Say where a stream stands."""
        return Position(stream.epoch, stream.top)

    def forget(self, channel: str) -> None:
        """Drop what a channel keeps."""
        if channel in self.streams:
            self.streams[channel].kept = []

    def lose(self, channel: str) -> None:
        """Lose all that is known of a channel, as in a failover."""
        self.streams.pop(channel, None)

    # --- what is not published ---

    def key_name(self, node: PlainBroker, channel: str, key: str) -> object:
        """Say what an idempotency key belongs to."""
        return (channel, key)

    def repeated(self, name: object) -> Position | None:
        """Give the first position of a key that is remembered."""
        taken, position = self.keys.get(name, (float("-inf"), Position.NONE))
        return position if self.now() - taken <= KEY_SECONDS else None

    def outdated(self, stream: PlainStream, version: int, version_epoch: str) -> bool:
        """Tell whether a version is not above the last seen."""
        return version > 0 and version_epoch == stream.version_epoch and version <= stream.version

    # --- the way out ---

    def wants(self, node: PlainBroker, channel: str) -> bool:
        """Tell whether a node follows a channel."""
        return channel in node.followed

    def carry(self, channel: str, message: Message) -> None:
        """Send to every node that follows."""
        for node in self.nodes:
            if self.wants(node, channel):
                node.send(channel, message)

    def tell(self, word: bytes, node: str) -> None:
        """Send a word to the node of this name, or to all."""
        for one in self.nodes:
            if node in ("", one.name):
                one.send_word(word)

    def publish(
        self,
        node: PlainBroker,
        channel: str,
        publication: Publication,
        history: History | None,
        key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Do what `Broker.publish` says."""
        name = self.key_name(node, channel, key)
        first = self.repeated(name) if key else None
        if first is not None:
            return first
        position = Position.NONE
        if history is not None:
            stream = self.stream(channel, history)
            if self.outdated(stream, version, version_epoch):
                return self.top(stream)
            if version:
                stream.version, stream.version_epoch = version, version_epoch
            publication = self.append(stream, publication, history)
            position = Position(publication.epoch, publication.offset)
        if key:
            self.keys[name] = (self.now(), position)
        self.carry(channel, publication)
        return position

    def append(self, stream: PlainStream, publication: Publication, history: History) -> Publication:
        """Place a publication in a stream."""
        offset, previous = self.next_offset(stream), self.predecessor(stream)
        placed = Publication(
            publication.data, offset, previous, stream.epoch, publication.info, publication.tags, self.now()
        )
        stream.top = offset
        stream.kept = self.still_kept([*stream.kept, (self.now(), placed)], history)
        return placed


class PlainBroker:
    """One node on a `PlainStore`. Every call goes round the event loop, and so does every arrival."""

    immediate = False
    is_open = False

    def __init__(self, store: PlainStore) -> None:
        self.store = store
        self.name = ""
        self.running = False
        self.cut = False
        self.followed: set[str] = set()
        self.recipient: Recipient | None = None
        store.nodes.append(self)

    @property
    def problem(self) -> str:
        """Say what is wrong."""
        return "" if self.running and not self.cut and not self.store.cut_off else "the store does not answer"

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Begin."""
        self.name, self.recipient = node, recipient
        self.running = True

    async def stop(self) -> None:
        """End."""
        self.running = False
        self.recipient = None
        self.followed.clear()

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel."""
        await self.reach()
        self.followed.add(channel)

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel."""
        await asyncio.sleep(0)
        self.followed.discard(channel)

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
        """Publish through the store."""
        publication = Publication(data, info=info, tags=None if tags is None else dict(tags))
        await self.reach()
        return self.store.publish(self, channel, publication, history, idempotency_key, version, version_epoch)

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Carry a join or leave."""
        await self.reach()
        self.store.carry(channel, arrival)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Carry a word."""
        await self.reach()
        self.store.tell(word, node)

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read a stream."""
        await self.reach()
        stream = self.store.stream(channel, history)
        kept = [publication for _, publication in stream.kept]
        return Page(self.store.page(kept, since, limit, reverse), self.store.top(stream))

    async def forget(self, channel: str) -> None:
        """Drop what a channel keeps."""
        await self.reach()
        self.store.forget(channel)

    async def reach(self) -> None:
        """Get through to the store."""
        await asyncio.sleep(0)
        if self.problem:
            raise BrokerUnavailable(self.problem)

    def come_back(self) -> None:
        """Follow again what is followed, now that the store is back, and doubt it."""
        if self.recipient is not None:
            self.recipient.doubt(self.doubted())

    def doubted(self) -> Iterable[str]:
        """Say what may have been missed while the store was away."""
        return set(self.followed)

    def send_word(self, word: bytes) -> None:
        """Let a word arrive here, a turn of the event loop later."""
        if not self.cut:
            asyncio.get_running_loop().call_soon(self.hear, word)

    def hear(self, word: bytes) -> None:
        """Take a word."""
        if self.recipient is not None:
            self.recipient.hear(word)

    def send(self, channel: str, message: Message) -> None:
        """Let a message arrive here, a turn of the event loop later."""
        if not self.cut:
            asyncio.get_running_loop().call_soon(self.arrive, channel, message)

    def arrive(self, channel: str, message: Message) -> None:
        """Deliver, if the channel is still followed."""
        if self.recipient is not None and self.store.wants(self, channel):
            self.recipient.deliver(channel, message)


@contextmanager
def cut_off(store: PlainStore) -> Iterator[None]:
    """Let a store answer nobody for a while."""
    store.cut_off = True
    yield
    store.cut_off = False
    for node in store.nodes:
        node.come_back()


def plain_nodes(
    make_store: type[PlainStore] = PlainStore,
    make_broker: type[PlainBroker] = PlainBroker,
    *,
    nodes: int = 2,
    arrival_seconds: float = 5,
) -> Callable[[], AbstractAsyncContextManager[BrokerNodes]]:
    """Make a factory for the contract suite, with every hook and a clock that stands still."""

    @asynccontextmanager
    async def make() -> AsyncIterator[BrokerNodes]:
        moment = [1000.0]

        async def advance(seconds: float) -> None:
            moment[0] += seconds

        @asynccontextmanager
        async def outage() -> AsyncIterator[None]:
            with cut_off(store):
                yield

        async def lose(channel: str) -> None:
            store.lose(channel)

        @asynccontextmanager
        async def cut(broker: Broker) -> AsyncIterator[None]:
            assert isinstance(broker, PlainBroker)
            broker.cut = True
            yield
            broker.cut = False
            broker.come_back()

        store = make_store(lambda: moment[0])
        yield BrokerNodes(
            brokers=[make_broker(store) for _ in range(nodes)],
            advance=advance,
            arrival_seconds=arrival_seconds,
            deadline_seconds=arrival_seconds,
            idempotency_seconds=KEY_SECONDS,
            lose=lose,
            outage=outage,
            cut=cut,
        )

    return make
