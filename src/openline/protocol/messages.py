"""Each command, reply and push of the client protocol as one struct.

Field names are those of the wire. Both codecs read and write these, so nothing above them knows which one is in use.

An embedded payload (`data`, `info`) is a `Raw`: JSON text on a JSON connection, any bytes on a Protobuf one.
`NOTHING` is the one value for "not there"; it is compared by identity, so make payloads with `raw()`.

What a client sends is bounded as Protobuf bounds it, so that a number means the same in both encodings or is refused
in both. What the server sends is not checked again.

Source: docs/reference/protocol.md, "Messages".
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Meta(ge=0)]  # msgspec bounds no further up: structs that hold one call `_within_u64`
I32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

NOTHING: Final = Raw(b"")


def raw(payload: bytes) -> Raw:
    """Embed an encoded payload; an empty one is not there."""
    return Raw(payload) if payload else NOTHING


class _Message(msgspec.Struct, omit_defaults=True, gc=False):
    """Fields with their zero value stay off the wire; those without a default are always written."""


def _within_u64(offset: int) -> None:
    if offset >= 2**64:
        raise ValueError("offset is above 2^64 - 1")


# --- what is sent both ways ---------------------------------------------------------------------------------------


class Info(_Message):
    """Who a client is."""

    user: str
    client: str
    conn_info: Raw = NOTHING
    chan_info: Raw = NOTHING


class Pub(_Message):
    """One publication."""

    data: Raw = NOTHING
    info: Info | None = None
    offset: int = 0
    tags: dict[str, str] | None = None
    delta: bool = False
    epoch: str = ""


class StreamPosition(_Message):
    """Where a client stands in a stream."""

    offset: U64 = 0
    epoch: str = ""

    def __post_init__(self) -> None:
        _within_u64(self.offset)


class FilterNode(_Message):
    """One node of a tag filter: a comparison, or other nodes put together."""

    op: str = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: list[str] = []
    nodes: list[FilterNode] = []


class Error(_Message):
    """Why a command is refused."""

    code: int
    message: str
    temporary: bool = False


# --- commands -----------------------------------------------------------------------------------------------------


class SubscribeRequest(_Message):
    """Join a channel; without a channel, the position of a server-side subscription."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: U64 = 0
    data: Raw = NOTHING
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    tf: FilterNode | None = None
    flag: I64 = 0
    type: I32 = 0

    def __post_init__(self) -> None:
        _within_u64(self.offset)


class ConnectRequest(_Message):
    """The first command of a connection."""

    token: str = ""
    data: Raw = NOTHING
    subs: dict[str, SubscribeRequest] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


class UnsubscribeRequest(_Message):
    """Leave a channel."""

    channel: str = ""


class PublishRequest(_Message):
    """Publish into a channel."""

    channel: str = ""
    data: Raw = NOTHING
    type: I32 = 0


class PresenceRequest(_Message):
    """Ask who is in a channel."""

    channel: str = ""


class PresenceStatsRequest(_Message):
    """Ask how many are in a channel."""

    channel: str = ""


class HistoryRequest(_Message):
    """Read a channel's history."""

    channel: str = ""
    limit: I32 = 0
    since: StreamPosition | None = None
    reverse: bool = False


class PingRequest(_Message):
    """In the schema only: the command is not served."""


class SendRequest(_Message):
    """A message to the app that wants no answer."""

    data: Raw = NOTHING


class RpcRequest(_Message):
    """Call a method of the app."""

    data: Raw = NOTHING
    method: str = ""


class RefreshRequest(_Message):
    """Prolong the connection with a new token."""

    token: str = ""


class SubRefreshRequest(_Message):
    """Prolong a subscription with a new token."""

    channel: str = ""
    token: str = ""
    type: I32 = 0


#: Any of the requests a command can hold.
Request = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | PingRequest
    | SendRequest
    | RpcRequest
    | RefreshRequest
    | SubRefreshRequest
)


class Command(_Message):
    """One request of a client. Without an id and a request it is a pong."""

    id: U32 = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    ping: PingRequest | None = None
    send: SendRequest | None = None
    rpc: RpcRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None

    def request(self) -> Request | None:
        """Give the first request present, in the order of the fields; None in a pong."""
        for name in REQUESTS:
            request: Request | None = getattr(self, name)
            if request is not None:
                return request
        return None


REQUESTS: Final = tuple(name for name in Command.__struct_fields__ if name != "id")


# --- results ------------------------------------------------------------------------------------------------------


class SubscribeResult(_Message):
    """The subscription as it was granted."""

    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Pub] = []
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    data: Raw = NOTHING
    was_recovering: bool = False
    delta: bool = False


class ConnectResult(_Message):
    """The connection as it was granted."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0
    data: Raw = NOTHING
    subs: dict[str, SubscribeResult] = {}
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""


class UnsubscribeResult(_Message):
    """The channel is left."""


class PublishResult(_Message):
    """It is published."""


class PresenceResult(_Message):
    """Who is in the channel, by client id."""

    presence: dict[str, Info]


class PresenceStatsResult(_Message):
    """How many are in the channel."""

    num_clients: int
    num_users: int


class HistoryResult(_Message):
    """Part of a stream, and where it stands."""

    publications: list[Pub]
    epoch: str
    offset: int


class RpcResult(_Message):
    """What the method gave."""

    data: Raw = NOTHING


class RefreshResult(_Message):
    """When the connection expires now."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(_Message):
    """When the subscription expires now."""

    expires: bool = False
    ttl: int = 0


# --- pushes -------------------------------------------------------------------------------------------------------


class ArrivalPush(_Message):
    """Somebody joined or left; `info` is always written."""

    info: Info


class UnsubscribePush(_Message):
    """A subscription has ended."""

    code: int
    reason: str


class MessagePush(_Message):
    """A message of the app, outside every channel."""

    data: Raw = NOTHING


class SubscribePush(_Message):
    """A server-side subscription has begun."""

    recoverable: bool = False
    epoch: str = ""
    offset: int = 0
    positioned: bool = False
    data: Raw = NOTHING


class ConnectPush(_Message):
    """The first push where the client only listens."""

    client: str = ""
    version: str = ""
    data: Raw = NOTHING
    subs: dict[str, SubscribeResult] = {}
    expires: bool = False
    ttl: int = 0
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""


class DisconnectPush(_Message):
    """The last push where a wire cannot say it by closing."""

    code: int
    reason: str
    reconnect: bool = False


class RefreshPush(_Message):
    """The server changed when the connection expires."""

    expires: bool = False
    ttl: int = 0


class Push(_Message):
    """What a client is sent unasked; `channel` is empty where it is about the connection."""

    channel: str = ""
    pub: Pub | None = None
    join: ArrivalPush | None = None
    leave: ArrivalPush | None = None
    unsubscribe: UnsubscribePush | None = None
    message: MessagePush | None = None
    subscribe: SubscribePush | None = None
    connect: ConnectPush | None = None
    disconnect: DisconnectPush | None = None
    refresh: RefreshPush | None = None


class Reply(_Message):
    """An answer (with the command's id), a push (without), or a ping (neither)."""

    id: int = 0
    error: Error | None = None
    push: Push | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: UnsubscribeResult | None = None
    publish: PublishResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    rpc: RpcResult | None = None
    refresh: RefreshResult | None = None
    sub_refresh: SubRefreshResult | None = None


PING: Final = Reply()
