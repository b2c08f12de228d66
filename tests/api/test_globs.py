"""Which channels a pattern means."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.api.globs import LONGEST_PATTERN, Glob
from openline.errors import BadRequest


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("", ["a", "room:1"], []),
        ("*", ["a", "room:1"], []),
        ("room:*", ["room:", "room:1", "room:1:2"], ["rooms", "a:room:1"]),
        ("room:?", ["room:1"], ["room:", "room:12"]),
        ("room:[ab]", ["room:a", "room:b"], ["room:c"]),
        ("room:[!ab]", ["room:c"], ["room:a"]),
        ("room:[0-9]*", ["room:1", "room:1x"], ["room:x"]),
        ("{room,hall}:*", ["room:1", "hall:1"], ["attic:1"]),
        ("a{b,c{d,e}}f", ["abf", "acdf", "acef"], ["acf", "af"]),
        ("room", ["room"], ["room:1", "roo"]),
        ("a.c", ["a.c"], ["abc"]),
        ("a{b", ["a{b"], ["ab"]),
        ("a[b", ["a[b"], ["ab"]),
        ("$a|b^(c)+", ["$a|b^(c)+"], ["a"]),
    ],
)
def test_a_pattern_means_what_a_shell_means_by_it(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    """A star crosses the parts of a name."""
    glob = Glob(pattern)
    assert [name for name in (*meant, *not_meant) if glob.matches(name)] == meant
    assert all(name.startswith(glob.prefix) for name in meant)


@pytest.mark.parametrize(
    ("pattern", "prefix"), [("room:*", "room:"), ("*", ""), ("a{b,c}", "a"), ("a?b", "a"), ("room", "room")]
)
def test_nodes_are_asked_for_what_begins_alike(pattern: str, prefix: str) -> None:
    """They do not send what cannot match."""
    assert Glob(pattern).prefix == prefix


@pytest.mark.parametrize("pattern", ["x" * (LONGEST_PATTERN + 1), "{a,b}" * 20, "{" + "," * 200 + "}"])
def test_a_pattern_that_stands_for_too_much_is_refused(pattern: str) -> None:
    """Before it is made into anything."""
    with pytest.raises(BadRequest, match="pattern"):
        Glob(pattern)


def test_many_stars_take_no_longer() -> None:
    """A pattern that nearly matches is not tried in every way there is."""
    assert not Glob("*a" * 300 + "!").matches("a" * 255)


@given(st.text(alphabet="ab*?[]{}!,\\-", max_size=30), st.text(alphabet="ab:[]{}", max_size=10))
def test_any_text_is_a_pattern(pattern: str, name: str) -> None:
    """Or is refused: nothing else comes of it."""
    try:
        glob = Glob(pattern)
    except BadRequest:
        return
    if glob.matches(name):
        assert name.startswith(glob.prefix)


@given(st.text(alphabet=re.sub(r"[*?\[{]", "", "".join(map(chr, range(33, 127)))), max_size=20))
def test_a_name_is_a_pattern_that_means_itself(name: str) -> None:
    """Unless it holds one of the four characters that mean something."""
    assert Glob(name).matches(name)
