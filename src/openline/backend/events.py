"""The events of a hub put to a back end over HTTP: which, where, and how.

The engine and the hub know nothing of it: what is here hangs itself up with the same ``on_…`` as any app's handlers.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, final
from urllib.parse import urlsplit

from openline.backend.asking import Asking
from openline.backend.caller import Caller
from openline.backend.handlers import CHANNEL_EVENTS, ChannelHandlers, HubHandlers
from openline.backend.headers import Headers
from openline.backend.journal import Counts, Journal
from openline.backend.telling import Teller
from openline.channel import Channel
from openline.errors import DeclarationError
from openline.hub import Hub


@final
class BackendEvents:
    """What is asked of a back end over HTTP, and how.

    Each event is a POST of JSON to its URL; one without a URL is not asked, and goes as the hub declares it.

    Args:
        connect: a client wants to connect.
        refresh: a connection runs out, as the answer to `connect` said when.
        subscribe: a client wants to subscribe.
        publish: a client wants to publish.
        sub_refresh: a subscription runs out, as the answer to `subscribe` said when.
        rpc: a client calls a procedure.
        disconnect: a connection has ended. Of this and the next the back end is told; what it answers is not read.
        unsubscribe: a subscription has ended.
        secret: signs each request, in the header ``X-Openline-Signature``.
        timeout_seconds: from an event to its answer, all tries together; past it the client gets error 100.
        retries: tries after the first, after a connection that broke or was not made. An event that may have arrived
            is tried again only if it may be carried out twice: `publish` and `rpc` are not. `disconnect` and
            `unsubscribe` are told later again, after any failure that may pass.
        headers: names of headers of the client's opening request that go with each event, and of those it writes in
            its connect command instead, as pages in browsers do.
        static_headers: sent with each event.
        concurrency: connections to the back end at once.
        answer_bytes: the largest answer.
    Raises:
        DeclarationError: a value cannot be; the message names it.
    """

    def __init__(
        self,
        *,
        connect: str | None = None,
        refresh: str | None = None,
        subscribe: str | None = None,
        publish: str | None = None,
        sub_refresh: str | None = None,
        rpc: str | None = None,
        disconnect: str | None = None,
        unsubscribe: str | None = None,
        secret: str | None = None,
        timeout_seconds: float = 1.0,
        retries: int = 2,
        headers: Iterable[str] = (),
        static_headers: Mapping[str, str] | None = None,
        concurrency: int = 64,
        answer_bytes: int = 1_048_576,
    ) -> None:
        urls = {
            "connect": connect,
            "refresh": refresh,
            "subscribe": subscribe,
            "publish": publish,
            "sub_refresh": sub_refresh,
            "rpc": rpc,
            "disconnect": disconnect,
            "unsubscribe": unsubscribe,
        }
        self._urls = {event: _checked_url(event, url) for event, url in urls.items() if url is not None}
        if not 0 < timeout_seconds < math.inf:
            raise DeclarationError(f"timeout_seconds is {timeout_seconds!r}: it must be more than 0, and finite")
        counted = (("retries", retries, 0), ("concurrency", concurrency, 1), ("answer_bytes", answer_bytes, 1))
        for name, value, least in counted:
            if value < least:
                raise DeclarationError(f"{name} is {value!r}: it must be at least {least}")
        self._journal = Journal(tuple(urls))
        self._caller = Caller(
            self._journal,
            secret=secret,
            timeout_seconds=timeout_seconds,
            retries=retries,
            concurrency=concurrency,
            answer_bytes=answer_bytes,
        )
        self._teller = Teller(self._caller, self._journal, retries=retries)
        given = Headers(tuple(headers), static_headers or {})
        self._asking = Asking(self._urls, given, self._journal, self._caller, self._teller)

    @property
    def counts(self) -> Mapping[str, Counts]:
        """What became of the events, by their names."""
        return self._journal.counts

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve events until the block ends: enter it around the hub's life, whose end has the last of them."""
        async with self._caller.running(), self._teller.running():
            yield

    def attach(
        self,
        hub: Hub,
        channels: Iterable[tuple[Channel[Any], Collection[str] | None]] = (),
        *,
        channels_of: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """Hang up the handlers of the events that have a URL. Once for one hub, before it starts.

        Args:
            channels: those whose events are put to the back end, each with the names of these events: "subscribe",
                "publish", "sub_refresh", "unsubscribe"; None is all.
            channels_of: gives what a user is subscribed to beside what `connect` is answered with.
        Raises:
            DeclarationError: an event is none, a channel's placeholder has a name that is taken here, or there is a
                handler already.
        """
        HubHandlers(hub, self._asking, channels_of).hang()
        for channel, events in channels:
            unknown = sorted(set(events or ()) - set(CHANNEL_EVENTS))
            if unknown:
                known = ", ".join(CHANNEL_EVENTS)
                raise DeclarationError(f"channel {channel.pattern!r}: {unknown[0]!r} is no event of channels: {known}")
            ChannelHandlers(channel, self._asking).hang(CHANNEL_EVENTS if events is None else events)


def _checked_url(event: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or any(not "!" <= character <= "~" for character in url):
        raise DeclarationError(f"{event} is no http:// or https:// URL")
    return url
