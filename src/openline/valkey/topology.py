"""Which servers are the masters, and of what: asked of a cluster, of sentinels, or known from the address."""

from __future__ import annotations

import asyncio
import ssl
from array import array
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple, final

from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.dialing import dial
from openline.valkey.slots import SLOTS, slot_of
from openline.valkey.trouble import AccessDenied, Refused, Trouble, Unsent
from openline.valkey.words import pack

_NOBODY: Final = -1


@final
class Topology(NamedTuple):
    """The masters at one moment."""

    masters: tuple[Endpoint, ...]
    owners: array[int] | None  #: of each slot of a cluster, the number of its master; -1: nobody

    @property
    def whole(self) -> bool:
        """Whether everything has an owner."""
        return bool(self.masters) and (self.owners is None or _NOBODY not in self.owners)

    def owner(self, key: bytes) -> Endpoint | None:
        """Give the master of a key."""
        if self.owners is None:
            return self.masters[0] if self.masters else None
        number = self.owners[slot_of(key)]
        return self.masters[number] if number != _NOBODY else None


#: Where nothing was asked yet.
UNKNOWN: Final = Topology((), None)


async def look_up(
    address: ValkeyAddress, encryption: ssl.SSLContext | None, known: Iterable[Endpoint], *, seconds: float
) -> Topology:
    """Find out who the masters are.

    Args:
        known: servers of a cluster that were masters before; they are asked first.
        seconds: that one server is given to answer.
    Raises:
        Trouble: nobody said.
    """
    if address.kind == "single":
        return Topology(address.endpoints, None)
    sentinel = address.kind == "sentinel"
    ask = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master) if sentinel else ("CLUSTER", "SLOTS")
    candidates = address.endpoints if sentinel else tuple(dict.fromkeys((*known, *address.endpoints)))
    problem: Trouble = Unsent("no server is known")
    for endpoint in candidates:
        try:
            reply = await _ask(endpoint, address, encryption, ask, sentinel=sentinel, seconds=seconds)
        except AccessDenied:
            raise
        except Trouble as error:
            problem = Unsent(f"{endpoint}: {error}") if isinstance(error, Refused) else error
            continue
        found = _of_sentinel(reply) if sentinel else _of_cluster(reply, endpoint)
        if found.masters:
            return found
        what = f"knows no master {address.master!r}" if sentinel else "belongs to a cluster in which no slot is served"
        problem = Unsent(f"{endpoint} {what}")
    raise problem


async def _ask(
    endpoint: Endpoint,
    address: ValkeyAddress,
    encryption: ssl.SSLContext | None,
    words: tuple[str, ...],
    *,
    sentinel: bool,
    seconds: float,
) -> Any:
    line = await dial(endpoint, address, encryption, sentinel=sentinel, seconds=seconds)
    try:
        return await line.call(pack(words), asyncio.get_running_loop().time() + seconds)
    finally:
        line.lose("it was asked what it was needed for")


def _of_sentinel(reply: Any) -> Topology:
    if not reply:
        return UNKNOWN
    return Topology((Endpoint(reply[0].decode(), int(reply[1])),), None)


def _of_cluster(reply: Any, asked: Endpoint) -> Topology:
    """Read what CLUSTER SLOTS says: ranges of slots, each with its master first and then the replicas."""
    masters: dict[Endpoint, int] = {}
    owners = array("h", [_NOBODY]) * SLOTS
    for first, last, master, *_ in reply or ():
        host = (master[0] or b"").decode()
        # A server that does not know its own name is where we found it; "?" is one that nobody can reach.
        endpoint = Endpoint(asked.host if host in ("", "?") else host, master[1])
        number = masters.setdefault(endpoint, len(masters))
        for slot in range(first, last + 1):
            owners[slot] = number
    return Topology(tuple(masters), owners)


def moved_to(words: str, asked: str) -> Endpoint | None:
    """Read where a MOVED or ASK points: ``MOVED 3999 127.0.0.1:6381``.

    Args:
        asked: host of the server that said so, which stands for an empty one.
    """
    with suppress(ValueError, IndexError):
        host, _, port = words.split()[2].rpartition(":")
        host = host.strip("[]") or asked
        return Endpoint(host, int(port)) if host else None
    return None
