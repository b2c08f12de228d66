"""The shapes of the API as the OpenAPI page shows them: made from the messages, so that there is one place for both."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from openline.api import messages
from openline.api.answers import STATUSES
from openline.api.desk import Method
from openline.api.messages import Error

_REFERENCE: Final = "#/$defs/"

#: The header by which a request says how it wants to be told an error.
ERROR_MODE: Final = "X-Centrifugo-Error-Mode"

Schema = dict[str, Any]

# Read by the endpoint itself: nothing a request can send there is an error, so there is no 422.
_ERROR_MODE: Final[Schema] = {
    "name": ERROR_MODE,
    "in": "header",
    "required": False,
    "description": "`transport`: an error is told by the status, and stands bare in the body",
    "schema": {"type": "string", "default": ""},
}


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


def request(kind: type[messages.Request]) -> Schema:
    """Say what a request holds."""
    return {
        "parameters": [_ERROR_MODE],
        "requestBody": {"content": {"application/json": {"schema": schema(kind)}}},
    }


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
        if status == 400:
            codes += " and every other; in either mode: the body is no JSON, which is a `detail`"
            found[status] = _content(f"Transport error mode: error {codes}", schema(Error), _DETAIL)
        else:
            found[status] = _content(f"Transport error mode: error {codes}", schema(Error))
    return found


#: What FastAPI makes of an `HTTPException`, which is how all is refused that comes to no method.
_DETAIL: Final = _object("detail", {"type": "string"})

_DOOR: Final[dict[int | str, Schema]] = {
    401: _content("There is no key, or none that is known", _DETAIL),
    413: _content("The body is too large", _DETAIL),
    503: _content("The hub does not run", _DETAIL),
}
