"""The broker of NATS: core subjects for what is live, JetStream for what is kept.

A channel is a subject (`openline.jetstream.subjects`), and what travels on it is the data of a publication as it is.
One that is kept is published into a stream, and the server publishes it on the live subject from there, with its
sequence and that of its predecessor: so it is kept and carried, or neither.

Invariants of this file:

1. A message is sent once. One that was refused for a reason that says that it was not kept may be sent again.
2. What arrives is delivered in the call that reads it from the socket, so in the order in which the server sent it.
3. A live message says where it stands, and anybody may send one: of a stream as a whole nothing is believed of it
   before the stream itself said so (`Reader.believe`).
4. A channel is in `_followed` from before it is subscribed until `unfollow`: nothing is delivered after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, final

import msgspec

from openline.brokers.base import Page, Recipient
from openline.errors import BrokerUnavailable, DeclarationError, PayloadTooBig
from openline.jetstream.address import NatsAddress
from openline.jetstream.connection import NOBODY
from openline.jetstream.headers import (
    EXPECTED_LAST,
    MARKER,
    MESSAGE_ID,
    SUBJECT,
    TOP,
    Extra,
    Place,
    Version,
    bytes_of,
    is_first,
    previous_if_unknown,
    read_extra,
    read_place,
    read_top,
)
from openline.jetstream.link import Asker, Link
from openline.jetstream.reading import Note, Reader, State
from openline.jetstream.streams import KEY_IN_PROCESS, WRONG_LAST, Gone, Stream, Streams
from openline.jetstream.subjects import live, token
from openline.jetstream.task import WatchedTask
from openline.options import History
from openline.publication import Arrival, ClientInfo, Position, Publication

#: How often a call is begun again because its stream was found to be another, or somebody was faster.
_ATTEMPTS: Final = 64
#: How long to wait where another publication with the same key is about to be kept.
_KEY_SECONDS: Final = 0.02
#: How often at most the streams are asked whether they have what was heard live.
_BELIEVE_SECONDS: Final = 1.0
#: JetStream takes no headers that are longer, and says so with this error.
_HEADERS_BYTES, _HEADERS_TOO_LONG = 65_535, 10097


class _Error(msgspec.Struct, frozen=True):
    err_code: int = -1
    description: str = ""


class _Kept(msgspec.Struct, frozen=True):
    """What JetStream says of a message that was to be kept."""

    seq: int = 0
    error: _Error | None = None


_read_kept: Final = msgspec.json.Decoder(_Kept).decode


@final
class NatsBroker:
    """Carries publications between nodes through NATS and keeps their history in JetStream.

    Offsets are sequences of a stream that channels share, so they increase with gaps. Keys are remembered by the server
    for their time, however many; those of channels without history outlive its restart up to 100 per channel.

    Args:
        idempotency_seconds: how long an idempotency key is remembered. Streams that remember longer go on doing so.
    Raises:
        DeclarationError: an argument makes no sense; the message names it.
    """

    immediate = False
    #: Whatever speaks NATS or MQTT may publish on a live subject.
    is_open = True

    def __init__(self, address: NatsAddress, *, idempotency_seconds: float = 300) -> None:
        if not idempotency_seconds > 0:
            raise DeclarationError(f"NatsBroker.idempotency_seconds is {idempotency_seconds!r}: it must be above 0")
        self._prefix = address.prefix
        self._link = Link(
            address, "the NATS broker", receive=self._receive, opened=self._compare, restored=self._on_restored
        )
        self._streams = Streams(self._link, address, idempotency_seconds)
        self._reader = Reader(self._link, self._streams)
        self._recipient: Recipient | None = None
        self._words: frozenset[str] = frozenset()
        self._followed: dict[str, str] = {}  # channels by subject
        self._heard = asyncio.Event()
        self._believing = WatchedTask()
        self._touched: dict[str, tuple[int, int]] = {}  # by subject: the sequence of a touch, and where it left the top

    @property
    def problem(self) -> str:
        """What is wrong as of now, in words for whoever looks after the server; "" while all works."""
        return self._link.problem

    # --- life -----------------------------------------------------------------------------------------------------

    async def start(self, node: str, recipient: Recipient | None) -> None:
        """Connect; see `Broker.start`.

        Raises:
            BrokerUnavailable: no server could be reached, or JetStream is off there; nothing is left behind.
        """
        self._streams.clear()
        await self._link.start(f"openline {node}")
        if recipient is None:
            return
        self._recipient = recipient
        self._words = frozenset((self._node_subject(node), self._node_subject("")))
        try:
            async with self._link.within():
                for subject in self._words:
                    await self._link.subscribe(subject)
        except BaseException:
            await self.stop()
            raise
        self._heard = asyncio.Event()
        self._believing.start(self._believe(), "what NATS says live, looked after")

    async def stop(self) -> None:
        """End, within about a second. Idempotent; the broker may be started again."""
        self._recipient = None
        self._followed.clear()
        self._touched.clear()
        await self._believing.stop()
        await self._link.stop()
        self._streams.clear()

    async def _compare(self, asker: Asker) -> None:
        await self._streams.compare(asker)

    def _on_restored(self) -> None:
        if self._recipient is not None and self._followed:
            self._recipient.doubt(tuple(self._followed.values()))

    def _node_subject(self, node: str) -> str:
        return f"{self._prefix}.node.{node}" if node else f"{self._prefix}.nodes"

    # --- interest -------------------------------------------------------------------------------------------------

    async def follow(self, channel: str) -> None:
        """Begin to receive a channel; see `Broker.follow`.

        In a cluster of NATS servers those that lead streams know of it then. Others learn of it a moment later: what is
        published there in that moment, in a channel without history, is not heard.

        Raises:
            BrokerUnavailable: it is not followed.
        """
        subject = live(channel, self._prefix)
        known = subject in self._followed
        self._followed[subject] = channel
        try:
            async with self._link.within():
                await self._link.subscribe(subject)
                if self._link.is_clustered:
                    await self._streams.reach_leaders()
        except BaseException:
            if not known:
                self._followed.pop(subject, None)
                await self._link.unsubscribe(subject)
            raise

    async def unfollow(self, channel: str) -> None:
        """Stop receiving a channel; one not followed is no error, nor is a broker that was stopped."""
        subject = live(channel, self._prefix)
        if self._followed.pop(subject, None) is not None:
            self._touched.pop(subject, None)
            await self._link.unsubscribe(subject)

    def _receive(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        recipient = self._recipient
        if recipient is None:
            return
        channel = self._followed.get(subject)
        if channel is None:
            if subject in self._words:
                recipient.hear(data)
            return
        if MARKER in headers:
            return
        kept_as, place = self._place(channel, headers)
        if TOP in headers:
            top = read_top(headers)
            if place is not None and 0 <= top <= place.sequence:
                self._touched[subject] = (place.sequence, top)
            return
        extra = read_extra(headers)
        if extra.kind and extra.info is not None:
            recipient.deliver(channel, Arrival(extra.info, extra.kind == "join"))
            return
        if place is None:
            recipient.deliver(channel, Publication(data, info=extra.info, tags=extra.tags))
            return
        sequence, previous, time = place
        tag, epoch = kept_as[2:4]
        stream = self._streams.named(tag, epoch)
        if stream is not None:
            stream.hear(sequence, headers[SUBJECT])
            self._heard.set()
        touch = self._touched.get(subject)
        if touch is not None and touch[0] == previous:
            previous = touch[1]
        elif not previous and not is_first(headers):
            previous = previous_if_unknown(sequence)
        recipient.deliver(channel, Publication(data, sequence, previous, epoch, extra.info, extra.tags, time))

    def _place(self, channel: str, headers: Mapping[str, str]) -> tuple[list[str], Place | None]:
        """Split the subject that a message was kept under, and tell its place if it is one of the channel."""
        kept_as = headers.get(SUBJECT, "").split(".")
        if len(kept_as) != 5 or kept_as[:2] != [self._prefix, "h"] or kept_as[4] != token(channel, self._prefix):
            return kept_as, None
        return kept_as, read_place(headers)

    async def _believe(self) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            for stream in self._streams.known:
                with suppress(BrokerUnavailable):
                    async with self._link.within():
                        await self._reader.believe(stream)
            await asyncio.sleep(_BELIEVE_SECONDS)

    # --- publishing -----------------------------------------------------------------------------------------------

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
        """Append to the channel's history and carry to the nodes that follow it; see `Broker.publish`.

        Raises:
            BrokerUnavailable: it may or may not be out; retry with the same key.
            PayloadTooBig: it is more than the server takes (`max_payload`, 1 MiB by default), or who published and the
                tags are more than it keeps (64 KiB); nothing is out.
        """
        versioned = Version(version_epoch, version) if version and history is not None else None
        extra = Extra(info=info, tags=tags, version=versioned)
        headers = extra.written()
        if idempotency_key:
            # The server remembers keys for a whole stream.
            headers[MESSAGE_ID] = f"{token(channel, self._prefix)} {_header_text(idempotency_key)}"
        async with self._link.within():
            if history is not None:
                if versioned is not None:
                    return await self._publish_version(channel, data, headers, history, versioned)
                return await self._keep(channel, data, headers, history)
            if idempotency_key:
                await self._carry_once(channel, data, headers)
            else:
                await self._link.send(live(channel, self._prefix), data, headers or None)
            return Position.NONE

    async def _keep(self, channel: str, data: bytes, headers: dict[str, str], history: History) -> Position:
        name = token(channel, self._prefix)
        stream = await self._streams.of(history)
        for attempt in range(_ATTEMPTS):
            first = name not in stream.known
            # The server takes it as the first only if it is, and so it can be told from one whose predecessors are
            # not known any more.
            done = await self._append(stream, name, data, {**headers, EXPECTED_LAST: "0"} if first else headers)
            stream.know(name)
            if done:
                return Position(stream.epoch, done)
            if done is None:
                stream = await self._streams.renew(stream, history, attempt)
        raise BrokerUnavailable("the stream of NATS changes all the time; it is not out")

    async def _append(self, stream: Stream, name: str, data: bytes, headers: dict[str, str]) -> int | None:
        """Append to a stream; give the sequence, 0 if another was faster, None if the stream is gone."""
        subject = stream.subject(name)
        reply = (await self._link.ask(subject, data, headers or None))[0]
        if reply.status == NOBODY:
            return None
        kept = _read_kept(reply.data)
        if kept.error is None:
            stream.saw(kept.seq, subject)
            return kept.seq
        if kept.error.err_code in WRONG_LAST:
            return 0
        if kept.error.err_code == KEY_IN_PROCESS:
            await asyncio.sleep(_KEY_SECONDS)
            return await self._append(stream, name, data, headers)
        _refuse_long(kept.error, headers)
        raise BrokerUnavailable(f"NATS did not keep it: {kept.error.description}")

    async def _publish_version(
        self, channel: str, data: bytes, headers: dict[str, str], history: History, version: Version
    ) -> Position:
        name = token(channel, self._prefix)
        stream = await self._streams.of(history)
        for attempt in range(_ATTEMPTS):
            try:
                state = await self._reader.state(stream, name)
                newest = await self._reader.newest_version(stream, name, state)
                if newest is not None and newest.epoch == version.epoch and version.number <= newest.number:
                    key = headers.get(MESSAGE_ID)
                    repeated = await self._reader.keyed(stream, name, key) if key else 0
                    return Position(stream.epoch, repeated or state.top)
                after = str(state.last.sequence if state.last is not None else 0)
                done = await self._append(stream, name, data, {**headers, EXPECTED_LAST: after})
                if done:
                    await self._note_version(stream, name, version, done)
                    return Position(stream.epoch, done)
                if done is None:
                    raise Gone
            except Gone:
                stream = await self._streams.renew(stream, history, attempt)
        raise BrokerUnavailable("others publish in the channel all the time; it is not out")

    async def _note_version(self, stream: Stream, name: str, version: Version, offset: int) -> None:
        """Remember a version for when its publication is not kept any more; until then it says so itself."""

        def change(state: State) -> Note:
            note = state.note
            return note if note.versioned >= offset else Note(note.forgotten, version, offset)

        try:
            await self._reader.change_note(stream, name, change)
        except Gone:
            return  # and the publication with it

    async def _carry_once(self, channel: str, data: bytes, headers: dict[str, str]) -> None:
        for attempt in range(_ATTEMPTS):
            await self._streams.remember_keys(anew=attempt > 0)
            reply = (await self._link.ask(f"{self._prefix}.k.{token(channel, self._prefix)}", data, headers))[0]
            if reply.status == NOBODY:
                continue
            kept = _read_kept(reply.data)
            if kept.error is None:
                return
            if kept.error.err_code != KEY_IN_PROCESS:
                _refuse_long(kept.error, headers)
                raise BrokerUnavailable(f"NATS did not take the key: {kept.error.description}")
            await asyncio.sleep(_KEY_SECONDS)
        raise BrokerUnavailable("NATS has no stream for keys; it is not out")

    async def announce(self, channel: str, arrival: Arrival) -> None:
        """Carry a join or leave to the nodes that follow the channel; it is not kept.

        Raises:
            BrokerUnavailable: it may or may not be out.
        """
        headers = Extra(kind="join" if arrival.joined else "leave", info=arrival.info).written()
        async with self._link.within():
            await self._link.send(live(channel, self._prefix), b"", headers)

    async def tell(self, word: bytes, node: str = "") -> None:
        """Carry a word to one node, or to every node; see `Broker.tell`.

        Raises:
            BrokerUnavailable: it may or may not be out.
        """
        async with self._link.within():
            await self._link.send(self._node_subject(node), word)

    # --- history --------------------------------------------------------------------------------------------------

    async def history(
        self,
        channel: str,
        *,
        history: History,
        since: Position | None = None,
        limit: int = -1,
        reverse: bool = False,
    ) -> Page:
        """Read a stream; see `Broker.history`. In reverse all that is kept is read, whatever the limit.

        Raises:
            BrokerUnavailable: nothing can be said.
        """
        name = token(channel, self._prefix)
        async with self._link.within():
            stream = await self._streams.of(history)
            for attempt in range(_ATTEMPTS):
                try:
                    return await self._reader.page(stream, name, history, since, limit, reverse=reverse)
                except Gone:
                    stream = await self._streams.renew(stream, history, attempt)
        raise BrokerUnavailable("the stream of NATS changes all the time")

    async def forget(self, channel: str) -> None:
        """Drop the publications of a channel's history; its epoch, top offset and last version stay.

        The newest stays in the store, hidden, until it is too old: the server tells by it where the channel stands.

        Raises:
            BrokerUnavailable: they may or may not be dropped.
        """
        name = token(channel, self._prefix)

        def hide_all(state: State) -> Note:
            return Note(max(state.note.forgotten, state.top), state.note.version, state.note.versioned)

        async with self._link.within():
            for stream in await self._streams.holding(name):
                try:
                    last = (await self._reader.state(stream, name)).last
                    if last is not None:
                        await self._reader.change_note(stream, name, hide_all)
                        await self._streams.purge(stream, stream.subject(name), last.sequence)
                except Gone:
                    continue  # and all that was in it


def _refuse_long(error: _Error, headers: Mapping[str, str]) -> None:
    if error.err_code == _HEADERS_TOO_LONG:
        raise PayloadTooBig(bytes_of(headers), _HEADERS_BYTES)


def _header_text(text: str) -> str:
    """Write any text so that a header carries it: differing ones differently."""
    return "".join(one if "!" <= one <= "~" and one != "%" else f"%{ord(one):X};" for one in text)
