"""How deep the JSON of a client may nest: arrays and objects within each other.

Everything that reads a nested value goes down the stack with it, and some of it does not look where the stack ends: an
app's own functions, the other clients it is sent to. So what nests past the limit is refused before anybody reads it,
in both encodings. A Protobuf client may also send payloads that are no JSON at all; nothing in those nests.
"""

from __future__ import annotations

from typing import Final, final

from openline import codes
from openline.errors import BadRequest, Disconnect
from openline.notices import Notices
from openline.protocol.json import depth_past
from openline.protocol.messages import NOTHING, Request, SendRequest

_WHITE_SPACE: Final = b" \t\r\n"


@final
class Nesting:
    """The check of every payload that comes from a client.

    Args:
        limit: arrays and objects within each other.
        notices: what counts and says that something was refused.
    """

    __slots__ = ("_limit", "_notices")

    def __init__(self, limit: int, notices: Notices) -> None:
        self._limit = limit
        self._notices = notices

    def check(self, session: str, request: Request) -> None:
        """Look at the payload of a request, if it has one.

        Raises:
            BadRequest: it nests too deep.
            Disconnect: the same, of a request that has no answer.
        """
        data = getattr(request, "data", NOTHING)
        if len(data) <= self._limit:
            return  # nothing, or too short for so many brackets
        depth = nested_past(bytes(data), self._limit)
        if not depth:
            return
        words = "session %s sent data that nests %d deep, past Limits.json_depth (%d): refused"
        self._notices.take("messages_too_deep", words, session, depth, self._limit)
        if isinstance(request, SendRequest):
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        raise BadRequest(f"data nests {depth} deep, and {self._limit} is the limit")


def nested_past(payload: bytes, limit: int) -> int:
    """Say how deep a payload nests, if that is deeper than a limit; 0 else, and for what is no JSON."""
    depth = depth_past(payload, limit)
    return depth if depth and _is_like_json(payload) else 0


def _is_like_json(payload: bytes) -> bool:
    """Tell whether bytes are text that begins as an array or object does, without going down into it."""
    if payload.lstrip(_WHITE_SPACE)[:1] not in (b"[", b"{"):
        return False
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
