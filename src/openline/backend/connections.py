"""The connections to a back end: each kept for the next request, the newest first.

A pool of the library's looks at each of its connections for every request, and at every request that waits; with 64 of
them that is more work than the request. So each pool here has one connection, and who waits, waits here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, final

import httpx2

#: Shorter than servers keep an idle connection: one that is closed as it is used again costs a request.
IDLE_SECONDS: Final = 3.0
_ONE: Final = httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_SECONDS)


@final
class Connections:
    """Connections to any number of servers.

    Args:
        limit: in use at once; past it, whoever asks for one waits for its turn.
    """

    def __init__(self, limit: int) -> None:
        self._places = asyncio.Semaphore(limit)
        self._context = httpx2.create_ssl_context()
        #: By server; each with when it was used last, the newest at the end.
        self._idle: dict[str, deque[tuple[float, httpx2.AsyncHTTPTransport]]] = {}

    @asynccontextmanager
    async def lend(self, server: str) -> AsyncIterator[httpx2.AsyncHTTPTransport]:
        """Lend a connection for one request.

        What is lent is a transport and no client: that would keep the cookies of answers, follow redirects, and look
        for proxies in the environment.
        """
        async with self._places:
            idle = self._idle.setdefault(server, deque())
            transport = idle.pop()[1] if idle else httpx2.AsyncHTTPTransport(verify=self._context, limits=_ONE)
            try:
                yield transport
            finally:
                idle.append((time.monotonic(), transport))
            while idle and idle[0][0] < time.monotonic() - IDLE_SECONDS:
                _, old = idle.popleft()
                await old.aclose()

    async def close(self) -> None:
        """Close those that nobody uses."""
        for idle in self._idle.values():
            while idle:
                await idle.pop()[1].aclose()
