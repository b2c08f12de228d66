"""What a message says beside its data, and what NATS says of a message.

A live subject carries the data of a publication as it is, so that a device reads and writes plain bytes. All else is in
one header, `Openline`: JSON with who published, the tags, the version, and whether it is no publication but a join or
leave. A message without it is a publication of which nothing else is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal, NamedTuple

import msgspec

from openline.publication import ClientInfo

OPENLINE: Final = "Openline"
#: On a touch: the offset at which the channel goes on standing. A touch keeps a channel known that was only read.
TOP: Final = "Openline-Top"

EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID: Final = "Nats-Msg-Id"
TIME_TO_LIVE: Final = "Nats-TTL"
#: On what the server puts in the place of the last message of a subject that became too old.
MARKER: Final = "Nats-Marker-Reason"
SUBJECT: Final = "Nats-Subject"
SEQUENCE: Final = "Nats-Sequence"
LAST_SEQUENCE: Final = "Nats-Last-Sequence"
PENDING: Final = "Nats-Num-Pending"
#: How far the stream was known to the server that read it.
UP_TO: Final = "Nats-UpTo-Sequence"
TIME: Final = "Nats-Time-Stamp"

#: What a header costs beside its name and value, and the headers altogether.
_HEADER_BYTES, _HEADERS_BYTES = 4, 16
#: NATS takes no larger number of a message.
LARGEST_SEQUENCE: Final = (1 << 63) - 1


class Version(NamedTuple):
    """Of the state that data shows."""

    epoch: str
    number: int


class Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the header holds."""

    kind: Literal["", "join", "leave"] = ""
    info: ClientInfo | None = None
    tags: dict[str, str] | None = None
    version: Version | None = None

    def written(self) -> dict[str, str]:
        """Give the header, if there is anything to say."""
        if self == _NOTHING:
            return {}
        # In ASCII: whatever reads it on the way, nothing happens to it.
        return {OPENLINE: json.dumps(msgspec.to_builtins(self), separators=(",", ":"))}


_NOTHING: Final = Extra()
_decode: Final = msgspec.json.Decoder(Extra).decode


def read_extra(headers: Mapping[str, str]) -> Extra:
    """Read the header; one that cannot be read says nothing."""
    text = headers.get(OPENLINE)
    if text is None:
        return _NOTHING
    try:
        return _decode(text)
    except msgspec.MsgspecError:
        return _NOTHING


class Place(NamedTuple):
    """Where a message says that it stands in a stream. Whoever may publish may say so."""

    sequence: int
    previous: int  #: of the same subject; 0 if there is none
    time: float  #: unix seconds


def read_place(headers: Mapping[str, str]) -> Place | None:
    """Read where a message stands; None if it does not say, or if that cannot be."""
    sequence, previous = _number(headers.get(SEQUENCE, "")), _number(headers.get(LAST_SEQUENCE, ""))
    if not 0 <= previous < sequence <= LARGEST_SEQUENCE:
        return None
    try:
        return Place(sequence, previous, read_time(headers))
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def read_top(headers: Mapping[str, str]) -> int:
    """Read where a touch leaves its channel; -1 if it does not say, or if that cannot be."""
    return _number(headers.get(TOP, ""))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def bytes_of(headers: Mapping[str, str]) -> int:
    """Count what headers of ASCII take when they are sent."""
    return _HEADERS_BYTES + sum(len(key) + len(value) + _HEADER_BYTES for key, value in headers.items())


def read_time(headers: Mapping[str, str]) -> float:
    """Say when the server took a message, in unix seconds."""
    return unix_seconds(headers[TIME])


def unix_seconds(stamp: str) -> float:
    """Read a time as NATS writes it."""
    return datetime.fromisoformat(stamp).timestamp()


def is_first(headers: Mapping[str, str]) -> bool:
    """Tell whether nothing was in the channel when this was published: the server saw to it."""
    return headers.get(EXPECTED_LAST) == "0"


def previous_if_unknown(sequence: int) -> int:
    """Give an offset for a predecessor nobody knows any more.

    If what stands one below is of this channel, it is the predecessor; if not, nobody can stand there. So whoever
    stands elsewhere sees that something is missing.
    """
    return sequence - 1
