"""Every code of the protocol: its number, its reason, and what the client does on seeing it.

Three kinds, in three tables:

- `ErrorCode`: in the reply to one command; the connection stays.
- `DisconnectCode`: ends the connection; below 3500 (and 4000-4499) the client comes back, else it stays away.
- `UnsubscribeCode`: ends one subscription; from 2500 on the client subscribes again.

Source: docs/reference/protocol.md, "Codes".
"""

from __future__ import annotations

from typing import Final, NamedTuple


class ErrorCode(NamedTuple):
    """The refusal of one command."""

    number: int
    message: str
    temporary: bool = False  #: the client tries again by itself


class DisconnectCode(NamedTuple):
    """The end of a connection. As a WebSocket close its number is the close code."""

    number: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether the client comes back by itself."""
        return not (3500 <= self.number <= 3999 or 4500 <= self.number <= 4999)


class UnsubscribeCode(NamedTuple):
    """The end of one subscription, decided by the server."""

    number: int
    reason: str

    @property
    def resubscribe(self) -> bool:
        """Whether the client subscribes again by itself."""
        return self.number >= 2500


INTERNAL_ERROR: Final = ErrorCode(100, "internal server error", temporary=True)
UNAUTHORIZED: Final = ErrorCode(101, "unauthorized")
UNKNOWN_CHANNEL: Final = ErrorCode(102, "unknown channel")
PERMISSION_DENIED: Final = ErrorCode(103, "permission denied")
METHOD_NOT_FOUND: Final = ErrorCode(104, "method not found")
ALREADY_SUBSCRIBED: Final = ErrorCode(105, "already subscribed")
LIMIT_EXCEEDED: Final = ErrorCode(106, "limit exceeded")
BAD_REQUEST: Final = ErrorCode(107, "bad request")
NOT_AVAILABLE: Final = ErrorCode(108, "not available")
TOKEN_EXPIRED: Final = ErrorCode(109, "token expired")
EXPIRED: Final = ErrorCode(110, "expired")
TOO_MANY_REQUESTS: Final = ErrorCode(111, "too many requests", temporary=True)
UNRECOVERABLE_POSITION: Final = ErrorCode(112, "unrecoverable position")
CONCURRENT_PAGINATION: Final = ErrorCode(113, "concurrent pagination", temporary=True)

CLOSED_NORMAL: Final = DisconnectCode(3000, "connection closed")
CLOSED_SHUTDOWN: Final = DisconnectCode(3001, "shutdown")
CLOSED_INTERNAL_ERROR: Final = DisconnectCode(3004, "internal server error")
CLOSED_CONNECTION_EXPIRED: Final = DisconnectCode(3005, "connection expired")
CLOSED_SUBSCRIPTION_EXPIRED: Final = DisconnectCode(3006, "subscription expired")
CLOSED_SLOW: Final = DisconnectCode(3008, "slow")
CLOSED_WRITE_ERROR: Final = DisconnectCode(3009, "write error")
CLOSED_INSUFFICIENT_STATE: Final = DisconnectCode(3010, "insufficient state")
CLOSED_FORCE_RECONNECT: Final = DisconnectCode(3011, "force reconnect")
CLOSED_NO_PONG: Final = DisconnectCode(3012, "no pong")
CLOSED_TOO_MANY_REQUESTS: Final = DisconnectCode(3013, "too many requests")
CLOSED_STATE_INVALIDATED: Final = DisconnectCode(3014, "state invalidated")
CLOSED_INVALID_TOKEN: Final = DisconnectCode(3500, "invalid token")
CLOSED_BAD_REQUEST: Final = DisconnectCode(3501, "bad request")
CLOSED_STALE: Final = DisconnectCode(3502, "stale")
CLOSED_FORCED: Final = DisconnectCode(3503, "force disconnect")
CLOSED_CONNECTION_LIMIT: Final = DisconnectCode(3504, "connection limit")
CLOSED_CHANNEL_LIMIT: Final = DisconnectCode(3505, "channel limit")
CLOSED_INAPPROPRIATE_PROTOCOL: Final = DisconnectCode(3506, "inappropriate protocol")
CLOSED_PERMISSION_DENIED: Final = DisconnectCode(3507, "permission denied")
CLOSED_NOT_AVAILABLE: Final = DisconnectCode(3508, "not available")
CLOSED_TOO_MANY_ERRORS: Final = DisconnectCode(3509, "too many errors")

UNSUBSCRIBED_BY_SERVER: Final = UnsubscribeCode(2000, "server unsubscribe")
UNSUBSCRIBED_INSUFFICIENT_STATE: Final = UnsubscribeCode(2500, "insufficient state")
UNSUBSCRIBED_EXPIRED: Final = UnsubscribeCode(2501, "subscription expired")
UNSUBSCRIBED_STATE_INVALIDATED: Final = UnsubscribeCode(2502, "state invalidated")

#: Everything above, by kind: what the docs and the clients' tables are made from.
ERRORS: Final = tuple(code for code in tuple(globals().values()) if isinstance(code, ErrorCode))
DISCONNECTS: Final = tuple(code for code in tuple(globals().values()) if isinstance(code, DisconnectCode))
UNSUBSCRIBES: Final = tuple(code for code in tuple(globals().values()) if isinstance(code, UnsubscribeCode))

#: A close reason longer than this does not fit a WebSocket control frame (123 bytes after the code).
MAX_REASON_BYTES: Final = 123
