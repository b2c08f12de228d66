"""What pages of other origins may do over HTTP: those that may open a line, all of it; others, nothing."""

from __future__ import annotations

import logging

import pytest
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from openline import Hub
from openline.testing import started
from tests.serving import serving
from tests.streaming import EMULATION, SSE, STREAM, ask, streaming

OURS = "https://app.example.com"
THEIRS = "https://evil.example.org"
CONNECT = b'{"id":1,"connect":{}}'
PATHS = [STREAM, SSE, EMULATION]


@pytest.mark.parametrize("path", PATHS)
async def test_a_listed_page_may_read_the_answers(path: str) -> None:
    """Its origin is named, and caches are told that this depends on it; an answer to another is not for it."""
    async with serving(Hub(origins=[OURS])) as app:
        answer = await ask(app, "POST", path, b"", headers={"origin": OURS})
        assert answer.headers["access-control-allow-origin"] == OURS
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in (await ask(app, "POST", path, b"")).headers


async def test_a_stream_is_readable_as_the_posts_are() -> None:
    """The headers of the stream itself."""
    async with serving(Hub(origins=[OURS])) as app, streaming(app, headers={"origin": OURS}) as client:
        assert client.request.headers["access-control-allow-origin"] == OURS
        assert client.request.headers["vary"] == "Origin"


async def test_where_every_page_is_let_in_none_comes_in_its_users_name() -> None:
    """No cookies go along with what any page may send."""
    async with serving(Hub(origins=["*"])) as app, streaming(app, headers={"origin": THEIRS}) as client:
        assert client.request.headers["access-control-allow-origin"] == THEIRS
        assert "access-control-allow-credentials" not in client.request.headers


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_is_answered(path: str) -> None:
    """With what the page wants to send, for a while."""
    wants = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-team"}
    async with serving(Hub(origins=[OURS])) as app:
        answer = await ask(app, "OPTIONS", path, headers={"origin": OURS} | wants)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == OURS
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == "content-type,x-team"
        assert answer.headers["access-control-max-age"] == "600"
        odd = {"access-control-request-headers": "x: y\x7f"}
        answer = await ask(app, "OPTIONS", path, headers={"origin": OURS} | odd)
        assert "access-control-allow-headers" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [THEIRS, "null", "https://app.example.com.evil.org", "nonsense"])
async def test_a_hostile_page_opens_and_posts_nothing(path: str, origin: str) -> None:
    """Nor does it by a form, whose type no browser asks about: the origin counts, whatever the body says it is."""
    hub = Hub(origins=[OURS])
    async with serving(hub) as app, streaming(app) as victim:
        for method, kind in (("POST", "text/plain"), ("POST", "application/x-www-form-urlencoded"), ("OPTIONS", "")):
            answer = await ask(app, method, path, CONNECT, headers={"origin": origin, "content-type": kind})
            assert answer.status == 403
            assert "access-control-allow-origin" not in answer.headers
        assert len(hub.sessions) == 1
        assert await victim.post("nonsense", origin=origin) == 403
        assert hub.counters.origins_refused == 4
        assert (await victim.command("rpc", method="x"))["error"]["code"] == 108


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_an_image_of_another_site_opens_nothing(site: str, caplog: pytest.LogCaptureFixture) -> None:
    """It names no origin, but browsers say where it is from; the log says so too."""
    hub = Hub(origins=[OURS])
    async with serving(hub) as app:
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
        with caplog.at_level(logging.WARNING):
            answer = await ask(app, "GET", f"{SSE}?cf_connect=%7B%22id%22:1,%22connect%22:%7B%7D%7D", headers=headers)
        assert answer.status == 403
        assert not hub.sessions
        assert "no-cors" in caplog.text


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_a_page_of_the_hosts_own_needs_no_origin(site: str) -> None:
    """A browser names none where it asks the page's own host."""
    async with serving(Hub()) as app, streaming(app, headers={"sec-fetch-site": site}):
        pass


async def test_an_app_with_cors_of_its_own() -> None:
    """Its middleware answers the preflights then, and overrides the headers: there is one of each."""
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=[OURS], allow_methods=["POST"], allow_headers=["content-type"])
    app.include_router(Hub(origins=[OURS]).router)
    async with started(app), streaming(app, headers={"origin": OURS}) as client:
        assert client.request.headers["access-control-allow-origin"] == OURS
