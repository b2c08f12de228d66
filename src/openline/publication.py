"""What travels through a channel: a publication, where it stands, and who sent it."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a stream stands.

    Within an epoch offsets strictly increase and none is ever given twice. A new epoch is a new stream.
    """

    NONE: ClassVar[Position]  #: the position of a channel that keeps no history

    epoch: str = ""  #: name of the stream's life; "" where there is none
    offset: int = 0  #: 1 or more for a publication; 0 before the first


Position.NONE = Position()


class ClientInfo(msgspec.Struct, frozen=True, gc=False):
    """Who a client is, as other clients see it."""

    user: str  #: the user's id; "" for an anonymous one
    client: str  #: the session's id
    connection: bytes = b""  #: encoded info of the connection; b"" for none
    channel: bytes = b""  #: encoded info of the subscription; b"" for none


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message in a channel."""

    data: bytes  #: encoded payload: JSON text, or any bytes in a raw channel
    offset: int = 0  #: its place in the stream; 0 in a channel without history
    previous: int = 0  #: the offset of its predecessor in the same epoch; 0 for the first
    epoch: str = ""  #: the stream's epoch; "" in a channel without history
    info: ClientInfo | None = None  #: the client that published it; None for the server
    tags: dict[str, str] | None = None
    time: float = 0.0  #: unix seconds at which the broker took it; 0 without history


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """Somebody entered or left a channel."""

    info: ClientInfo
    joined: bool  #: False: left


#: What a broker carries from node to node.
Message = Publication | Arrival

#: An encoded payload that is there but holds nothing.
EMPTY: Final = b""
