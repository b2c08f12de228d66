"""A network of brokers in the test's own process: one memory broker is the store, and any number of nodes stand on it.

Every call goes round the event loop, and so does every arrival, as with a store on a network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from openline.brokers.base import Page, Recipient
from openline.brokers.memory import MemoryBroker
from openline.errors import BrokerUnavailable
from openline.options import History
from openline.publication import Arrival, ClientInfo, Message, Position


class Network:
    """What the nodes share.

    Args:
        now: the wall clock of the store.
    """

    def __init__(self, now: Callable[[], float], *, idempotency_seconds: float = 300) -> None:
        self.store = MemoryBroker(now=now, idempotency_seconds=idempotency_seconds)
        self.brokers: list[NetworkBroker] = []
        self.is_away = False
        self.told: list[tuple[bytes, str]] = []  #: every word that was said, and to whom

    def broker(self) -> NetworkBroker:
        """Make the broker of one more node."""
        return NetworkBroker(self)

    async def open(self) -> None:
        """Have the store running; what it holds is kept while any node stands on it, and after."""
        if self.store.problem:
            await self.store.start("store", self)

    async def lose_everything(self) -> None:
        """Forget every stream, as a store without a disk does that was killed."""
        await self.store.stop()
        await self.open()
        for channel in {channel for broker in self.brokers for channel in broker.followed}:
            await self.store.follow(channel)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Let the store answer nobody for a while."""
        self.is_away = True
        try:
            yield
        finally:
            self.is_away = False
            for broker in self.brokers:
                broker.come_back()

    def needs(self, channel: str) -> bool:
        """Tell whether any node follows a channel."""
        return any(channel in broker.followed for broker in self.brokers)

    # --- the store's recipient ------------------------------------------------------------------------------------

    def deliver(self, channel: str, message: Message) -> None:
        """Carry a message to every node that follows its channel."""
        for broker in self.brokers:
            if channel in broker.followed:
                broker.arrives(broker.deliver, channel, message)

    def doubt(self, channels: Iterable[str]) -> None:
        """The store doubts nothing."""

    def hear(self, word: bytes) -> None:
        """The store tells nothing."""

    def tell(self, word: bytes, node: str) -> None:
        """Carry a word to a node, or to all."""
        self.told.append((word, node))
        for broker in self.brokers:
            if node in ("", broker.node):
                broker.arrives(broker.hear, word)


class NetworkBroker:
    """The broker of one node.

    Attributes:
        is_cut: nothing reaches the store from here, nor this node from there.
        lose: says of a message whether it never arrives here.
        mute: says of a word whether it is never said.
    """

    immediate = False
    is_open = False

    def __init__(self, network: Network) -> None:
        self.network = network
        self.node = ""
        self.followed: set[str] = set()
        self.is_cut = False
        self.lose: Callable[[Message], bool] = lambda message: False
        self.mute: Callable[[bytes], bool] = lambda word: False
        self._recipient: Recipient | None = None
        self._is_running = False

    @property
    def problem(self) -> str:
        """What is wrong."""
        if not self._is_running:
            return "the broker is not started"
        return "the store does not answer" if self.is_cut or self.network.is_away else ""

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Begin."""
        await asyncio.sleep(0)
        if self.is_cut or self.network.is_away:
            raise BrokerUnavailable("the store does not answer")
        await self.network.open()
        self.node, self._recipient, self._is_running = node, recipient, True
        if recipient is not None:
            self.network.brokers.append(self)

    async def stop(self) -> None:
        """End."""
        for channel in tuple(self.followed):
            await self.unfollow(channel)
        self._is_running = False
        self._recipient = None
        if self in self.network.brokers:
            self.network.brokers.remove(self)

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel."""
        await self._travel()
        if self._recipient is not None:
            self.followed.add(channel)
            await self.network.store.follow(channel)

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel."""
        await asyncio.sleep(0)
        self.followed.discard(channel)
        if not self.network.needs(channel):
            await self.network.store.unfollow(channel)

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
        tags = None if tags is None else dict(tags)
        await self._travel()
        return await self.network.store.publish(
            channel,
            data,
            history=history,
            info=info,
            tags=tags,
            idempotency_key=idempotency_key,
            version=version,
            version_epoch=version_epoch,
        )

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Carry a join or leave."""
        await self._travel()
        await self.network.store.announce(channel, arrival)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Carry a word."""
        await self._travel()
        if not self.mute(word):
            self.network.tell(word, node)

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read from the store."""
        await self._travel()
        return await self.network.store.history(channel, history=history, since=since, limit=limit, reverse=reverse)

    async def forget(self, channel: str) -> None:
        """Drop what a channel keeps."""
        await self._travel()
        await self.network.store.forget(channel)

    # --- what happens to it ---------------------------------------------------------------------------------------

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let this node be cut off for a while."""
        self.is_cut = True
        try:
            yield
        finally:
            self.is_cut = False
            self.come_back()

    def come_back(self) -> None:
        """Follow what is followed, now that the store is there again, and doubt it."""
        if self._recipient is not None and not self.problem:
            self._recipient.doubt(set(self.followed))

    async def _travel(self) -> None:
        await asyncio.sleep(0)
        if self.problem:
            raise BrokerUnavailable(self.problem)

    def arrives(self, call: Callable[..., None], *values: Any) -> None:
        """Let something arrive here, a turn of the event loop later."""
        if not self.problem:
            asyncio.get_running_loop().call_soon(call, *values)

    def deliver(self, channel: str, message: Message) -> None:
        """Deliver, if the channel is still followed."""
        if self._recipient is not None and channel in self.followed and not self.lose(message):
            self._recipient.deliver(channel, message)

    def hear(self, word: bytes) -> None:
        """Take a word."""
        if self._recipient is not None:
            self._recipient.hear(word)
