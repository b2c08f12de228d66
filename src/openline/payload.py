"""What a message of one declared type looks like: from bytes to a value and back.

Invariants:

1. What `encode` and `admit` give for a type other than ``bytes`` is valid JSON on one line.
2. What `admit` gives for a declared type fits that type: nothing a client made up travels further.
3. A client's fault is a `BadRequest` that names the field; the program's fault is a `UsageError` that names the type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, final, get_args, get_origin

import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_json

from openline.errors import BadRequest, DeclarationError, UsageError
from openline.protocol.json import is_json, one_line

_MAX_REASONS: Final = 3
_MAX_CHARACTERS: Final = 400
_any_decoder: Final = msgspec.json.Decoder()


@final
class Payload:
    """The messages of one type.

    Three kinds, by the type:

    - ``bytes``: whatever is sent, untouched both ways.
    - None or ``Any``: any JSON value. Bytes that come from a client travel as they came; bytes given to `encode` are
      JSON already.
    - any other type Pydantic knows: validated, and written by its alias names.

    In JSON made here, NaN and the infinities become ``null``; in JSON that comes they are refused.

    Args:
        type_: the message type.
    Raises:
        DeclarationError: Pydantic cannot validate this type.
    """

    __slots__ = ("_adapter", "raw", "type")

    def __init__(self, type_: Any = None) -> None:
        self.type: Any = None if type_ is Any or type_ is object else type_
        self.raw = type_ is bytes
        self._adapter: TypeAdapter[Any] | None = None
        if self.type is not None and not self.raw:
            self._adapter = adapter(type_)

    def validate(self, data: bytes) -> Any:
        """Make a client's message into a value of the type.

        Raises:
            BadRequest: it is no JSON, or does not fit; the message names the field.
        """
        if self.raw:
            return data
        if self._adapter is None:
            try:
                return _any_decoder.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise BadRequest("message is not JSON") from None
        # Pydantic lets NaN, the infinities and 1e999 pass, which no JSON client could be sent.
        if not is_json(data):
            raise BadRequest("message is not JSON")
        try:
            return self._adapter.validate_json(data)
        except ValidationError as error:
            raise BadRequest(reasons(error.errors(include_url=False, include_input=False))) from None

    def admit(self, data: bytes) -> bytes:
        """Check a client's message and give it as it travels on.

        A declared type is written anew, so that fields it does not have stay behind.

        Raises:
            BadRequest: as `validate`.
        """
        if self._adapter is not None:
            return self._dump(self.validate(data))
        if self.raw:
            return data
        try:
            return one_line(data)
        except ValueError:
            raise BadRequest("message is not JSON") from None

    def encode(self, value: Any) -> bytes:
        """Write a message of the app, validated first.

        Args:
            value: an instance of the type, or what Pydantic makes one of, such as a dict of its fields.
        Raises:
            UsageError: the value is not of the type, or cannot be written as JSON.
        """
        if self.raw:
            return self._encode_raw(value)
        if self._adapter is None:
            return self._dump(value)
        try:
            valid = self._adapter.validator.validate_python(value)
        except ValidationError as error:
            raise UsageError(f"{self._mismatch(value)}: {reasons(error.errors(include_url=False))}") from error
        return self._dump(valid)

    def _dump(self, value: Any) -> bytes:
        try:
            if self._adapter is not None:
                # What `model_copy(update=…)` put in was never validated. Here a wrong value is an error and no warning,
                # save None, which Pydantic writes as null in silence.
                data = self._adapter.serializer.to_json(value, by_alias=True, warnings="error")
            elif isinstance(value, bytes):
                return one_line(value)
            else:
                data = to_json(value, by_alias=True, inf_nan_mode="null")
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            raise UsageError(f"{self._mismatch(value)}: {error}") from error
        # A model may ask for NaN to be written as such (`ser_json_inf_nan`), which is no JSON.
        if (b"NaN" in data or b"Infinity" in data) and not is_json(data):
            raise UsageError(f"{self._mismatch(value)}: NaN and Infinity are not JSON")
        return data

    def _encode_raw(self, value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise UsageError(self._mismatch(value))
        return bytes(value)

    def _mismatch(self, value: Any) -> str:
        wanted = "JSON" if self.type is None else type_name(self.type)
        return f"{type_name(type(value))} cannot be sent as a message of type {wanted}"

    def __repr__(self) -> str:
        return f"Payload({'any JSON' if self.type is None else type_name(self.type)})"


def adapter(type_: Any) -> TypeAdapter[Any]:
    """Give Pydantic's adapter of a type.

    Raises:
        DeclarationError: Pydantic cannot validate this type.
    """
    if isinstance(type_, str):  # Pydantic would look for it at the first message
        raise DeclarationError(f"{type_!r} is not a type Pydantic validates: give the type, not its name")
    try:
        return TypeAdapter(type_)
    except (PydanticUserError, NameError, TypeError) as error:
        raise DeclarationError(f"{type_name(type_)} is not a type Pydantic validates: {error}") from error


def reasons(errors: Sequence[Any]) -> str:
    """Say in one line what did not fit: ``text: Field required``.

    Args:
        errors: as Pydantic's and FastAPI's validation errors list them; the first three are told, in 400 characters.
    """
    told = [_reason(error) for error in errors[:_MAX_REASONS]]
    if len(errors) > _MAX_REASONS:
        told.append(f"and {len(errors) - _MAX_REASONS} more")
    line = "; ".join(told)
    # A field's name may be of the client's making, and as long as it likes.
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 1]}…"


def _reason(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    field = ".".join(str(piece) for piece in error.get("loc", ()))
    reason = str(error.get("msg", "not valid"))
    return f"{field}: {reason}" if field else reason


def type_name(type_: Any) -> str:
    """Name a type as a program writes it."""
    if get_origin(type_) is Annotated:
        return type_name(get_args(type_)[0])
    return type_.__name__ if isinstance(type_, type) and not get_args(type_) else str(type_)
