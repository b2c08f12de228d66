"""From the body of a request to parameters, and to the payloads in them.

Back ends are trusted with what they may do, not with being free of faults: nothing here goes down the stack with what
nests too deep, and no body holds the event loop for long. So what is too large is not looked into, and what may be
large (many commands at once) is looked at slice by slice. A parameter that is null is one that is absent: many
languages write it so.
"""

from __future__ import annotations

import asyncio
import binascii
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, TypeVar, final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from openline.api.messages import BroadcastRequest, OldCommand
from openline.errors import BadRequest, PayloadTooBig
from openline.nesting import nested_past
from openline.options import Limits
from openline.protocol.json import depth_past, depths_past, one_line, whole_characters

#: Channels of one broadcast, and commands of one batch.
MOST_AT_ONCE: Final = 10_000

#: Bytes of one command: that many times `Limits.message_bytes`, since it may hold two payloads, in base64; and more for
#: the rest. A broadcast has its channels as well.
_PAYLOADS_OF_ONE: Final = 4
_REST_BYTES: Final = 256 * 1024
_CHANNELS_BYTES: Final = 3 * 1024 * 1024

#: What lies around a payload in a body: commands, each an object, a list of objects, and so on.
_AROUND: Final = 8
#: Parameters that are JSON of the app's own, of which null is one.
_PAYLOADS: Final = frozenset(("data", "info", "params"))

#: Bodies that are no parameters.
_NONE: Final = (b"", b"null")

#: Backslashes in a body whose half characters are mended: each takes its time.
_MOST_ESCAPES: Final = 30_000

Parameters = TypeVar("Parameters")


class NotJSON(ValueError):
    """The body of a request is no JSON."""


class Command(msgspec.Struct):
    """One of many: what it says of each method there is. Counted as it is read, so that too many are not read."""

    def __post_init__(self) -> None:
        _reading.left -= 1
        if _reading.left < 0:
            raise ValueError(f"more than {MOST_AT_ONCE} commands, which is the limit of a batch")

    def given(self) -> tuple[str, bytes]:
        """Give the method it names, "" for none, and the parameters."""
        for name in self.__struct_fields__:
            parameters = getattr(self, name)
            if parameters is not UNSET:
                return name, bytes(parameters)
        return "", b""


class Commands(msgspec.Struct):
    """Many commands."""

    commands: list[Any]  #: of `Command`
    parallel: bool = False


class _Reading(threading.local):
    left = 0  #: commands that may still be read, in the batch that is being read now


_reading: Final = _Reading()


@final
class Reader:
    """Reads parameters.

    Args:
        limits: of payloads, in bytes and in depth.
        methods: what a command of many may name.
    """

    __slots__ = ("_command_bytes", "_json_depth", "_many", "_message_bytes")

    def __init__(self, limits: Limits, methods: Sequence[str] = ()) -> None:
        self._json_depth = limits.json_depth
        self._message_bytes = limits.message_bytes
        self._command_bytes = _PAYLOADS_OF_ONE * limits.message_bytes + _REST_BYTES
        one = msgspec.defstruct("Command", [(name, Raw | UnsetType, UNSET) for name in methods], bases=(Command,))
        several: list[Any] = [("commands", list[one]), ("parallel", bool, False)]  # type: ignore[valid-type]
        self._many: Any = msgspec.defstruct("Commands", several, bases=(Commands,))

    def parameters(self, body: bytes, kind: type[Parameters]) -> Parameters:
        """Read the parameters of one method; an empty body is none.

        Raises:
            NotJSON: it is none.
            BadRequest: a parameter is missing or is not what it has to be; the message names it. Or it is too large.
        """
        body = b"{}" if body.strip() in _NONE else body
        limit = self._command_bytes + (_CHANNELS_BYTES if kind in (BroadcastRequest, OldCommand) else 0)
        if len(body) > limit:
            raise BadRequest(f"{len(body)} bytes, and {limit} is the limit of one command")
        self._check_depth(depth_past(body, self._json_depth + _AROUND))
        return _fitting(body, kind)

    async def commands(self, body: bytes) -> Commands:
        """Read a batch of commands, of any size.

        Raises:
            NotJSON, BadRequest: as `parameters`.
        """
        for depth in depths_past(body, self._json_depth + _AROUND):
            self._check_depth(depth)
            await asyncio.sleep(0)
        commands: Commands = _fitting(b"{}" if body.strip() in _NONE else body, self._many)
        return commands

    def _check_depth(self, depth: int) -> None:
        if depth:
            raise BadRequest(f"the body nests {depth} deep, and {self._json_depth} is the limit of a payload")

    def payload(self, value: Raw | UnsetType, base64: str, name: str) -> bytes:
        """Give what is published: bytes of base64 as they are, else JSON as it stands in the body.

        Raises:
            BadRequest: there is nothing, or it is no base64, or nests too deep.
            PayloadTooBig: it is larger than a message may be, as it is written.
        """
        data = self._bytes(value, base64, name)
        if data is None or not data:
            raise BadRequest(f"{name} is missing")
        return data

    def embedded(self, value: Raw | UnsetType, base64: str, name: str) -> bytes:
        """Give JSON that goes with something, on one line; b"" for none, and for null.

        Raises:
            BadRequest: it is no JSON, or no base64, or nests too deep.
            PayloadTooBig: it is larger than a message may be, as it is written.
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
        if len(data) > self._message_bytes:
            raise PayloadTooBig(len(data), self._message_bytes)
        depth = nested_past(data, self._json_depth)
        if depth:
            raise BadRequest(f"{name} nests {depth} deep, and {self._json_depth} is the limit")
        return data


def _fitting(body: bytes, kind: type[Parameters]) -> Parameters:
    for text in _readings(body):
        try:
            return _decoded(text, kind)
        except msgspec.ValidationError as error:
            refusal = error
        except (msgspec.MsgspecError, ValueError):
            continue
        given = _given(text, kind)
        if given is None:
            continue
        there = {name: value for name, value in given.items() if name in _PAYLOADS or bytes(value) != b"null"}
        if there.keys() != given.keys():
            try:
                return _decoded(msgspec.json.encode(there), kind)
            except msgspec.ValidationError as error:
                refusal = error
        raise BadRequest(_words(refusal))
    raise NotJSON("the body is not JSON")


def _readings(body: bytes) -> Iterator[bytes]:
    """Give the body, and where it has half characters, what is meant: Python and JavaScript write such JSON."""
    yield body
    if b"\\u" in body and body.count(b"\\") <= _MOST_ESCAPES:
        yield whole_characters(body)


def _decoded(text: bytes, kind: type[Parameters]) -> Parameters:
    _reading.left = MOST_AT_ONCE
    return msgspec.json.decode(text, type=kind)


def _given(text: bytes, kind: type[Any]) -> dict[str, Raw] | None:
    """Give the parameters there are, whatever is in them; none of what is no object, and None for what is no JSON."""
    try:
        text.decode()
        shell = msgspec.json.decode(text, type=_shell(kind.__struct_fields__))
    except msgspec.ValidationError:
        try:
            msgspec.json.decode(text, type=Raw)
        except msgspec.MsgspecError:
            return None
        return {}
    except (msgspec.MsgspecError, ValueError):
        return None
    members = {name: getattr(shell, name) for name in shell.__struct_fields__}
    return {name: value for name, value in members.items() if value is not UNSET}


@cache
def _shell(fields: tuple[str, ...]) -> type[msgspec.Struct]:
    """Give a kind that has anything in these fields: nothing is made of those nobody knows, however many there are."""
    return msgspec.defstruct("Shell", [(name, Raw | UnsetType, UNSET) for name in fields])


def _words(error: msgspec.ValidationError) -> str:
    """Say what did not fit as people write it: ``channel: Expected `str`, got `int```."""
    reason, _, where = str(error).partition(" - at `$.")
    return f"{where.rstrip('`')}: {reason}" if where else reason
