"""What a token says, read claim by claim once its signature is verified.

Invariants of this file:

1. A claim that is there has its type, else the token is invalid: nothing is guessed, nothing taken for absent.
2. No error repeats anything of a token: what it says may be shown to the client and written to a log.

Source: docs/reference/protocol.md, "Tokens"; RFC 7519.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping
from typing import Final, Literal, TypeVar, final

import msgspec
from msgspec import Raw

from openline import codes
from openline.errors import Disconnect
from openline.options import Override
from openline.protocol.json import one_line

Kind = Literal["connection", "subscription"]
Value = TypeVar("Value")


class InvalidToken(Disconnect):
    """A client's token cannot be used: it is broken, not signed by a known key, or not for this purpose (3500).

    It is the client's, or whoever issued it for the client; a new attempt with the same token changes nothing.
    """

    def __init__(self, problem: str, *, kind: Kind) -> None:
        super().__init__(codes.CLOSED_INVALID_TOKEN)
        self.args = (f"invalid {kind} token: {problem}",)
        self.problem = problem  #: in words that may be shown to the client
        self.kind: Kind = kind  #: which of the two kinds of tokens was expected


class TokenSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription the server makes because a connection token says so."""

    info: bytes = b""  #: encoded info of the subscription; b"" for none
    data: bytes = b""  #: encoded data for the client; b"" for none
    override: Override = Override()


class ConnectionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection token says."""

    user: str = ""  #: the user's id; "" for an anonymous one
    info: bytes = b""  #: encoded info of the connection; b"" for none
    channels: tuple[str, ...] = ()  #: to subscribe by the server, each once
    subs: Mapping[str, TokenSubscription] = {}  #: to subscribe by the server as well, with more said of each
    meta: bytes = b""  #: encoded, for the app only; b"" for none
    expires_at: float | None = None  #: unix seconds at which the connection ends unless refreshed; may have passed


class SubscriptionClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription token says; that it is for the client that shows it is for the caller to check."""

    user: str = ""  #: has to be the connection's user
    channel: str  #: has to be the channel asked for
    client: str = ""  #: has to be the connection's id, unless ""
    info: bytes = b""  #: encoded info of the subscription; b"" for none
    data: bytes = b""  #: encoded data for the client; b"" for none
    expires_at: float | None = None  #: unix seconds at which the subscription ends unless refreshed; may have passed
    override: Override = Override()


class _Flag(msgspec.Struct):
    """How an override is written."""

    value: bool


class _Overrides(msgspec.Struct):
    """The claim `override`."""

    presence: _Flag | None = None
    join_leave: _Flag | None = None
    force_push_join_leave: _Flag | None = None
    force_positioning: _Flag | None = None
    force_recovery: _Flag | None = None


_object: Final = msgspec.json.Decoder(dict[str, Raw])
_objects: Final = msgspec.json.Decoder(dict[str, dict[str, Raw]])
_text: Final = msgspec.json.Decoder(str)
_texts: Final = msgspec.json.Decoder(list[str])
_text_or_texts: Final = msgspec.json.Decoder(str | list[str])
_number: Final = msgspec.json.Decoder(int | float)
_overrides: Final = msgspec.json.Decoder(_Overrides)


@final
class Claims:
    """The claims of one verified token; each is decoded when it is asked for.

    Args:
        payload: the token's payload.
        kind: what the token is expected to be, for errors.
    Raises:
        InvalidToken: the payload is no JSON object. So does every method for a claim of the wrong type.
    """

    __slots__ = ("_raw", "_within", "kind")

    def __init__(self, payload: str, kind: Kind) -> None:
        self.kind: Kind = kind
        self._within = ""  # the claim that holds these, to name in errors
        try:
            self._raw: Mapping[str, Raw] = _object.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise InvalidToken("its payload is no JSON object", kind=kind) from None

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def text(self, name: str) -> str:
        """Give a string; "" if it is absent."""
        return self._decode(name, _text, "a string") or ""

    def texts(self, name: str) -> list[str]:
        """Give a list of strings; an absent one is empty."""
        return self._decode(name, _texts, "a list of strings") or []

    def text_or_texts(self, name: str) -> list[str]:
        """Give a list of strings, which may be written as one string alone; an absent one is empty."""
        found = self._decode(name, _text_or_texts, "a string or a list of strings")
        return [found] if isinstance(found, str) else found or []

    def number(self, name: str) -> float | None:
        """Give a finite number; None if it is absent."""
        found = self._decode(name, _number, "a number")
        if found is None:
            return None
        try:
            number = float(found)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._invalid(name, "a number of seconds")
        return number

    def embedded(self, name: str) -> bytes:
        """Give a payload, from the claim itself or from its namesake ``b64…``, which goes first.

        Either way it is JSON: others see it, and of those some always speak JSON. It comes out without white space
        between tokens, so that it fits on one line; null is no payload.
        """
        encoded = self.text(f"b64{name}")
        if encoded:
            try:
                return one_line(binascii.a2b_base64(encoded, strict_mode=True))
            except ValueError:
                raise self._invalid(f"b64{name}", "JSON in base64") from None
        raw = self._raw.get(name)
        if raw is None or bytes(raw) == b"null":
            return b""
        return msgspec.json.format(bytes(raw), indent=-1)

    def inner(self, name: str) -> dict[str, Claims]:
        """Give an object of objects, to read these like a token; an absent one is empty."""
        found = self._decode(name, _objects, "an object of objects") or {}
        return {key: self._inner(f"{name}: ", claims) for key, claims in found.items()}

    def override(self) -> Override:
        """Give the claim `override`; what it does not mention is None."""
        found = self._decode("override", _overrides, "an object of flags")
        if found is None:
            return Override()
        flags = {field: getattr(found, field) for field in _Overrides.__struct_fields__}
        return Override(**{field: flag.value for field, flag in flags.items() if flag is not None})

    def _inner(self, within: str, raw: Mapping[str, Raw]) -> Claims:
        claims = object.__new__(Claims)
        claims.kind, claims._within, claims._raw = self.kind, within, raw
        return claims

    def _decode(self, name: str, decoder: msgspec.json.Decoder[Value], expected: str) -> Value | None:
        raw = self._raw.get(name)
        if raw is None:
            return None
        try:
            return decoder.decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self._invalid(name, expected) from None

    def _invalid(self, name: str, expected: str) -> InvalidToken:
        return InvalidToken(f"{self._within}{name} is not {expected}", kind=self.kind)
