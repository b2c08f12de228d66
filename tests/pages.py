"""The pages of the documentation as tests see them: their blocks, headings and links.

How a page's Python runs, from top to bottom:

1. A block whose first line is a comment with a file name (``# chat.py``, ``// app.js``) is that file, and a Python file begins a new
   program. A block without a name goes on with the program above it, in the same namespace.
2. A block that awaits at its top level runs while the program's `app` is started.
3. Files called ``test_….py`` are not run here but by pytest, beside the other files of the page.

So there is nothing in a page but what its reader sees.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from openline.testing import started

ROOT = Path(__file__).parent.parent

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=fence)$", re.DOTALL | re.M)
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


async def run_page(page: Page, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    """Run a page's Python in a folder that holds its files; give its programs by their file names."""
    page.write_files(folder)
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    programs: dict[str, types.ModuleType] = {}
    program = types.ModuleType("nothing")
    async with AsyncExitStack() as stack:
        running = False
        for block in page.blocks("python"):
            if Path(block.file).name.startswith("test_"):
                continue
            if block.file or not programs:
                await stack.aclose()
                running = False
                program = types.ModuleType(Path(block.file or "page.py").stem)
                patch.setitem(__import__("sys").modules, program.__name__, program)
                programs[block.file] = program
            # Empty lines before it: an error in it names the line of the page.
            source = "\n" * (block.line - 1) + block.text
            code = compile(source, str(page.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
            if not code.co_flags & inspect.CO_COROUTINE:
                exec(code, program.__dict__)
                continue
            if not running:
                await stack.enter_async_context(started(program.app))
                running = True
            await eval(code, program.__dict__)
    return programs


PAGES = [Page(ROOT / "README.md"), *(Page(path) for path in sorted((ROOT / "docs").rglob("*.md")))]
#: Those a person writes code from; the page of public names shows signatures only.
GUIDES = [page for page in PAGES if page.blocks("python")]


def page(name: str) -> Page:
    """The page of this path, from the root of the repository."""
    return Page(ROOT / name)
