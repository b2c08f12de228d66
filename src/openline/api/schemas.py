"""The shapes of the API as the OpenAPI page shows them: made from the messages, so that there is one place for both."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from openline.api import messages
from openline.api.answers import STATUSES
from openline.api.desk import Method
from openline.api.messages import Error

_REFERENCE: Final = "#/$defs/"

Schema = dict[str, Any]


def schema(kind: type) -> Schema:
    """Give the JSON schema of a message, with what it refers to in place: nothing has to stand beside it."""
    (top,), parts = msgspec.json.schema_components((kind,), ref_template=_REFERENCE + "{name}")
    whole: Schema = _in_place(top, parts)
    return whole


def _in_place(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            beside = {name: one for name, one in value.items() if name != "$ref"}
            return _in_place(parts[reference.removeprefix(_REFERENCE)] | beside, parts)
        return {name: _in_place(one, parts) for name, one in value.items()}
    return [_in_place(one, parts) for one in value] if isinstance(value, list) else value


def request_body(kind: type[messages.Request]) -> Schema:
    """Say what a request holds."""
    return {"requestBody": {"content": {"application/json": {"schema": schema(kind)}}}}


def _content(description: str, *shapes: Schema) -> Schema:
    shown = shapes[0] if len(shapes) == 1 else {"oneOf": list(shapes)}
    return {"description": description, "content": {"application/json": {"schema": shown}}}


def _object(name: str, shape: Schema) -> Schema:
    return {"type": "object", "properties": {name: shape}, "required": [name]}


def responses(method: Method) -> dict[int | str, Schema]:
    """Say what a method is answered with, in both ways to tell an error."""
    result, error = _object("result", schema(method.result)), _object("error", schema(Error))
    return {
        200: _content("The result; or the error, save in transport error mode", result, error),
        **_errors(),
        **_DOOR,
    }


def batch_responses() -> dict[int | str, Schema]:
    """Say what a batch is answered with."""
    error = _object("error", schema(Error))
    whole = _content("The replies; or the error, save in transport error mode", schema(messages.BatchResult), error)
    return {200: whole, **_errors(), **_DOOR}


def _errors() -> dict[int | str, Schema]:
    found: dict[int | str, Schema] = {}
    for status in sorted({*STATUSES.values(), 400}):
        codes = ", ".join(str(code) for code, its in STATUSES.items() if its == status)
        also = "; without JSON in the body, in either mode" if status == 400 else ""
        found[status] = _content(f"Transport error mode: error {codes}{also}", schema(Error))
    return found


_DOOR: Final[dict[int | str, Schema]] = {
    401: {"description": "There is no key, or none that is known"},
    413: {"description": "The body is too large"},
    503: {"description": "The hub does not run"},
}
