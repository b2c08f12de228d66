"""Openline: the real-time layer for FastAPI.

One object, the `Hub`, gives an app channels that many clients hold open at once.
"""

from openline.admission import Accept, Allow, Publish
from openline.channel import Channel, HistoryPage, Kept
from openline.cluster import NodeInfo
from openline.codes import DisconnectCode, ErrorCode, UnsubscribeCode
from openline.counters import Counters
from openline.errors import (
    AlreadySubscribed,
    BadRequest,
    BrokerUnavailable,
    DeclarationError,
    Disconnect,
    Expired,
    FellBehind,
    HubNotStarted,
    InternalError,
    LimitExceeded,
    MethodNotFound,
    MissingExtra,
    NotAvailable,
    OpenlineError,
    PayloadTooBig,
    PermissionDenied,
    Refusal,
    TokenExpired,
    TooManyRequests,
    Unauthorized,
    UnknownChannel,
    UnrecoverablePosition,
    UsageError,
)
from openline.hub import Hub
from openline.injection import CurrentSession
from openline.line import Line
from openline.options import Heartbeat, History, Limits, Override
from openline.orders import Survey
from openline.presence.base import PresenceStats
from openline.publication import ClientInfo, Position
from openline.publisher import Publisher, PublisherChannel
from openline.session import Session
from openline.tokens import JWT
from openline.user import User
from openline.version import VERSION

__version__ = VERSION

__all__ = [
    "JWT",
    "Accept",
    "Allow",
    "AlreadySubscribed",
    "BadRequest",
    "BrokerUnavailable",
    "Channel",
    "ClientInfo",
    "Counters",
    "CurrentSession",
    "DeclarationError",
    "Disconnect",
    "DisconnectCode",
    "ErrorCode",
    "Expired",
    "FellBehind",
    "Heartbeat",
    "History",
    "HistoryPage",
    "Hub",
    "HubNotStarted",
    "InternalError",
    "Kept",
    "LimitExceeded",
    "Limits",
    "Line",
    "MethodNotFound",
    "MissingExtra",
    "NodeInfo",
    "NotAvailable",
    "OpenlineError",
    "Override",
    "PayloadTooBig",
    "PermissionDenied",
    "Position",
    "PresenceStats",
    "Publish",
    "Publisher",
    "PublisherChannel",
    "Refusal",
    "Session",
    "Survey",
    "TokenExpired",
    "TooManyRequests",
    "Unauthorized",
    "UnknownChannel",
    "UnrecoverablePosition",
    "UnsubscribeCode",
    "UsageError",
    "User",
    "__version__",
]
