"""The page for clients without an SDK: its server, its commands and its scripts, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx2

from openline.protocol.unidirectional import LONGEST_ID_BYTES
from openline.routes.poll import DEFAULT_WAIT, LONGEST_WAIT
from tests.engines.ports import HeldPort
from tests.engines.valkey import ValkeyServer
from tests.pages import ROOT, page
from tests.running import Program, openline_run, running

GUIDE = page("docs/without-an-sdk.md")
MODULES = ROOT / "web/node_modules"


def commands() -> list[str]:
    """The commands of the page, scripts aside."""
    return [block.text for block in GUIDE.blocks("console") if not block.file]


async def say(here: str, text: str) -> None:
    """Publish as the page does."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"http://{here}/news/today", params={"text": text})
        assert answer.status_code == 200, answer.text


async def test_everyone_on_the_page_follows_the_same_channel(tmp_path: Path) -> None:
    """Curl by URL and by JSON, a WebSocket of JavaScript, a loop of polls; the page's own command speaks to them."""
    GUIDE.write_files(tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    # Node 20 has no WebSocket of its own, as browsers do.
    (tmp_path / "browser.mjs").write_text('import { WebSocket } from "ws";\nglobalThis.WebSocket = WebSocket;\n')
    speak, lines, posted = commands()
    async with openline_run("main:app", tmp_path) as port:
        here = f"127.0.0.1:{port}"
        script = tmp_path / "listen.mjs"
        script.write_text(script.read_text().replace("127.0.0.1:8000", here))
        shells = [["bash", "-c", line.replace("127.0.0.1:8000", here)] for line in (lines, posted)]
        async with (
            running(shells[0], tmp_path) as by_url,
            running(shells[1], tmp_path) as by_json,
            running(["node", "--import", "./browser.mjs", "listen.mjs"], tmp_path) as by_websocket,
            running(["bash", "follow.sh", f"http://{here}"], tmp_path) as by_polls,
        ):
            for program in (by_url, by_json):
                assert "news:today" in json.loads(await program.prints('"connect"'))["connect"]["subs"]
            await heard_by_all(here, by_websocket, by_polls)
            async with running(["bash", "-c", speak.replace("127.0.0.1:8000", here)], tmp_path):
                for program in (by_url, by_json, by_websocket, by_polls):
                    await program.prints("hello")


async def heard_by_all(here: str, *programs: Program) -> None:
    """Speak until programs have heard it that do not say when they have begun to listen."""
    spoken = asyncio.ensure_future(asyncio.gather(*(program.prints("is anybody there") for program in programs)))
    while not spoken.done():
        await say(here, "is anybody there")
        await asyncio.wait([spoken], timeout=0.2)
    await spoken


async def test_the_loop_of_polls_loses_nothing_when_it_goes_from_node_to_node_and_one_is_killed(tmp_path: Path) -> None:
    """It asks them in turn; what is published meanwhile, on either, comes once and in order."""
    GUIDE.write_files(tmp_path)
    with ValkeyServer("valkey") as engine:
        broker = f"{engine.url}?prefix=test{secrets.token_hex(8)}"
        async with served(tmp_path, broker) as (first, one), served(tmp_path, broker) as (_, two):
            nodes = [f"http://{here}" for here in (one, two)]
            async with running(["bash", "follow.sh", *nodes], tmp_path) as loop:
                await heard_by_all(one, loop)
                for number in range(40):
                    await say(two if number % 3 else one, f"number {number}.")
                await loop.prints("number 39.")
                await first.stop()
                for number in range(40, 80):
                    await say(two, f"number {number}.")
                await loop.prints("number 79.")
    numbers = [line for line in loop.output.splitlines() if line.startswith("number ")]
    assert numbers == [f"number {number}." for number in range(80)]


@asynccontextmanager
async def served(folder: Path, broker: str) -> AsyncIterator[tuple[Program, str]]:
    """Serve the page's program by a node that can be killed; give it and its address."""
    with closing(HeldPort()) as port:
        arguments = ["-m", "openline.cli", "run", "main:app", "--port", str(port.number)]
        command = ["env", f"BROKER={broker}", sys.executable, *arguments]
        async with running(command, folder) as node:
            await node.prints("running on")
            yield node, f"127.0.0.1:{port.number}"


async def test_the_answer_on_the_page_is_one(tmp_path: Path) -> None:
    """It has the fields that answers have."""
    GUIDE.write_files(tmp_path)
    (shown,) = [json.loads(block.text) for block in GUIDE.blocks("text") if not block.file]
    async with openline_run("main:app", tmp_path) as port, httpx2.AsyncClient(trust_env=False) as http:
        where = f"http://127.0.0.1:{port}/connection/poll"
        since = (await http.get(where, params={"channel": "news:today"})).json()["since"]
        await say(f"127.0.0.1:{port}", "hello")
        told = (await http.get(where, params={"channel": "news:today", "since": since})).json()
    assert set(told) == set(shown)
    mine, theirs = told["channels"]["news:today"], shown["channels"]["news:today"]
    assert set(mine) == set(theirs)
    (publication,) = mine["publications"]
    assert publication["data"] == theirs["publications"][0]["data"]
    assert shown["since"] == f"{theirs['offset']}:{theirs['epoch']}:news:today"


def test_the_numbers_on_the_page_are_those_of_the_code() -> None:
    """Waiting times and the length of ids."""
    assert f"from 0 to {LONGEST_WAIT:.0f}; {DEFAULT_WAIT:.0f} by default" in GUIDE.text
    assert f"{LONGEST_ID_BYTES:,} bytes of positions" in GUIDE.text
