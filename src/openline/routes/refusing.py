"""What HTTP calls a refusal: a status for each code of the protocol, where an answer can still have one."""

from __future__ import annotations

from typing import Final

from openline.codes import DisconnectCode, ErrorCode

_ERRORS: Final = {
    100: 503,
    101: 401,
    102: 404,
    103: 403,
    104: 404,
    105: 409,
    109: 401,
    110: 401,
    111: 429,
    113: 429,
}
_ENDS: Final = {
    3005: 401,  # who comes back with the same token is told the same
    3006: 401,
    3013: 429,
    3500: 401,
    3502: 408,
    3503: 403,
    3504: 429,
    3507: 403,
}


def error_status(code: ErrorCode) -> int:
    """Give the HTTP status for an error: 503 or 429 where trying again may help, else another 4xx."""
    return _ERRORS.get(code.number, 503 if code.temporary else 400)


def end_status(code: DisconnectCode) -> int:
    """Give the HTTP status for the end of a connection that has hardly begun."""
    otherwise = 503 if code.reconnect else 403 if code.number >= 4500 else 400
    return _ENDS.get(code.number, otherwise)
