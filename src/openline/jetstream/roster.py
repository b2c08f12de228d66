"""Who is where, as JetStream keeps it: a stream in memory with one message for each session in a channel.

    <prefix>.p.<channel>.<home>.<session>   a session; one without data was removed, and is gone a second later
    <prefix>.l.<home>                       the lease of a home: that its node lives, or that it was taken for dead

A *home* is a node's place among the sessions. A node that was taken for dead and was not takes another home: so what is
done to the old one, by whoever took it for dead, does not touch it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, final

import msgspec

from openline.errors import BrokerUnavailable
from openline.jetstream.address import NatsAddress
from openline.jetstream.connection import NOBODY, Reply
from openline.jetstream.headers import EXPECTED_LAST, PENDING, SEQUENCE, SUBJECT, TIME_TO_LIVE
from openline.jetstream.link import Link
from openline.jetstream.streams import WRONG_LAST, Gone, call, error_of
from openline.jetstream.subjects import token, word
from openline.publication import ClientInfo

_CHUNK: Final = 1_000
_REMOVED_SECONDS: Final = 1
_GONE_SECONDS: Final = 24 * 3600
_NOTHING: Final = 404
_NO_STREAM: Final = 10059

#: "alive"; "taken": somebody is about to tell that its sessions left; "gone": that was told.
Word = Literal["alive", "taken", "gone"]


class Session(msgspec.Struct, frozen=True):
    """A session in a channel."""

    channel: str
    info: ClientInfo
    announced: bool  #: whether its going is to be announced


class Lease(NamedTuple):
    """What is known of a home."""

    home: str
    word: Word
    sequence: int


@final
class Roster:
    """Reads and writes that stream. All calls are to be bounded by `Link.within`."""

    def __init__(self, link: Link, address: NatsAddress) -> None:
        self._link = link
        self._address = address
        self._prefix = address.prefix
        self._name = f"{address.prefix}-presence"

    async def open(self) -> None:
        """Make the stream, if it is not there."""
        config = {
            "name": self._name,
            "subjects": [f"{self._prefix}.p.*.*.*", f"{self._prefix}.l.*"],
            "retention": "limits",
            "discard": "old",
            "storage": "memory",
            "num_replicas": self._address.replicas,
            "max_msgs_per_subject": 1,
            "allow_direct": True,
            "allow_msg_ttl": True,
        }
        found = await self._call(f"STREAM.INFO.{self._name}", None, missing=True)
        if not found:
            await self._call(f"STREAM.CREATE.{self._name}", config)

    # --- sessions -------------------------------------------------------------------------------------------------

    async def enter(self, home: str, session: Session) -> None:
        """Write a session.

        Raises:
            Gone: the stream is not there any more.
        """
        subject = self._subject(session.channel, home, session.info.client)
        await self._write(subject, msgspec.json.encode(session), {})

    async def take_out(self, home: str, channel: str, client: str) -> None:
        """Remove a session.

        Raises:
            Gone: the stream is not there any more, nor is the session.
        """
        # Written rather than purged: so it keeps its place among what is written before and after it.
        await self._write(self._subject(channel, home, client), b"", {TIME_TO_LIVE: f"{_REMOVED_SECONDS}s"})

    async def in_channel(self, channel: str) -> list[Session]:
        """Give everyone in a channel, in the order in which they were entered.

        Raises:
            Gone: the stream is not there any more.
        """
        return await self._sessions(f"{self._prefix}.p.{token(channel, self._prefix)}.*.*")

    async def in_home(self, home: str) -> list[Session]:
        """Give everyone in a home.

        Raises:
            Gone: the stream is not there any more.
        """
        return await self._sessions(f"{self._prefix}.p.*.{home}.*")

    async def empty(self, home: str) -> bool:
        """Remove everyone in a home; tell whether there was anyone."""
        # Not repeated, as `call` would do: of two answers the second says that there was nobody.
        request = msgspec.json.encode({"filter": f"{self._prefix}.p.*.{home}.*"})
        reply = (await self._link.ask(f"$JS.API.STREAM.PURGE.{self._name}", request))[0]
        return bool(self._answer("STREAM.PURGE", reply, missing=True).get("purged"))

    def _subject(self, channel: str, home: str, client: str) -> str:
        return f"{self._prefix}.p.{token(channel, self._prefix)}.{home}.{word(client)}"

    async def _sessions(self, subject: str) -> list[Session]:
        return [msgspec.json.decode(reply.data, type=Session) for reply in await self._all(subject) if reply.data]

    # --- leases ---------------------------------------------------------------------------------------------------

    async def leases(self) -> list[Lease]:
        """Give all leases.

        Raises:
            Gone: the stream is not there any more.
        """
        skipped = len(f"{self._prefix}.l.")
        return [
            Lease(reply.headers[SUBJECT][skipped:], msgspec.convert(reply.data.decode(), Word), _sequence(reply))
            for reply in await self._all(f"{self._prefix}.l.*")
        ]

    async def say(self, home: str, said: Word, after: int) -> int:
        """Write a lease, unless it was written by another since.

        Args:
            after: the sequence of the lease as it is known; 0 if there is none.
        Returns:
            Its sequence; 0 if it is another by now.
        Raises:
            Gone: the stream is not there any more.
        """
        headers = {EXPECTED_LAST: str(after)}
        if said == "gone":
            headers[TIME_TO_LIVE] = f"{_GONE_SECONDS}s"
        return await self._write(f"{self._prefix}.l.{home}", said.encode(), headers)

    async def end(self, home: str) -> None:
        """Remove a lease."""
        await self._call(f"STREAM.PURGE.{self._name}", {"filter": f"{self._prefix}.l.{home}"}, missing=True)

    # --- messages -------------------------------------------------------------------------------------------------

    async def _write(self, subject: str, data: bytes, headers: dict[str, str]) -> int:
        reply = (await self._link.ask(subject, data, headers or None))[0]
        code, words = error_of(reply)
        if code == NOBODY:
            raise Gone
        if code in WRONG_LAST:
            return 0
        if code:
            raise BrokerUnavailable(f"NATS did not keep who is there: {words}")
        sequence: int = msgspec.json.decode(reply.data)["seq"]
        return sequence

    async def _all(self, subject: str) -> list[Reply]:
        found: list[Reply] = []
        start = 1
        while True:
            request = msgspec.json.encode({"seq": start, "next_by_subj": subject, "batch": _CHUNK})
            *replies, end = await self._link.ask(f"$JS.API.DIRECT.GET.{self._name}", request, many=True)
            if end.status == NOBODY:
                raise Gone
            found += replies
            if end.status == _NOTHING or not int(end.headers.get(PENDING, 0)) or not replies:
                return found
            start = _sequence(replies[-1]) + 1

    async def _call(self, verb: str, body: Mapping[str, Any] | None, *, missing: bool = False) -> dict[str, Any]:
        return self._answer(verb, await call(self._link, verb, body), missing=missing)

    def _answer(self, verb: str, reply: Reply, *, missing: bool) -> dict[str, Any]:
        code, words = error_of(reply)
        if missing and code == _NO_STREAM:
            return {}
        if code:
            raise BrokerUnavailable(f"NATS did not do {verb}: {words}")
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        return answer


def _sequence(reply: Reply) -> int:
    return int(reply.headers[SEQUENCE])
