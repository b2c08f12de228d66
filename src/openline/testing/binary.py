"""The client's half of the Protobuf encoding: commands into frames, frames into replies, all as plain values.

A payload (`data`, `info`) that is given as ``bytes`` travels as it is, any other as JSON. One that comes is read as
JSON where it is, else it stays ``bytes``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from openline.protocol import client_pb2


def encode_commands(commands: Iterable[Mapping[str, Any]]) -> bytes:
    """Put commands into one frame, each behind its length."""
    frame = bytearray()
    for command in commands:
        message = client_pb2.Command()
        _fill(message, command)
        body = message.SerializeToString()
        length = len(body)
        while length > 0x7F:
            frame.append(length & 0x7F | 0x80)
            length >>= 7
        frame.append(length)
        frame += body
    return bytes(frame)


def decode_replies(frame: bytes) -> list[dict[str, Any]]:
    """Read the replies of one frame; fields with their zero value are not there."""
    replies, start = [], 0
    while start < len(frame):
        length = shift = 0
        while True:
            byte = frame[start]
            start += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        replies.append(_plain(client_pb2.Reply.FromString(frame[start : start + length])))
        start += length
    return replies


def _fill(message: Message, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        kind = message.DESCRIPTOR.fields_by_name[name]
        field = getattr(message, name)
        if kind.type == kind.TYPE_BYTES:
            setattr(message, name, value if isinstance(value, bytes) else _json(value))
        elif isinstance(field, Message):
            field.SetInParent()  # so that an empty one is there
            _fill(field, value)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(item, Mapping):
                    _fill(field[key], item)
                else:
                    field[key] = item
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, Mapping):
                    _fill(field.add(), item)
                else:
                    field.append(item)
        else:
            setattr(message, name, value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(message: Message) -> dict[str, Any]:
    return {field.name: _plain_value(value) for field, value in message.ListFields()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Message):
        return _plain(value)
    if isinstance(value, bytes):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, str | int):
        return value
    if hasattr(value, "items"):
        return {key: _plain_value(item) for key, item in value.items()}
    return [_plain_value(item) for item in value]
