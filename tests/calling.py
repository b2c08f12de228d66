"""Calling handlers as an engine does, without one: for somebody named Ann, with the handshake of a real WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from pydantic import BaseModel

from openline.errors import DeclarationError
from openline.handlers import Handler
from openline.handshake import Handshake
from openline.payload import Payload
from openline.refusals import refusal
from openline.session import Session

WHERE: Final = "room:{name} on_publish"
HEADERS: Final = {"X-Token": "secret", "Authorization": "Bearer abc", "Cookie": "who=ann; theme=dark", "X-Tag": "one"}


class Said(BaseModel):
    """A message of the tests."""

    author: str
    text: str


SAID: Final = Said(author="ann", text="hi")
SENT: Final = b'{"author":"ann","text":"hi"}'
OF_SAID: Final[Mapping[str, Any]] = {"message": Payload(Said)}


def somebody(user: str) -> Session:
    """Give a session that is only passed around: there is no wire behind it."""
    session = object.__new__(Session)
    session.user = user
    return session


ANN: Final = somebody("ann")
BARE: Final = Handshake.bare()


def declare(function: Callable[..., Any], **event: Any) -> Handler:
    """Declare a handler, unless told otherwise for a channel ``room:{name}`` with messages of any kind."""
    return Handler(function, **{"where": WHERE, "parts": ("name",), "message": Payload(), **event})


def refused(function: Callable[..., Any], **event: Any) -> str:
    """Give the words with which a declaration is refused; they always say where."""
    with pytest.raises(DeclarationError) as caught:
        declare(function, **event)
    assert str(caught.value).startswith(WHERE)
    return str(caught.value)


async def call(
    function: Callable[..., Any],
    handshake: Handshake = BARE,
    *,
    name: str = "lobby",
    sent: bytes = b'"hi"',
    **event: Any,
) -> Any:
    """Declare a handler and call it for Ann."""
    return await declare(function, **event)(ANN, handshake, parts={"name": name}, message=sent)


def real_handshake(app: FastAPI | None = None, *, headers: dict[str, str] = HEADERS, query: str = "") -> Handshake:
    """Open a WebSocket to an app, keep its handshake, and close it."""
    app = app or FastAPI()
    kept: list[Handshake] = []

    @app.websocket("/{tenant}/connection/websocket")
    async def connect(websocket: WebSocket) -> None:
        kept.append(Handshake.of(websocket.scope))
        await websocket.accept()
        await websocket.close()

    path = f"/acme/connection/websocket?{query}"
    with TestClient(app) as client, client.websocket_connect(path, headers=headers):
        pass
    return kept[0]


def told(error: BaseException) -> tuple[int, str]:
    """Give the number and the words a client is told of an error."""
    answer = refusal(error)
    assert answer is not None
    return answer.code[0], answer.code[1]
