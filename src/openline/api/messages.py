"""What back ends ask of the server HTTP API, and what they are answered.

Invariants:

1. Names, omissions and defaults are those of the reference: a field that may be left out has a default here.
2. JSON of the app's own (`data`, `info`, `params`) stays as it came: `UNSET` where it is absent.

The docstrings and descriptions are what the OpenAPI page shows.

Source: docs/api.md.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

#: What PostgreSQL, Go and Java can hold as well.
_LARGEST = 2**63 - 1

Name = Annotated[str, Meta(description="full name of a channel")]
UserID = Annotated[str, Meta(description='id of the user; "" is everyone who is anonymous')]
Client = Annotated[str, Meta(description="only the connection of this id")]
SessionID = Annotated[str, Meta(description="only the connection with this `session` of its connect result")]
Payload = Annotated[Raw | UnsetType, Meta(description="any JSON; it has to fit the type the channel was declared with")]
Base64 = Annotated[str, Meta(description="the same in base64, for bytes that are no JSON; goes first")]
Embedded = Annotated[Raw | UnsetType, Meta(description="any JSON")]
Seconds = Annotated[float, Meta(ge=0, description="unix seconds; 0 is never")]
Whole = Annotated[int, Meta(ge=0, le=_LARGEST)]


class Request(msgspec.Struct, kw_only=True):
    """The parameters of a method. Fields nobody knows are passed over."""


class Result(msgspec.Struct, kw_only=True):
    """What a method gives."""


class StreamPosition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a stream stands."""

    offset: Whole = 0
    epoch: str = ""


class Done(Result, kw_only=True):
    """It is done; there is nothing to say."""


# --- publishing ---------------------------------------------------------------------------------------------------


class Publishing(Request, kw_only=True):
    """What publications to one channel and to many have in common."""

    data: Payload = UNSET
    b64data: Base64 = ""
    skip_history: Annotated[bool, Meta(description="carry to those who are there, keep nothing")] = False
    tags: Annotated[dict[str, str], Meta(description="go with the publication to the clients")] = {}
    idempotency_key: Annotated[
        str, Meta(description="per channel: a repeat within some minutes is not published, and gets the first result")
    ] = ""
    delta: Annotated[bool, Meta(description="the channel's own declaration decides; this changes nothing")] = False
    version: Annotated[
        int, Meta(ge=0, le=_LARGEST, description="with history: one not above the last is skipped; 0: not compared")
    ] = 0
    version_epoch: Annotated[str, Meta(description="versions of different epochs are not compared")] = ""


class PublishRequest(Publishing, kw_only=True):
    """Publish to a channel."""

    channel: Name


class PublishResult(Result, kw_only=True, omit_defaults=True):
    """Where the publication stands; neither field without history."""

    offset: int = 0
    epoch: str = ""


class BroadcastRequest(Publishing, kw_only=True):
    """Publish the same to many channels."""

    channels: Annotated[list[str], Meta(description="full names; one that is there twice is published to once")]


class Error(msgspec.Struct, frozen=True):
    """Why something was not done."""

    code: Annotated[int, Meta(description="100, 102, 104, 107, 108, 112, or one of the app's own from 400 on")]
    message: str


class PublishResponse(msgspec.Struct, omit_defaults=True):
    """What came of one channel of a broadcast: one of the two."""

    error: Error | None = None
    result: PublishResult | None = None


class BroadcastResult(Result, kw_only=True):
    """What came of each channel, in the order they were given in."""

    responses: list[PublishResponse]


# --- users --------------------------------------------------------------------------------------------------------


class Aimed(Request, kw_only=True):
    """A request about a user's connections, on every node: all of them, or one."""

    user: UserID | UnsetType = UNSET
    client: Client = ""
    session: SessionID = ""


class Flag(msgspec.Struct, frozen=True):
    """How an override is written."""

    value: bool = False


class OverrideFlags(msgspec.Struct, frozen=True):
    """What one subscription has otherwise than its channel was declared."""

    presence: Flag | None = None
    join_leave: Flag | None = None
    force_push_join_leave: Flag | None = None
    force_positioning: Flag | None = None
    force_recovery: Flag | None = None


class SubscribeRequest(Aimed, kw_only=True):
    """Put a user's connections into a channel."""

    channel: Name
    info: Annotated[Raw | UnsetType, Meta(description="any JSON, shown to others of the channel")] = UNSET
    b64info: Base64 = ""
    data: Annotated[Raw | UnsetType, Meta(description="any JSON, given to the client as it is subscribed")] = UNSET
    b64data: Base64 = ""
    expire_at: Seconds = 0
    recover_since: StreamPosition | None = None
    override: OverrideFlags | None = None


class UnsubscribeRequest(Aimed, kw_only=True):
    """Take a user's connections out of a channel."""

    channel: Annotated[str, Meta(description='full name of the channel; "" is every channel they are in')] = ""


class DisconnectCode(msgspec.Struct, frozen=True):
    """What the clients are told."""

    code: Annotated[int, Meta(description="3000 to 4999; 0 is the default")] = 0
    reason: Annotated[str, Meta(description='plain words; "" is the code\'s own')] = ""


class DisconnectRequest(Aimed, kw_only=True):
    """Close a user's connections."""

    whitelist: Annotated[list[str], Meta(description="ids of connections that stay")] = []
    disconnect: Annotated[DisconnectCode | None, Meta(description="3503 by default: the clients stay away")] = None


class RefreshRequest(Aimed, kw_only=True):
    """Say when a user's connections end."""

    expired: Annotated[bool, Meta(description="they end now, with 3005")] = False
    expire_at: Seconds = 0
    info: Annotated[Raw | UnsetType, Meta(description="any JSON, shown to others from now on")] = UNSET


# --- channels -----------------------------------------------------------------------------------------------------


class ChannelRequest(Request, kw_only=True):
    """A request about one channel."""

    channel: Name


class ClientInfo(msgspec.Struct, frozen=True):
    """Who a client is."""

    user: UserID
    client: Annotated[str, Meta(description="id of the connection")]
    conn_info: Embedded = UNSET
    chan_info: Embedded = UNSET


class PresenceResult(Result, kw_only=True):
    """Who is in the channel, by the id of the connection."""

    presence: dict[str, ClientInfo]


class PresenceStatsResult(Result, kw_only=True):
    """How many are in the channel."""

    num_clients: int
    num_users: int


class HistoryRequest(ChannelRequest, kw_only=True):
    """Read what is kept of a channel."""

    limit: Annotated[
        int, Meta(ge=-(2**31), le=2**31 - 1, description="publications at most; 0 only the top, -1 all that is kept")
    ] = 0
    since: Annotated[StreamPosition | None, Meta(description="begin after this position; before it in reverse")] = None
    reverse: Annotated[bool, Meta(description="the newest first")] = False


class Publication(msgspec.Struct, omit_defaults=True):
    """A publication as it is kept."""

    data: Annotated[Raw, Meta(description="JSON; null in a channel of bytes where these are none")]
    b64data: Annotated[str, Meta(description="in a channel of bytes: those, in base64")] = ""
    info: ClientInfo | None = None
    offset: int = 0
    tags: dict[str, str] = {}


class HistoryResult(Result, kw_only=True):
    """Part of a stream, and where it stands."""

    publications: Annotated[list[Publication], Meta(description="the oldest first, save in reverse")]
    epoch: str
    offset: int


class ChannelsRequest(Request, kw_only=True):
    """List channels that have subscribers."""

    pattern: Annotated[str, Meta(description='`*`, `?`, `[abc]`, `[!abc]`, `{one,other}`; "" is every channel')] = ""


class ChannelInfo(msgspec.Struct, frozen=True):
    """A channel that has subscribers."""

    num_clients: int


class ChannelsResult(Result, kw_only=True):
    """The channels by name."""

    channels: dict[str, ChannelInfo]


# --- the rest -----------------------------------------------------------------------------------------------------


class InfoRequest(Request, kw_only=True):
    """Ask which nodes there are."""


class NodeResult(msgspec.Struct, frozen=True, kw_only=True):
    """A node, as it described itself last."""

    uid: Annotated[str, Meta(description="anew each time it starts")]
    name: Annotated[str, Meta(description="its host and process")]
    version: str
    num_clients: int
    num_users: Annotated[int, Meta(description="anonymous ones are not counted")]
    num_subs: int
    num_channels: int
    uptime: Annotated[int, Meta(description="seconds")]


class InfoResult(Result, kw_only=True):
    """Every node, the one that was asked first."""

    nodes: list[NodeResult]


class RpcRequest(Request, kw_only=True):
    """Call a procedure of the server's own."""

    method: str
    params: Embedded = UNSET


class RpcResult(Result, kw_only=True):
    """What the procedure gave."""

    data: Annotated[Raw, Meta(description="any JSON")]


class BatchRequest(Request, kw_only=True):
    """Carry out several commands."""

    commands: Annotated[
        list[dict[str, Raw]],
        Meta(description='each an object of one member, method and parameters: `{"publish": {…}}`'),
    ]
    parallel: Annotated[bool, Meta(description="at the same time, in no order; else one after the other")] = False


class BatchResult(Result, kw_only=True):
    """What came of each command, in the order they were given in: `{"publish": {…}}` or `{"error": {…}}`."""

    replies: list[dict[str, Raw]]


class OldCommand(Request, kw_only=True):
    """A command of the old form, in which all methods have one address."""

    method: str
    params: Embedded = UNSET
