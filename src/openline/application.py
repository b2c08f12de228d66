"""What the engine asks of the app, through the front doors: who may do what, and what the handlers say.

Every coroutine here may raise `Refusal` (the command is answered with an error) or `Disconnect` (the connection
ends); anything else counts as a fault of the app: it is logged, and the client is told 100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from openline.codes import DisconnectCode
from openline.errors import BadRequest, Disconnect, Refusal, UnknownChannel
from openline.names import is_name
from openline.options import AS_DECLARED, ChannelOptions, Override
from openline.protocol.messages import ConnectRequest, Request, SubscribeRequest

if TYPE_CHECKING:
    from openline.session import Session


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to be in a channel."""

    info: bytes = b""  #: encoded; shown to others in presence, joins and publications
    data: bytes = b""  #: encoded; goes to this client with the reply
    expires_at: float | None = None  #: unix seconds
    client_refresh: bool = False  #: the client is told of the expiry and sends a new token
    override: Override = AS_DECLARED


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to be connected."""

    user: str = ""  #: "" is anonymous
    info: bytes = b""  #: encoded; shown to others
    meta: bytes = b""  #: encoded; for the app alone
    data: bytes = b""  #: encoded; goes to this client with the reply
    channels: dict[str, Admission] = {}  #: the server-side subscriptions it begins with
    expires_at: float | None = None  #: unix seconds
    client_refresh: bool = False  #: the client is told of the expiry and sends a new token


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """Leave to stay, of the server's own: no client asked for it."""

    expires_at: float | None = None  #: unix seconds; None is never
    info: bytes = b""  #: encoded; shown to others from now on; b"" leaves it as it is
    meta: bytes = b""  #: encoded; for the app alone; b"" leaves it as it is


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """What a client's message has become, as it is published."""

    data: bytes
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""
    skip_history: bool = False


class Rules(Protocol):
    """What was declared for the channels of one pattern."""

    @property
    def options(self) -> ChannelOptions:
        """What the channels offer."""

    @property
    def hears_leaving(self) -> bool:
        """Whether `left` does anything."""

    @property
    def renews(self) -> bool:
        """Whether `renew` may do anything."""

    async def admit(self, session: Session, channel: str, request: SubscribeRequest) -> Admission:
        """Let a client subscribe."""

    async def readmit(self, session: Session, channel: str, token: str) -> Admission:
        """Let a client stay subscribed, by a new token."""

    async def renew(self, session: Session, channel: str) -> Renewal | None:
        """Let a client stay subscribed whose time is over and who cannot ask for more; None ends it."""

    async def accept(self, session: Session, channel: str, data: bytes) -> Outgoing:
        """Let a client publish; give what is published."""

    async def may_read(self, session: Session, channel: str) -> None:
        """Let a client that is not subscribed ask for presence or history."""

    async def left(self, session: Session, channel: str, code: int, reason: str) -> None:
        """A subscription has ended."""


class Application(Protocol):
    """The app behind the engine."""

    @property
    def hears_disconnects(self) -> bool:
        """Whether `disconnected` does anything."""

    @property
    def renews(self) -> bool:
        """Whether `renew` may do anything."""

    def rules(self, channel: str) -> Rules | None:
        """Find what was declared for a channel; None where nothing was."""

    def waits(self, request: Request) -> bool:
        """Tell whether answering a request may have to wait for the app: then it gets a task of its own."""

    async def welcome(self, session: Session, request: ConnectRequest) -> Welcome:
        """Let a client connect."""

    async def refresh(self, session: Session, token: str) -> float | None:
        """Let a client stay connected, by a new token; give the new expiry."""

    async def renew(self, session: Session) -> Renewal | None:
        """Let a client stay connected whose time is over and who cannot ask for more; None ends it."""

    async def call(self, session: Session, method: str, data: bytes) -> bytes:
        """Run a remote procedure."""

    async def message(self, session: Session, data: bytes) -> None:
        """Take a message outside every channel."""

    async def disconnected(self, session: Session, code: DisconnectCode) -> None:
        """A connection has ended."""

    def refusal(self, error: Exception) -> Refusal | Disconnect | None:
        """Say what the client is told of an exception; None for a fault of the app."""

    def encode(self, value: object) -> bytes:
        """Encode a payload of the app as JSON on one line."""


def declared(application: Application, channel: str, *, name_length: int) -> Rules:
    """Give what was declared for a channel that a client names.

    Raises:
        BadRequest: it is no name of a channel.
        UnknownChannel: nothing was declared for it.
    """
    if len(channel) > name_length:
        raise BadRequest(f"channel name is longer than {name_length} characters")
    if not is_name(channel):
        raise BadRequest("channel name is not printable ASCII without spaces")
    rules = application.rules(channel)
    if rules is None:
        raise UnknownChannel
    return rules
