"""Messages as plain values, and made-up ones: what the codecs are compared with.

Nothing here uses a codec of the package, so an error there cannot hide behind the same error here.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.message import Message
from hypothesis import strategies as st
from msgspec import Raw

from openline.protocol import messages

#: Fields that are in a JSON message even if they are zero.
ALWAYS: Final = {
    "Info": {"user", "client"},
    "PresenceResult": {"presence"},
    "PresenceStatsResult": {"num_clients", "num_users"},
    "HistoryResult": {"publications", "epoch", "offset"},
    "Error": {"code", "message"},
    "UnsubscribePush": {"code", "reason"},
    "DisconnectPush": {"code", "reason"},
}


def plain(struct: msgspec.Struct, *, always: bool) -> dict[str, Any]:
    """Say a struct as a reader of its JSON sees it.

    Args:
        always: with the fields that JSON writes even if they are zero; Protobuf never does.
    """
    kept = ALWAYS.get(type(struct).__name__, set()) if always else set()
    values = {name: getattr(struct, name) for name in struct.__struct_fields__}
    return {
        name: _plain_value(value, always)
        for name, value in values.items()
        if name in kept or value not in (None, 0, "", False, [], {}, messages.NOTHING)
    }


def _plain_value(value: Any, always: bool) -> Any:
    if isinstance(value, msgspec.Struct):
        return plain(value, always=always)
    if isinstance(value, Raw):
        return json.loads(bytes(value))
    if isinstance(value, list):
        return [_plain_value(item, always) for item in value]
    if isinstance(value, dict):
        return {key: _plain_value(item, always) for key, item in value.items()}
    return value


def plain_message(message: Message) -> dict[str, Any]:
    """Say a Protobuf message in the same way; its payloads are JSON text."""
    return {field.name: _plain_field(value) for field, value in message.ListFields()}


def _plain_field(value: Any) -> Any:
    if isinstance(value, Message):
        return plain_message(value)
    if isinstance(value, bytes):
        return json.loads(value)
    if isinstance(value, (str, int, bool)):
        return value
    if hasattr(value, "items"):
        return {key: _plain_field(item) for key, item in value.items()}
    return [_plain_field(item) for item in value]


# --- made-up messages ---------------------------------------------------------------------------------------------

_text = st.text(max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
#: Payloads as one line of JSON, in the writings a client may choose.
payloads = st.builds(lambda value, escaped: json.dumps(value, ensure_ascii=escaped).encode(), _json, st.booleans())
_RANGES: Final = {
    "offset": (0, 2**64 - 1),
    "flag": (-(2**63), 2**63 - 1),
    "limit": (-(2**31), 2**31 - 1),
    "type": (-(2**31), 2**31 - 1),
}


@functools.cache  # a filter holds filters: within its own strategy it has to find itself
def structs(struct: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Make up structs of a type, each field at its zero value or not."""
    return st.deferred(
        lambda: st.builds(struct, **{name: _values(name, hint) for name, hint in get_type_hints(struct).items()})
    )


def _values(name: str, hint: Any) -> st.SearchStrategy[Any]:
    """Make up values of one field."""
    origin, arguments = get_origin(hint), get_args(hint)
    if type(None) in arguments:
        # An optional map is there with something in it, or not there.
        return st.none() | _values(name, arguments[0]).filter(lambda value: value != {})
    if origin is list:
        # Often empty: a filter holds filters, and has to end somewhere.
        return st.just([]) | st.lists(_values("", arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(_text, _values("", arguments[1]), max_size=2)
    if issubclass(hint, msgspec.Struct):
        return structs(hint)
    return {
        int: st.just(0) | st.integers(*_RANGES.get(name, (0, 2**32 - 1))),
        Raw: st.just(messages.NOTHING) | st.builds(messages.raw, payloads),
        str: _text,
        bool: st.booleans(),
    }[hint]


def one_of_its_kinds(struct: type[msgspec.Struct], **others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Make up messages that hold exactly one of the messages their type can hold."""
    hints = get_type_hints(struct)
    kinds = [name for name in hints if type(None) in get_args(hints[name])]
    return st.sampled_from(kinds).flatmap(
        lambda kind: st.builds(struct, **{kind: _values(kind, get_args(hints[kind])[0])}, **others)
    )


commands = st.builds(messages.Command) | one_of_its_kinds(messages.Command, id=st.integers(0, 2**32 - 1))
pushes = one_of_its_kinds(messages.Push, channel=_text)
replies = (
    st.just(messages.PING)
    | st.builds(messages.Reply, push=pushes)
    | one_of_its_kinds(messages.Reply, id=st.integers(1, 2**32 - 1)).filter(lambda reply: reply.push is None)
)
