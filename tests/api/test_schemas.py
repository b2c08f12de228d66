"""The shapes as the OpenAPI page shows them."""

from __future__ import annotations

from openline.api import messages
from openline.api.schemas import batch_responses, request, schema


def test_what_a_message_refers_to_stands_in_place() -> None:
    """However deep; the description of the place goes before that of the type."""
    shown = schema(messages.HistoryResult)
    publication = shown["properties"]["publications"]["items"]
    client = next(one for one in publication["properties"]["info"]["anyOf"] if one.get("type") == "object")
    assert set(client["properties"]) == {"user", "client", "conn_info", "chan_info"}
    assert client["required"] == ["user", "client"]
    assert "$ref" not in str(shown)


def test_a_request_says_what_it_needs() -> None:
    """And the bounds and defaults of the rest."""
    shown = request(messages.PublishRequest)["requestBody"]["content"]["application/json"]["schema"]
    assert shown["required"] == ["channel"]
    assert shown["properties"]["version"] | {"description": ""} == {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**63 - 1,
        "default": 0,
        "description": "",
    }
    assert all("description" in one for one in shown["properties"].values())


def test_the_replies_of_a_batch_are_in_no_result() -> None:
    """As the reference has it."""
    replies, error = batch_responses()[200]["content"]["application/json"]["schema"]["oneOf"]
    assert (list(replies["properties"]), error["required"]) == (["replies"], ["error"])
