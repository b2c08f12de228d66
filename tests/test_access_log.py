"""The server's log has no tokens: whatever the command, however many processes, for requests and for WebSockets."""

from __future__ import annotations

import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx2
import pytest
import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from openline.access_log import LOGGERS, WithoutTokens, masked, without_tokens
from tests.servers.server import STOP_SECONDS, Server

SECRET: Final = "SECRETTOKEN"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/connection/poll?channel=a&token=SECRET", "/connection/poll?channel=a&token=***"),
        ("/connection/sse?cf_connect=%7B%22token%22%3A%22SECRET%22%7D", "/connection/sse?cf_connect=***"),
        ("/api/publish?api_key=SECRET&x=1", "/api/publish?api_key=***&x=1"),
        ("/a?token=SECRET&token=SECRET", "/a?token=***&token=***"),
        ("/a?%74oken=SECRET", "/a?%74oken=***"),
        ("/a?token=SECRET;SECRET?SECRET=SECRET", "/a?token=***"),
        ("/a?tokens=1&token=&x=token=1", "/a?tokens=1&token=&x=token=1"),
        ("/token=1", "/token=1"),
    ],
)
def test_the_values_of_tokens_are_masked_and_nothing_else(url: str, shown: str) -> None:
    """In each place of a query, whatever stands around them, and however the name is written."""
    assert masked(url) == shown


def test_a_line_is_let_through_whatever_is_in_it() -> None:
    """Numbers, objects, nothing: only texts are looked at."""
    for arguments in ((), ("?token=x", 200, None, b"?token=x"), ({"token": "x"},)):
        record = logging.LogRecord("x", logging.INFO, "", 0, "said", arguments, None)
        assert WithoutTokens().filter(record)
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s %d", ("/?token=x", 200), None)
    assert WithoutTokens().filter(record)
    assert record.getMessage() == "/?token=*** 200"


def test_what_uvicorn_gives_its_processes_is_plain_data() -> None:
    """Its own configuration is left alone, and what is made of it goes through a pipe."""
    config = without_tokens(uvicorn.config.LOGGING_CONFIG)
    assert pickle.loads(pickle.dumps(config)) == config
    assert "filters" not in uvicorn.config.LOGGING_CONFIG
    assert all(config["loggers"][name]["filters"] == ["without_tokens"] for name in LOGGERS)


def asked(server: Server) -> None:
    """Send a token in each of the ways there are for it in a URL."""
    command = quote('{"id":1,"connect":{"token":"' + SECRET + '"}}')
    with httpx2.Client(base_url=server.http, trust_env=False, timeout=10) as client:
        for query in (f"poll?channel=nowhere&wait=0&token={SECRET}", f"uni_sse?channel=nowhere&token={SECRET}"):
            client.get(f"/connection/{query}")
        with client.stream("GET", f"/connection/sse?cf_connect={command}") as answer:
            assert answer.status_code == 200
    address = server.websocket().replace("connection/websocket", f"nowhere?token={SECRET}")
    with pytest.raises(InvalidStatus), connect(address, proxy=None):
        pass


@pytest.fixture(params=["run", "serve"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server that logs requests."""
    if request.param == "serve":
        file = tmp_path / "openline.toml"
        file.write_text(
            "[server]\nport = 0\naccess_log = true\n[auth]\nanonymous = true\n[[channels]]\npattern = 'a'\n"
        )
        running = Server("serve", "--config", str(file))
    else:
        running = Server("openline")
    yield running
    running.kill()


def test_no_token_is_in_the_log_of_a_server(server: Server) -> None:
    """However it came: of a stream, of a poll, of a WebSocket."""
    asked(server)
    server.stop()
    assert SECRET not in server.log
    assert "/connection/sse?cf_connect=*** " in server.log
    assert "channel=nowhere&wait=0&token=*** " in server.log
    assert "/nowhere?token=***" in server.log


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)], ids=["workers", "reload"])
def test_nor_where_uvicorn_starts_processes(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Each of which sets up its log by what it was given."""
    command = (sys.executable, "-m", "openline.cli", "run", "fastapi:FastAPI", "--port", "0", *options)
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            log = ""
            while (found := re.search(r"running on (http://\S+)", log)) is None:
                line = process.stdout.readline()
                assert line, log
                log += line
            ask_once(f"{found[1]}/nowhere?token={SECRET}")
            process.terminate()
            log += process.communicate(timeout=STOP_SECONDS)[0]
        finally:
            process.kill()
    assert SECRET not in log
    assert '"GET /nowhere?token=*** HTTP/1.1" 404' in log


def ask_once(url: str) -> None:
    """Send a request as soon as somebody takes it."""
    while True:
        with suppress(httpx2.ConnectError):
            httpx2.get(url, trust_env=False, timeout=10)
            return
