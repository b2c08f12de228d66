"""From the body of a request to parameters, and to the payloads in them.

Back ends are trusted with what they may do, not with being free of faults: nothing here goes down the stack with what
nests too deep. A parameter that is null is one that is absent: many languages write it so.
"""

from __future__ import annotations

import binascii
from typing import Final, TypeVar, final

import msgspec
from msgspec import Raw, UnsetType

from openline.errors import BadRequest
from openline.nesting import nested_past
from openline.protocol.json import depth_past, one_line

#: What lies around a payload in a body: commands, each an object, a list of objects, and so on.
_AROUND: Final = 8
#: Parameters that are JSON of the app's own, of which null is one.
_PAYLOADS: Final = frozenset(("data", "info", "params"))

#: Bodies that are no parameters.
_NONE: Final = (b"", b"null")

_fields: Final = msgspec.json.Decoder(dict[str, Raw])

Parameters = TypeVar("Parameters")


class NotJSON(ValueError):
    """The body of a request is no JSON."""


@final
class Reader:
    """Reads parameters.

    Args:
        json_depth: arrays and objects within each other, in one payload.
    """

    __slots__ = ("_json_depth",)

    def __init__(self, json_depth: int) -> None:
        self._json_depth = json_depth

    def parameters(self, body: bytes, kind: type[Parameters]) -> Parameters:
        """Read the parameters of a method; an empty body is none.

        Raises:
            NotJSON: it is none.
            BadRequest: a parameter is missing or is not what it has to be; the message names it.
        """
        body = b"{}" if body.strip() in _NONE else body
        depth = depth_past(body, self._json_depth + _AROUND)
        if depth:
            raise BadRequest(f"the body nests {depth} deep, and {self._json_depth} is the limit of a payload")
        try:
            return _read(body, kind)
        except (msgspec.MsgspecError, ValueError):
            pass
        try:
            # Half a character is mended by this: Python and JavaScript write such JSON, and nobody else can read it.
            mended = one_line(body)
        except ValueError:
            raise NotJSON("the body is not JSON") from None
        try:
            return _read(mended, kind)
        except msgspec.ValidationError as error:
            raise BadRequest(_words(error)) from None

    def payload(self, value: Raw | UnsetType, base64: str, name: str) -> bytes:
        """Give what is published: bytes of base64 as they are, else JSON as it stands in the body.

        Raises:
            BadRequest: there is nothing, or it is no base64, or nests too deep.
        """
        data = self._bytes(value, base64, name)
        if data is None or not data:
            raise BadRequest(f"{name} is missing")
        return data

    def embedded(self, value: Raw | UnsetType, base64: str, name: str) -> bytes:
        """Give JSON that goes with something, on one line; b"" for none, and for null.

        Raises:
            BadRequest: it is no JSON, or no base64, or nests too deep.
        """
        data = self._bytes(value, base64, name)
        if data is None:
            return b""
        try:
            data = one_line(data.strip())
        except ValueError:
            raise BadRequest(f"b64{name} is not JSON in base64" if base64 else f"{name} is not JSON") from None
        return b"" if data == b"null" else data

    def _bytes(self, value: Raw | UnsetType, base64: str, name: str) -> bytes | None:
        if base64:
            try:
                data = binascii.a2b_base64(base64.encode("ascii"), strict_mode=True)
            except ValueError:
                raise BadRequest(f"b64{name} is not base64") from None
        elif isinstance(value, UnsetType):
            return None
        else:
            data = bytes(value)
        depth = nested_past(data, self._json_depth)
        if depth:
            raise BadRequest(f"{name} nests {depth} deep, and {self._json_depth} is the limit")
        return data


def _read(body: bytes, kind: type[Parameters]) -> Parameters:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError:
        given = _fields.decode(body)
        there = {name: value for name, value in given.items() if name in _PAYLOADS or bytes(value) != b"null"}
        return msgspec.json.decode(msgspec.json.encode(there), type=kind)


def _words(error: msgspec.ValidationError) -> str:
    """Say what did not fit as people write it: ``channel: Expected `str`, got `int```."""
    reason, _, where = str(error).partition(" - at `$.")
    return f"{where.rstrip('`')}: {reason}" if where else reason
