"""Presence on Valkey or Redis; what it guarantees is said in `openline.presence.base`.

What is kept, each of a channel's keys in its slot of a cluster:

- for each channel its sessions, and how many each user has there, so that counting takes no longer for many;
- one lease for each node, renewed all the time, and the channels in which it has sessions.

Invariants of this file:

1. What this node entered is in `_here` before the store is told, and out of it before the store is told. The store may
   lag behind, never lead: what it may not have taken is in `_unsure` and brought into line with `_here` at the next
   beat. So a command that failed, a store that lost its end and one that lost all come right by themselves.
2. Every session stands under the lease of its node. A node whose lease ran out is dead: one other node takes its lease
   over, takes its sessions out and announces them. If it lives all the same it takes a new lease, so that what is done
   under the old one does not touch it.
3. Nobody is declared dead by a node that was cut off itself, or while nobody could renew anything: who takes over has
   renewed its own lease without a break for as long as a lease lasts.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, final

import msgspec

from openline.errors import BrokerUnavailable
from openline.presence.base import Announce, PresenceStats
from openline.publication import Arrival, ClientInfo
from openline.valkey.address import ValkeyAddress
from openline.valkey.client import Valkey
from openline.valkey.script import Script
from openline.valkey.tasks import Tasks

_log: Final = logging.getLogger("openline")

#: Renewals of a lease in the time for which it is good.
BEATS: Final = 3
#: How many channels are brought into line at the same time.
CHANNELS_AT_ONCE: Final = 64
#: For how long a channel without sessions of this node is still looked at after a failover, which may have undone that.
LEFT_SECONDS: Final = 60.0
#: How long a stop may take to clear up.
STOP_SECONDS: Final = 1.0

_LEASE: Final = Script.read("openline.presence", "lease.lua")
_MEMBERS: Final = Script.read("openline.presence", "members.lua")


class _Entry(NamedTuple):
    """One session in one channel, as this node entered it."""

    info: ClientInfo
    announced: bool


@final
class ValkeyPresence:
    """Keeps who is in which channel in a Valkey or Redis.

    Counting a channel takes the same time however many are in it; listing it reads one hash.

    Args:
        address: where; the same for every node.
        lease_seconds: how long a node that says nothing is taken for alive; it is gone a third of that later at most.
            The same for every node.
    """

    #: Every coroutine may wait for the network.
    immediate = False

    __slots__ = (
        "_announce",
        "_beat_seconds",
        "_beaten_at",
        "_beating",
        "_client",
        "_connections",
        "_here",
        "_lease",
        "_lease_seconds",
        "_leases",
        "_left",
        "_life",
        "_node",
        "_prefix",
        "_problem",
        "_running",
        "_tasks",
        "_unbroken_since",
        "_unsure",
    )

    def __init__(self, address: ValkeyAddress, *, lease_seconds: float = 6) -> None:
        self._lease_seconds = lease_seconds
        self._beat_seconds = lease_seconds / BEATS
        # Nobody waits for replicas here: what they lack is put right after a failover.
        self._client = Valkey(dataclasses.replace(address, replicas=0), name="openline-presence")
        self._prefix = address.prefix
        self._tasks = Tasks()
        self._running = False
        self._problem = ""
        self._announce: Announce = lambda channel, arrival: None
        self._node = ""
        self._leases = 0
        self._lease = ""
        self._connections = 0
        self._life = b""
        self._here: dict[str, dict[str, _Entry]] = {}
        self._unsure: set[str] = set()
        self._left: dict[str, float] = {}  #: when the last session left a channel; soonest first
        self._beating = asyncio.Lock()
        self._beaten_at = self._unbroken_since = 0.0

    # --- life -----------------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """What is wrong: that it is not started, or why the store does not answer."""
        if not self._running:
            return "the presence of Valkey is not started"
        return self._client.problem or self._problem

    async def start(self, node: str, announce: Announce) -> None:
        """Begin, under a new lease.

        Raises:
            BrokerUnavailable: the server does not answer; nothing is left behind.
        """
        await self._client.start()
        self._node, self._announce = node, announce
        self._problem = ""
        self._here.clear()
        self._unsure.clear()
        self._left.clear()
        self._beating = asyncio.Lock()
        self._beaten_at = self._unbroken_since = asyncio.get_running_loop().time()
        self._running = True
        try:
            await self._begin_lease()
        except BaseException:
            self._running = False
            await self._client.stop()
            raise
        self._connections = self._client.fleet.connections
        await self._tasks.start()
        self._tasks.spawn(self._beat_on(), "presence")

    async def stop(self) -> None:
        """End; the sessions this node added are removed, as far as the store answers in time. Idempotent."""
        if not self._running:
            return
        await self._tasks.stop()
        here, self._here = self._here, {}
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._each(self._bring_into_line, here)
                await self._forget_lease(self._lease)
        except (BrokerUnavailable, TimeoutError) as error:
            _log.warning(
                "%d channels may show sessions of this node for %s s: %r", len(here), self._lease_seconds, error
            )
        self._running = False
        await self._client.stop()

    # --- sessions -------------------------------------------------------------------------------------------------

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        """Enter a session, or replace what is known of it.

        Raises:
            BrokerUnavailable: it is not known whether it is in.
        """
        self._check_running()
        await self._be_alive()
        entry = _Entry(info, announced)
        self._left.pop(channel, None)
        here = self._here.get(channel)
        if here:  # an empty one is on its way out: the channel is noted again
            here[info.client] = entry
            await self._change(channel, (self._known(entry),))
            return
        self._here[channel] = {info.client: entry}
        # Should this node die between the two, a channel too many does no harm.
        await asyncio.gather(self._visit(channel), self._change(channel, (self._known(entry),)))

    async def remove(self, channel: str, client: str) -> None:
        """Take a session out; one that is not there is no error, nor is a presence that was stopped."""
        here = self._here.get(channel)
        entry = here.pop(client, None) if here is not None else None
        if not self._running:
            return
        user = "" if entry is None else entry.info.user
        await self._change(channel, ((client.encode(), b"", user.encode()),))
        if here is not None and not here and self._here.get(channel) is here:
            del self._here[channel]
            self._left[channel] = asyncio.get_running_loop().time()

    async def members(self, channel: str) -> dict[str, ClientInfo]:
        """Give everyone in a channel by session id.

        Raises:
            BrokerUnavailable: the server does not answer.
        """
        self._check_running()
        found = await self._call(b"HGETALL", self._key("members", channel))
        return {client.decode(): _info(client, known) for client, known in zip(found[::2], found[1::2], strict=True)}

    async def stats(self, channel: str) -> PresenceStats:
        """Count who is in a channel.

        Raises:
            BrokerUnavailable: the server does not answer.
        """
        self._check_running()
        clients, users = await asyncio.gather(
            self._call(b"HLEN", self._key("members", channel)), self._call(b"HLEN", self._key("users", channel))
        )
        return PresenceStats(clients, users)

    def _check_running(self) -> None:
        if not self._running:
            raise BrokerUnavailable(self.problem)

    # --- the store ------------------------------------------------------------------------------------------------

    async def _call(self, command: bytes, key: bytes, *words: bytes) -> Any:
        return await self._client.call(command, key, *words, routed_by=key, repeatable=True)

    async def _change(
        self, channel: str, sessions: Sequence[tuple[bytes, bytes, bytes]], *, lease: str = "", whole: bool = False
    ) -> tuple[list[bytes], list[bytes]]:
        """Enter and take out sessions of one channel; see members.lua."""
        try:
            entered, gone = await self._client.run(
                _MEMBERS,
                keys=(self._key("members", channel), self._key("users", channel)),
                args=(
                    (lease or self._lease).encode(),
                    b"1" if whole else b"0",
                    *(word for one in sessions for word in one),
                ),
                repeatable=True,
            )
        except BaseException:
            self._unsure.add(channel)
            raise
        return entered, gone

    def _known(self, entry: _Entry) -> tuple[bytes, bytes, bytes]:
        """Write a session as members.lua takes it."""
        info, user = entry.info, entry.info.user.encode()
        head = b"%s|%d|%d|%s|" % (self._lease.encode(), entry.announced, len(user), user)
        return info.client.encode(), head + msgspec.msgpack.encode((info.connection, info.channel)), user

    def _key(self, kind: str, tag: str) -> bytes:
        """Name a key; all of one tag are in one slot of a cluster. A tag that would be an empty one is escaped."""
        return f"{self._prefix}:{kind}:{{{'_' if tag.startswith(('}', '_')) else ''}{tag}}}".encode()

    def _visited(self, lease: str) -> bytes:
        """Name the set of the channels in which a node has sessions."""
        return self._key("visited", lease)

    async def _visit(self, channel: str) -> None:
        """Note that this node has sessions in a channel."""
        try:
            await self._call(b"SADD", self._visited(self._lease), channel.encode())
        except BaseException:
            self._unsure.add(channel)
            raise

    async def _each(self, do: Callable[[str], Awaitable[object]], channels: Iterable[str]) -> None:
        """Do something for every channel, some at a time."""
        left = list(channels)
        while left:
            part, left = left[:CHANNELS_AT_ONCE], left[CHANNELS_AT_ONCE:]
            await asyncio.gather(*(do(channel) for channel in part))

    async def _bring_into_line(self, channel: str) -> list[str]:
        """Make the store hold of this node's sessions in a channel those there are; give those it did not have."""
        self._unsure.discard(channel)
        here = self._here.get(channel)
        if here:
            await self._visit(channel)
        sessions = [self._known(entry) for entry in (here or {}).values()]
        entered, _ = await self._change(channel, sessions, whole=True)
        if here is not None and not here and self._here.get(channel) is here:  # `remove` could not do it
            del self._here[channel]
            await self._call(b"SREM", self._visited(self._lease), channel.encode())
        return [client.decode() for client in entered]

    # --- the lease ------------------------------------------------------------------------------------------------

    async def _begin_lease(self) -> None:
        self._leases += 1
        self._left.clear()
        self._lease = f"{self._node}.{self._leases}"
        self._life, _, _ = await self._renew(begin=True)

    async def _renew(self, *, begin: bool = False, take_over: bool = False) -> tuple[bytes, int, list[bytes]]:
        """Renew the lease; see lease.lua."""
        life, mine, taken = await self._client.run(
            _LEASE,
            keys=(self._key("leases", "nodes"), self._key("life", "nodes")),
            args=(
                self._lease.encode(),
                int(self._lease_seconds * 1000),
                b"1" if begin else b"0",
                b"1" if take_over else b"0",
                secrets.token_hex(8).encode(),
            ),
            repeatable=True,
        )
        return life, mine, taken

    async def _forget_lease(self, lease: str) -> None:
        await self._call(b"DEL", self._visited(lease))
        await self._call(b"ZREM", self._key("leases", "nodes"), lease.encode())

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self._beat_seconds)
            try:
                async with self._beating:
                    await self._beat()
                self._problem = ""
            except BrokerUnavailable as error:
                if not self._problem:
                    _log.warning("presence cannot be renewed: %s; trying again", error)
                self._problem = str(error)
            except Exception as error:  # noqa: BLE001  # a beat that is left out would take this node for dead
                self._problem = repr(error)
                _log.exception("presence cannot be renewed")

    async def _be_alive(self) -> None:
        """Renew the lease first, where it may have run out: what is entered under a dead one is nobody's."""
        loop = asyncio.get_running_loop()
        while loop.time() - self._beaten_at > self._lease_seconds:
            async with self._beating:
                if loop.time() - self._beaten_at > self._lease_seconds:
                    await self._beat()

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._beaten_at > 2 * self._beat_seconds:
            self._unbroken_since = now
        connections = self._client.fleet.connections
        life, mine, taken = await self._renew(take_over=now - self._unbroken_since >= self._lease_seconds)
        self._beaten_at = loop.time()
        if life != self._life:
            _log.warning("presence was lost by the server: this node enters its sessions again")
            await self._begin_lease()
            self._unsure.update(self._here)
            await self._each(self._bring_into_line, tuple(self._here))
        elif not mine:
            _log.warning("this node was taken for dead: it enters its sessions again")
            taken = [*taken, self._lease.encode()]  # what was entered under it since it was buried
            await self._begin_lease()
            self._unsure.update(self._here)
            await self._each(self._return_to, tuple(self._here))
        elif connections != self._connections:
            # Whoever is at the other end now may lack the newest that was said before.
            channels = {channel.decode() for channel in await self._call(b"SMEMBERS", self._visited(self._lease))}
            await self._each(self._bring_into_line, channels | self._here.keys())
        elif self._unsure:
            await self._each(self._bring_into_line, tuple(self._unsure))
        self._connections = connections
        await self._forget_left(now)
        for lease in taken:
            await self._bury(lease.decode())

    async def _forget_left(self, now: float) -> None:
        """Note no more the channels that nobody of this node has been in for long."""
        gone = []
        while self._left and now - (left := next(iter(self._left.items())))[1] > LEFT_SECONDS:
            del self._left[left[0]]
            gone.append(left[0].encode())
        if gone:
            await self._call(b"SREM", self._visited(self._lease), *gone)

    async def _return_to(self, channel: str) -> None:
        """Enter the sessions of a channel again, and announce those that others were told had left."""
        for client in await self._bring_into_line(channel):
            entry = self._here.get(channel, {}).get(client)
            if entry is not None and entry.announced:
                self._announce(channel, Arrival(entry.info, joined=True))

    async def _bury(self, lease: str) -> None:
        """Take the sessions of a node that died out of every channel, and announce that they left."""
        channels = [channel.decode() for channel in await self._call(b"SMEMBERS", self._visited(lease))]

        async def clear(channel: str) -> None:
            _, gone = await self._change(channel, (), lease=lease, whole=True)
            for client, known in zip(gone[::2], gone[1::2], strict=True):
                if known.split(b"|", 2)[1] == b"1":
                    self._announce(channel, Arrival(_info(client, known), joined=False))

        await self._each(clear, channels)
        await self._forget_lease(lease)
        _log.info("a node died: its sessions were taken out of %d channels", len(channels))

    def __repr__(self) -> str:
        return f"ValkeyPresence(channels={len(self._here)}, {self.problem or 'running'})"


def _info(client: bytes, known: bytes) -> ClientInfo:
    """Read what is known of a session; see members.lua."""
    _, _, length, rest = known.split(b"|", 3)
    end = int(length)
    connection, channel = msgspec.msgpack.decode(rest[end + 1 :], type=tuple[bytes, bytes])
    return ClientInfo(rest[:end].decode(), client.decode(), connection, channel)
