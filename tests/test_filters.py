"""Tag filters: what they let through, what is no filter, and how large one may be."""

from __future__ import annotations

import gc
import json
import operator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import filters
from openline.errors import BadRequest
from openline.filters import (
    DEEPEST_NODE,
    FEW_VALUES,
    LONGEST_NUMBER,
    MOST_CHARACTERS,
    MOST_NODES,
    MOST_VALUES,
    filter_of,
)
from openline.protocol.messages import FilterNode


def node(**fields: Any) -> FilterNode:
    """Read a node as it comes from a client."""
    return msgspec.convert(fields, FilterNode)


def lets(tags: dict[str, str] | None, **fields: Any) -> bool:
    """Tell whether the filter of a node lets a publication with these tags through."""
    return filter_of(node(**fields)).matches(tags)


# --- comparisons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cmp", "fields", "through", "held"),
    [
        ("eq", {"val": "ab"}, ["ab"], ["a", "AB", "", None]),
        ("eq", {"val": ""}, [""], ["a", None]),
        ("neq", {"val": "ab"}, ["a", "", None], ["ab"]),
        ("in", {"vals": ["a", "b"]}, ["a", "b"], ["ab", "", None]),
        ("nin", {"vals": ["a", "b"]}, ["ab", "", None], ["a", "b"]),
        ("ex", {}, ["a", ""], [None]),
        ("nex", {}, [None], ["a", ""]),
        ("sw", {"val": "ab"}, ["ab", "abc"], ["a", "cab", None]),
        ("ew", {"val": "ab"}, ["ab", "cab"], ["b", "abc", None]),
        ("ct", {"val": "ab"}, ["ab", "cabc"], ["acb", "", None]),
        ("lt", {"val": "10"}, ["9", "-11", "9.99", "+9", "009"], ["10", "11", "nine", "", None]),
        ("lte", {"val": "10"}, ["9", "10", "10.0"], ["10.01", "9a", None]),
        ("gt", {"val": "10"}, ["11", "10.01", "100"], ["10", "9", "NaN", "Infinity", None]),
        ("gte", {"val": "-1.5"}, ["-1.5", "0", "1"], ["-1.51", "1e3", "0x10", "\u0661", None]),
    ],
)
def test_comparisons(cmp: str, fields: dict[str, Any], through: list[str], held: list[str | None]) -> None:
    """Each of them; neq, nin and nex hold where the tag is missing, the others do not."""
    for value in [*through, *held]:
        tags = {"other": "x"} if value is None else {"other": "x", "tag": value}
        assert lets(tags, key="tag", cmp=cmp, **fields) is (value in through), value


def test_a_publication_without_tags_has_none_of_them() -> None:
    """It is as one whose tags are others."""
    assert not lets(None, key="tag", cmp="ex")
    assert lets(None, key="tag", cmp="nin", vals=["a"])


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=12), st.decimals(-1, 1, places=20), st.sampled_from("lg")
)
def test_numbers_are_compared_as_they_are_written(value: Decimal, distance: Decimal, side: str) -> None:
    """No digit is lost to a float."""
    number = value + distance if len(str(value)) < 20 else value
    for cmp, order in (("lt", operator.lt), ("lte", operator.le), ("gt", operator.gt), ("gte", operator.ge)):
        if "E" not in f"{value}{number}" and max(len(str(value)), len(str(number))) <= LONGEST_NUMBER:
            assert lets({"tag": f"{value}"}, key="tag", cmp=cmp, val=f"{number}") is order(value, number)


def test_digits_beyond_those_of_a_float() -> None:
    """Two numbers that are the same float are two numbers."""
    assert lets({"at": "9007199254740993"}, key="at", cmp="gt", val="9007199254740992")
    assert lets({"at": "0.10000000000000000001"}, key="at", cmp="gt", val="0.1")


def test_a_very_long_number_is_none() -> None:
    """Nobody reads a megabyte of digits."""
    assert not lets({"at": "9" * (LONGEST_NUMBER + 1)}, key="at", cmp="gt", val="1")


# --- put together -----------------------------------------------------------------------------------------------------


LEAVES = st.builds(
    lambda key, cmp, val: {"key": key, "cmp": cmp} | ({"val": val} if cmp == "eq" else {"vals": [val, "z"]}),
    st.sampled_from("ab"),
    st.sampled_from(["eq", "in"]),
    st.sampled_from("xyz"),
)
TREES = st.recursive(
    LEAVES,
    lambda children: st.one_of(
        st.builds(lambda nodes: {"op": "and", "nodes": nodes}, st.lists(children, min_size=1, max_size=3)),
        st.builds(lambda nodes: {"op": "or", "nodes": nodes}, st.lists(children, min_size=1, max_size=3)),
        st.builds(lambda child: {"op": "not", "nodes": [child]}, children),
    ),
    max_leaves=8,
)


def by_the_book(tree: dict[str, Any], tags: dict[str, str]) -> bool:
    """Evaluate a tree in the plainest way."""
    match tree.get("op", ""):
        case "and":
            return all(by_the_book(child, tags) for child in tree["nodes"])
        case "or":
            return any(by_the_book(child, tags) for child in tree["nodes"])
        case "not":
            return not by_the_book(tree["nodes"][0], tags)
    value = tags.get(tree["key"])
    return value == tree["val"] if tree["cmp"] == "eq" else value in tree["vals"]


@given(TREES, st.dictionaries(st.sampled_from("ab"), st.sampled_from("xyz")))
def test_trees(tree: dict[str, Any], tags: dict[str, str]) -> None:
    """and, or and not mean what they say, however deep."""
    assert filter_of(msgspec.convert(tree, FilterNode)).matches(tags) is by_the_book(tree, tags)


# --- one object for equal filters -------------------------------------------------------------------------------------


def test_equal_filters_are_one() -> None:
    """Two clients with the same filter share what is made of it."""
    first = filter_of(node(key="a", cmp="eq", val="x"))
    assert filter_of(node(key="a", cmp="eq", val="x")) is first
    assert filter_of(node(key="a", cmp="eq", val="y")) is not first


def test_filters_nobody_uses_are_forgotten() -> None:
    """Clients can make up as many as they like."""
    gc.collect()
    before = len(filters._filters)
    held = [filter_of(node(key="a", cmp="eq", val=str(number))) for number in range(100)]
    assert len(filters._filters) == before + 100
    held.clear()
    gc.collect()
    assert len(filters._filters) == before


# --- what is no filter ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "has no key"),
        ({"cmp": "eq", "val": "a"}, "has no key"),
        ({"key": "a"}, "cmp is ''"),
        ({"key": "a", "cmp": "like", "val": "b"}, "cmp is 'like'"),
        ({"key": "a", "cmp": "x" * 1_000}, "cmp is 'xxx.*…'"),
        ({"key": "a", "cmp": "eq", "vals": ["b"]}, "vals go with in and nin"),
        ({"key": "a", "cmp": "in"}, "in takes vals"),
        ({"key": "a", "cmp": "nin", "val": "b"}, "nin takes vals"),
        ({"key": "a", "cmp": "in", "val": "b", "vals": ["b"]}, "in takes vals"),
        ({"key": "a", "cmp": "ex", "val": "b"}, "ex takes no val"),
        ({"key": "a", "cmp": "nex", "vals": ["b"]}, "vals go with"),
        ({"key": "a", "cmp": "lt", "val": "ten"}, "lt takes a decimal number, and val is 'ten'"),
        ({"key": "a", "cmp": "gte"}, "gte takes a decimal number"),
        ({"key": "a", "cmp": "eq", "val": "b", "nodes": [{"key": "a", "cmp": "ex"}]}, "takes no nodes"),
        ({"op": "xor", "nodes": [{"key": "a", "cmp": "ex"}]}, "op is 'xor'"),
        ({"op": "and"}, "and takes at least one node, and has 0"),
        ({"op": "or", "nodes": []}, "or takes at least one node"),
        ({"op": "not"}, "not takes exactly one node, and has 0"),
        ({"op": "not", "nodes": [{"key": "a", "cmp": "ex"}] * 2}, "not takes exactly one node, and has 2"),
        ({"op": "and", "key": "a", "nodes": [{"key": "a", "cmp": "ex"}]}, "and takes nodes alone"),
        ({"op": "and", "nodes": [{"key": "a", "cmp": "ex"}, {"key": "a", "cmp": "?"}]}, "cmp is '?'"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(fields: dict[str, Any], words: str) -> None:
    """Whoever wrote it reads what is wrong with it."""
    with pytest.raises(BadRequest, match=f"107 tag filter: .*{words}"):
        filter_of(node(**fields))


def test_a_refused_filter_is_refused_again() -> None:
    """Nothing of it is kept."""
    for _ in range(2):
        with pytest.raises(BadRequest):
            filter_of(node(key="a", cmp="?"))


# --- bounds -----------------------------------------------------------------------------------------------------------


def nested(depth: int) -> dict[str, Any]:
    """Give a filter of so many nodes within each other."""
    tree: dict[str, Any] = {"key": "a", "cmp": "ex"}
    for _ in range(depth - 1):
        tree = {"op": "not", "nodes": [tree]}
    return tree


def beside(count: int, **fields: Any) -> dict[str, Any]:
    """Give a filter with so many comparisons beside each other."""
    return {"op": "or", "nodes": [{"key": "a", "cmp": "ex"} | fields] * count}


@pytest.mark.parametrize(
    ("fits", "too_much", "words"),
    [
        (nested(DEEPEST_NODE), nested(DEEPEST_NODE + 1), "nodes within each other"),
        (beside(MOST_NODES - 1), beside(MOST_NODES), "32 nodes"),
        (
            beside(2, cmp="in", vals=["v"] * (MOST_VALUES // 2)),
            beside(2, cmp="in", vals=["v"] * (MOST_VALUES // 2 + 1)),
            "values",
        ),
        (
            {"key": "a", "cmp": "eq", "val": "v" * (MOST_CHARACTERS - 1)},
            {"key": "a", "cmp": "eq", "val": "v" * MOST_CHARACTERS},
            "characters",
        ),
        (nested(2), nested(60), "nodes within each other"),
    ],
    ids=["depth", "nodes", "values", "characters", "much too deep"],
)
def test_bounds(fits: dict[str, Any], too_much: dict[str, Any], words: str) -> None:
    """A filter can be as large as it says, and no larger: it is asked for every publication."""
    filter_of(node(**fits))
    with pytest.raises(BadRequest, match=words):
        filter_of(node(**too_much))


def test_the_largest_is_small_on_the_wire() -> None:
    """What the bounds allow fits into one message of a client."""
    assert len(json.dumps(beside(MOST_NODES - 1, key="k" * 60))) < 65_536


@pytest.mark.parametrize("count", [FEW_VALUES, FEW_VALUES + 1])
def test_few_values_and_many_are_the_same(count: int) -> None:
    """However they are kept: what is one of them is, and a tag that is missing is none."""
    values = [str(number) for number in range(count)]
    inside, outside = (filter_of(FilterNode(key="n", cmp=cmp, vals=values)) for cmp in ("in", "nin"))
    cases: list[tuple[dict[str, str] | None, bool]] = [({"n": values[-1]}, True), ({"n": "x"}, False), (None, False)]
    for tags, among in cases:
        assert (inside.matches(tags), outside.matches(tags)) == (among, not among)
