"""Valkey and Redis: streams keep history, pub/sub carries, one script does both at once.

Positions. A stream's offsets count by one, and each stands in its entry's id, ``<offset>-<server's ms>``. They may not
go back when a server loses its newest entries, in a failover or a crash: so a stream notes which life of which server
wrote it, and when that changes, offsets jump far ahead if nothing confirmed can be missing, else a new epoch begins.
The reasoning stands at the top of `valkey_stream.lua`; it is carried out in the server, with each write and read.
An append-only file that is not written on every change (``appendfsync everysec``) outlives the end of the server, and
not that of the machine. ``replicas=1`` in the address makes a publication wait until a replica has it: that is as good
as it sounds where each master has one replica; with more, wait for all. Servers may not evict keys
(``maxmemory-policy noeviction``), and need the command INFO to be allowed.

Names. All that belongs to a channel has the same ``{tag}``, so that a cluster keeps it in one slot:
``openline:m:{name}`` is a hash that knows where the stream stands, ``openline:s:{name}`` the stream,
``openline:i:…`` an idempotency key, ``openline:p:{name}`` the pub/sub channel. Pub/sub knows no databases: that of one
above 0 has its number in the name.

On a cluster channels are carried by sharded pub/sub, at the one master whose slot it is; words between nodes by plain
pub/sub, which reaches every server, and through one master, so that their order is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, final

import msgspec

from openline.brokers.base import Page, Recipient
from openline.errors import BrokerUnavailable, DeclarationError
from openline.options import History
from openline.publication import Arrival, ClientInfo, Position, Publication
from openline.valkey.address import ValkeyAddress
from openline.valkey.client import Valkey
from openline.valkey.listener import Listener
from openline.valkey.script import Script

_log: Final = logging.getLogger("openline.valkey")

_STREAM: Final = ("valkey_stream.lua", "valkey_ageing.lua")
_PUBLISH: Final = Script.read("openline.brokers", *_STREAM, "valkey_publish.lua")
_HISTORY: Final = Script.read("openline.brokers", *_STREAM, "valkey_history.lua")
_CARRY: Final = Script.read("openline.brokers", "valkey_carry.lua")

#: First bytes of what is carried.
_KEPT: Final = b"+"  # then epoch, offset, predecessor and ms, a line's end, and a body
_NOT_KEPT: Final = b"-"  # then a body
_JOINED: Final = b"j"  # then an info
_LEFT: Final = b"l"  # then an info

#: A client's info, and what a publication is besides its position.
_Info = tuple[str, str, bytes, bytes]
_Body = tuple[bytes, _Info | None, dict[str, str] | None]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_body: Final = msgspec.msgpack.Decoder(_Body).decode
_decode_info: Final = msgspec.msgpack.Decoder(_Info).decode

#: Names of words between nodes among what is followed; no channel is called so.
_WORD: Final = ""
#: Channels whose keys are kept at hand.
_NAMES: Final = 10_000
#: Longer than any server runs; and positions past it are past every stream.
_LONGEST_MS: Final = 10**15
_HIGHEST: Final = 2**60


class _Names(NamedTuple):
    """What a channel is called in the server."""

    keys: tuple[bytes, bytes]  #: its hash and its stream
    topic: bytes  #: its pub/sub channel


@final
class ValkeyBroker:
    """Carries publications between nodes and keeps history in Valkey or Redis (from 6.2; a cluster from 7).

    A publication is one round trip, and those of one turn of the event loop share it. Idempotency keys are forgotten by
    their time alone. What a node unfollows stays subscribed for two more seconds, unheard.

    Args:
        address: where the servers are.
        idempotency_seconds: how long an idempotency key is remembered.
    Raises:
        DeclarationError: an argument makes no sense; the message names it.
    """

    immediate = False
    is_open = False

    __slots__ = (
        "_address",
        "_carry",
        "_client",
        "_idempotency_ms",
        "_kept",
        "_listener",
        "_loop",
        "_names",
        "_recipient",
        "_sharded",
        "_topics",
    )

    def __init__(self, address: ValkeyAddress, *, idempotency_seconds: float = 300) -> None:
        if not idempotency_seconds >= 0.001:
            raise DeclarationError(f"ValkeyBroker.idempotency_seconds is {idempotency_seconds!r}: it must be above 0")
        self._address = address
        self._idempotency_ms = _ms(idempotency_seconds)
        self._client = Valkey(address)
        self._listener = Listener(self._client.fleet, self._heard, self._missed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._recipient: Recipient | None = None
        self._sharded = address.kind == "cluster"
        self._carry = b"SPUBLISH" if self._sharded else b"PUBLISH"
        self._topics = f"{address.prefix}:{address.database}" if address.database else address.prefix
        self._names: dict[str, _Names] = {}
        self._kept: dict[History, bytes] = {}

    @property
    def problem(self) -> str:
        """What is wrong as of now; "" while all works."""
        return self._client.problem or self._listener.problem

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Connect; with a recipient, listen for the words of other nodes too. See `Broker.start`."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            await self.stop()
        # Made anew, as all there is may belong to an event loop that was closed without a stop.
        self._loop = loop
        self._client = Valkey(self._address, name=f"openline-{node}")
        self._listener = Listener(self._client.fleet, self._heard, self._missed)
        await self._client.start()
        self._recipient = recipient
        if recipient is not None:
            try:
                for topic in (self._words(), self._words(node)):
                    await self._listener.follow(topic, _WORD, route=self._words())
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        """End, without waiting for any server. Idempotent; the broker may be started again."""
        self._recipient = None
        self._listener.stop()
        await self._client.stop()

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel; returns when a server confirmed it."""
        self._check_running()
        await self._listener.follow(self._named(channel).topic, channel, sharded=self._sharded)

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel; one not followed is no error."""
        self._listener.unfollow(self._named(channel).topic)

    async def publish(
        self,
        channel: str,
        data: bytes,
        *,
        history: History | None,
        info: ClientInfo | None = None,
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Append and carry in one step; see `Broker.publish`. Repeated by itself only under an idempotency key."""
        body = _encode((data, info and _of_info(info), tags))
        names = self._named(channel)
        if history is None:
            await self._publish_unkept(channel, names, body, idempotency_key)
            return Position.NONE
        keys = (*names.keys, self._key(channel, idempotency_key)) if idempotency_key else names.keys
        args = (self._options(history), body, history.size, self._carry, names.topic, self._idempotency_ms)
        position: bytes = await self._client.run(
            _PUBLISH,
            keys,
            (*args, version, version_epoch) if version else args,
            repeatable=bool(idempotency_key),
            confirmed=True,
        )
        epoch, _, offset = position.partition(b" ")
        return Position(epoch.decode(), int(offset))

    async def _publish_unkept(self, channel: str, names: _Names, body: bytes, idempotency_key: str) -> None:
        if idempotency_key:
            keys = (self._key(channel, idempotency_key),)
            args = (self._idempotency_ms, self._carry, names.topic, _NOT_KEPT + body)
            await self._client.run(_CARRY, keys, args, repeatable=True)
        else:
            await self._client.call(self._carry, names.topic, _NOT_KEPT + body, routed_by=names.topic)

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Carry a join or leave to the nodes that follow the channel; it is not kept."""
        topic = self._named(channel).topic
        payload = (_JOINED if arrival.joined else _LEFT) + _encode(_of_info(arrival.info))
        await self._client.call(self._carry, topic, payload, routed_by=topic)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Carry a word to one node, or to all."""
        await self._client.call(b"PUBLISH", self._words(node), word, routed_by=self._words())

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read a stream, from its master; see `Broker.history`."""
        offset = None if since is None else min(max(since.offset, 0), _HIGHEST)
        if reverse:
            command, first, last = "XREVRANGE", "+" if offset is None else str(offset - 1), "-"
        else:
            command, first, last = "XRANGE", "-" if offset is None else str(offset + 1), "+"
        if offset == 0 and reverse:
            limit = 0  # nothing stands before the beginning
        epoch, top, entries = await self._client.run(
            _HISTORY,
            self._named(channel).keys,
            (self._options(history), b"", command, first, last, "" if limit < 0 else limit),
            repeatable=True,
        )
        name = epoch.decode()
        return Page([_of_entry(entry, name) for entry in entries], Position(name, int(top)))

    async def forget(self, channel: str) -> None:
        """Drop the publications of a channel's history; its epoch, top offset and last version stay."""
        stream = self._named(channel).keys[1]
        await self._client.call(b"DEL", stream, routed_by=stream, repeatable=True)

    def __repr__(self) -> str:
        return f"ValkeyBroker({self._address})"

    # --- names ----------------------------------------------------------------------------------------------------

    def _named(self, channel: str) -> _Names:
        names = self._names.get(channel)
        if names is None:
            prefix, tag = self._address.prefix, _tag(channel)
            keys = (f"{prefix}:m:{tag}".encode(), f"{prefix}:s:{tag}".encode())
            names = _Names(keys, f"{self._topics}:p:{tag}".encode())
            if len(self._names) >= _NAMES:
                self._names.clear()
            self._names[channel] = names
        return names

    def _options(self, history: History) -> bytes:
        options = self._kept.get(history)
        if options is None:
            if len(self._kept) >= _NAMES:
                self._kept.clear()
            kind = "s" if self._address.kind == "single" else "m"
            words = f"{_ms(history.seconds)} {_ms(history.meta_seconds)} {kind}{self._address.replicas}"
            options = self._kept[history] = words.encode()
        return options

    def _key(self, channel: str, key: str) -> bytes:
        # The length keeps what belongs to the channel apart from what belongs to the key.
        return f"{self._address.prefix}:i:{len(channel)}:{_tag(channel)}:{key}".encode()

    def _words(self, node: str = "") -> bytes:
        return f"{self._topics}:node:{node}".encode() if node else f"{self._topics}:nodes".encode()

    # --- what arrives ---------------------------------------------------------------------------------------------

    def _heard(self, name: str, payload: bytes) -> None:
        recipient = self._recipient
        if recipient is None:
            return
        if name == _WORD:
            recipient.hear(payload)
            return
        try:
            message = _of_payload(payload)
        except (ValueError, msgspec.DecodeError) as error:
            _log.warning("in channel %s arrived what no node of ours has sent, and is left out: %r", name, error)
            return
        recipient.deliver(name, message)

    def _missed(self, names: Sequence[str]) -> None:
        channels = [name for name in names if name != _WORD]
        if channels and self._recipient is not None:
            self._recipient.doubt(channels)

    def _check_running(self) -> None:
        if self._recipient is None:
            raise BrokerUnavailable(f"{self._address}: the broker is not started, or follows nothing")


def _ms(seconds: float) -> int:
    return int(min(seconds * 1000, _LONGEST_MS)) or 1


def _tag(channel: str) -> str:
    """Put a channel's name in braces; a } in front, which would make them hold nothing, is written otherwise."""
    if channel[:1] in ("}", "%"):
        channel = ("%7D" if channel[0] == "}" else "%25") + channel[1:]
    return f"{{{channel}}}"


def _of_info(info: ClientInfo) -> _Info:
    return info.user, info.client, info.connection, info.channel


def _of_payload(payload: bytes) -> Publication | Arrival:
    """Read what was carried.

    Raises:
        ValueError, msgspec.DecodeError: it was not written here.
    """
    kind = payload[:1]
    if kind == _KEPT:
        head, _, body = payload.partition(b"\n")
        epoch, offset, previous, taken = head[1:].split(b" ")
        return _of_body(body, int(offset), int(previous), epoch.decode(), int(taken) / 1000)
    if kind == _NOT_KEPT:
        return _of_body(payload[1:])
    if kind in (_JOINED, _LEFT):
        return Arrival(ClientInfo(*_decode_info(payload[1:])), kind == _JOINED)
    raise ValueError(f"it begins with {kind!r}")


def _of_entry(entry: Any, epoch: str) -> Publication:
    """Read an entry of a stream: its id, and its body, behind which its predecessor stands if that is far away."""
    offset, _, taken = entry[0].partition(b"-")
    fields: list[bytes] = entry[1]
    number = int(offset)
    return _of_body(fields[1], number, int(fields[3]) if len(fields) > 2 else number - 1, epoch, int(taken) / 1000)


def _of_body(body: bytes, offset: int = 0, previous: int = 0, epoch: str = "", time: float = 0.0) -> Publication:
    data, info, tags = _decode_body(body)
    return Publication(data, offset, previous, epoch, ClientInfo(*info) if info is not None else None, tags, time)
