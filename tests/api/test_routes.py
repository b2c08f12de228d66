"""How the API is asked over HTTP: bodies, errors in their two ways, what is not offered, and the OpenAPI page."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from anyio import to_thread
from fastapi import Depends, FastAPI, HTTPException

from openline import DeclarationError, Hub
from openline.testing import connect, started
from tests.api.house import ADDRESS, KEY, BackEnd, back_end, house_hub

TRANSPORT = {"X-Centrifugo-Error-Mode": "transport"}
METHODS = {
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "rpc",
    "batch",
}


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{", b'{"channel":"news:a","data":}', b"\xff", b"{} {}", b"[1"])
@pytest.mark.parametrize("headers", [{}, TRANSPORT])
async def test_a_body_that_is_no_json_is_a_bad_request(body: bytes, headers: dict[str, str]) -> None:
    """Status 400, however errors are told."""
    async with back_end() as it:
        for method in ("publish", "batch"):
            assert (await it.http.post(f"/{method}", content=body, headers=headers)).status_code == 400


@pytest.mark.parametrize("body", [b"", b" \n", b"{}", b"null"])
async def test_an_empty_body_is_no_parameters(body: bytes) -> None:
    """So that `curl -X POST` is enough for what has none."""
    async with back_end() as it:
        answer = await it.http.post("/info", content=body)
        assert (answer.status_code, list(answer.json())) == (200, ["result"])
        assert (await it.http.post("/publish", content=body)).json()["error"]["code"] == 107


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", None])
async def test_what_a_body_says_it_is_does_not_matter(kind: str | None) -> None:
    """It is JSON, as `curl -d` sends it too."""
    async with back_end() as it:
        headers = {} if kind is None else {"Content-Type": kind}
        answer = await it.http.post("/publish", content=b'{"channel":"news:a","data":1}', headers=headers)
        assert answer.json()["result"]["offset"] == 1
        assert answer.headers["content-type"] == "application/json"


async def test_a_body_is_bounded() -> None:
    """However it comes: what is past the bound is not read."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1_000

    async with back_end(body_bytes=10_000) as it:
        assert (await it.http.post("/info", content=b" " * 10_000)).status_code == 200
        assert (await it.http.post("/info", content=b" " * 10_001)).status_code == 413
        assert (await it.http.post("/info", content=endless())).status_code == 413


async def test_a_body_that_breaks_off_is_nothing_to_worry_about() -> None:
    """A back end that went away in mid-request leaves no traceback, and nothing is done."""
    async with back_end() as it:
        headers = [(b"x-api-key", KEY.encode()), (b"content-length", b"100")]
        scope = {"type": "http", "method": "POST", "path": "/api/publish", "headers": headers, "query_string": b""}
        coming: Iterator[dict[str, Any]] = iter(
            [{"type": "http.request", "body": b'{"chan', "more_body": True}, {"type": "http.disconnect"}]
        )
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return next(coming)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await it.app(scope, receive, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 400


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "code", "status"),
    [
        ("publish", {"channel": "nowhere", "data": 1}, 102, 404),
        ("publish", {"channel": "news:a"}, 107, 400),
        ("presence", {"channel": "news:a"}, 108, 400),
        ("rpc", {"method": "none"}, 104, 404),
        ("history", {"channel": "news:a", "since": {"epoch": "other"}}, 112, 416),
    ],
)
async def test_errors_are_told_in_the_body_or_by_the_status(
    method: str, params: dict[str, Any], code: int, status: int
) -> None:
    """As the request or the API wants it; by the status the error stands bare."""
    async with back_end() as it:
        assert (await it.refused(method, **params))[0] == code
        answer = await it.http.post(f"/{method}", json=params, headers=TRANSPORT)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert list(answer.json()) == ["code", "message"]
    async with back_end(error_mode="transport") as it:
        assert (await it.http.post(f"/{method}", json=params)).status_code == status
        assert list((await it.http.post("/info")).json()) == ["result"]


async def test_what_is_not_offered_is_said_and_what_is_not_known_is_not_found() -> None:
    """Map channels and shared polls are error 108; methods nobody has are no address."""
    async with back_end() as it:
        for method in ("map_publish", "map_clear", "shared_poll_publish"):
            assert await it.refused(method) == (108, "not available")
        assert (await it.http.post("/dance")).status_code == 404
        assert (await it.http.get("/info")).status_code == 405


async def test_a_fault_of_the_server_is_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """And nothing of it in the answer."""

    def broken() -> None:
        raise ZeroDivisionError("as the test wants")

    async with back_end(procedures={"broken": broken}) as it:
        assert await it.refused("rpc", method="broken") == (100, "internal server error")
        answer = await it.http.post("/rpc", json={"method": "broken"}, headers=TRANSPORT)
        assert (answer.status_code, answer.json()["code"]) == (500, 100)
    assert "as the test wants" in caplog.text


async def test_a_hub_that_does_not_run_says_so() -> None:
    """Status 503: whoever asks tries another node, or later."""
    app = FastAPI()
    app.include_router(house_hub().api(KEY))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": KEY}) as http:
        assert (await http.post("/api/info")).status_code == 503
        async with started(app):  # the API starts the hub: there need be no line to it here
            assert (await http.post("/api/info")).status_code == 200


@pytest.mark.parametrize(("option", "value"), [("error_mode", "loud"), ("body_bytes", 0)])
def test_options_are_checked_as_they_are_declared(option: str, value: Any) -> None:
    """The message names the option and the value."""
    with pytest.raises(DeclarationError, match=f"{option} is {value!r}"):
        Hub().api(KEY, **{option: value})


# --- a router of FastAPI ----------------------------------------------------------------------------------------------


async def test_the_router_is_included_like_any_other() -> None:
    """Under a prefix, behind dependencies of the app's own, and beside the hub's lines."""

    def only_mondays() -> None:
        raise HTTPException(418)

    hub = house_hub()
    app = FastAPI()
    app.include_router(hub.router)
    app.include_router(hub.api(KEY), prefix="/inside")
    app.include_router(hub.api("other"), prefix="/later", dependencies=[Depends(only_mondays)])
    transport = httpx2.ASGITransport(app)
    async with started(app), httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        keyed = {"X-API-Key": KEY}
        async with connect(app, name="ann") as ann:
            await ann.subscribe("news:a")
            await http.post("/inside/api/publish", json={"channel": "news:a", "data": 1}, headers=keyed)
            assert (await ann.publication("news:a"))["data"] == 1
        assert (await http.post("/later/api/info", headers={"X-API-Key": "other"})).status_code == 418
        assert (await http.post("/inside/api/info", headers={"X-API-Key": "other"})).status_code == 401


# --- commands in one address ------------------------------------------------------------------------------------------


async def lines(it: BackEnd, body: bytes) -> httpx2.Response:
    """Post to the one address that the old form has."""
    return await it.http.post(ADDRESS, content=body)


async def test_commands_of_the_old_form_are_answered_line_by_line() -> None:
    """In their order; one that fails keeps no other back."""
    async with back_end() as it:
        commands = [
            b'{"method":"publish","params":{"channel":"news:a","data":1}}',
            b'{"method":"publish","params":{"channel":"nowhere","data":1}}',
            b'{"method":"dance"}',
            b'{"method":"presence_stats","params":{"channel":"tick:a"}}',
            b'{"method":"channels","params":null}',
        ]
        first, nowhere, dance, stats, channels = (await lines(it, b"\n".join(commands))).text.split("\n")
        assert re.fullmatch(r'\{"result":\{"offset":1,"epoch":"\w+"\}\}', first)
        assert '{"error":{"code":102,' in nowhere
        assert '{"error":{"code":104,' in dance
        assert stats == '{"result":{"num_clients":0,"num_users":0}}'
        assert channels == '{"result":{"channels":{}}}'


@pytest.mark.parametrize("body", [b"", b'{"method":"info"}\n{', b'{"method":3}', b'{"method":"info"}\n' * 10_001])
async def test_lines_that_are_no_commands_are_a_bad_request(body: bytes) -> None:
    """None of them is carried out."""
    async with back_end() as it:
        assert (await lines(it, body)).status_code == 400
        assert (await it.http.post(ADDRESS, content=b"{}", headers={"X-API-Key": "wrong"})).status_code == 401


# --- the OpenAPI page -------------------------------------------------------------------------------------------------


def test_the_page_shows_every_method_with_its_shapes() -> None:
    """What it takes, what it gives, both ways to tell an error, and where the key goes."""
    app = FastAPI()
    app.include_router(house_hub().api(KEY))
    page = app.openapi()
    assert set(page["paths"]) == {f"/api/{method}" for method in METHODS}
    for path in page["paths"].values():
        shown = path["post"]
        assert shown["description"]
        assert len(shown["security"]) == 3
        assert [parameter["name"] for parameter in shown["parameters"]] == ["X-Centrifugo-Error-Mode"]
        assert "422" not in shown["responses"]  # which is never given
        assert shown["requestBody"]["content"]["application/json"]["schema"]["type"] == "object"
        assert {"200", "400", "401", "404", "409", "413", "416", "500", "503"} <= set(shown["responses"])
        result, error = shown["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
        assert error["required"] == ["error"]
        assert result["type"] == "object"
    schemes = page["components"]["securitySchemes"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemes)
    assert {(scheme["in"], scheme["name"]) for scheme in schemes.values()} == {
        ("header", "X-API-Key"),
        ("header", "Authorization"),
        ("query", "api_key"),
    }


async def test_the_page_is_served() -> None:
    """Beside the app's own routes, which stay as they are."""
    async with back_end() as it:
        shown = (await it.http.get("http://test/openapi.json")).json()["paths"]["/api/publish"]["post"]
        body = shown["requestBody"]["content"]["application/json"]["schema"]
        assert body["required"] == ["channel"]
        assert body["properties"]["channel"]["description"] == "full name of a channel"
        assert body["properties"]["skip_history"]["default"] is False
        assert "$ref" not in str(body)


def fits(value: Any, shown: dict[str, Any]) -> bool:
    """Tell whether an answer has the members that the page requires of it."""
    shapes: list[dict[str, Any]] = shown.get("oneOf", [shown])
    required = [shape.get("required") for shape in shapes]
    return required.count(list(value)) == 1


@pytest.mark.parametrize("headers", [{}, TRANSPORT])
@pytest.mark.parametrize(
    ("body", "key", "status"),
    [
        (b"{", KEY, 400),
        (b'{"channel":"news:a"}', KEY, 400),
        (b'{"channel":"nowhere","data":1}', KEY, 404),
        (b"{}", "wrong", 401),
        (b" " * 1_001, KEY, 413),
    ],
)
async def test_the_page_says_what_is_answered(headers: dict[str, str], body: bytes, key: str, status: int) -> None:
    """In both ways to tell an error: whether it is a `detail`, or an error with its code."""
    async with back_end(body_bytes=1_000) as it:
        answer = await it.http.post("/publish", content=body, headers={**headers, "X-API-Key": key})
        assert answer.status_code in (status, 200 if not headers else status)
        shown = it.app.openapi()["paths"]["/api/publish"]["post"]["responses"][str(answer.status_code)]
        assert fits(answer.json(), shown["content"]["application/json"]["schema"])


# --- what is counted --------------------------------------------------------------------------------------------------


async def test_what_is_refused_is_counted_and_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """Who runs the hub sees that somebody tries keys, or sends what is no request; and who asks much."""
    async with back_end() as it:
        for _ in range(3):
            assert (await it.http.post("/info", headers={"X-API-Key": "wrong"})).status_code == 401
            assert (await it.http.post("/info", content=b"{")).status_code == 400
        await it.ask("batch", commands=[{"info": {}}, {"dance": {}}])
        counters = it.hub.counters
        assert (counters.api_keys_refused, counters.api_requests_refused) == (3, 3)
        assert (counters.api_requests, counters.api_errors, counters.api_failures) == (5, 1, 0)
    assert len([line for line in caplog.messages if "no key that is known" in line]) == 1
    assert len([line for line in caplog.messages if "refused with 400" in line]) == 1
    assert "wrong" not in caplog.text


# --- who else is served meanwhile -------------------------------------------------------------------------------------


async def test_the_api_answers_while_every_thread_is_busy() -> None:
    """It needs none: those are for the functions of the app."""
    done = threading.Event()
    async with back_end() as it:
        busy = [asyncio.create_task(to_thread.run_sync(done.wait)) for _ in range(50)]
        try:
            async with asyncio.timeout(10):
                assert (await it.http.post("/info")).status_code == 200
        finally:
            done.set()
            await asyncio.gather(*busy)


async def test_others_have_their_turn_while_a_large_batch_is_read() -> None:
    """Slice by slice, and a few commands at a time."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with back_end() as it:
        task = asyncio.create_task(other())
        command = {"publish": {"channel": "nowhere", "data": [[]] * 5_000}}
        await it.ask("batch", commands=[command] * 200, parallel=True)
        task.cancel()
    assert turns > 4_000_000 // 262_144 + 4_000_000 // 65_536
