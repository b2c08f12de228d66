"""The pages of the documentation as tests see them: their blocks, headings and links.

How a page's Python runs, from top to bottom:

1. A block whose first line is a comment with a file name (``# chat.py``, ``// app.js``) is that file, and a Python file
   begins a new program. A block without a name goes on with the program above it, in the same namespace.
2. A block that awaits at its top level runs while the program's `app` is started.
3. Files called ``test_….py`` are not run here but by pytest, beside the other files of the page.

So there is nothing in a page but what its reader sees.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import types
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openline.testing import started

ROOT = Path(__file__).parent.parent

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)
_FILE = re.compile(r"(?:#|//|<!--) (?P<name>[\w./-]+\.\w+)(?: -->)?")
_HEADING = re.compile(r"^#{1,6} (.*)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    line: int  #: of the page, where its text begins
    file: str  #: the file it says it is; "" for none


@dataclass(frozen=True)
class Page:
    """A page in Markdown."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        """The page as it is written."""
        return self.path.read_text()

    def blocks(self, language: str | None = None) -> list[Block]:
        """The fenced blocks of a language, or all."""
        return [block for block in self._blocks() if language in (None, block.language)]

    def _blocks(self) -> Iterator[Block]:
        text = self.text
        for found in _FENCE.finditer(text):
            body = textwrap.dedent(found["text"])
            named = _FILE.fullmatch(body.partition("\n")[0])
            line = text.count("\n", 0, found.start("text")) + 1
            yield Block(found["language"], body, line, named["name"] if named else "")

    def prose(self) -> str:
        """The page without its blocks."""
        return _FENCE.sub("", self.text)

    def anchors(self) -> set[str]:
        """What a link to a part of the page may name, as GitHub makes it."""
        anchors: set[str] = set()
        for heading in _HEADING.findall(self.prose()):
            slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            anchors.add(slug if slug not in anchors else f"{slug}-1")
        return anchors

    def links(self) -> list[str]:
        """Where its links go."""
        return _LINK.findall(self.prose())

    def write_files(self, folder: Path) -> list[str]:
        """Put every block that is a file where it says; give their names."""
        files = [block for block in self.blocks() if block.file]
        for block in files:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        return [block.file for block in files]


def programs(page: Page) -> dict[str, list[Block]]:
    """The Python of a page by the file each program begins with, those for pytest left out."""
    found: dict[str, list[Block]] = {}
    for block in page.blocks("python"):
        if is_test(block):
            continue
        if block.file:
            found[block.file] = []
        assert found, f"{page}, line {block.line}: the first block of a program says which file it is"
        found[next(reversed(found))].append(block)
    return found


def is_test(block: Block) -> bool:
    """Whether a block is a file of tests."""
    return Path(block.file).name.startswith("test_")


@asynccontextmanager
async def program(page: Page, file: str, patch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Run one program of a page, all its blocks; give what it defined, its app started."""
    module = types.ModuleType(Path(file).stem)
    patch.setitem(sys.modules, module.__name__, module)
    async with AsyncExitStack() as stack:
        has_started = False
        for block in programs(page)[file]:
            # Empty lines before it: an error in it names the line of the page.
            source = "\n" * (block.line - 1) + block.text
            code = compile(source, str(page.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            if code.co_flags & inspect.CO_COROUTINE:
                if not has_started:
                    await stack.enter_async_context(started(module.app))
                has_started = True
                await eval(code, module.__dict__)
            else:
                exec(code, module.__dict__)
        if not has_started and hasattr(module, "app"):
            await stack.enter_async_context(started(module.app))
        yield module


PAGES = [Page(path) for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))]


def page(name: str) -> Page:
    """The page of this path, from the root of the repository."""
    return Page(ROOT / name)
