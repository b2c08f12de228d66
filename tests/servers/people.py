"""The people of the scenarios: each a client of the released Python SDK, unmodified, that remembers what it hears."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, final

import centrifuge

from tests.servers.login import connection_token
from tests.servers.server import Server

#: Seconds that anything here waits at most.
LIMIT_SECONDS: Final = 10.0


@final
class Ear:
    """Hears every event of a client or subscription; what the SDK calls ``on_join`` is of the kind "join"."""

    def __init__(self) -> None:
        self._heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[None]]:
        if not name.startswith("on_"):
            raise AttributeError(name)

        async def hear(context: Any) -> None:
            self._heard.put_nowait((name.removeprefix("on_"), context))

        return hear

    async def next(self, kind: str) -> Any:
        """Wait for an event of this kind; give what the SDK says of it. Others before it are passed over."""
        passed = []
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while True:
                    heard, context = await self._heard.get()
                    if heard == kind:
                        return context
                    passed.append((heard, context))
        except TimeoutError:
            raise AssertionError(f"waited for {kind} and heard only {passed}") from None

    def heard(self, kind: str) -> list[Any]:
        """Give what was heard of one kind and not asked for yet; everything else is forgotten. Does not wait."""
        events = [self._heard.get_nowait() for _ in range(self._heard.qsize())]
        return [context for heard, context in events if heard == kind]


@final
class Channel:
    """One person in one channel."""

    def __init__(self, subscription: Any, person: Person, ear: Ear) -> None:
        self.subscription = subscription
        self.ear = ear
        self._person = person

    async def enter(self) -> Any:
        """Subscribe; give what the SDK says of it."""
        await self.subscription.subscribe()
        return await self.ear.next("subscribed")

    async def leave(self) -> None:
        """Unsubscribe, and wait until it is done."""
        await self.subscription.unsubscribe()
        await self.ear.next("unsubscribed")

    async def say(self, message: Any) -> None:
        """Publish."""
        await self.subscription.publish(self._person.encode(message))

    async def hear(self) -> Any:
        """Wait for the next publication; give its message."""
        return self._person.decode((await self.ear.next("publication")).pub.data)

    async def hear_each(self, count: int) -> list[Any]:
        """Wait for this many publications; give their messages."""
        return [await self.hear() for _ in range(count)]

    async def refused(self) -> Any:
        """Subscribe and be refused for good; give what the SDK says of it."""
        await self.subscription.subscribe()
        return await self.ear.next("unsubscribed")


@final
class Person:
    """One connection. Make it with `Crowd.person`."""

    def __init__(self, address: str, *, protobuf: bool, **options: Any) -> None:
        self.ear = Ear()
        self.protobuf = protobuf
        # The shortest delays of the SDK: a reconnect is waited for, not timed.
        self.client: Any = centrifuge.Client(
            address,
            events=self.ear,
            use_protobuf=protobuf,
            proxy=None,
            min_reconnect_delay=0.02,
            max_reconnect_delay=0.1,
            **options,
        )

    def encode(self, message: Any) -> Any:
        """Write a message as the SDK takes it: in Protobuf mode the app brings bytes."""
        return json.dumps(message).encode() if self.protobuf else message

    def decode(self, data: Any) -> Any:
        """Read a message as the SDK gives it."""
        return json.loads(data) if self.protobuf and data is not None else data

    async def connect(self) -> Any:
        """Connect; give what the SDK says of it."""
        await self.client.connect()
        return await self.ear.next("connected")

    def channel(self, name: str, **options: Any) -> Channel:
        """Prepare to enter a channel."""
        ear = Ear()
        options = {"min_resubscribe_delay": 0.02, "max_resubscribe_delay": 0.1} | options
        return Channel(self.client.new_subscription(name, events=ear, **options), self, ear)

    async def enter(self, name: str, **options: Any) -> Channel:
        """Enter a channel."""
        channel = self.channel(name, **options)
        await channel.enter()
        return channel

    async def call(self, method: str, data: Any = None) -> Any:
        """Call a procedure of the server."""
        return self.decode((await self.client.rpc(method, self.encode(data))).data)


@final
class Crowd:
    """Makes people on one server, in one of the SDK's two modes. Make it with `crowd`."""

    def __init__(self, server: Server, *, protobuf: bool) -> None:
        self.server = server
        self._protobuf = protobuf
        self._people: list[Person] = []

    def person(
        self,
        user: str = "",
        *,
        expires_in: float | None = None,
        channels: tuple[str, ...] = (),
        port: int | None = None,
        hasty: bool = False,
        protobuf: bool | None = None,
        **options: Any,
    ) -> Person:
        """Make somebody who is not connected yet.

        Args:
            user: who their token says they are; "" for somebody without a token.
            expires_in: seconds their token is good for.
            channels: the server subscribes them to these.
            port: of what stands between them and the server.
            hasty: at the hub that waits for no late token.
            protobuf: the mode, where it is not that of the crowd.
            options: the SDK's own.
        """
        if user and "token" not in options:
            options["token"] = connection_token(user, expires_in=expires_in, channels=channels)
        address = self.server.websocket(port=port, hasty=hasty)
        person = Person(address, protobuf=self._protobuf if protobuf is None else protobuf, **options)
        self._people.append(person)
        return person

    async def connected(self, user: str = "", **options: Any) -> Person:
        """Make somebody who is connected."""
        person = self.person(user, **options)
        await person.connect()
        return person


@asynccontextmanager
async def crowd(server: Server, *, protobuf: bool) -> AsyncIterator[Crowd]:
    """Give a maker of people; in the end all of them leave."""
    made = Crowd(server, protobuf=protobuf)
    try:
        yield made
    finally:
        for person in made._people:
            await person.client.disconnect()
        # The SDK closes its sockets in tasks that nobody can wait for but all at once.
        if closing := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(closing, timeout=LIMIT_SECONDS)
