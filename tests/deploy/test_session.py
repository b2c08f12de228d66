"""The session of docs/networks.md, as it is written: every client follows one channel of `openline serve`."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, final

import pytest
from playwright.async_api import async_playwright

from tests.browser.chromium import ARGUMENTS, find_chromium
from tests.pages import ROOT, Block, page
from tests.running import LIMIT_SECONDS, Program, running

PAGE: Final = page("docs/networks.md")
START: Final = PAGE.text.count("\n", 0, PAGE.text.index("## A session\n"))


def blocks(language: str) -> list[Block]:
    """The blocks of the session, those that are files left out."""
    return [one for one in PAGE.blocks(language) if one.line > START and not one.file]


@final
class Session:
    """The reader's terminals, one for each command."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.address = ""

    def here(self, text: str) -> str:
        """The same text with the port of this server."""
        return text.replace("http://127.0.0.1:8000", self.address).replace("127.0.0.1:8000", self.address[7:])

    async def run(self, line: str, **variables: str) -> Program:
        """Run a line of the page in a terminal of its own."""
        command, *arguments = shlex.split(self.here(line))
        ours = {"openline": [sys.executable, "-m", "openline.cli"], "python": [sys.executable]}
        words = [*ours.get(command, [command]), *arguments]
        return await self.stack.enter_async_context(running(words, self.folder, typing=True, **variables))

    async def serve(self, line: str) -> None:
        """Start the server, on a free port."""
        server = await self.run(line, OPENLINE_SERVER__PORT="0")
        self.address = re.findall(r"http://[\d.:]+", await server.prints("running on"))[0]
        for name in ("follow.mjs", "follow.py"):
            path = self.folder / name
            path.write_text(self.here(path.read_text()))

    async def open_browser(self, executable: Path, script: str) -> asyncio.Queue[str]:
        """Type a script into the console of a browser; give what that prints."""
        playwright = await self.stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        self.stack.push_async_callback(browser.close)
        tab = await browser.new_page()
        printed: asyncio.Queue[str] = asyncio.Queue()
        tab.on("console", lambda message: printed.put_nowait(message.text))
        await tab.goto(f"{self.address}/health")
        await tab.evaluate(f"() => {{ {script} }}")
        return printed


@pytest.fixture
def chromium() -> Path:
    """The browser."""
    found = find_chromium()
    assert found is not None, "no Chromium here: `make test` installs one"
    return found


async def printed(console: asyncio.Queue[str], wanted: str) -> str:
    """Wait until a browser's console shows this; give the line."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while wanted not in (line := await console.get()):
            pass
    return line


async def test_everybody_follows_the_channel(tmp_path: Path, chromium: Path) -> None:
    """`curl` in three ways, `wscat`, an EventSource in Chromium, both SDKs: each prints what is published."""
    PAGE.write_files(tmp_path)
    (tmp_path / "node_modules").symlink_to(ROOT / "web/node_modules")
    serve, stream, events, poll, next_poll, wscat, publish = [
        line for one in blocks("console") for line in one.text.splitlines()
    ]
    (event_source,) = blocks("js")
    (shown,) = re.findall(r"since=([^']+)'", next_poll)
    (told,) = [one.text.strip() for one in blocks("text") if '"pub"' in one.text]
    async with AsyncExitStack() as stack:
        session = Session(tmp_path, stack)
        await session.serve(serve)
        answer = json.loads(await (await session.run(poll)).prints("since"))
        epoch = answer["channels"]["room:lobby"]["epoch"]
        followers = {
            line: await session.run(line) for line in (stream, events, wscat, "node follow.mjs", "python follow.py")
        }
        for line, one in followers.items():
            await one.prints("subscribed" if "follow" in line else '"connect"')
        followers[next_poll] = await session.run(next_poll.replace(shown, answer["since"]))
        console = await session.open_browser(chromium, event_source.text)
        await printed(console, '"connect"')

        assert '"result"' in await (await session.run(publish)).prints("{")
        heard = {line: await one.prints("hello") for line, one in followers.items()}

        assert told.replace(shown.split(":")[1], epoch) == await printed(console, "hello")
        for line in (stream, events, wscat):
            assert told.replace(shown.split(":")[1], epoch) in heard[line]
