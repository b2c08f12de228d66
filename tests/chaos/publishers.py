"""Those who write: numbered messages by the HTTP route of any node, each under a key until it is acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, final

import httpx2

from tests.chaos.record import Name, Place, Written

#: How long one attempt waits for its answer.
ATTEMPT_SECONDS: Final = 8.0
#: A message that was not acknowledged for so long is given up: it may be out or not.
GIVE_UP_SECONDS: Final = 45.0
_PAUSE_SECONDS: Final = 0.2


@final
class Publisher:
    """Writes to its channels in turn, a message at a time, until it is told to end.

    Args:
        identity: its number, which no other has.
        address: gives where to publish: the balancer, so each attempt may reach another node.
        rate: messages a second, while nothing is broken.
        clock: the seconds of the run.
        padding: characters added to each message.
    Attributes:
        written: all its messages, in its order.
    """

    def __init__(
        self,
        identity: int,
        address: str,
        channels: Sequence[str],
        *,
        run: str,
        rate: float,
        clock: Callable[[], float],
        padding: int = 0,
    ) -> None:
        self.written: list[Written] = []
        self.refused: dict[str, int] = {}  #: why attempts failed, and how often
        self.identity = identity
        self._address = address
        self.channels = channels
        self._run = run
        self._pause = 1 / rate
        self._clock = clock
        self._padding = "x" * padding
        self._random = random.Random(identity)
        self._ending = False

    def end(self) -> None:
        """Write no more, save what is not acknowledged yet and one last message in each channel."""
        self._ending = True

    async def write(self) -> None:
        """Write until `end`, then a last message in each channel: whoever missed the newest finds out."""
        # A connection for each attempt: none is stuck to a node.
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncClient(trust_env=False, timeout=ATTEMPT_SECONDS, limits=limits, verify=False) as client:
            number = 0
            while not self._ending:
                due = self._clock() + self._pause
                await self._write(client, self.channels[number % len(self.channels)], number)
                number += 1
                await asyncio.sleep(max(0.0, due - self._clock()) * self._random.uniform(0.5, 1.5))
            for channel in self.channels:
                await self._write(client, channel, number)
                number += 1

    async def _write(self, client: httpx2.AsyncClient, channel: str, number: int) -> None:
        message = Written(channel, Name(self.identity, number), self._clock())
        self.written.append(message)
        while self._clock() - message.sent_at < GIVE_UP_SECONDS:
            message.attempts += 1
            place = await self._attempt(client, message)
            if place is not None:
                message.place, message.acknowledged_at = place, self._clock()
                return
            await asyncio.sleep(_PAUSE_SECONDS * self._random.uniform(0.5, 1.5))

    async def _attempt(self, client: httpx2.AsyncClient, message: Written) -> Place | None:
        publisher, number = message.name
        body = {"publisher": publisher, "number": number, "padding": self._padding}
        try:
            answer = await client.post(
                f"{self._address}/publish/{message.channel}",
                params={"key": f"{self._run}-{publisher}-{number}"},
                json=body,
            )
        except httpx2.HTTPError as error:
            self._fail(type(error).__name__)
            return None
        if answer.status_code != 200:
            self._fail(f"{answer.status_code} {answer.text[:100]}")
            return None
        place = answer.json()
        return Place(place["epoch"], place["offset"])

    def _fail(self, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1
