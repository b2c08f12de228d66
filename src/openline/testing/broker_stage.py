"""What the checks of a broker stand on: the set-up a factory yields, its nodes at work, and what arrived at them.

Silence is never waited for: to know that something did not arrive, a check publishes a last message in the same
channel and looks at what came before it. That is sound because of guarantee 1.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Final, final

from openline.brokers.base import Broker, Page
from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position, Publication
from openline.testing.contract import Check, ContractBroken, call, expect

#: More than any check publishes, for longer than any takes.
KEPT: Final = History(size=1000, seconds=3600, meta_seconds=7200)
#: How the marks of `Stage.heard_by` begin.
_MARK: Final = b"mark "


@final
@dataclass(frozen=True, kw_only=True)
class BrokerNodes:
    """What a factory yields: brokers that share a store, and what else can be done to it.

    The brokers are not started: a check does that, and stops them.
    """

    brokers: Sequence[Broker]  #: one for each node; at least one
    advance: Callable[[float], Awaitable[None]] = asyncio.sleep  #: let so many seconds pass where ages are measured
    age_seconds: float = 1  #: the shortest age the store can tell from a few milliseconds
    arrival_seconds: float = 5  #: a publication that was not heard after this will not be; what ended is over by then
    deadline_seconds: float = 10  #: how long a call may take to say that it cannot be done
    #: How long a key is remembered; None: longer than a test can wait.
    idempotency_seconds: float | None = None
    #: Make the store lose the newest publications of a channel or all of it, as a failover does; None: it never does.
    lose: Callable[[str], Awaitable[None]] | None = None
    #: While entered, the store answers nobody; None: there is no way to cut it off.
    outage: Callable[[], AbstractAsyncContextManager[object]] | None = None
    #: While entered, the connections of this broker to the store are cut and it gets no others, while the rest of the
    #: nodes work on; None: there is no way to cut one off alone.
    cut: Callable[[Broker], AbstractAsyncContextManager[object]] | None = None


@final
class Node:
    """One broker at work, and what it was given to know: it is the broker's `Recipient`."""

    def __init__(self, broker: Broker, name: str, arrival_seconds: float) -> None:
        self.broker = broker
        self.name = name
        self.running = False
        self.doubted: set[str] = set()  #: the channels that were doubted since a check last cleared this
        self.words: list[bytes] = []  #: what was told, in the order it was heard
        self._arrival_seconds = arrival_seconds
        self._arrived: dict[str, list[Message]] = {}
        self._news = asyncio.Event()

    def deliver(self, channel: str, message: Message) -> None:
        """Note what arrived."""
        self._arrived.setdefault(channel, []).append(message)
        self._news.set()

    def doubt(self, channels: Iterable[str]) -> None:
        """Note what is in doubt."""
        self.doubted.update(channels)
        self._news.set()

    def hear(self, word: bytes) -> None:
        """Note a word."""
        self.words.append(word)
        self._news.set()

    def unread(self, channel: str) -> list[Message]:
        """Give what arrived and was not read yet, and forget it; the marks of `Stage.heard_by` are left out."""
        arrived = self._arrived.pop(channel, [])
        return [message for message in arrived if not _is_mark(message)]

    async def wait(self, channel: str, *wanted: bytes, arrivals: int = 0) -> list[Message]:
        """Wait for publications with all of these data and so many arrivals; give all there is, and forget it.

        Raises:
            ContractBroken: it did not come in time.
        """
        if not await self.comes(lambda: self._heard(channel, wanted, arrivals)):
            heard = [describe(message) for message in self.unread(channel)]
            raise ContractBroken(f"{[*wanted]} did not arrive in {self._arrival_seconds} s; what did: {heard}")
        return self.unread(channel)

    async def hears(self, channel: str, data: bytes, seconds: float) -> bool:
        """Tell whether a publication with this data is here, or comes in this time."""
        return await self.comes(lambda: self._heard(channel, (data,), 0), seconds)

    async def hears_or_doubts(self, channel: str, data: bytes) -> bool:
        """Tell whether a publication with this data comes, or the channel is doubted, in the time of an arrival."""
        return await self.comes(lambda: channel in self.doubted or self._heard(channel, (data,), 0))

    async def comes(self, known: Callable[[], bool], seconds: float | None = None) -> bool:
        """Tell whether something holds of what this node was given, or comes to hold in this time.

        Args:
            known: asked anew whenever something was delivered, doubted or heard.
            seconds: None: as long as a publication may take.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._arrival_seconds if seconds is None else seconds):
                while not known():
                    self._news.clear()
                    await self._news.wait()
        # Asked again, as a stalled event loop may end the time and bring what is waited for in the same moment.
        return known()

    def _heard(self, channel: str, wanted: Sequence[bytes], arrivals: int) -> bool:
        arrived = self._arrived.get(channel, [])
        data = {message.data for message in arrived if isinstance(message, Publication)}
        return data.issuperset(wanted) and sum(isinstance(message, Arrival) for message in arrived) >= arrivals

    async def start(self, *, deaf: bool = False) -> None:
        """Start the broker; a deaf one has no recipient."""
        await call(self.broker.start(self.name, None if deaf else self), immediate=self.broker.immediate)
        self.running = True

    async def stop(self) -> None:
        """Stop the broker."""
        self.running = False
        await call(self.broker.stop(), immediate=self.broker.immediate)

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel."""
        await call(self.broker.follow(channel), immediate=self.broker.immediate)

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel."""
        await call(self.broker.unfollow(channel), immediate=self.broker.immediate)

    async def publish(
        self,
        channel: str,
        data: bytes,
        history: History | None = KEPT,
        *,
        info: ClientInfo | None = None,
        tags: dict[str, str] | None = None,
        key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Publish, kept unless `history` is None."""
        publishing = self.broker.publish(
            channel,
            data,
            history=history,
            info=info,
            tags=tags,
            idempotency_key=key,
            version=version,
            version_epoch=version_epoch,
        )
        return await call(publishing, immediate=self.broker.immediate)

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Carry a join or leave."""
        await call(self.broker.announce(channel, arrival), immediate=self.broker.immediate)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Carry a word to a node, or to all."""
        await call(self.broker.tell(word, node), immediate=self.broker.immediate)

    async def history(
        self,
        channel: str,
        history: History = KEPT,
        *,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read a stream."""
        reading = self.broker.history(channel, history=history, since=since, limit=limit, reverse=reverse)
        return await call(reading, immediate=self.broker.immediate)

    async def forget(self, channel: str) -> None:
        """Drop what a channel keeps."""
        await call(self.broker.forget(channel), immediate=self.broker.immediate)


@final
class Stage:
    """The nodes of one check, started, with channel names that no other check and no earlier run has used."""

    def __init__(self, setup: BrokerNodes) -> None:
        self.setup = setup
        self._run = secrets.token_hex(8)
        self.nodes = [
            Node(broker, f"check{self._run}{number}", setup.arrival_seconds)
            for number, broker in enumerate(setup.brokers)
        ]
        self.first = self.nodes[0]
        self.last = self.nodes[-1]  #: another node than `first` where there are two
        self._named = 0
        self._marks = 0

    def channel(self, suffix: str = "") -> str:
        """Make a new name."""
        self._named += 1
        return f"check-{self._run}:{self._named}{suffix}"

    async def followed(self, suffix: str = "") -> str:
        """Make a new channel that every node follows."""
        channel = self.channel(suffix)
        for node in self.nodes:
            await node.follow(channel)
        return channel

    async def stop(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            await node.stop()

    async def becomes(self, holds: Callable[[], bool]) -> bool:
        """Tell whether something that nobody is told of holds, or comes to within the time of an arrival."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.setup.arrival_seconds):
                while not holds():  # noqa: ASYNC110  # there is no event: a broker's `problem` is only there to be read
                    await asyncio.sleep(0.01)
        return holds()

    async def heard_by(self, node: Node, channel: str, history: History | None = KEPT) -> list[Message]:
        """Tell what arrived at a node that follows the channel, now that all that was published must have.

        Every node publishes a mark; what was published before came before, whoever it was from.
        """
        marks = []
        for publisher in self.nodes:
            if publisher.running:
                self._marks += 1
                marks.append(_MARK + b"%d" % self._marks)
                await publisher.publish(channel, marks[-1], history)
        return await node.wait(channel, *marks)

    async def flush(self, node: Node) -> None:
        """Return when the store has taken all that this node sent, unconfirmed messages too."""
        aside = self.channel()
        await node.follow(aside)
        await node.publish(aside, b'"aside"', None)
        await node.wait(aside, b'"aside"')
        await node.unfollow(aside)


def _is_mark(message: Message) -> bool:
    return isinstance(message, Publication) and message.data.startswith(_MARK)


def describe(message: Message) -> str:
    """Show a message in an error: in short."""
    if isinstance(message, Arrival):
        return f"{'join' if message.joined else 'leave'} of {message.info.client!r}"
    data = message.data if len(message.data) <= 20 else message.data[:20] + b"..."
    return f"{data!r} at {message.epoch}:{message.offset} after {message.previous}"


def data_of(messages: Sequence[Message]) -> list[bytes]:
    """Give what publications say; an arrival among them says its client."""
    return [message.data if isinstance(message, Publication) else message.info.client.encode() for message in messages]


def expect_heard(node: int, messages: Sequence[Message], expected: Sequence[bytes]) -> None:
    """Break off unless exactly this arrived, in this order."""
    heard = data_of(messages)
    expect(heard == list(expected), f"node {node} was to hear {list(expected)} and heard {heard}")


def expect_chain(publications: Sequence[Publication], *, whole: bool) -> None:
    """Break off unless each names the one before it as its predecessor; in a whole stream the first names none."""
    previous = 0 if whole or not publications else publications[0].previous
    for publication in publications:
        expect(publication.offset > previous, f"{describe(publication)}: offsets have to increase")
        expect(publication.previous == previous, f"{describe(publication)}: its predecessor is {previous}")
        expect(publication.epoch == publications[0].epoch, f"{describe(publication)}: not of the first one's epoch")
        previous = publication.offset


BrokerCheck = Check[BrokerNodes]


def broker_check(
    guarantee: str, *, needs: str = "", started: bool = True
) -> Callable[[Callable[[Stage], Awaitable[None]]], BrokerCheck]:
    """Make a check of a function that takes a stage; unless `started`, it starts the nodes itself."""

    def make(function: Callable[[Stage], Awaitable[None]]) -> BrokerCheck:
        async def body(setup: BrokerNodes) -> None:
            stage = Stage(setup)
            try:
                for node in stage.nodes if started else ():
                    await node.start()
                await function(stage)
            except BaseException:
                # The failure that was found first is the one to tell.
                with suppress(Exception):
                    async with asyncio.timeout(setup.arrival_seconds):
                        await stage.stop()
                raise
            await stage.stop()

        return Check(function.__name__, guarantee, needs, body)

    return make
