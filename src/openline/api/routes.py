"""The routes of the server HTTP API: who may come in, how much may be sent, and how an error is told."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal, TypeVar, get_args

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from openline.api import schemas
from openline.api.answers import OTHER_STATUS, STATUSES
from openline.api.desk import NOT_OFFERED, Desk
from openline.api.keys import Keys
from openline.api.messages import BatchRequest, Error
from openline.api.reading import NotJSON
from openline.errors import DeclarationError

#: How an error is told: in the body of an answer with status 200, or by a status of its own.
ErrorMode = Literal["body", "transport"]

#: Bytes of a request's body.
BODY_BYTES: Final = 16 * 1024 * 1024

_JSON: Final = "application/json"

Taken = TypeVar("Taken")
_Endpoint = Callable[..., Awaitable[Response]]


def api_router(
    desk: Desk,
    key: str | Sequence[str],
    running: Callable[[], AbstractAsyncContextManager[object]],
    *,
    error_mode: ErrorMode,
    body_bytes: int,
) -> APIRouter:
    """Make the routes.

    Args:
        key: see `Keys`.
        running: runs the hub; entered by the app's lifespan.
    Raises:
        DeclarationError: a key or an option is none.
    """
    if error_mode not in get_args(ErrorMode):
        raise DeclarationError(f"error_mode is {error_mode!r}: it is 'body' or 'transport'")
    if body_bytes < 1:
        raise DeclarationError(f"body_bytes is {body_bytes!r}: it must be at least 1")

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with running():
            yield

    door = _Door(desk, error_mode, body_bytes)
    router = APIRouter(
        prefix="/api", tags=["server API"], dependencies=[Depends(Keys(key, desk.node.notices))], lifespan=lifespan
    )

    def add(name: str, call: _Endpoint, told: Callable[..., Any], **shown: Any) -> None:
        words = inspect.getdoc(told)
        router.add_api_route(f"/{name}", call, methods=["POST"], name=name, description=words, **shown)

    for name, method in desk.methods.items():
        shapes = {"responses": schemas.responses(method), "openapi_extra": schemas.request(method.request)}
        add(name, door.method(name), method.carry_out, **shapes)
    shapes = {"responses": schemas.batch_responses(), "openapi_extra": schemas.request(BatchRequest)}
    add("batch", door.batch, desk.batch, **shapes)
    for name in sorted(NOT_OFFERED):
        router.add_api_route(f"/{name}", door.method(name), methods=["POST"], name=name, include_in_schema=False)
    router.add_api_route("", door.lines, methods=["POST"], name="commands", include_in_schema=False)
    return router


class _Door:
    """What every request passes, once its key was found good."""

    def __init__(self, desk: Desk, error_mode: ErrorMode, body_bytes: int) -> None:
        self._desk = desk
        self._error_mode = error_mode
        self._body_bytes = body_bytes

    def method(self, name: str) -> _Endpoint:
        """Give the endpoint of a method."""

        async def call(request: Request) -> Response:
            result = await self._taken(partial(self._desk.take, name), request)
            return self._failed(result, request) if isinstance(result, Error) else _json({"result": result})

        return call

    async def batch(self, request: Request) -> Response:
        """Answer a batch: its replies are not within a result, as the reference has it."""
        result = await self._taken(self._desk.batch, request)
        return self._failed(result, request) if isinstance(result, Error) else _json(result)

    async def lines(self, request: Request) -> Response:
        """Answer commands of the old form."""
        return Response(await self._taken(self._desk.lines, request), media_type=_JSON)

    def _failed(self, error: Error, request: Request) -> Response:
        if "transport" not in (request.headers.get(schemas.ERROR_MODE), self._error_mode):
            return _json({"error": error})
        return _json(error, STATUSES.get(error.code, OTHER_STATUS))

    async def _taken(self, take: Callable[[bytes], Awaitable[Taken]], request: Request) -> Taken:
        if not self._desk.node.started:
            raise HTTPException(503, "the hub does not run")
        body = await self._body(request)
        try:
            return await take(body)
        except NotJSON as error:
            raise self._refused(400, str(error)) from None

    def _refused(self, status: int, words: str) -> HTTPException:
        log = "a request of the server API is refused with %d: %s"
        self._desk.node.notices.take("api_requests_refused", log, status, words)
        return HTTPException(status, words)

    async def _body(self, request: Request) -> bytes:
        chunks: list[bytes] = []
        left = self._body_bytes
        try:
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    raise self._refused(413, f"the body has more than {self._body_bytes} bytes")
                chunks.append(chunk)
        except ClientDisconnect:
            raise HTTPException(400, "the body broke off") from None  # nobody reads it; the log has no traceback
        return b"".join(chunks)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=_JSON)
