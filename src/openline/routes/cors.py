"""What a page of another origin is told of an HTTP answer: the pages that may open a line may read it, and no others.

A line over HTTP is opened and spoken on by ordinary requests, and browsers guard those with CORS. Who is let in is
decided by `Origins`, as for WebSocket.

An answer to which cookies went along may be read only where the origin is listed by name: with ``"*"`` every page may
connect, and none reads what comes in its user's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.requests import HTTPConnection

from openline.routes.door import Door, Refused

#: How long a browser need not ask again, in seconds.
_MAX_AGE: Final = b"600"
_NAMES: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}", re.ASCII)

Headers = list[tuple[bytes, bytes]]


def cors_headers(door: Door, connection: HTTPConnection) -> Headers:
    """Give the headers by which the page of a request may read its answer; names in lower case."""
    headers: Headers = [(b"vary", b"Origin")]
    given = connection.headers.getlist("origin")
    if given and door.origins.allows(given, connection.headers.getlist("host")):
        headers.append((b"access-control-allow-origin", given[0].encode("latin-1")))
        if not door.origins.all_pages:
            headers.append((b"access-control-allow-credentials", b"true"))
    return headers


def preflight(door: Door, request: Request, methods: Iterable[str]) -> Response:
    """Answer what a browser asks before it lets a page send its request.

    Also while the hub stops: a page is told of nothing but a request that failed, and may take that for worse.
    """
    headers = cors_headers(door, request)
    try:
        door.check_page(request)
    except Refused as refused:
        return answer(refused.status, refused.cause, headers)
    headers.append((b"access-control-allow-methods", ", ".join(methods).encode()))
    wanted = request.headers.get("access-control-request-headers", "")
    if _NAMES.fullmatch(wanted):
        headers.append((b"access-control-allow-headers", wanted.encode()))
    headers.append((b"access-control-max-age", _MAX_AGE))
    return answer(204, "", headers)


def add_preflight(router: APIRouter, door: Door, path: str, methods: Iterable[str]) -> None:
    """Answer OPTIONS on a path.

    The dependencies of `include_router` do not hold here: a preflight has neither cookies nor a key with it.

    Args:
        methods: that a page may use there.
    """
    allowed = (*methods, "OPTIONS")

    async def options(request: Request) -> Response:
        return preflight(door, request, allowed)

    router.add_route(path, options, methods=["OPTIONS"], include_in_schema=False)


def answer(status: int, text: str, headers: Headers) -> Response:
    """Give a short answer, which nobody keeps."""
    response = Response(text, status_code=status, media_type="text/plain" if text else None)
    response.raw_headers += [(b"cache-control", b"no-store"), *headers]
    return response
