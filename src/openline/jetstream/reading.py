"""What a stream holds of a channel, read from NATS.

Beside publications there may stand in a channel's subject: *touches*, which keep a channel known that is read and not
published in, and *markers*, which the server leaves when a channel was forgotten for its age. Nobody is shown either. A
touch leaves the channel where it stood; a marker is a place of its own, which nobody who knew the channel stands at.

Invariants of this file:

1. What is shown as the predecessor of a publication is it, or an offset that nobody of the channel stands at.
2. A page that reaches the end of the stream is read in one piece with its top.
3. Nothing is read of a server that knows less of the stream than this node: in a cluster of NATS servers any that keeps
   a stream may answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, final

import msgspec

from openline.brokers.base import Page
from openline.errors import BrokerUnavailable
from openline.jetstream.connection import NOBODY, Reply
from openline.jetstream.headers import (
    EXPECTED_LAST,
    LARGEST_SEQUENCE,
    MARKER,
    MESSAGE_ID,
    PENDING,
    SEQUENCE,
    SUBJECT,
    TIME,
    TOP,
    UP_TO,
    Extra,
    Version,
    is_first,
    previous_if_unknown,
    read_extra,
    read_time,
)
from openline.jetstream.link import Asker
from openline.jetstream.streams import NOTHING_SEEN, WRONG_LAST, Gone, Stream, Streams, error_of
from openline.options import History
from openline.publication import Position, Publication

#: Messages read with one request.
_CHUNK: Final = 1_000
#: Read beyond what was asked for: what is not shown may stand among it.
_BESIDE: Final = 8
#: The statuses that end a series: all there is, and nothing there.
_END, _NOTHING = 204, 404
_ATTEMPTS: Final = 32
#: How long to wait for a server that keeps a stream with others and has not got all of it yet.
_LAG_SECONDS: Final = 0.02


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a channel beside its messages."""

    forgotten: int = 0  #: nothing up to this offset is shown any more
    version: Version | None = None  #: the newest that was seen, up to `versioned`
    versioned: int = 0  #: offset of the publication that had it


class Stored(NamedTuple):
    """A message as it stands in a stream."""

    sequence: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def is_marker(self) -> bool:
        """Whether it says that a channel was forgotten."""
        return MARKER in self.headers

    @property
    def is_publication(self) -> bool:
        """Whether it is shown."""
        return TOP not in self.headers and not self.is_marker

    @property
    def top(self) -> int:
        """Where the channel stands after it."""
        return int(self.headers.get(TOP, self.sequence))


class State(NamedTuple):
    """Where a channel stands, all of one moment."""

    last: Stored | None
    note: Note
    noted: int  #: sequence of the note; 0 if there is none

    @property
    def top(self) -> int:
        """The offset of the channel's top."""
        return 0 if self.last is None else self.last.top


@final
class Reader:
    """Reads channels."""

    def __init__(self, link: Asker, streams: Streams) -> None:
        self._link = link
        self._streams = streams

    async def state(self, stream: Stream, token: str) -> State:
        """Tell where a channel stands.

        Raises:
            Gone: the stream is another by now.
        """
        subject, note = stream.subject(token), stream.note(token)
        asked = False
        while True:
            replies = await self._get(stream, {"multi_last": [subject, note, stream.birth]})
            found = {reply.headers.get(SUBJECT, ""): reply for reply in replies}
            if stream.birth not in found:
                raise Gone
            reached = int(replies[-1].headers.get(UP_TO, 0))
            if reached < stream.heard.sequence and not asked:
                asked = True  # whether there is anything to wait for
                await self._streams.reach_leader(stream)
            if reached >= max(stream.seen.sequence, stream.led):
                break
            await asyncio.sleep(_LAG_SECONDS)
        last = _stored(found[subject]) if subject in found else None
        if last is not None:
            stream.know(token)
            stream.saw(last.sequence, subject, last.headers[TIME])
        written = found.get(note)
        if written is None or MARKER in written.headers:
            return State(last, Note(), int(written.headers[SEQUENCE]) if written is not None else 0)
        return State(last, msgspec.json.decode(written.data, type=Note), int(written.headers[SEQUENCE]))

    async def believe(self, stream: Stream) -> None:
        """Look whether what was heard live is in a stream: only then it counts as seen."""
        heard = stream.heard
        if heard.sequence > stream.seen.sequence:
            request = msgspec.json.encode({"seq": heard.sequence})
            reply = (await self._link.ask(f"$JS.API.DIRECT.GET.{stream.name}", request))[0]
            if not reply.status and reply.headers.get(SUBJECT) == heard.subject:
                stream.saw(heard.sequence, heard.subject, reply.headers[TIME])
            else:  # it was invented, or dropped, or the server that answered has not got it yet
                await self._streams.reach_leader(stream)
        if stream.heard is heard:
            stream.heard = NOTHING_SEEN

    async def page(
        self, stream: Stream, token: str, history: History, since: Position | None, limit: int, *, reverse: bool
    ) -> Page:
        """Read a page; the arguments are those of `Broker.history`.

        Raises:
            Gone: the stream is another by now.
        """
        start = 1 if since is None or reverse else max(1, min(since.offset, LARGEST_SEQUENCE))
        wanted = -1 if reverse else limit
        while True:
            state = await self.state(stream, token)
            await self._touch(stream, token, state)
            if limit == 0 or state.last is None:
                return Page([], Position(stream.epoch, state.top))
            entries, whole = await self._read(stream, token, start, wanted, history, state.note)
            reached = entries[-1].sequence if entries else start - 1
            if not whole or reached >= state.last.sequence:
                break
            await asyncio.sleep(_LAG_SECONDS)
        top = entries[-1].top if whole and entries else state.top
        if not whole and entries and entries[-1].top > top:
            top = (await self.state(stream, token)).top
        shown = self._shown(stream, entries, history, state.note)
        if since is not None:
            shown = [one for one in shown if (one.offset < since.offset if reverse else one.offset > since.offset)]
        if reverse:
            shown.reverse()
        return Page(shown if limit < 0 else shown[:limit], Position(stream.epoch, top))

    async def newest_version(self, stream: Stream, token: str, state: State) -> Version | None:
        """Tell the newest version that was published, whatever was published without one since."""
        last = state.last
        if last is None:
            return state.note.version
        version = read_extra(last.headers).version
        if version is not None or state.note.versioned >= last.top:
            return version or state.note.version
        entries, _ = await self._read(stream, token, state.note.versioned + 1, -1, None, state.note)
        versions = [read_extra(entry.headers).version for entry in entries]
        return next((one for one in reversed(versions) if one is not None), state.note.version)

    async def keyed(self, stream: Stream, token: str, key: str) -> int:
        """Give the offset of the publication with a key, as far as it is kept; 0 if it is not."""
        entries, _ = await self._read(stream, token, 1, -1, None, Note())
        return next((entry.sequence for entry in reversed(entries) if entry.headers.get(MESSAGE_ID) == key), 0)

    async def change_note(self, stream: Stream, token: str, change: Callable[[State], Note]) -> None:
        """Change a channel's note, whoever else does at the same time.

        Raises:
            Gone: the stream is another by now.
        """
        for _ in range(_ATTEMPTS):
            state = await self.state(stream, token)
            note = change(state)
            if note == state.note or await self._write(stream, stream.note(token), state.noted, note):
                return
        raise BrokerUnavailable("a note of a channel changes all the time")

    async def _write(self, stream: Stream, subject: str, after: int, note: Note) -> bool:
        headers = {EXPECTED_LAST: str(after)}
        code, words = error_of((await self._link.ask(subject, msgspec.json.encode(note), headers))[0])
        if code == NOBODY:
            raise Gone
        if code and code not in WRONG_LAST:
            raise BrokerUnavailable(f"NATS did not keep a note: {words}")
        return not code

    async def _touch(self, stream: Stream, token: str, state: State) -> None:
        """Keep a channel known that was not published in for long: reading is using."""
        last = state.last
        if last is None or last.is_marker or not stream.max_age:
            return
        if self._streams.now - read_time(last.headers) < stream.max_age / 2:
            return
        extra = Extra(version=read_extra(last.headers).version)
        headers = {EXPECTED_LAST: str(last.sequence), TOP: str(last.top), **extra.written()}
        # If somebody else was faster, the channel was touched too, or published in.
        await self._link.ask(stream.subject(token), b"", headers)
        if state.note != Note():
            await self._write(stream, stream.note(token), state.noted, state.note)

    # --- messages -------------------------------------------------------------------------------------------------

    def _shown(self, stream: Stream, entries: Sequence[Stored], history: History, note: Note) -> list[Publication]:
        """Make publications of what is shown of a part of a stream."""
        oldest = self._streams.now - history.seconds
        publications = []
        previous = -1
        newer = _newer(entries)
        for entry, after in zip(entries, newer, strict=True):
            if entry.is_publication:
                if previous < 0:
                    previous = 0 if is_first(entry.headers) else previous_if_unknown(entry.sequence)
                time = read_time(entry.headers)
                if entry.sequence > note.forgotten and time >= oldest and after < history.size:
                    extra = read_extra(entry.headers)
                    publications.append(
                        Publication(entry.data, entry.sequence, previous, stream.epoch, extra.info, extra.tags, time)
                    )
            previous = entry.top
        return publications

    async def _read(
        self, stream: Stream, token: str, start: int, limit: int, history: History | None, note: Note
    ) -> tuple[list[Stored], bool]:
        """Read messages from one on, at least `limit` that are shown if there are (-1: all).

        Returns:
            The messages, oldest first, and whether the last of them is the last of the channel.
        """
        entries: list[Stored] = []
        chunk = _CHUNK if limit < 0 else min(limit + _BESIDE, _CHUNK)
        while True:
            body = {"seq": start, "next_by_subj": stream.subject(token), "batch": chunk}
            replies = await self._get(stream, body)
            if replies[-1].status == _NOTHING:
                return entries, True
            entries += map(_stored, replies[:-1])
            if not int(replies[-1].headers.get(PENDING, 0)):
                return entries, True
            if limit >= 0 and history is not None and len(self._shown(stream, entries, history, note)) > limit:
                return entries, False
            start = entries[-1].sequence + 1

    async def _get(self, stream: Stream, body: Mapping[str, object]) -> list[Reply]:
        """Get a series of messages, the status that ends it included."""
        request = msgspec.json.encode(body)
        replies = await self._link.ask(f"$JS.API.DIRECT.GET.{stream.name}", request, many=True)
        status = replies[-1].status
        if status == NOBODY:
            raise Gone
        if status not in (_END, _NOTHING):
            raise BrokerUnavailable(f"NATS cannot read a stream: {replies[-1].headers}")
        return replies


def _stored(reply: Reply) -> Stored:
    return Stored(int(reply.headers[SEQUENCE]), reply.headers, reply.data)


def _newer(entries: Sequence[Stored]) -> list[int]:
    """Count for each message of a part of a stream the publications that are newer."""
    counts = []
    count = int(entries[-1].headers.get(PENDING, 0)) if entries else 0
    for entry in reversed(entries):
        counts.append(count)
        count += entry.is_publication
    return counts[::-1]
