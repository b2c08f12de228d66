"""Requests to a back end: each with a deadline, over connections that are kept.

Invariants of this file:

1. A request ends within its deadline, whatever the other side does, and never holds more than so many bytes of it.
2. One that may have been carried out is sent again only if it may be carried out twice.
3. Nothing of an answer outlives it: no cookie, no redirect; and the environment names no proxy.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import random
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Final, final
from urllib.parse import unquote, urlsplit

import httpx2

from openline.backend.connections import Broken, Connection, Connections, Head, Server, Unconnected, Unsendable
from openline.backend.headers import Header
from openline.backend.journal import Journal
from openline.errors import UsageError

_FIRST_PAUSE_SECONDS: Final = 0.02
#: Statuses after which the same request may do.
_PASSING: Final = frozenset((408, 425, 429))


class Unanswered(Exception):
    """There was no answer; the message says why.

    Attributes:
        arrived: the request may have been carried out.
        answered: there was one all the same, which is none: the same request at once does no better.
        passing: the same request may do better later.
    """

    def __init__(self, reason: str, *, arrived: bool = True, answered: bool = False, passing: bool = True) -> None:
        super().__init__(reason)
        self.arrived = arrived
        self.answered = answered
        self.passing = passing


@final
class Caller:
    """Makes the requests of one hub.

    Args:
        secret: signs each request; None does not.
        timeout_seconds: from the event to its answer, all tries together.
        retries: tries after the first.
        concurrency: connections at once; past it a request waits, within its deadline.
        answer_bytes: the largest answer.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        secret: str | None,
        timeout_seconds: float,
        retries: int,
        concurrency: int,
        answer_bytes: int,
    ) -> None:
        self._journal = journal
        self._secret = None if secret is None else secret.encode()
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._concurrency = concurrency
        self._answer_bytes = answer_bytes
        self._connections: Connections | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take requests until the block ends."""
        connections = self._connections = Connections(self._concurrency)
        try:
            yield
        finally:
            self._connections = None
            await connections.close()

    async def ask(
        self,
        event: str,
        url: str,
        body: bytes,
        headers: Sequence[Header],
        *,
        repeatable: bool,
        tries: int | None = None,
        after: Awaitable[None] | None = None,
    ) -> bytes:
        """Send an event; give what it was answered with, status 200.

        Args:
            repeatable: it may be carried out twice.
            tries: at most; None is one and the retries.
            after: it is sent once this is done, all within the deadline.
        Raises:
            Unanswered: there was no answer in time, or it was another status, or too large.
        """
        left = self._retries if tries is None else tries - 1
        pause = _FIRST_PAUSE_SECONDS
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if after is not None:
                    await after
                while True:
                    try:
                        return await self._post(url, body, headers)
                    except Unanswered as error:
                        if not left or error.answered or (error.arrived and not repeatable):
                            raise
                    left -= 1
                    self._journal.counts[event].retried += 1
                    await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # spread, not a secret
                    pause *= 4
        except TimeoutError:
            raise Unanswered(f"no answer in {self._timeout_seconds:g} seconds") from None

    async def _post(self, url: str, body: bytes, headers: Sequence[Header]) -> bytes:
        if self._connections is None:
            raise UsageError("backend events are not running: enter BackendEvents.running() around the hub's life")
        server, host, target = _parts(url)
        own = [(b"host", host), *self._own(url, body)]
        names = {name for name, _ in own}
        # What the URL says of a user goes before a client's `Authorization`: it is the operator's.
        whole = [*own, *(pair for pair in headers if pair[0] not in names)]
        try:
            async with self._connections.lend(server) as connection:
                return await self._read(connection, await connection.post(target, whole, body))
        except Unconnected as error:
            raise Unanswered(f"no connection: {error}", arrived=False) from None
        except Broken as error:
            raise Unanswered(str(error)) from None
        except Unsendable:
            raise Unanswered("a header cannot be sent", arrived=False, answered=True, passing=False) from None

    def _own(self, url: str, body: bytes) -> list[Header]:
        """Give the headers that belong to the request itself."""
        own = [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]
        parts = urlsplit(url)
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            own.append((b"authorization", b"Basic " + base64.b64encode(pair)))
        if self._secret is not None:
            own.append((b"x-openline-signature", signature(self._secret, int(time.time()), body).encode()))
        return own

    async def _read(self, connection: Connection, head: Head) -> bytes:
        status = head.status
        if status != 200:
            passing = status >= 500 or status in _PASSING
            raise Unanswered(f"it answered with status {status}", answered=True, passing=passing)
        if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in head.headers):
            raise Unanswered("its answer is compressed, which was not asked for", answered=True, passing=False)
        body = bytearray()
        async for chunk in connection.chunks():
            body += chunk
            if len(body) > self._answer_bytes:
                reason = f"its answer is larger than {self._answer_bytes} bytes"
                raise Unanswered(reason, answered=True, passing=False)
        return bytes(body)


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """Sign a request: its time and its body, so that neither can be another.

    Args:
        moment: unix seconds.
    """
    digest = hmac.new(secret, b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},sha256={digest}"


@functools.lru_cache(maxsize=64)
def _parts(url: str) -> tuple[Server, bytes, bytes]:
    """Give whom a URL leads to, what the request calls it, and what is asked of it."""
    parsed = httpx2.URL(url)
    is_secure = parsed.scheme == "https"
    port = parsed.port or (443 if is_secure else 80)
    return Server(parsed.raw_host.decode(), port, is_secure), parsed.netloc, parsed.raw_path
