"""The streams of JetStream that channels are kept in, and the names of their lives.

There is one for each pair of `History.size` and `History.meta_seconds`, shared by all channels that have these. In it a
channel has two subjects, and each stream has one more:

    <prefix>.h.<tag>.<epoch>.<channel>   its publications. What is stored here the server publishes on the live subject
    <prefix>.n.<tag>.<epoch>.<channel>   a note: what was forgotten, and the last version
    <prefix>.b.<tag>.<epoch>             the birth: as long as it is there, nobody has emptied the stream

and one stream, for channels without history, holds nothing but the keys of what was published under one:

    <prefix>.k.<channel>

Invariants of this file:

1. An epoch names one life of a stream. It is part of every subject, so what is published by one who knows an older life
   is taken by nobody, and what arrives says which life it is of.
2. A stream that vanished is made anew with a new epoch. One that was emptied, or came back without what had been seen
   of it, goes on with a new epoch: its offsets may be given again.
3. The offset of a publication is its sequence in the stream, so no two channels of one life share one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

import msgspec

from openline.errors import BrokerUnavailable
from openline.jetstream.address import NatsAddress
from openline.jetstream.connection import NOBODY, Reply
from openline.jetstream.headers import EXPECTED_LAST, SEQUENCE, SUBJECT, TIME, TIME_TO_LIVE, unix_seconds
from openline.jetstream.link import Asker
from openline.options import History

_log: Final = logging.getLogger("openline")

#: What is written beside a stream: the name of its life, and the last sequence when that began.
_EPOCH, _SINCE = "openline-epoch", "openline-since"
_NO_STREAM: Final = 10059
_NAME_IN_USE: Final = 10058
#: A message was to be stored only after a certain one, and is not.
WRONG_LAST: Final = frozenset({10071, 10164})
#: Another message with the same key is about to be stored, or not; this one is not.
KEY_IN_PROCESS: Final = 10158
#: How long the mark stays that the server leaves of a channel that was forgotten: who comes back sees that it was.
_MARKER_SECONDS: Final = 366 * 24 * 3600
#: Messages kept beyond `History.size`: one before the oldest, which tells its predecessor, and touches.
_BESIDE: Final = 4
#: The shortest age NATS knows.
_LEAST_SECONDS: Final = 0.1
#: Channels of which is remembered that something is in them, for each stream.
_KNOWN_CHANNELS: Final = 100_000
#: Keys of a channel without history that outlive a restart of the server.
_KEYS_PER_CHANNEL: Final = 100
_ATTEMPTS: Final = 8
_PAUSE_SECONDS: Final = 0.05
#: After this time a call that was not answered is made again.
_ANSWER_SECONDS: Final = 1.0
#: Attempts, in some three seconds, at which a server that just began to lead may not have caught up.
_CATCHING_UP: Final = 12


class Gone(Exception):  # named for what happened, as all of them
    """A stream is not there any more, or not in the life that was known."""


class Seen(NamedTuple):
    """The newest message that was seen of a stream."""

    sequence: int
    subject: str
    time: str  #: as the server writes it; "" if it was not told


NOTHING_SEEN: Final = Seen(0, "", "")


@final
class Stream:
    """One life of a stream."""

    __slots__ = ("epoch", "heard", "known", "led", "max_age", "name", "prefix", "seen", "tag")

    def __init__(self, prefix: str, tag: str, epoch: str, max_age: float) -> None:
        self.prefix = prefix
        self.tag = tag
        self.name = f"{prefix}-{tag}"
        self.epoch = epoch
        self.max_age = max_age  #: seconds after which the server drops a message; 0: never
        self.seen = NOTHING_SEEN
        self.heard = (
            NOTHING_SEEN  #: the newest that a live message was said to be: `Reader.believe` looks whether it is
        )
        self.led = 0  #: the sequence the stream's leader was at when it was asked last
        self.known: dict[str, None] = {}

    def subject(self, token: str) -> str:
        """Name the subject of a channel's publications."""
        return f"{self.prefix}.h.{self.tag}.{self.epoch}.{token}"

    def note(self, token: str) -> str:
        """Name the subject of a channel's note."""
        return f"{self.prefix}.n.{self.tag}.{self.epoch}.{token}"

    @property
    def birth(self) -> str:
        """The subject of the stream's birth."""
        return f"{self.prefix}.b.{self.tag}.{self.epoch}"

    def know(self, token: str) -> None:
        """Remember that something is in a channel."""
        if token not in self.known:
            if len(self.known) >= _KNOWN_CHANNELS:
                del self.known[next(iter(self.known))]
            self.known[token] = None

    def hear(self, sequence: int, subject: str) -> None:
        """Remember what a live message was said to be, by whoever may publish."""
        if sequence > self.heard.sequence:
            self.heard = Seen(sequence, subject, "")

    def saw(self, sequence: int, subject: str, stamp: str = "") -> None:
        """Remember the newest message; it is the stream itself that told of it."""
        if sequence > self.seen.sequence:
            self.seen = Seen(sequence, subject, stamp)


def error_of(reply: Reply) -> tuple[int, str]:
    """Give number and words of an error in an answer of JetStream; 0 if there is none."""
    if reply.status == NOBODY:
        return NOBODY, "no server of JetStream answers"
    error = msgspec.json.decode(reply.data).get("error")
    return (0, "") if error is None else (error.get("err_code", error.get("code", -1)), error.get("description", ""))


async def call(asker: Asker, verb: str, body: Mapping[str, Any] | None = None) -> Reply:
    """Call JetStream for something that may be done twice, for as long as nobody answers.

    In a cluster of NATS servers nobody does while a stream is being made, or has lost its leader.
    """
    request = b"" if body is None else msgspec.json.encode(body)
    while True:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return (await asker.ask(f"$JS.API.{verb}", request))[0]
        except TimeoutError:
            continue


@final
class Streams:
    """Finds and makes streams.

    Args:
        idempotency_seconds: how long keys are remembered.
    """

    def __init__(self, link: Asker, address: NatsAddress, idempotency_seconds: float) -> None:
        self._link = link
        self._address = address
        self._window = max(idempotency_seconds, _LEAST_SECONDS)
        self._streams: dict[str, Stream] = {}
        self._opening = asyncio.Lock()
        self._keys = False
        self._ahead = 0.0  # of the server's clock before the monotonic one here

    def clear(self) -> None:
        """Know nothing any more."""
        self._streams.clear()
        self._opening = asyncio.Lock()
        self._keys = False

    @property
    def now(self) -> float:
        """The time on the server's clock, in unix seconds."""
        return time.monotonic() + self._ahead

    @property
    def known(self) -> tuple[Stream, ...]:
        """All that are known."""
        return tuple(self._streams.values())

    def named(self, tag: str, epoch: str) -> Stream | None:
        """Give a stream that is known in this life."""
        stream = self._streams.get(tag)
        return stream if stream is not None and stream.epoch == epoch else None

    # --- those with history ---------------------------------------------------------------------------------------

    async def of(self, history: History) -> Stream:
        """Give the stream for channels of this history; one that is not there is made.

        Raises:
            BrokerUnavailable: it is not there and cannot be made.
        """
        lasting = math.isfinite(history.meta_seconds)
        tag = f"h{int(history.size)}-{round(history.meta_seconds * 1000) if lasting else 'ever'}"
        return self._streams.get(tag) or await self._find(tag, int(history.size), history.meta_seconds)

    async def renew(self, stream: Stream, history: History, attempt: int) -> Stream:
        """Give the stream that took the place of one that is gone."""
        if self._streams.get(stream.tag) is stream:
            del self._streams[stream.tag]
        await asyncio.sleep(_PAUSE_SECONDS * attempt)
        return await self.of(history)

    async def holding(self, token: str) -> list[Stream]:
        """Give every stream that may hold publications of a channel, whoever made it."""
        prefix = self._address.prefix
        body = {"subject": f"{prefix}.h.*.*.{token}"}
        names = (await self._call(self._link, "STREAM.NAMES", body)).get("streams") or []
        streams = []
        for name in names:
            tag = name.removeprefix(f"{prefix}-")
            info = await self._call(self._link, f"STREAM.INFO.{name}", missing={})
            epoch = info.get("config", {}).get("metadata", {}).get(_EPOCH)
            if epoch:
                streams.append(self.named(tag, epoch) or self._stream(tag, info))
        return streams

    async def _find(self, tag: str, size: int, meta_seconds: float) -> Stream:
        async with self._opening:
            stream = self._streams.get(tag)
            for attempt in range(_ATTEMPTS):
                if stream is not None:
                    return stream
                await asyncio.sleep(_PAUSE_SECONDS * attempt)
                stream = await self._try_to_find(tag, size, meta_seconds)
        raise BrokerUnavailable(f"the stream {self._address.prefix}-{tag} of NATS does not come to rest")

    async def _try_to_find(self, tag: str, size: int, meta_seconds: float) -> Stream | None:
        """Find or make a stream; None if it changed meanwhile."""
        link, name = self._link, f"{self._address.prefix}-{tag}"
        info = await self._call(link, f"STREAM.INFO.{name}", missing={})
        if not info:
            body = self._config(tag, size, meta_seconds)
            info = await self._call(link, f"STREAM.CREATE.{name}", body, missing={})
            if not info:
                return None
        if _EPOCH not in info["config"].get("metadata", {}):
            raise BrokerUnavailable(f"NATS has a stream {name} that is none of this hub's: choose another prefix")
        stream = self._stream(tag, info)
        await self._widen(info["config"])
        # The first to look puts the birth there.
        headers = {EXPECTED_LAST: "0", TIME_TO_LIVE: "never"}
        code, words = error_of((await link.ask(stream.birth, b"", headers))[0])
        if code == NOBODY:
            return None
        if code and code not in WRONG_LAST:
            raise BrokerUnavailable(f"NATS cannot keep anything: {words}")
        if not code and info["state"]["last_seq"] > int(info["config"]["metadata"].get(_SINCE, 0)):
            # It was emptied: nothing is known of what was there. What was just stored is of the old life too.
            await self._be_reborn(link, info, info["state"]["last_seq"] + 1)
            return None
        self._streams[tag] = stream
        return stream

    def _stream(self, tag: str, info: Mapping[str, Any]) -> Stream:
        config = info["config"]
        return Stream(self._address.prefix, tag, config["metadata"][_EPOCH], config["max_age"] / 1e9)

    def _config(self, tag: str, size: int, meta_seconds: float) -> dict[str, Any]:
        prefix = self._address.prefix
        return {
            **self._life(tag, 0),
            "max_msgs_per_subject": size + _BESIDE,
            "max_age": _nanoseconds(max(meta_seconds, self._window)) if math.isfinite(meta_seconds) else 0,
            "duplicate_window": _nanoseconds(self._window),
            "allow_direct": True,
            "allow_msg_ttl": True,
            "subject_delete_marker_ttl": _nanoseconds(_MARKER_SECONDS),
            "republish": {"src": f"{prefix}.h.{tag}.*.*", "dest": "{{split(2,:)}}"},
            **self._common(f"{prefix}-{tag}"),
        }

    def _life(self, tag: str, since: int) -> dict[str, Any]:
        epoch, prefix = secrets.token_hex(6), self._address.prefix
        subjects = [f"{prefix}.h.{tag}.{epoch}.*", f"{prefix}.n.{tag}.{epoch}.*", f"{prefix}.b.{tag}.{epoch}"]
        return {"subjects": subjects, "metadata": {_EPOCH: epoch, _SINCE: str(since)}}

    def _common(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "retention": "limits",
            "discard": "old",
            "storage": self._address.storage,
            "num_replicas": self._address.replicas,
        }

    async def _widen(self, config: dict[str, Any]) -> None:
        """Let a stream remember keys for as long as is asked here, if it does not yet."""
        window = _nanoseconds(self._window)
        if config["duplicate_window"] >= window:
            return
        age = max(config["max_age"], window) if config["max_age"] else 0
        await self._call(
            self._link, f"STREAM.UPDATE.{config['name']}", {**config, "duplicate_window": window, "max_age": age}
        )

    async def _be_reborn(self, asker: Asker, info: Mapping[str, Any], since: int) -> None:
        config = info["config"]
        tag = config["name"].removeprefix(f"{self._address.prefix}-")
        _log.warning("the stream %s of NATS lost something: it goes on with a new epoch", config["name"])
        await self._call(asker, f"STREAM.UPDATE.{config['name']}", {**config, **self._life(tag, since)})

    async def compare(self, asker: Asker) -> None:
        """Compare all streams with what was seen of them, on a server that may have lost something."""
        self._keys = False
        for tag, stream in list(self._streams.items()):
            info = await self._call(asker, f"STREAM.INFO.{stream.name}", missing={})
            if info and info["config"].get("metadata", {}).get(_EPOCH) == stream.epoch:
                if await self._is_whole(asker, stream, info):
                    stream.led = 0  # by another server, perhaps
                    continue
                await self._be_reborn(asker, info, info["state"]["last_seq"])
            self._streams.pop(tag, None)

    async def _is_whole(self, asker: Asker, stream: Stream, info: Mapping[str, Any]) -> bool:
        """Tell whether a stream still has what was seen of it; what was dropped in order counts as there."""
        seen = stream.seen
        if not seen.sequence:
            return True
        for attempt in range(1, _CATCHING_UP):
            if info["state"]["last_seq"] >= seen.sequence:
                break
            if info["config"]["num_replicas"] == 1:
                return False
            # A server that just began to lead knows what was confirmed, but may not have counted all of it yet.
            await asyncio.sleep(_PAUSE_SECONDS * attempt)
            info = await self._call(asker, f"STREAM.INFO.{stream.name}")
        else:
            return False
        body = msgspec.json.encode({"seq": seen.sequence})
        reply = (await asker.ask(f"$JS.API.DIRECT.GET.{stream.name}", body))[0]
        if reply.status or int(reply.headers.get(SEQUENCE, 0)) != seen.sequence:
            return True
        return reply.headers.get(SUBJECT) == seen.subject and seen.time in ("", reply.headers.get(TIME))

    # --- those without --------------------------------------------------------------------------------------------

    async def remember_keys(self, *, anew: bool) -> None:
        """See to it that keys of publications that are not kept are remembered.

        Args:
            anew: whatever was known of the stream for it.
        """
        if self._keys and not anew:
            return
        prefix, name = self._address.prefix, f"{self._address.prefix}-keys"
        config = {
            "subjects": [f"{prefix}.k.*"],
            "max_msgs_per_subject": _KEYS_PER_CHANNEL,
            "max_age": _nanoseconds(self._window),
            "duplicate_window": _nanoseconds(self._window),
            "republish": {"src": f"{prefix}.k.*", "dest": "{{split(1,:)}}"},
            **self._common(name),
        }
        info = await self._call(self._link, f"STREAM.CREATE.{name}", config, missing={})
        if not info:  # it is there, with another window perhaps
            info = await self._call(self._link, f"STREAM.INFO.{name}")
            await self._widen(info["config"])
        self._keys = True

    # --- the interface of JetStream -------------------------------------------------------------------------------

    async def reach_leaders(self) -> None:
        """Have the leader of every stream that is known here answer.

        What was subscribed before this is known there after it: between two servers all goes one way, in order.
        """
        await asyncio.gather(*(self.reach_leader(stream) for stream in self._streams.values()))

    async def reach_leader(self, stream: Stream) -> None:
        """Have the leader of a stream say how far it is."""
        info = await self._call(self._link, f"STREAM.INFO.{stream.name}", missing={})
        if info:
            stream.led = info["state"]["last_seq"]

    async def purge(self, stream: Stream, subject: str, before: int) -> None:
        """Drop all messages of a subject before one."""
        await self._call(self._link, f"STREAM.PURGE.{stream.name}", {"filter": subject, "seq": before})

    async def _call(
        self, asker: Asker, verb: str, body: Mapping[str, Any] | None = None, *, missing: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Call JetStream, as `call` does.

        Args:
            missing: given in place of an error that says that a stream is not there, or that another one is.
        Raises:
            BrokerUnavailable: it was not done.
        """
        reply = await call(asker, verb, body)
        code, words = error_of(reply)
        if missing is not None and code in (_NO_STREAM, _NAME_IN_USE):
            return missing
        if code:
            raise BrokerUnavailable(f"NATS did not do {verb}: {words}")
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        if "ts" in answer:
            self._ahead = unix_seconds(answer["ts"]) - time.monotonic()
        return answer


def _nanoseconds(seconds: float) -> int:
    return round(max(seconds, _LEAST_SECONDS) * 1e9)
