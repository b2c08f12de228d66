"""What travels through a channel: a publication, where it stands, and who sent it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from openline.errors import DeclarationError, PayloadTooBig, UnrecoverablePosition

#: About what a message takes on the wire beside its payloads: names, ids, brackets.
ENVELOPE_BYTES: Final = 200
#: What each tag takes beside its key and value.
TAG_BYTES: Final = 6


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a stream stands.

    Within an epoch offsets strictly increase and none is ever given twice. A new epoch is a new stream.
    """

    NONE: ClassVar[Position]  #: the position of a channel that keeps no history

    epoch: str = ""  #: name of the stream's life; "" where there is none
    offset: int = 0  #: 1 or more for a publication; 0 before the first

    def __str__(self) -> str:
        """Write it as one word, ``epoch:offset``, such as goes into the ``id`` of a server-sent event."""
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read what `str` wrote, perhaps from somebody who made it up.

        Raises:
            UnrecoverablePosition: it is no position, so nobody stands there.
        """
        epoch, colon, offset = text.rpartition(":")
        if not colon or not offset.isascii() or not offset.isdigit() or len(offset) > 20 or int(offset) >= 2**64:
            raise UnrecoverablePosition(f"{text[:100]!r} is no position")
        return cls(epoch, int(offset))


Position.NONE = Position()


class ClientInfo(msgspec.Struct, frozen=True, gc=False):
    """Who a client is, as other clients see it."""

    user: str  #: the user's id; "" for an anonymous one
    client: str  #: the session's id
    connection: bytes = b""  #: encoded info of the connection; b"" for none
    channel: bytes = b""  #: encoded info of the subscription; b"" for none

    @property
    def size_bytes(self) -> int:
        """About what it takes on the wire."""
        return len(self.connection) + len(self.channel) + len(self.user)


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message in a channel."""

    data: bytes  #: encoded payload: JSON text, or any bytes in a raw channel
    offset: int = 0  #: its place in the stream; 0 in a channel without history
    previous: int = 0  #: the offset of its predecessor in the same epoch; 0 for the first
    epoch: str = ""  #: the stream's epoch; "" in a channel without history
    info: ClientInfo | None = None  #: the client that published it; None for the server
    tags: dict[str, str] | None = None
    time: float = 0.0  #: unix seconds at which the broker took it; 0 without history

    @property
    def size_bytes(self) -> int:
        """About what it takes on the wire, as a push or in an answer."""
        size = ENVELOPE_BYTES + len(self.data)
        if self.tags:
            size += tags_bytes(self.tags)
        return size if self.info is None else size + self.info.size_bytes


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """Somebody entered or left a channel."""

    info: ClientInfo
    joined: bool  #: False: left

    @property
    def size_bytes(self) -> int:
        """About what it takes on the wire."""
        return ENVELOPE_BYTES + self.info.size_bytes


#: What a broker carries from node to node.
Message = Publication | Arrival

#: An encoded payload that is there but holds nothing.
EMPTY: Final = b""


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Give tags that every codec can carry.

    Raises:
        DeclarationError: a key or value is no text.
    """
    for item in (*tags, *tags.values()):
        try:
            item.encode()
        except (AttributeError, UnicodeEncodeError):
            raise DeclarationError(f"tags are text, and {item!r} is not") from None
    return dict(tags)


def tags_bytes(tags: Mapping[str, str]) -> int:
    """Say how many bytes tags take on the wire."""
    return sum(_text_bytes(key) + _text_bytes(value) + TAG_BYTES for key, value in tags.items())


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def check_size(data: bytes, tags: Mapping[str, str] | None, limit_bytes: int) -> None:
    """Say whether what is to be published is within `Limits.message_bytes`, its tags counted in.

    Raises:
        PayloadTooBig: it is not.
    """
    beside = tags_bytes(tags) if tags else 0
    if len(data) + beside > limit_bytes:
        raise PayloadTooBig(len(data) + beside, limit_bytes, tags_bytes=beside)
