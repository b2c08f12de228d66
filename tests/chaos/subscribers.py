"""Those who read: clients of the released SDK, unmodified, that record all they see and are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import centrifuge

from tests.chaos.record import Entered, Left, Moved, Name, Place, Record, Saw

#: As apps in production set them, for a machine that is alone: nobody waits for twenty seconds.
RECONNECT_SECONDS: Final = (0.1, 2.0)


class _Ear:
    """Takes the events of the SDK; those without a method of their own are nothing to it."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return _ignore


async def _ignore(context: Any) -> None:
    pass


@final
class Subscriber(_Ear):
    """One client, in some channels.

    Args:
        name: its user, which no other has.
        address: of the balancer.
        listens: whether it asks for joins and leaves.
        clock: the seconds of the run.
    Attributes:
        ids: the ids of its connections, the newest last.
        codes: with which its connections ended.
        failures: what ended for good, and not by its own will.
    """

    def __init__(
        self,
        name: str,
        address: str,
        channels: Sequence[str],
        *,
        protobuf: bool,
        listens: bool,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.ids: list[str] = []
        self.codes: list[int] = []
        self.failures: list[str] = []
        self.errors: list[str] = []  #: attempts to connect that failed
        self.listens = listens
        self.started = False
        self.left = False  #: by its own will
        least, most = RECONNECT_SECONDS
        self._clock = clock
        self._client: Any = centrifuge.Client(
            address,
            events=self,
            use_protobuf=protobuf,
            proxy=None,
            name=name,
            min_reconnect_delay=least,
            max_reconnect_delay=most,
        )
        self.seats = [_Seat(self, Record(name, channel), protobuf=protobuf, clock=clock) for channel in channels]
        for seat in self.seats:
            seat.subscription = self._client.new_subscription(
                seat.record.channel,
                events=seat,
                join_leave=listens,
                min_resubscribe_delay=least,
                max_resubscribe_delay=most,
            )

    @property
    def connected(self) -> bool:
        """Whether it is connected and in all its channels."""
        return bool(self._client.state.value == "connected") and all(seat.inside for seat in self.seats)

    @property
    def id(self) -> str:
        """The id of its connection."""
        return self.ids[-1]

    async def start(self) -> None:
        """Begin to connect and to subscribe."""
        self.started = True
        for seat in self.seats:
            await seat.subscription.subscribe()
        await self._client.connect()

    async def stop(self) -> None:
        """Leave."""
        self.left = True
        await self._client.disconnect()

    async def on_connected(self, context: Any) -> None:
        """A connection has an id."""
        self.ids.append(context.client)

    async def on_connecting(self, context: Any) -> None:
        """A connection ended, and the SDK makes another; code 0 is the first."""
        if context.code:
            self.codes.append(context.code)

    async def on_error(self, context: Any) -> None:
        """An attempt to connect failed; the SDK makes another."""
        self.errors.append(f"{self._clock():.1f} s: {context.code} {context.error!r}")

    async def on_disconnected(self, context: Any) -> None:
        """A connection ended for good; code 0 is by `stop`."""
        self.codes.append(context.code)
        if context.code:
            self.failures.append(f"{self.name} was disconnected for good: {context.code} {context.reason}")


@final
class _Seat(_Ear):
    """A subscriber in one channel."""

    def __init__(self, subscriber: Subscriber, record: Record, *, protobuf: bool, clock: Callable[[], float]) -> None:
        self.record = record
        self.subscription: Any = None
        self._subscriber = subscriber
        self._protobuf = protobuf
        self._clock = clock

    @property
    def inside(self) -> bool:
        return bool(self.subscription.state.value == "subscribed")

    async def on_subscribed(self, context: Any) -> None:
        position = context.stream_position
        place = Place("", 0) if position is None else Place(position.epoch, position.offset)
        self.record.events.append(Entered(self._clock(), place, context.was_recovering, context.recovered))

    async def on_publication(self, context: Any) -> None:
        data = context.pub.data
        message = json.loads(data) if self._protobuf else data
        name = Name(message["publisher"], message["number"])
        self.record.events.append(Saw(self._clock(), name, context.pub.offset))

    async def on_subscribing(self, context: Any) -> None:
        if context.code:
            self.record.events.append(Left(self._clock(), context.code))

    async def on_unsubscribed(self, context: Any) -> None:
        if context.code:
            what = f"was put out of {self.record.channel} for good: {context.code} {context.reason}"
            self._subscriber.failures.append(f"{self._subscriber.name} {what}")

    async def on_join(self, context: Any) -> None:
        self.record.moves.append(Moved(self._clock(), context.info.client, True))

    async def on_leave(self, context: Any) -> None:
        self.record.moves.append(Moved(self._clock(), context.info.client, False))
