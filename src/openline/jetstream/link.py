"""The way to NATS: a connection that is made again, for ever, when it is lost.

Invariants of this file:

1. A message is sent on one connection, once. What could not be confirmed on it is not sent again, on none.
2. What waits for a connection waits no longer than `NatsAddress.timeout`, and has not been sent before that.
3. A connection is in use from the moment all that was subscribed is subscribed on it, confirmed, and looked at by
   `restored`; so nothing is published on a server that was not compared with what is known of it.
4. A server that does not answer for the time of a call is left.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, final

from openline.errors import BrokerUnavailable
from openline.jetstream.address import NatsAddress
from openline.jetstream.connection import NOBODY, Connection, Receive, Reply
from openline.jetstream.task import WatchedTask
from openline.urls import Endpoint

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

_log: Final = logging.getLogger("openline")

#: Seconds between two looks whether the server still answers.
_LOOK_SECONDS: Final = 2.0
#: Bounds of the pause before another attempt to connect: the first, and the longest.
_PAUSE_SECONDS: Final = (0.05, 2.0)
#: A connection that ends sooner was no success: who makes it again at once would knock for ever.
_SETTLED_SECONDS: Final = 2.0
#: Subscriptions that are made again before the server is asked whether it has them.
_RESUBSCRIBED_AT_ONCE: Final = 1_000
#: How JetStream answers those of an account that it is not enabled for.
_OFF_FOR_ACCOUNT: Final = b'"err_code":10039'


class Asker(Protocol):
    """What can be asked: a connection, or the link that keeps one."""

    async def ask(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, *, many: bool = False
    ) -> list[Reply]:
        """Send a request, once, and wait for its answer, or for a series of them."""


async def _nothing(asker: Asker) -> None:
    """Have nothing to look at."""


@final
class Link:
    """Keeps a connection.

    Args:
        what: who asks for it, in words, for messages.
        receive: takes what arrives on what was subscribed, in the order of its arrival; never waits.
        opened: looks at the server before the connection is used; what it raises is a failed attempt to connect.
        restored: told, never waits, when a connection that took the place of a lost one is in use.
    """

    def __init__(
        self,
        address: NatsAddress,
        what: str,
        *,
        receive: Receive,
        opened: Callable[[Asker], Awaitable[None]] = _nothing,
        restored: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self._what = what
        self._receive = receive
        self._opened = opened
        self._restored = restored
        self._name = ""
        self._problem = f"{what} is not started"
        self._running = False
        self._silent = False
        self._ready = asyncio.Event()
        self._connection: Connection | None = None
        self._keeper = WatchedTask()
        self._subscriptions: dict[str, Subscription | None] = {}
        self._discovered: tuple[Endpoint, ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong as of now; "" while all works."""
        if self._running and not self._keeper.is_alive:
            return f"{self._what} has failed; the log says why"
        if self._running and self._ready.is_set():
            return f"NATS at {self.address} does not answer" if self._silent else ""
        return self._problem

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of several."""
        return len(self._discovered) > 1

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self, name: str) -> None:
        """Connect, and keep the connection until `stop`.

        Args:
            name: what NATS shows of this connection to whoever looks after it.
        Raises:
            BrokerUnavailable: no server could be reached, or JetStream is off there; nothing is left behind.
        """
        self._name = name
        self._ready = asyncio.Event()
        self._silent = False
        error = BrokerUnavailable(f"no connection to NATS at {self.address}")
        for endpoint in self._endpoints():
            try:
                self._connection = await self._open(endpoint)
                break
            except BrokerUnavailable as failure:
                error = failure
        else:
            raise error
        self._running = True
        self._ready.set()
        self._keeper.start(self._keep(), self._what)

    async def stop(self) -> None:
        """End, within about a second. Idempotent; the link may be started again."""
        self._running = False
        self._problem = f"{self._what} was stopped"
        self._ready.set()  # who waits for a connection is told now
        self._subscriptions.clear()
        await self._keeper.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _endpoints(self) -> list[Endpoint]:
        known = dict.fromkeys((*self.address.servers, *self._discovered))
        return random.sample(tuple(known), len(known))

    async def _open(self, endpoint: Endpoint) -> Connection:
        """Make a connection that can be used: all is subscribed on it, and `opened` had a look."""
        connection = Connection(self._receive)
        try:
            async with asyncio.timeout(self.address.timeout):
                await connection.open(self.address, endpoint, self._name)
                info = (await connection.ask("$JS.API.INFO"))[0]
                if info.status == NOBODY or _OFF_FOR_ACCOUNT in info.data:
                    raise BrokerUnavailable(
                        f"JetStream is off on the NATS server at {endpoint}, or for this account there: start it "
                        "with -js, or with a jetstream block in its configuration, and enable it for the account"
                    )
                subjects = tuple(self._subscriptions)
                for first in range(0, len(subjects), _RESUBSCRIBED_AT_ONCE):
                    for subject in subjects[first : first + _RESUBSCRIBED_AT_ONCE]:
                        subscription = await connection.subscribe(subject)
                        if subject in self._subscriptions:
                            self._subscriptions[subject] = subscription
                        else:  # it was given up in this very moment
                            await connection.unsubscribe(subscription)
                    await connection.confirm("subscription", subjects[first : first + _RESUBSCRIBED_AT_ONCE])
                await self._opened(connection)
        except TimeoutError:
            await connection.drop()
            why = f"; what it refused last: {connection.refusal}" if connection.refusal else ""
            raise BrokerUnavailable(f"NATS at {endpoint} does not answer{why}") from None
        except BaseException:
            await connection.drop()
            raise
        self._discovered = connection.discovered
        return connection

    # --- keeping it -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        unsettled = 0
        while True:
            connection, since = self._connection, loop.time()
            if connection is not None:
                await self._watch(connection)
                self._ready.clear()
                self._problem = f"the connection to NATS at {self.address} was lost"
                _log.warning("%s: %s", self._what, self._problem)
                self._connection = None
                await connection.drop()
                unsettled = unsettled + 1 if loop.time() - since < _SETTLED_SECONDS else 0
                if unsettled > 1:  # once may be chance
                    await asyncio.sleep(self._pause(unsettled))
            self._connection = await self._reconnect()
            self._silent = False
            self._ready.set()
            _log.info("%s: connected to NATS again", self._what)
            try:
                self._restored()
            except Exception:  # noqa: BLE001  # a bug of whoever is told does not end the keeping
                _log.exception("%s: being told of the connection failed", self._what)

    async def _watch(self, connection: Connection) -> None:
        """Return when a connection is lost, or when its server does not answer any more."""
        while not connection.lost.is_set():
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await connection.lost.wait()
                return
            except TimeoutError:
                pass
            try:
                async with asyncio.timeout(self.address.timeout):
                    await connection.confirm()
                self._silent = False
            except TimeoutError:
                return
            except BrokerUnavailable:
                pass  # lost, which is seen above, or something was refused, which its caller was told

    async def _reconnect(self) -> Connection:
        for attempt in itertools.count():
            for endpoint in self._endpoints():
                try:
                    return await self._open(endpoint)
                except BrokerUnavailable as error:
                    self._problem = str(error)
                except Exception as error:  # noqa: BLE001  # tried again, whatever it was
                    self._problem = f"no connection to NATS: {error!r}"
                    _log.exception("%s: connecting to NATS failed", self._what)
            await asyncio.sleep(self._pause(attempt))
        raise AssertionError("counting ended")

    def _pause(self, attempt: int) -> float:
        first, longest = _PAUSE_SECONDS
        # Who calls right after the server is back finds a connection within the time of a call.
        longest = min(longest, self.address.timeout / 3)
        # Many nodes that lost the same server do not come back all at the same moment.
        return random.uniform(0.5, 1) * min(longest, first * 2.0 ** min(attempt, 16))  # noqa: S311

    # --- using it -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def within(self) -> AsyncIterator[None]:
        """Bound the work of one call in time, all that it asks and the wait for a connection included.

        Raises:
            BrokerUnavailable: the time was over, or the link is not started.
        """
        if not self._running:
            raise BrokerUnavailable(self.problem)
        try:
            async with asyncio.timeout(self.address.timeout):
                yield
        except TimeoutError:
            self._silent = True
            refusal = self._connection.refusal if self._connection is not None else ""
            why = f"; what it refused last: {refusal}" if refusal else ""
            raise BrokerUnavailable((self.problem or f"NATS at {self.address} does not answer") + why) from None

    async def _connected(self) -> Connection:
        if not self._ready.is_set():
            await self._ready.wait()
        if self._connection is None:
            raise BrokerUnavailable(self.problem)
        return self._connection

    async def ask(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, *, many: bool = False
    ) -> list[Reply]:
        """Send a request, once, and wait for its answer, or for a series of them. Bounded by `within`.

        Raises:
            BrokerUnavailable: what was sent may or may not have arrived.
            PayloadTooBig: the server would not take it; nothing was sent.
        """
        replies = await (await self._connected()).ask(subject, data, headers, many=many)
        self._silent = False
        return replies

    async def send(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a message, once, and return when the server has it. Bounded by `within`.

        Raises:
            BrokerUnavailable: it may or may not have arrived.
            PayloadTooBig: the server would not take it; nothing was sent.
        """
        connection = await self._connected()
        await connection.send(subject, data, headers)
        await connection.confirm("publish", (subject,))
        self._silent = False

    async def subscribe(self, subject: str) -> None:
        """Receive a subject, from the return of this on; on every connection to come too. Bounded by `within`.

        Raises:
            BrokerUnavailable: it is not received, or what was asked for twice is received as far as it was before.
        """
        known = subject in self._subscriptions
        self._subscriptions.setdefault(subject, None)
        try:
            connection = await self._connected()
            if self._subscriptions.get(subject) is None:
                self._subscriptions[subject] = await connection.subscribe(subject)
            await connection.confirm("subscription", (subject,))
        except BaseException:
            if not known:
                await self.unsubscribe(subject)
            raise

    async def unsubscribe(self, subject: str) -> None:
        """Receive a subject no more; a moment later a message may still come."""
        subscription = self._subscriptions.pop(subject, None)
        if subscription is not None:  # it knows its connection, which may be one that is only about to be used
            await Connection.unsubscribe(subscription)
