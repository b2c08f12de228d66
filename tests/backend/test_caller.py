"""Requests that go wrong: whatever the back end does, its event ends in time, and the client is told to try again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from fastapi import Response
from fastapi.responses import JSONResponse, RedirectResponse

from openline import DeclarationError, Hub, UsageError
from openline.backend import BackendEvents
from openline.backend.caller import Caller, Unanswered
from openline.backend.journal import Journal
from openline.testing import Client, connect
from tests.backend.service import house, service
from tests.serving import refused, serving

OK: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"result":{}}'


class Broken:
    """A server that answers each request, in their order, by what a test wrote down: bytes, or nothing and the end."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0) if self.answers else OK
                writer.write(answer)
                if not answer.startswith(b"HTTP/1.1 200 OK") or b"close" in answer:
                    return
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def broken(*answers: bytes) -> AsyncIterator[Broken]:
    """Run such a server."""
    running = Broken(*answers)
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    async with server:
        running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/event"
        yield running


async def ask(client: Client, event: str) -> None:
    """Have an event come up."""
    if event == "subscribe":
        await client.subscribe("room:a")
    elif event == "publish":
        await client.publish("room:a", 1)
    else:
        await client.rpc("any", None)


# --- answers that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(lambda: JSONResponse({"result": {}}, 500), "it answered with status 500", id="500"),
        pytest.param(lambda: JSONResponse({"result": {}}, 201), "it answered with status 201", id="201"),
        pytest.param(lambda: RedirectResponse("/rpc2"), "it answered with status 307", id="a redirect"),
        pytest.param(lambda: Response(b"<h1>hello</h1>"), "it answered what is no answer", id="no JSON"),
        pytest.param(lambda: Response(b""), "it answered what is no answer", id="nothing"),
        pytest.param(lambda: Response(b"[" * 4_000), "it answered what is no answer", id="JSON without an end"),
        pytest.param(lambda: Response(b"[]"), "it answered what is no answer", id="JSON that is no object"),
        pytest.param(lambda: Response(b" " * 5_000), "its answer is larger than 4096 bytes", id="a huge answer"),
        pytest.param(
            lambda: Response(b"x", headers={"content-encoding": "gzip"}), "its answer is compressed", id="compressed"
        ),
    ],
)
@pytest.mark.parametrize("event", ["subscribe", "rpc"])
async def test_an_answer_that_is_none_is_100_at_once_and_said_in_the_log(
    event: str, answer: Callable[[], Response], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked once: the same question would be answered the same. The connection stays."""
    async with (
        service() as back_end,
        house(back_end, event, answer_bytes=4096) as house_,
        connect(house_.app) as client,
    ):
        back_end.answers[event] = answer()
        assert await refused(ask(client, event)) == 100
        assert back_end.times(event) == 1
        counts = house_.events.counts[event]
        assert (counts.asked, counts.failed, counts.retried) == (1, 1, 0)
        assert f"{event} event to {back_end.url(event)} failed: {reason}" in caplog.text
        assert house_.hub.counters.handler_errors == 0
        back_end.answers.clear()
        await ask(client, event)


async def test_an_answer_that_never_ends_is_cut_at_its_limit() -> None:
    """However it comes: what is read of it is bounded."""
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b" " * 4096 + b"\r\n"
    async with (
        broken(endless * 2) as server,
        house(None, rpc=server.url, answer_bytes=4000) as house_,
        connect(house_.app) as client,
    ):
        assert await refused(client.rpc("any", None)) == 100


# --- no answer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["subscribe", "publish", "rpc"])
async def test_a_slow_back_end_holds_nobody_longer_than_the_timeout(
    event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All tries together; other clients are served meanwhile."""
    never = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    options: dict[str, Any] = {event: url, "timeout_seconds": 0.2}
    async with server, house(None, **options) as house_, connect(house_.app) as client:
        assert await refused(ask(client, event)) == 100
        never.set()
    assert f"{event} event to {url} failed: no answer in 0.2 seconds" in caplog.text


async def test_an_answer_that_trickles_is_no_answer_in_time() -> None:
    """Each byte is in time, and all of them are not."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, house(None, rpc=url, timeout_seconds=0.3) as house_, connect(house_.app) as client:
        assert await refused(client.rpc("any", None)) == 100


async def test_a_dead_back_end_is_tried_again_as_nothing_has_arrived(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the event; then the client is told to try again."""
    async with broken() as server:
        url = server.url
    async with house(None, subscribe=url, rpc=url, retries=2) as house_, connect(house_.app) as client:
        assert await refused(client.subscribe("room:a")) == 100
        assert await refused(client.rpc("any", None)) == 100
        for event in ("subscribe", "rpc"):
            counts = house_.events.counts[event]
            assert (counts.asked, counts.failed, counts.retried) == (1, 1, 2)
    assert "no connection" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="the connection is closed"),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{", id="half an answer"),
        pytest.param(b"no HTTP\r\n\r\n", id="no HTTP"),
    ],
)
async def test_a_broken_connection_is_tried_again_where_that_is_safe(answer: bytes) -> None:
    """Asking twice whether somebody may subscribe changes nothing; a call may be carried out twice, and is not."""
    async with (
        broken(answer, OK, answer, OK) as server,
        house(None, subscribe=server.url, publish=server.url, rpc=server.url) as house_,
        connect(house_.app) as client,
    ):
        await client.subscribe("room:a")
        assert len(server.requests) == 2
        assert await refused(client.rpc("any", None)) == 100
        assert len(server.requests) == 3
        await client.publish("room:a", 1)
        assert len(server.requests) == 4


async def test_tries_are_bounded() -> None:
    """One and `retries` more."""
    async with broken(*[b""] * 9) as server, house(None, subscribe=server.url, retries=1) as house_:
        async with connect(house_.app) as client:
            assert await refused(client.subscribe("room:a")) == 100
        assert len(server.requests) == 2


# --- connections ------------------------------------------------------------------------------------------------------


async def test_connections_are_kept_and_bounded() -> None:
    """A hundred events at once share four; each waits its turn within its time."""
    async with service() as back_end, house(back_end, "rpc", concurrency=4) as house_:
        most = now = 0

        async def answer(said: dict[str, Any]) -> dict[str, Any]:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1
            return {"result": {"data": said["data"]}}

        back_end.answers["rpc"] = answer

        async def ask(number: int) -> None:
            async with connect(house_.app) as client:
                for again in range(4):
                    assert await client.rpc("any", [number, again]) == [number, again]

        await asyncio.gather(*map(ask, range(25)))
        assert most == 4


async def test_no_cookie_of_an_answer_goes_with_another_event() -> None:
    """It belongs to one user, and the connection to all."""
    async with service() as back_end, house(back_end, "rpc") as house_, connect(house_.app) as client:
        cookie = {"set-cookie": "session=of-ann"}
        back_end.answers["rpc"] = lambda said: JSONResponse({"result": {}}, headers=cookie)
        for _ in range(2):
            await client.rpc("any", None)
        assert "cookie" not in back_end.last("rpc").headers


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked is who may do what: it goes straight to the back end."""
    async with broken() as dead:
        pass
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, dead.url)
    async with service() as back_end, house(back_end, "rpc") as house_, connect(house_.app) as client:
        await client.rpc("any", None)


async def test_a_failure_that_repeats_is_said_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    """A back end that is away fails every event."""
    async with service() as back_end, house(back_end, "rpc") as house_, connect(house_.app) as client:
        back_end.answers["rpc"] = JSONResponse({}, 503)
        for _ in range(5):
            assert await refused(client.rpc("any", None)) == 100
        assert house_.events.counts["rpc"].failed == 5
    assert caplog.text.count("it answered with status 503") == 1


async def test_nothing_of_what_is_no_http_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It may be of an answer; and however it differs, it is said once."""
    answers = [b"no HTTP of card %d\r\n\r\n" % number for number in range(1000, 1004)]
    answers += [b"HTTP/1.1 200 OK\r\nx-card %d\r\n\r\n" % number for number in range(1004, 1008)]
    async with (
        broken(*answers) as server,
        house(None, rpc=server.url, retries=0) as house_,
        connect(house_.app) as client,
    ):
        for _ in answers:
            assert await refused(client.rpc("any", None)) == 100
        assert house_.events.counts["rpc"].failed == len(answers)
    assert caplog.text.count("it answered what is no HTTP") == 1
    assert "card" not in caplog.text


async def test_answers_that_differ_in_numbers_alone_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A back end that is out of order would else fill the log, a line for each answer."""
    async with service() as back_end, house(back_end, "rpc") as house_, connect(house_.app) as client:
        for number in range(6):
            back_end.answers["rpc"] = {"error": {"code": 5000 + number}}
            assert await refused(client.rpc("any", None)) == 100
    assert caplog.text.count("it answered error code") == 1


async def test_events_that_do_not_run_say_so(caplog: pytest.LogCaptureFixture) -> None:
    """`running()` was forgotten: the client is told 100, the log why."""
    hub = Hub()
    events = BackendEvents(rpc="http://127.0.0.1:9/rpc")
    events.attach(hub)
    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.rpc("any", None)) == 100
    assert "BackendEvents.running()" in caplog.text


async def test_the_caller_says_whether_a_request_may_have_arrived() -> None:
    """Which decides on trying again."""
    options: dict[str, Any] = {"secret": None, "retries": 0, "concurrency": 1, "answer_bytes": 100}
    caller = Caller(Journal(("rpc",)), timeout_seconds=5, **options)
    with pytest.raises(UsageError):
        await caller.ask("rpc", "http://127.0.0.1:9/", b"", (), repeatable=False)
    async with broken() as dead:
        pass
    async with caller.running(), broken(b"") as server:
        started = time.monotonic()
        for url, arrived in ((dead.url, False), (server.url, True)):
            with pytest.raises(Unanswered) as caught:
                await caller.ask("rpc", url, b"{}", (), repeatable=False)
            assert caught.value.arrived is arrived
        assert time.monotonic() - started < 5


async def test_a_header_that_cannot_be_sent_is_sent_to_nobody() -> None:
    """A server may have taken it from a client all the same."""
    options: dict[str, Any] = {"secret": None, "retries": 2, "concurrency": 1, "answer_bytes": 100}
    caller = Caller(Journal(("rpc",)), timeout_seconds=5, **options)
    async with caller.running(), broken() as server:
        with pytest.raises(Unanswered, match="a header cannot be sent"):
            await caller.ask("rpc", server.url, b"{}", [(b"cookie", b"a\x0bb")], repeatable=True)
        assert await caller.ask("rpc", server.url, b"{}", [(b"cookie", b"a")], repeatable=True)
        assert len(server.requests) == 1


def test_what_cannot_be_is_refused_as_it_is_made() -> None:
    """Each names what is wrong; none repeats a URL, which may hold a secret."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"connect": "ftp://host/x"}, "connect is no http"),
        ({"rpc": "http:///x"}, "rpc is no http"),
        ({"rpc": "http://host:x/"}, "rpc is no http"),
        ({"rpc": "http://host/a b"}, "rpc is no http"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"retries": -1}, "retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"headers": ["Connection"]}, "'Connection' belongs to the connection"),
    ]
    for options, words in wrong:
        with pytest.raises(DeclarationError, match=words):
            BackendEvents(**options)


def test_attaching_refuses_events_and_placeholders_that_cannot_be() -> None:
    """A channel whose placeholder has the name of what the handlers take; an event channels do not have."""
    events = BackendEvents(subscribe="http://127.0.0.1:9/", rpc="http://127.0.0.1:9/")
    hub = Hub()
    with pytest.raises(DeclarationError, match="placeholder cannot be called 'token'"):
        events.attach(hub, [(hub.channel("room:{token}"), None)])
    with pytest.raises(DeclarationError, match="'rpc' is no event of channels"):
        events.attach(Hub(), [(hub.channel("other:{name}"), {"rpc"})])
    with pytest.raises(DeclarationError, match="already"):
        events.attach(hub)
