"""An app with ``memory://`` is served by one process: with more it refuses to start, whichever server runs it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import websockets
from fastapi import FastAPI

from openline import Hub, UsageError, workers
from openline.testing import started
from tests.running import environment

MAIN: Final = """
from fastapi import FastAPI

from openline import Hub

app = FastAPI()
app.include_router(Hub().router)
app.include_router(Hub().router, prefix="/second")
"""

#: An app whose workers share a broker that the first of them starts; a client can ask which of them it has.
SHARED: Final = """
import os

from fastapi import FastAPI

from openline import History, Hub

app = FastAPI()
hub = Hub(os.environ["BROKER"])
app.include_router(hub.router)
room = hub.channel("room:{name}", history=History(size=100))


@hub.rpc("worker")
async def worker() -> int:
    return os.getpid()


@app.post("/rooms/{name}")
async def publish(name: str, text: str) -> int:
    return (await room.publish(text, name=name)).offset
"""

#: A server nobody has heard of, which gets no further than the start of the app.
STRANGER: Final = """
import asyncio

from main import app


async def receive():
    return {"type": "lifespan.startup"} if asked.pop() else await asyncio.Future()


async def send(message):
    print("the app says", message, flush=True)
    raise SystemExit


asked = [False, True]
asyncio.run(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
"""

#: One process, as a program runs it by itself, whatever the environment says.
BY_ITSELF: Final = """
import uvicorn

from main import app

uvicorn.Server(uvicorn.Config(app, port=0)).run()
"""

#: The same with Hypercorn, whose config has a number that only its command heeds; it runs until it is told to end.
HYPERCORN_BY_ITSELF: Final = """
import asyncio

from hypercorn.asyncio import serve
from hypercorn.config import Config

from main import app

config = Config()
config.bind, config.workers = ["127.0.0.1:0"], 4
asyncio.run(serve(app, config))
"""

MESSAGE: Final = "memory:// carries messages within one process, and there are 2 workers (so says {})"
_STARTED: Final = "Application startup complete"
WARNING: Final = "this server does not say how many there are"

#: A server that is refused has ended by then, on a machine with much else to do.
LIMIT_SECONDS: Final = 40

UVICORN: Final = ("-m", "uvicorn", "main:app", "--port", "0")
OPENLINE: Final = ("-m", "openline.cli", "run", "main:app", "--port", "0")
HYPERCORN: Final = ("-m", "hypercorn", "main:app", "--bind", "127.0.0.1:0")
FASTAPI: Final = ("-m", "fastapi", "run", "main.py", "--port", "0")
GUNICORN: Final = ("-m", "gunicorn", "main:app", "-b", "127.0.0.1:0", "-k", "uvicorn_worker.UvicornWorker")
GRANIAN: Final = ("-m", "granian", "main:app", "--interface", "asgi", "--port", "0")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the app in it; the environment says nothing of workers."""
    for variable in ("WEB_CONCURRENCY", "GRANIAN_WORKERS"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "main.py").write_text(MAIN)
    (tmp_path / "stranger.py").write_text(STRANGER)
    (tmp_path / "by_itself.py").write_text(BY_ITSELF)
    (tmp_path / "hypercorn_by_itself.py").write_text(HYPERCORN_BY_ITSELF)
    return tmp_path


@contextmanager
def server(
    folder: Path, command: Sequence[str], variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a server with its workers; whatever is left of them at the end is killed."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment()
        | {"PYTHONPATH": f"{environment()['PYTHONPATH']}{os.pathsep}{folder}"}
        | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # The group is the session's, made above, and lives as long as its first process is not waited for.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=LIMIT_SECONDS)


def ends(process: subprocess.Popen[str]) -> str:
    """Wait until a server has ended by itself; give what it printed."""
    output, _ = process.communicate(timeout=LIMIT_SECONDS)
    return output


def starts(process: subprocess.Popen[str], *, workers: int = 1) -> str:
    """Wait until a server serves with all its workers; give what it printed until then."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        # Uvicorn listens before its workers start; Hypercorn says nothing but that it listens, once they have.
        if "unning on http" in output and ("[INFO] Running on" in line or output.count(_STARTED) == workers):
            return output
    raise AssertionError(f"it ended instead of serving:\n{output}")


# --- servers that say it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "variables", "source"),
    [
        pytest.param((*UVICORN, "--workers", "2"), {}, "uvicorn", id="uvicorn"),
        pytest.param(UVICORN, {"WEB_CONCURRENCY": "2"}, "uvicorn", id="uvicorn by WEB_CONCURRENCY"),
        pytest.param((*OPENLINE, "--workers", "2"), {}, "uvicorn", id="openline run"),
        pytest.param(OPENLINE, {"WEB_CONCURRENCY": "2"}, "uvicorn", id="openline run by WEB_CONCURRENCY"),
        pytest.param((*FASTAPI, "--workers", "2"), {}, "uvicorn", id="fastapi run"),
        pytest.param((*HYPERCORN, "--workers", "2"), {}, "Hypercorn", id="hypercorn"),
        pytest.param((*GUNICORN, "--workers", "2"), {}, "Gunicorn", id="gunicorn"),
        pytest.param(GUNICORN, {"WEB_CONCURRENCY": "2"}, "Gunicorn", id="gunicorn by WEB_CONCURRENCY"),
        pytest.param((*GRANIAN, "--workers", "2"), {}, "Granian", id="granian"),
    ],
)
def test_two_workers_are_refused(
    folder: Path, command: Sequence[str], variables: Mapping[str, str], source: str
) -> None:
    """The server ends, and its last words name the number, who said so, and the ways out; nothing is tried for ever."""
    with server(folder, command, variables) as process:
        output = ends(process)

    assert MESSAGE.format(source) in output
    for way_out in ("run one worker", 'Hub("valkey://host:6379")', 'Hub("nats://host:4222")', "valkey+embedded://"):
        assert way_out in output


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        pytest.param((*UVICORN, "--workers", "1"), {}, id="uvicorn"),
        pytest.param((*UVICORN, "--reload"), {}, id="uvicorn with --reload"),
        pytest.param((*UVICORN, "--reload"), {"WEB_CONCURRENCY": "2"}, id="uvicorn, whose --reload runs one"),
        pytest.param(("by_itself.py",), {"WEB_CONCURRENCY": "2"}, id="uvicorn, run by a program"),
        pytest.param((*OPENLINE, "--workers", "1"), {}, id="openline run"),
        pytest.param((*FASTAPI, "--workers", "1"), {}, id="fastapi run"),
        pytest.param(FASTAPI, {}, id="fastapi run, alone"),
        pytest.param((*HYPERCORN, "--workers", "1"), {}, id="hypercorn"),
        pytest.param((*HYPERCORN, "--workers", "0"), {}, id="hypercorn in its own process"),
        pytest.param(("hypercorn_by_itself.py",), {}, id="hypercorn, run by a program"),
        pytest.param(HYPERCORN, {"WEB_CONCURRENCY": "2"}, id="hypercorn, which does not read WEB_CONCURRENCY"),
    ],
)
def test_one_worker_starts(folder: Path, command: Sequence[str], variables: Mapping[str, str]) -> None:
    """And nothing is said about workers."""
    with server(folder, command, variables) as process:
        output = starts(process)
        process.terminate()
        output += ends(process)

    assert WARNING not in output
    assert "there are" not in output


# --- workers that share a broker ----------------------------------------------------------------------------------


async def ask(client: websockets.ClientConnection, **command: Any) -> Any:
    """Send a command; give the reply."""
    await client.send(json.dumps({"id": 1, **command}))
    return json.loads(await client.recv())


async def test_workers_with_a_broker_hear_each_other(folder: Path) -> None:
    """``--workers 2`` and `valkey+embedded://`, with nothing else set up: clients of either worker hear it once."""
    (folder / "shared.py").write_text(SHARED)
    command = ("-m", "openline.cli", "run", "shared:app", "--port", "0", "--workers", "2")
    variables = {"BROKER": f"valkey+embedded://{folder}/valkey"}
    async with AsyncExitStack() as stack:
        process = stack.enter_context(server(folder, command, variables))
        port = re.search(r"unning on http://127\.0\.0\.1:(\d+)", await asyncio.to_thread(starts, process, workers=2))
        assert port is not None
        clients: dict[int, websockets.ClientConnection] = {}
        while len(clients) < 2:  # which worker takes a connection is the system's choice
            url = f"ws://127.0.0.1:{port[1]}/connection/websocket"
            client = await stack.enter_async_context(websockets.connect(url, proxy=None))
            await ask(client, connect={})
            worker = (await ask(client, rpc={"method": "worker"}))["rpc"]["data"]
            clients.setdefault(worker, client)
        for client in clients.values():
            assert "subscribe" in await ask(client, subscribe={"channel": "room:lobby"})
        async with httpx2.AsyncClient(trust_env=False) as http:
            for text in ("one", "two", "three"):
                await http.post(f"http://127.0.0.1:{port[1]}/rooms/lobby", params={"text": text})
        heard = [await publications(client, 3) for client in clients.values()]
        process.terminate()
        await asyncio.to_thread(ends, process)

    assert heard == [["one", "two", "three"]] * 2
    assert not list((folder / "valkey").glob("*.sock"))


async def publications(client: websockets.ClientConnection, count: int) -> list[str]:
    """Read on until so many publications have come; give what they say."""
    found: list[str] = []
    while len(found) < count:
        pushes = [json.loads(line).get("push", {}) for line in str(await client.recv()).splitlines()]
        found += [push["pub"]["data"] for push in pushes if "pub" in push]
    return found


# --- servers that do not ------------------------------------------------------------------------------------------


def test_where_nobody_says_it_a_warning_is_logged_once(folder: Path) -> None:
    """There are two hubs in the app, and one line in the log."""
    with server(folder, ("stranger.py",)) as process:
        output = ends(process)

    assert output.count(WARNING) == 1
    assert "lifespan.startup.complete" in output


@pytest.mark.parametrize(
    ("arguments", "variables", "source"),
    [
        (("--workers", "2"), {}, "the option of stranger.py"),
        (("--verbose", "-w2"), {"WEB_CONCURRENCY": "1"}, "the option of stranger.py"),
        ((), {"WEB_CONCURRENCY": "2"}, "WEB_CONCURRENCY"),
    ],
)
def test_an_unknown_server_is_believed_by_its_command(
    folder: Path, arguments: Sequence[str], variables: Mapping[str, str], source: str
) -> None:
    """The option of the command comes before the variable of the environment."""
    with server(folder, ("stranger.py", *arguments), variables) as process:
        output = ends(process)

    assert "lifespan.startup.failed" in output
    assert MESSAGE.format(source) in output


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (("--workers", "3"), 3),
        (("--workers=3",), 3),
        (("-w", "3"), 3),
        (("-w3",), 3),
        (("-w=3",), 3),
        (("--workers", "0"), 1),
        (("--workers",), None),
        (("--workers", "many"), None),
        (("--workers-max", "3"), None),
        (("--threads", "3"), None),
    ],
)
def test_options_are_read_as_servers_spell_them(arguments: Sequence[str], number: int | None) -> None:
    """With a blank, with an equals sign, short or long; zero workers is the command's own process."""
    declared = workers._declared({}, ("/usr/bin/server", *arguments))

    assert (declared.number if declared else None) == number


# --- no server ----------------------------------------------------------------------------------------------------


async def test_a_test_of_the_app_is_no_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What the environment says of workers is for servers; nothing is refused and nothing said."""
    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    app = FastAPI()
    app.include_router(Hub().router)

    with caplog.at_level(logging.WARNING, "openline"):
        async with started(app):
            assert workers.count() == (None, "")

    assert WARNING not in caplog.text


def test_other_brokers_are_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a broker that all workers share there may be as many as you like."""
    monkeypatch.setattr(workers, "count", lambda: workers.Count(4, "uvicorn"))

    for url in ("valkey://localhost:6379", "valkey+embedded://", "nats://localhost:4222"):
        workers.check(url)
    with pytest.raises(UsageError, match=r"there are 4 workers \(so says uvicorn\)"):
        workers.check("memory://")
