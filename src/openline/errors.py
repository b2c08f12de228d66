"""The exceptions of Openline, as one tree.

OpenlineError
├── UsageError                 the program broke a rule of this library
│   ├── DeclarationError       a channel, handler or option that cannot be
│   ├── HubNotStarted          publish or connect before the hub's lifespan ran
│   └── MissingExtra           an optional part whose library is not installed
├── BrokerUnavailable          the broker did not do it, or may not have
├── PayloadTooBig              nothing was sent
├── FellBehind                 a loop over publications was too slow for a channel that keeps none
├── Disconnect                 raised by a handler: ends the connection with a code
└── Refusal                    raised by a handler: the command is answered with an error, the connection stays
    ├── InternalError          100
    ├── Unauthorized           101
    ├── UnknownChannel         102
    ├── PermissionDenied       103
    ├── MethodNotFound         104
    ├── AlreadySubscribed      105
    ├── LimitExceeded          106
    ├── BadRequest             107
    ├── NotAvailable           108
    ├── TokenExpired           109
    ├── Expired                110
    ├── TooManyRequests        111
    └── UnrecoverablePosition  112
"""

from __future__ import annotations

from typing import ClassVar

from openline import codes
from openline.codes import DisconnectCode, ErrorCode


def sendable(text: str) -> str:
    """Give text that can be written as UTF-8: half a character, as a file name may hold, becomes a question mark."""
    return text.encode(errors="replace").decode()


class OpenlineError(Exception):
    """The root of every exception Openline raises on purpose."""


class UsageError(OpenlineError):
    """The program broke a rule of this library; the message names the rule."""


class DeclarationError(UsageError, ValueError):
    """A channel, handler or option was declared in a way that cannot work."""


class HubNotStarted(UsageError, RuntimeError):
    """The hub is used before its lifespan ran; the message names the likely cause."""


class MissingExtra(UsageError, ImportError):
    """An optional part of Openline needs a library that is not installed."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs an optional library: pip install 'openline[{extra}]'")
        self.part = part
        self.extra = extra


class BrokerUnavailable(OpenlineError):
    """The broker did not answer in time. The publication may or may not be out: retry with the same idempotency key."""


class PayloadTooBig(OpenlineError, ValueError):
    """A payload exceeds the limit, by itself or with its tags; nothing was sent.

    Args:
        size_bytes: of both together.
        tags_bytes: of the tags among them.
    """

    def __init__(self, size_bytes: int, limit_bytes: int, *, tags_bytes: int = 0) -> None:
        what = f"payload of {size_bytes} bytes"
        if tags_bytes:
            what = f"payload of {size_bytes - tags_bytes} bytes with tags of {tags_bytes} bytes"
        super().__init__(f"{what} exceeds the limit of {limit_bytes} bytes")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class FellBehind(OpenlineError):
    """Who follows a channel without history did not keep up, and what it misses cannot be had any more."""

    def __init__(self, channel: str, limit_bytes: int) -> None:
        super().__init__(f"channel {channel} keeps no history, and over {limit_bytes} bytes waited for its follower")
        self.channel = channel
        self.limit_bytes = limit_bytes


class Disconnect(OpenlineError):
    """End the client's connection with this code and reason.

    Args:
        code: one of `openline.codes`, or a number from 4000 to 4999 of the app's own
            (below 4500 the client comes back, from 4500 on it stays away).
        reason: what the client is told; plain words, at most 123 bytes, neither empty nor JSON.
    Raises:
        DeclarationError: the number or the reason is not one a client can be sent.
    """

    def __init__(self, code: DisconnectCode | int = codes.CLOSED_FORCED, reason: str | None = None) -> None:
        if isinstance(code, DisconnectCode):
            number, text = code.number, reason if reason is not None else code.reason
        else:
            known = {known.number: known.reason for known in codes.DISCONNECTS}
            number, text = code, reason if reason is not None else known.get(code, "disconnected by the app")
        if not 3000 <= number <= 4999:
            raise DeclarationError(f"disconnect code {number} is outside 3000-4999")
        # A client that is given an empty reason ignores the terminal ranges, and one given JSON parses it (trap 4).
        words = text.strip()
        if not words or words[0] in '{["-0123456789' or words in ("true", "false", "null"):
            raise DeclarationError(f"disconnect reason {text!r} must be plain words, neither empty nor JSON")
        text = sendable(text)
        if len(text.encode()) > codes.MAX_REASON_BYTES:
            raise DeclarationError(f"disconnect reason is longer than {codes.MAX_REASON_BYTES} bytes: {text!r}")
        self.code = DisconnectCode(number, text)
        super().__init__(f"{number} {text}")


class Refusal(OpenlineError):
    """A command is refused: the client gets an error reply and the connection stays.

    Raise a subclass, or this with a code of the app's own from 400 to 1999.

    Args:
        message: what the client is told; the code's own words by default.
        code: the number in the reply.
        temporary: the client tries again by itself.
    """

    default: ClassVar[ErrorCode] = codes.BAD_REQUEST

    def __init__(self, message: str | None = None, *, code: int | None = None, temporary: bool | None = None) -> None:
        if code is not None and code != self.default.number and not 400 <= code <= 1999:
            raise DeclarationError(f"error code {code}: an app's own codes are 400 to 1999")
        self.code = ErrorCode(
            self.default.number if code is None else code,
            sendable(message or self.default.message),
            self.default.temporary if temporary is None else temporary,
        )
        super().__init__(f"{self.code.number} {self.code.message}")


class InternalError(Refusal):
    """Something failed on the server; the client may try again (100)."""

    default = codes.INTERNAL_ERROR


class Unauthorized(Refusal):
    """The client has not shown who it is (101)."""

    default = codes.UNAUTHORIZED


class UnknownChannel(Refusal):
    """No declared pattern matches the channel (102)."""

    default = codes.UNKNOWN_CHANNEL


class PermissionDenied(Refusal):
    """This user may not do this (103)."""

    default = codes.PERMISSION_DENIED


class MethodNotFound(Refusal):
    """No rpc of this name is declared (104)."""

    default = codes.METHOD_NOT_FOUND


class AlreadySubscribed(Refusal):
    """The session is in this channel already; the existing subscription stays (105)."""

    default = codes.ALREADY_SUBSCRIBED


class LimitExceeded(Refusal):
    """A limit of the hub is reached (106)."""

    default = codes.LIMIT_EXCEEDED


class BadRequest(Refusal):
    """The command is well-formed but what it says does not fit (107)."""

    default = codes.BAD_REQUEST


class NotAvailable(Refusal):
    """The channel or hub does not offer this (108)."""

    default = codes.NOT_AVAILABLE


class TokenExpired(Refusal):
    """The token is past its time; the client fetches a new one and tries again (109)."""

    default = codes.TOKEN_EXPIRED


class Expired(Refusal):
    """The expiry that was given lies in the past already (110)."""

    default = codes.EXPIRED


class TooManyRequests(Refusal):
    """The client asks too often; it may try again later (111)."""

    default = codes.TOO_MANY_REQUESTS


class UnrecoverablePosition(Refusal):
    """History no longer holds what the client would have to be sent (112)."""

    default = codes.UNRECOVERABLE_POSITION
