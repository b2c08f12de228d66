"""From the source of a public name to its part of the reference, in Markdown.

The package's files are read, not run: a signature is the source's own text, and what is said of a field is the ``#:``
comment beside it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent.parent / "src"

#: Of these classes the app sees only a part; the rest is for other files of the package.
SHOWN: Final = {
    "Session": ("info", "channels", "transport", "protocol", "send", "subscribe", "unsubscribe", "disconnect"),
    "Position": (),
    "Accept": (),
    "Allow": (),
}

_SECTION: Final = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Source):(.*)")
_ENTRY: Final = re.compile(r"([\w.*]+): (.*)", re.DOTALL)
_WIDTH: Final = 100

Function = ast.FunctionDef | ast.AsyncFunctionDef


# --- the source ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """One source file, read."""

    name: str
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, name: str) -> Module:
        """Read a module of the package without running it."""
        path = SOURCES / Path(*name.split("."))
        text = (path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py").read_text()
        return cls(name, text, ast.parse(text))

    def exported(self) -> list[str]:
        """Give `__all__`."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return [str(name) for name in ast.literal_eval(node.value)]
        raise LookupError(f"{self.name} has no __all__")

    def origin(self, name: str) -> tuple[str, str]:
        """Say which module an exported name comes from, and what it is called there."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        return node.module, alias.name
        return self.name, name

    def defines(self, name: str) -> bool:
        """Tell whether a name is made here, and not imported."""
        return self.origin(name)[0] == self.name

    def definition(self, name: str) -> ast.stmt:
        """Give the statement that makes a name."""
        for node in self.tree.body:
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                    return node
                case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)):
                    if found == name:
                        return node
        raise LookupError(f"{self.name} does not define {name}")

    def said_of(self, node: ast.stmt) -> str:
        """Give what the ``#:`` comment of an assignment says: behind it, or in the lines before."""
        lines = self.text.splitlines()
        _, found, behind = lines[(node.end_lineno or node.lineno) - 1].partition("#: ")
        if found:
            return behind
        before: list[str] = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#: "):
                break
            before.insert(0, line.strip().removeprefix("#: "))
        return " ".join(before)

    def source(self, node: ast.AST | None) -> str:
        """Give the source of an expression on one line; "" for none."""
        return "" if node is None else " ".join((ast.get_source_segment(self.text, node) or "").split())


# --- from docstrings to Markdown ----------------------------------------------------------------------------------


def described(docstring: str | None) -> Iterator[str]:
    """Lay out a docstring: its text, then each section as a list."""
    text: list[str] = []
    sections: list[tuple[str, list[str]]] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        opened = _SECTION.fullmatch(line)
        if opened:
            sections.append((opened[1], [opened[2].strip()] if opened[2] else []))
        else:
            (sections[-1][1] if sections else text).append(line)
    yield _inline("\n".join(text).rstrip())
    for name, lines in sections:
        yield ""
        yield from _section(name, lines)


def _section(name: str, lines: Sequence[str]) -> Iterator[str]:
    if name in ("Returns", "Yields", "Source"):
        yield f"{name}: {_inline(' '.join(line.strip() for line in lines))}"
        return
    yield f"{name}:"
    yield ""
    entries: list[str] = []
    for line in filter(str.strip, lines):
        if line.startswith("     ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    for entry in entries:
        named = _ENTRY.fullmatch(entry)
        yield f"- `{named[1]}`: {_inline(named[2])}" if named else f"- {_inline(entry)}"


def _inline(text: str) -> str:
    return text.replace("``", "`")


def signature(module: Module, name: str, function: Function, *, bound: bool) -> str:
    """Write a call as the source declares it, one parameter a line where one line is too short."""
    arguments = function.args
    parameters: list[str] = []
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for argument, default in list(zip(plain, defaults, strict=True))[1 if bound else 0 :]:
        parameters.append(_parameter(module, argument, default))
    if arguments.posonlyargs:
        parameters.insert(len(arguments.posonlyargs) - bound, "/")
    if arguments.vararg:
        parameters.append(f"*{_parameter(module, arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        parameters.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(_parameter(module, argument, default))
    if arguments.kwarg:
        parameters.append(f"**{_parameter(module, arguments.kwarg, None)}")
    start = (
        "await "
        if isinstance(function, ast.AsyncFunctionDef) and "contextmanager" not in _marks(function)
        else "async with "
        if "asynccontextmanager" in _marks(function)
        else ""
    ) + name
    returned = module.source(function.returns)
    end = f" -> {returned}" if returned and function.name != "__init__" else ""
    line = f"{start}({', '.join(parameters)}){end}"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{start}(", *(f"    {parameter}," for parameter in parameters), f"){end}"])


def _parameter(module: Module, argument: ast.arg, default: ast.expr | None) -> str:
    annotation = module.source(argument.annotation)
    text = f"{argument.arg}: {annotation}" if annotation else argument.arg
    if default is None:
        return text
    return f"{text} = {module.source(default)}" if annotation else f"{text}={module.source(default)}"


def _marks(node: Function | ast.ClassDef) -> str:
    return " ".join(ast.unparse(decorator) for decorator in node.decorator_list)


# --- one name -----------------------------------------------------------------------------------------------------


def entry(package: Module, name: str) -> Iterator[str]:
    """Describe one public name."""
    module, called = package, name
    while not module.defines(called):
        origin, called = module.origin(called)
        module = Module.read(origin)
    node = module.definition(called)
    yield f"### {name}"
    yield ""
    match node:
        case ast.ClassDef():
            yield from _class(module, name, node)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from _call(module, name, node, bound=False)
        case _:
            said = module.said_of(node)
            yield _inline(said) if said else f"`{name} = {_value(module, node)}`"


def _value(module: Module, node: ast.stmt) -> str:
    value = getattr(node, "value", None)
    if isinstance(value, ast.Name) and not module.defines(value.id):
        origin, called = module.origin(value.id)
        module = Module.read(origin)
        return _value(module, module.definition(called))
    return module.source(value)


def _class(module: Module, name: str, node: ast.ClassDef) -> Iterator[str]:
    makes = next((item for item in node.body if isinstance(item, Function) and item.name == "__init__"), None)
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign) and _is_field(item)]
    if makes is not None and len(makes.args.args) + len(makes.args.kwonlyargs) > 1 and name not in _MADE_BY_THE_HUB:
        yield from _fenced(signature(module, name, makes, bound=True))
    elif name not in _MADE_BY_THE_HUB and fields:
        yield from _fenced(_fields_call(module, name, node, fields))
    yield from described(ast.get_docstring(node))
    yield from _fields(module, [*fields, *_counted(makes, name)])
    for holder, item in _methods(module, node):
        if _is_shown(name, item):
            yield ""
            yield f"#### {name}.{item.name}"
            yield ""
            yield from _call(holder, f"{_INSTANCES.get(name, name.lower())}.{item.name}", item, bound=True)


def _methods(module: Module, node: ast.ClassDef) -> Iterator[tuple[Module, Function]]:
    """Give the methods of a class, those of its parts in other files first."""
    for base in node.bases:
        if isinstance(base, ast.Name) and module.origin(base.id)[0].startswith("openline."):
            origin, called = module.origin(base.id)
            if origin != module.name:
                other = Module.read(origin)
                found = other.definition(called)
                if isinstance(found, ast.ClassDef):
                    yield from _methods(other, found)
    yield from ((module, item) for item in node.body if isinstance(item, Function))


#: What an instance is called where its methods are shown, where that is not the class in small letters.
_INSTANCES: Final = {"VirtualClock": "clock", "DisconnectCode": "code", "UnsubscribeCode": "code", "JWT": "auth"}

#: Classes an app never calls itself: how they are made is nobody's business but theirs.
_MADE_BY_THE_HUB: Final = ("Channel", "Session", "User", "Counters", "Client", "Kept", "HistoryPage", "Check")


def _is_field(item: ast.AnnAssign) -> bool:
    return isinstance(item.target, ast.Name) and not ast.unparse(item.annotation).startswith(("ClassVar", "Final"))


def _is_shown(owner: str, item: Function) -> bool:
    if item.name.startswith("_") or "overload" in _marks(item):
        return False
    return owner not in SHOWN or item.name in SHOWN[owner]


def _counted(makes: Function | None, name: str) -> list[ast.Assign]:
    if makes is None or name != "Counters":
        return []
    return [item for item in makes.body if isinstance(item, ast.Assign)]


def _fields_call(module: Module, name: str, node: ast.ClassDef, fields: Sequence[ast.AnnAssign]) -> str:
    star = ["*"] if "kw_only=True" in ast.unparse(node).partition("\n")[0] or "kw_only=True" in _marks(node) else []
    given = [
        f"{module.source(item.target)}: {module.source(item.annotation)}"
        + (f" = {module.source(item.value)}" if item.value is not None else "")
        for item in fields
    ]
    line = f"{name}({', '.join(star + given)})"
    return line if len(line) <= _WIDTH else "\n".join([f"{name}(", *(f"    {item}," for item in star + given), ")"])


def _fields(module: Module, items: Iterable[ast.AnnAssign | ast.Assign]) -> Iterator[str]:
    told = [(item, module.said_of(item)) for item in items]
    if not any(said for _, said in told):
        return
    yield ""
    for item, said in told:
        target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0]
        called = module.source(target).removeprefix("self.")
        yield f"- `{called}`: {_inline(said)}" if said else f"- `{called}`"


def _call(module: Module, name: str, node: Function, *, bound: bool) -> Iterator[str]:
    if "property" in _marks(node):
        yield f"A property: `{module.source(node.returns)}`"
        yield ""
    else:
        yield from _fenced(signature(module, name, node, bound=bound and "staticmethod" not in _marks(node)))
    yield from described(ast.get_docstring(node))


def _fenced(text: str) -> Iterator[str]:
    yield "```text"
    yield text
    yield "```"
    yield ""
