"""README and docs: what they show runs, what they name exists, where they point leads somewhere."""

from __future__ import annotations

import ast
import functools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from openline import Counters, Limits
from tests.pages import PAGES, ROOT, Block, Page, is_test, page, program, programs
from tests.running import environment
from tests.test_floors import FLOORS, PLACES

PROGRAMS = [pytest.param(one, file, id=f"{one}: {file}") for one in PAGES for file in programs(one)]
SCRIPTS = [pytest.param(block, id=f"{one}:{block.line}") for one in PAGES for block in one.blocks("js")]
COMMANDS = [
    pytest.param(line, id=f"{one}: {line}")
    for one in PAGES
    for block in one.blocks("console")
    for line in block.text.splitlines()
]
LANGUAGES = {"python", "js", "html", "console", "toml", "text"}
#: Commands a reader runs outside of this project: nothing here can say more than that they are spelt so.
FOREIGN = {"curl", "npm", "npx"}


def each_page(pages: list[Page]) -> pytest.MarkDecorator:
    """Run a test once for each page, under its name."""
    return pytest.mark.parametrize("one", pages, ids=str)


def run(command: list[str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=50, check=False
    )


# --- what is shown ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("logging_as_it_was")
@pytest.mark.parametrize(("one", "file"), PROGRAMS)
async def test_every_python_block_runs(one: Page, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first block of a program to its last, as one who reads on would type them; see `tests.pages`."""
    one.write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    async with program(one, file, monkeypatch):
        pass


@each_page([one for one in PAGES if any(map(is_test, one.blocks("python")))])
def test_the_tests_of_a_page_pass(one: Page, tmp_path: Path) -> None:
    """A page about testing is believed by pytest, with the settings it recommends."""
    one.write_files(tmp_path)

    result = run([sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"], tmp_path)

    assert result.returncode == 0, result.stdout


def test_python_is_in_the_house_format(tmp_path: Path) -> None:
    """What readers copy is laid out as the sources are."""
    for one in PAGES:
        for block in one.blocks("python"):
            path = tmp_path / f"{str(one).replace('/', '_')}_{block.line}.py"
            path.write_text(block.text)

    result = run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", "--line-length", "120", str(tmp_path)]
    )

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(("one", "file"), PROGRAMS)
def test_python_uses_what_it_imports(one: Page, file: str, tmp_path: Path) -> None:
    """What readers copy holds no import without a use and no name without a meaning."""
    path = tmp_path / Path(file).name
    path.write_text("\n".join(block.text for block in programs(one)[file]))

    # Imports in mid-program, names that a later block makes anew and a bare await are how a page goes on.
    rules = ["--isolated", "--select", "E,F", "--ignore", "E402,F704,F811", "--line-length", "120"]
    result = run([sys.executable, "-m", "ruff", "check", *rules, str(path)])

    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("block", SCRIPTS)
def test_every_script_is_javascript(block: Block, tmp_path: Path) -> None:
    """Node can read it as a module."""
    path = tmp_path / "script.mjs"
    path.write_text(block.text)

    result = run(["node", "--check", str(path)])

    assert result.returncode == 0, result.stderr


@each_page(PAGES)
def test_every_block_says_what_it_is(one: Page) -> None:
    """A block in a language nobody checks would be a block nobody checks."""
    assert {block.language for block in one.blocks()} <= LANGUAGES


# --- what is named ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_exists(line: str) -> None:
    """Targets of make, extras of the package and options of the servers are spelt as they are."""
    command, *arguments = shlex.split(line)
    options = {argument for argument in arguments if argument.startswith("--")}
    match command:
        case "make":
            targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
            assert {argument for argument in arguments if "=" not in argument} <= targets
        case "pip":
            extras = {extra for argument in arguments for extra in re.findall(r"\[(.*)\]", argument)}
            assert extras <= set(
                tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            )
        case "openline":
            assert options <= options_of("openline.cli", arguments[0])
        case "uvicorn" | "hypercorn":
            assert options <= options_of(command)
        case _:
            assert command in FOREIGN


@functools.cache
def options_of(*module: str) -> set[str]:
    """The options a command of this environment knows."""
    told = run([sys.executable, "-m", *module, "--help"])
    assert told.returncode == 0, told.stderr
    return set(re.findall(r"--[a-z-]+", told.stdout))


def test_the_page_of_limits_is_true() -> None:
    """Each limit in its order, with its default, the codes of its answer as the struct says them, and real counters."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) ?\|$", page("docs/limits.md").text, re.MULTILINE
    )
    source = (ROOT / "src/openline/options.py").read_text()
    defaults = {name: getattr(Limits(), name) for name in Limits.__struct_fields__}
    code = re.compile(r"\b(?:503|1\d\d|[13]\d\d\d)\b")

    assert [(row[0], row[1]) for row in rows] == [
        (name, "none" if value is None else f"{value:,}") for name, value in defaults.items()
    ]
    for name, _, what, answer, counted in rows:
        comment = re.search(rf"^    {name}: .*?#: (.*)$", source, re.MULTILINE)
        assert comment is not None
        assert set(code.findall(comment[1])) <= set(code.findall(what + answer)), name
        assert set(re.findall(r"`(\w+)`", counted)) <= set(Counters().as_dict()), name


def test_architecture_puts_every_module_on_its_floor() -> None:
    """The table of the page is the table of the house."""
    rows = re.findall(r"^\| (\d) [^|]*\|[^|]*\|([^\n]*)\|$", page("docs/architecture.md").text, flags=re.MULTILINE)
    told = {int(floor): set(re.findall(r"`([\w/]+(?:\.py|/))`", files)) for floor, files in rows}
    real: dict[int, set[str]] = {floor: set() for floor in range(len(FLOORS))}
    for name, place in PLACES.items():
        path = name.replace(".", "/")
        if name == "openline":
            continue
        real[place.floor].add(f"{path}/" if place.folder and place.floor != 4 else f"{path}.py")
    wires = {f"wires/{path.name}" for path in (ROOT / "src/openline/wires").glob("[a-z]*.py")}
    real[4] = real[4] - {"wires.py"} | wires

    assert told == real


@each_page([one for one in PAGES if one.path.name != "api.md"])
def test_every_member_named_in_prose_exists(one: Page) -> None:
    """`Class.member` in code is a method, field, attribute or argument of a class of ours."""
    known = members()
    code = re.findall(r"`([^`\n]+)`", one.prose())
    named = [found for text in code if (found := re.fullmatch(r"([A-Z]\w+)\.(\w+)(?:\(.*\))?", text))]

    assert [found[0] for found in named if found[2] not in known.get(found[1], ())] == []


@functools.cache
def members() -> dict[str, set[str]]:
    """What each class of the package has, by the class's name."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = found.setdefault(node.name, set())
                names |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
                names |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
                names |= {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
                names |= {ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)}
    return found


@each_page(PAGES)
def test_every_file_named_in_prose_exists(one: Page) -> None:
    """A path in code is one of the repository or of the package, or a file the page itself shows."""
    shown = {block.file for block in one.blocks()} | {"main.py"}
    named = set(re.findall(r"`([\w/]+\.(?:py|proto|mjs))`", one.prose()))
    places = (ROOT, ROOT / "src/openline")

    assert [file for file in named - shown if not any((place / file).is_file() for place in places)] == []


def test_sources_cite_parts_of_pages_that_exist() -> None:
    """`Source: docs/…, "Part"` in a docstring leads to a heading."""
    for path in (ROOT / "src").rglob("*.py"):
        for cited, part in re.findall(r'(docs/[\w/.-]+\.md), "([^"]+)"', path.read_text()):
            headings = re.findall(r"^#+ (.*)$", page(cited).prose(), flags=re.MULTILINE)
            assert part in headings, f"{path.name} cites {cited}, {part!r}"


def test_the_reference_is_fresh() -> None:
    """`make docs` has been run since a docstring, a code or a message was changed."""
    result = run([sys.executable, "docs/generate.py", "--check"])

    assert result.returncode == 0, result.stderr


# --- where it points ----------------------------------------------------------------------------------------------


@each_page(PAGES)
def test_every_link_leads_somewhere(one: Page) -> None:
    """A link within the repository names a file that is there, and a part of it that is there."""
    for link in one.links():
        if "://" in link:
            continue
        file, _, part = link.partition("#")
        target = one.path.parent / file if file else one.path
        assert target.exists(), f"{one} links to {link}"
        if part:
            assert part in Page(target.resolve()).anchors(), f"{one} links to {link}"


@each_page(PAGES)
def test_no_page_depends_on_a_host_of_packages(one: Page) -> None:
    """No registry is named and nothing is loaded from a CDN: packages come from wherever the reader gets them."""
    assert re.findall(r"pypi\.org|npmjs|pythonhosted|jsdelivr|unpkg|cdnjs|esm\.sh", one.text) == []


def test_every_page_is_reached_from_the_readme() -> None:
    """A new user needs nothing but the README."""
    reached, waiting = set[Path](), [page("README.md")]
    while waiting:
        one = waiting.pop()
        reached.add(one.path)
        for link in one.links():
            target = (one.path.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file() and target not in reached:
                waiting.append(Page(target))

    assert {one.path for one in PAGES} <= reached


def test_the_command_line_is_what_the_servers_page_says() -> None:
    """Every option of `openline run` is named there; of a pair of options the one that changes something."""
    words = page("docs/servers.md").text

    told = {option for option in options_of("openline.cli", "run") if option in words}
    assert options_of("openline.cli", "run") - told <= {"--help", "--access-log"}
