"""What a client is told of an exception of the app: the one table from FastAPI's words to the protocol's.

Invariant: a client is told what the app said to it on purpose, and nothing of any other exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException, WebSocketException

from openline import codes
from openline.errors import (
    BadRequest,
    DeclarationError,
    Disconnect,
    InternalError,
    LimitExceeded,
    NotAvailable,
    PayloadTooBig,
    PermissionDenied,
    Refusal,
    TooManyRequests,
    Unauthorized,
    UnknownChannel,
)
from openline.payload import reasons

#: HTTP statuses an app raises, and the refusal nearest to each. Any other 4xx is `BadRequest`, any other 5xx
#: `InternalError`; what is below 400 is no refusal, and a fault of the app.
BY_STATUS: Final[Mapping[int, type[Refusal]]] = {
    HTTPStatus.BAD_REQUEST: BadRequest,
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.PAYMENT_REQUIRED: PermissionDenied,
    HTTPStatus.FORBIDDEN: PermissionDenied,
    HTTPStatus.NOT_FOUND: UnknownChannel,
    HTTPStatus.METHOD_NOT_ALLOWED: NotAvailable,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: Unauthorized,
    HTTPStatus.REQUEST_TIMEOUT: InternalError,  # temporary: the client tries again
    # Not 105: that one says the session is in the channel already, and an app's conflict may be anything.
    HTTPStatus.CONFLICT: BadRequest,
    HTTPStatus.GONE: NotAvailable,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: LimitExceeded,
    HTTPStatus.UNPROCESSABLE_ENTITY: BadRequest,
    HTTPStatus.LOCKED: PermissionDenied,
    HTTPStatus.TOO_EARLY: TooManyRequests,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: PermissionDenied,
    HTTPStatus.NOT_IMPLEMENTED: NotAvailable,
    HTTPStatus.INSUFFICIENT_STORAGE: LimitExceeded,
}

#: WebSocket close codes below 3000, which belong to the WebSocket protocol and not to a client; any other is
#: `BadRequest`.
BY_CLOSE_CODE: Final[Mapping[int, type[Refusal]]] = {
    1008: PermissionDenied,  # policy violation
    1009: LimitExceeded,  # message too big
    1011: InternalError,
    1012: InternalError,  # service restart
    1013: TooManyRequests,  # try again later
    1014: InternalError,  # bad gateway
}


def refusal(error: BaseException) -> Refusal | Disconnect | None:
    """Say what the client is told of an exception that a handler or a dependency raised.

    Args:
        error: as it was raised; a group of one stands for the one.
    Returns:
        The refusal or the end of the connection, with a message that is never empty; None for a fault of the app: the
        client is told 100, and the traceback belongs in the log.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group in a dependency wraps what the handler raised
    answer: Refusal | Disconnect | None = None
    match error:
        case Refusal() | Disconnect():
            answer = error
        case HTTPException() if error.status_code >= 400:
            other = InternalError if error.status_code >= 500 else BadRequest
            answer = BY_STATUS.get(error.status_code, other)(_words(error.detail))
        case WebSocketException() if 3000 <= error.code <= 4999:
            answer = _disconnect(error.code, error.reason)
        case WebSocketException():
            answer = BY_CLOSE_CODE.get(error.code, BadRequest)(error.reason)
        case RequestValidationError() | WebSocketRequestValidationError():
            answer = BadRequest(reasons(error.errors()))
        case PayloadTooBig():
            answer = BadRequest(str(error))
    return answer


def _words(detail: Any) -> str:
    """Give the detail of an HTTP error as text: FastAPI lets it be any JSON value."""
    return detail if isinstance(detail, str) else to_json(detail, inf_nan_mode="null", fallback=str).decode()


def _disconnect(number: int, reason: str) -> Disconnect:
    """Make a disconnect of a reason nobody checked: there is always one that can be sent."""
    try:
        return Disconnect(number, reason or None)
    except DeclarationError:
        # Too long, or it begins as JSON does: a client would take "404 no such room" for a number.
        words = f"closed: {reason}".encode()[: codes.MAX_REASON_BYTES]
        return Disconnect(number, words.decode(errors="ignore"))
