"""What the package promises: the names it exports, each described, and no others."""

from __future__ import annotations

import inspect
import re
import types
from pathlib import Path
from typing import Any, get_origin

import pytest

import openline
import openline.testing

ROOT = Path(__file__).parent.parent
PACKAGES = (openline, openline.testing)
EXPORTS = [
    pytest.param(package, name, id=f"{package.__name__}.{name}") for package in PACKAGES for name in package.__all__
]

#: The parts of a docstring in the order of the house, `Attributes` after what the call itself says.
SECTIONS = ["Args", "Returns", "Yields", "Raises", "Attributes", "Source"]


def each_class_and_function() -> list[Any]:
    """Every exported class and function, and their public members, once each."""
    found: list[Any] = []
    for package in PACKAGES:
        for name in package.__all__:
            value = getattr(package, name)
            if not inspect.isclass(value) and not inspect.isfunction(value):
                continue
            where = f"{package.__name__}.{name}"
            found.append(pytest.param(value, id=where))
            if inspect.isclass(value):
                members = {member: vars(value)[member] for member in vars(value) if not member.startswith("_")}
                found += [
                    pytest.param(described, id=f"{where}.{member}")
                    for member, described in members.items()
                    if isinstance(described, types.FunctionType | property | staticmethod | classmethod)
                ]
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_all_is_what_is_there(package: types.ModuleType) -> None:
    """`__all__` names every public object, each once, and only what exists."""
    dunders = {name for name in package.__all__ if name.startswith("__")}
    renamed = [getattr(package, name) for name in dunders]  # exported under another name than they were made
    there = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value) and value not in renamed
    }

    assert sorted(package.__all__) == sorted(there | dunders)


@pytest.mark.parametrize("described", each_class_and_function())
def test_every_public_name_says_what_it_is(described: Any) -> None:
    """One sentence on the first line, then known sections in the order of the house."""
    docstring = inspect.getdoc(described)
    assert docstring, "no docstring"
    first, *rest = docstring.splitlines()
    assert first.endswith((".", ":")), first
    assert not rest or not rest[0].strip(), "the first line stands alone"

    sections = [found[1] for line in rest if (found := re.match(r"([A-Z][a-z]+):($| )", line))]
    assert sections == sorted(sections, key=SECTIONS.index)


@pytest.mark.parametrize(("package", "name"), EXPORTS)
def test_every_public_name_is_in_the_reference(package: types.ModuleType, name: str) -> None:
    """An export without its part of the page would be a promise nobody can read."""
    reference = (ROOT / "docs/reference/api.md").read_text()

    assert reference.count(f"\n### {name}\n") == 1


@pytest.mark.parametrize(("package", "name"), EXPORTS)
def test_public_classes_are_not_there_to_inherit_from(package: types.ModuleType, name: str) -> None:
    """Extension is by protocol: what is no exception, no value and no type of values is final."""
    value = getattr(package, name)
    if not inspect.isclass(value) or issubclass(value, Exception | tuple) or hasattr(value, "__struct_fields__"):
        return
    assert get_origin(value) is None
    assert getattr(value, "__final__", False), f"{name} is not marked @final"


def test_refusals_have_the_code_they_say() -> None:
    """The number in the docstring is the number on the wire."""
    for name in openline.__all__:
        value = getattr(openline, name)
        if inspect.isclass(value) and issubclass(value, openline.Refusal) and value is not openline.Refusal:
            assert f"({value.default.number})." in (value.__doc__ or ""), name
