"""What a back end may answer to each event, and what of it cannot be.

Invariant: what leaves this file fits what it is for, or is a `Malformed` that names the field and repeats no value.

Source: docs/events.md.
"""

from __future__ import annotations

import binascii
import math
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Meta, Raw

from openline import codes
from openline.errors import DeclarationError, Disconnect, Refusal
from openline.options import Override
from openline.protocol.json import one_line

Result = TypeVar("Result", bound="Said")

_NOTHING: Final = Raw(b"")
#: The protocol's own refusals, by their codes.
_REFUSALS: Final = {kind.default.number: kind for kind in Refusal.__subclasses__()}


class Malformed(Exception):
    """A back end answered what is no answer; the message says what is wrong with it."""


class Said(msgspec.Struct, kw_only=True):
    """A result. Fields nobody knows are passed over; null is absent, as back ends in Go and Python write it."""


class _Flag(msgspec.Struct):
    value: bool


class Overrides(msgspec.Struct):
    """What is otherwise for one subscription than its channel declares."""

    presence: _Flag | None = None
    join_leave: _Flag | None = None
    force_push_join_leave: _Flag | None = None
    force_positioning: _Flag | None = None
    force_recovery: _Flag | None = None

    def read(self) -> Override:
        """Give it as the hub has it."""
        flags: dict[str, _Flag | None] = msgspec.structs.asdict(self)
        return Override(**{name: flag.value for name, flag in flags.items() if flag is not None})


class Admitted(Said, kw_only=True):
    """To `subscribe`, and of each channel in ``subs``."""

    expire_at: float | None = None
    info: Raw = _NOTHING
    b64info: str | None = None
    data: Raw = _NOTHING
    b64data: str | None = None
    override: Overrides | None = None


class Connected(Said, kw_only=True):
    """To `connect`."""

    user: str | None = None
    expire_at: float | None = None
    info: Raw = _NOTHING
    b64info: str | None = None
    data: Raw = _NOTHING
    b64data: str | None = None
    meta: Raw = _NOTHING
    channels: list[str] | None = None
    subs: dict[str, Admitted | None] | None = None


class Refreshed(Said, kw_only=True):
    """To `refresh` and `sub_refresh`."""

    expired: bool | None = None
    expire_at: float | None = None
    info: Raw = _NOTHING
    b64info: str | None = None
    meta: Raw = _NOTHING


class Published(Said, kw_only=True):
    """To `publish`. What it says of ``delta`` is passed over: the channel declares it."""

    data: Raw = _NOTHING
    b64data: str | None = None
    skip_history: bool | None = None
    tags: dict[str, str] | None = None
    idempotency_key: str | None = None
    version: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    version_epoch: str | None = None


class Returned(Said, kw_only=True):
    """To `rpc`."""

    data: Raw = _NOTHING
    b64data: str | None = None


class _Error(msgspec.Struct):
    code: int
    message: str | None = None
    temporary: bool | None = None


class _End(msgspec.Struct):
    code: int
    reason: str | None = None


class _Answer(msgspec.Struct, Generic[Result]):
    result: Result | None = None
    error: _Error | None = None
    disconnect: _End | None = None


def decoder(kind: type[Result]) -> msgspec.json.Decoder[Any]:
    """Give what reads the answers whose results are of a kind."""
    return msgspec.json.Decoder(_Answer[kind])  # type: ignore[valid-type]  # a type of the moment


def read(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Read an answer.

    Returns:
        Its result; None where it has none, and nothing else either.
    Raises:
        Refusal, Disconnect: the back end wants the client told so.
        Malformed: it is no answer.
    """
    try:
        answer = decoder.decode(body)
    except UnicodeDecodeError:
        raise Malformed("it answered what is no answer: it is not UTF-8") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Malformed(f"it answered what is no answer: {error}") from None
    if answer.disconnect is not None:
        raise _disconnect(answer.disconnect)
    if answer.error is not None:
        raise _refusal(answer.error)
    return answer.result


def _disconnect(end: _End) -> Disconnect:
    if not 3000 <= end.code <= 4999:
        raise Malformed(f"it answered disconnect code {end.code}, which is outside 3000-4999")
    try:
        return Disconnect(end.code, end.reason or None)
    except DeclarationError:
        # Too long, or it begins as JSON does: a client would take "404 no such room" for a number.
        words = f"closed: {end.reason}".encode(errors="replace")[: codes.MAX_REASON_BYTES]
        return Disconnect(end.code, words.decode(errors="ignore"))


def _refusal(error: _Error) -> Refusal:
    kind = _REFUSALS.get(error.code)
    if kind is not None:
        return kind(error.message, temporary=error.temporary)
    if not 400 <= error.code <= 1999:
        raise Malformed(f"it answered error code {error.code}, which is neither the protocol's nor 400 to 1999")
    return Refusal(error.message or f"error {error.code}", code=error.code, temporary=bool(error.temporary))


def payload(raw: Raw, encoded: str | None, field: str) -> bytes | None:
    """Give a payload of an answer, from its namesake ``b64…`` if that is there; None where there is none.

    Raises:
        Malformed: what should be base64 is not.
    """
    if encoded:
        try:
            return binascii.a2b_base64(encoded, strict_mode=True)
        except ValueError:
            raise Malformed(f"it answered a b64{field} that is no base64") from None
    found = bytes(raw)
    return None if found in (b"", b"null") else found


def shown(raw: Raw, encoded: str | None, field: str) -> bytes | None:
    """Give a payload that others see, of whom some always speak JSON.

    Raises:
        Malformed: it is no JSON.
    """
    found = payload(raw, encoded, field)
    try:
        return found and one_line(found)
    except ValueError:
        raise Malformed(f"it answered a b64{field} that holds no JSON") from None


def moment(expire_at: float | None) -> float | None:
    """Give an expiry in unix seconds; 0 and what is not there are never.

    Raises:
        Malformed: it is no moment.
    """
    if expire_at is not None and not math.isfinite(expire_at):
        raise Malformed("it answered an expire_at that is no moment")
    return expire_at or None
