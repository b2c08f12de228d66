"""Tag filters: which publications of a channel a subscriber wants, said by their tags.

A filter is a tree. A leaf compares one tag; `and`, `or` and `not` put nodes together. It is checked once, when a client
subscribes, and made into one function, which is asked once for each publication.

Filters that are equal are one object, so those who share one share the bytes they are sent. They are kept only as long
as somebody uses them: what clients make up does not fill the memory. How large one may be is bounded below.

Source: docs/reference/protocol.md, "Tag filters".
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Container, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Final, final
from weakref import WeakValueDictionary

import msgspec

from openline.errors import BadRequest
from openline.protocol.messages import FilterNode

#: The bounds of one filter; past any of them it is refused with error 107.
MOST_NODES: Final = 32
DEEPEST_NODE: Final = 8
MOST_VALUES: Final = 256  #: values of all its nodes together
MOST_CHARACTERS: Final = 4_096  #: of all its keys and values together
#: So many values are looked through one after the other.
FEW_VALUES: Final = 8
#: What is longer is no number: whoever compares it would have to read it.
LONGEST_NUMBER: Final = 64

Tags = Mapping[str, str]
_Test = Callable[[Tags], bool]

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_NO_TAGS: Final[Tags] = {}


@final
class Filter:
    """A filter that was checked. Compared by identity: get it from `filter_of`."""

    __slots__ = ("__weakref__", "_matches")

    def __init__(self, matches: _Test) -> None:
        self._matches = matches

    def matches(self, tags: Tags | None) -> bool:
        """Tell whether a publication with these tags is wanted."""
        return self._matches(_NO_TAGS if tags is None else tags)


_filters: Final[WeakValueDictionary[bytes, Filter]] = WeakValueDictionary()


def filter_of(node: FilterNode) -> Filter:
    """Give the one filter that a tree of nodes describes.

    Raises:
        BadRequest: it is none, or larger than a filter may be; the words name what is wrong.
    """
    key = blake2b(msgspec.json.encode(node), digest_size=32).digest()  # the tree itself would be kept for nothing
    found = _filters.get(key)
    if found is None:
        found = _filters[key] = Filter(_Reader().read(node, 1))
    return found


@final
class _Reader:
    """Makes a function of a tree, and counts what it is made of."""

    def __init__(self) -> None:
        self._nodes = self._values = self._characters = 0

    def read(self, node: FilterNode, depth: int) -> _Test:
        self._nodes += 1
        self._values += len(node.vals)
        self._characters += len(node.key) + len(node.val) + sum(map(len, node.vals))
        _bound("nodes within each other", depth, DEEPEST_NODE)
        _bound("nodes", self._nodes, MOST_NODES)
        _bound("values", self._values, MOST_VALUES)
        _bound("characters of keys and values", self._characters, MOST_CHARACTERS)
        if not node.op:
            return _leaf(node)
        if node.op not in ("and", "or", "not"):
            raise BadRequest(f"tag filter: op is {_shown(node.op)}: it is and, or, not, or left out of a comparison")
        if node.key or node.cmp or node.val or node.vals:
            raise BadRequest(f"tag filter: {node.op} takes nodes alone, no key, cmp, val or vals")
        if not node.nodes or (node.op == "not" and len(node.nodes) != 1):
            needs = "exactly one node" if node.op == "not" else "at least one node"
            raise BadRequest(f"tag filter: {node.op} takes {needs}, and has {len(node.nodes)}")
        return _inner(node.op, [self.read(child, depth + 1) for child in node.nodes])


def _bound(what: str, count: int, most: int) -> None:
    if count > most:
        raise BadRequest(f"tag filter: more than {most} {what}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_NUMBER else text[:LONGEST_NUMBER] + "…")


def _inner(op: str, tests: Sequence[_Test]) -> _Test:
    if op == "not":
        (negated,) = tests
        return lambda tags: not negated(tags)

    decides = op == "or"  # the first answer of this kind is that of the whole

    def test(tags: Tags) -> bool:
        for part in tests:
            if part(tags) is decides:
                return decides
        return not decides

    return test


def _leaf(node: FilterNode) -> _Test:
    key, cmp, val = node.key, node.cmp, node.val
    if not key:
        raise BadRequest("tag filter: a comparison has no key")
    if node.nodes:
        raise BadRequest("tag filter: a comparison takes no nodes; those go with op")
    if cmp in ("in", "nin"):
        if val or not node.vals:
            raise BadRequest(f"tag filter: {cmp} takes vals, at least one, and no val")
        # A set of a few takes many times as much memory, and is asked hardly faster.
        values = tuple(node.vals) if len(node.vals) <= FEW_VALUES else frozenset(node.vals)
        return _membership(key, values, inside=cmp == "in")
    if node.vals:
        raise BadRequest(f"tag filter: vals go with in and nin, not with {_shown(cmp)}")
    if cmp in ("ex", "nex"):
        if val:
            raise BadRequest(f"tag filter: {cmp} takes no val")
        return (lambda tags: key in tags) if cmp == "ex" else (lambda tags: key not in tags)
    if cmp in _TEXTS:
        return _TEXTS[cmp](key, val)
    if cmp in _ORDERS:
        number = _number(val)
        if number is None:
            raise BadRequest(f"tag filter: {cmp} takes a decimal number, and val is {_shown(val)}")
        return _ordered(key, number, _ORDERS[cmp])
    known = ", ".join((*_TEXTS, "in", "nin", "ex", "nex", *_ORDERS))
    raise BadRequest(f"tag filter: cmp is {_shown(cmp)}: it is one of {known}")


def _membership(key: str, values: Container[str], *, inside: bool) -> _Test:
    # A tag that is missing is no value: None would be compared with each of them.
    if inside:
        return lambda tags: key in tags and tags[key] in values
    return lambda tags: key not in tags or tags[key] not in values


def _ordered(key: str, number: Decimal, order: Callable[[Decimal, Decimal], bool]) -> _Test:
    def test(tags: Tags) -> bool:
        text = tags.get(key)
        value = None if text is None else _number(text)
        return value is not None and order(value, number)

    return test


def _number(text: str) -> Decimal | None:
    """Read a decimal number as it is, whatever a float would make of it; None where it is none."""
    return _read_number(text) if len(text) <= LONGEST_NUMBER else None


# The tags of one publication are compared by many filters, one after the other.
@lru_cache(maxsize=256)
def _read_number(text: str) -> Decimal | None:
    return None if _NUMBER.fullmatch(text) is None else Decimal(text)


#: neq, like nin and nex, holds where the tag is missing.
_TEXTS: Final[dict[str, Callable[[str, str], _Test]]] = {
    "eq": lambda key, val: lambda tags: tags.get(key) == val,
    "neq": lambda key, val: lambda tags: tags.get(key) != val,
    "sw": lambda key, val: lambda tags: key in tags and tags[key].startswith(val),
    "ew": lambda key, val: lambda tags: key in tags and tags[key].endswith(val),
    "ct": lambda key, val: lambda tags: key in tags and val in tags[key],
}
_ORDERS: Final[dict[str, Callable[[Decimal, Decimal], bool]]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
