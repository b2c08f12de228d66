"""Channel names, and the patterns that build and match them."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from openline.errors import DeclarationError
from openline.names import Pattern, is_name

PRINTABLE = string.ascii_letters + string.digits + string.punctuation
#: What a literal may be made of: braces would be placeholders.
LITERAL = PRINTABLE.replace("{", "").replace("}", "")

names = st.text(PRINTABLE, min_size=1, max_size=20)
values = st.text(PRINTABLE.replace(":", ""), min_size=1, max_size=8)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Make up patterns of up to four placeholders with literals between them."""
    count = draw(st.integers(0, 4))
    text = draw(st.text(LITERAL, min_size=0 if count else 1, max_size=4))
    for index in range(count):
        last = index == count - 1
        kind = draw(st.sampled_from(["", ":path"])) if last else ""
        text += f"{{p{index}{kind}}}" + draw(st.text(LITERAL, min_size=0 if last else 1, max_size=3))
    return text


# --- names --------------------------------------------------------------------------------------------------------


@given(names)
def test_a_name_is_printable_ascii(name: str) -> None:
    """Letters, digits and every punctuation mark may stand anywhere in it."""
    assert is_name(name)


@given(st.text(max_size=20))
def test_nothing_else_is_a_name(text: str) -> None:
    """No spaces, no control characters, nothing beyond ASCII, and at least one character."""
    assert is_name(text) == (bool(text) and all("!" <= character <= "~" for character in text))


@pytest.mark.parametrize("text", ["", " ", "a b", "a\n", "\na", "grün", "a\x00", "a\x7f", "ａ"], ids=repr)  # noqa: RUF001
def test_these_are_no_names(text: str) -> None:
    """A newline at the end is not overlooked, and a full-width letter is not a letter."""
    assert not is_name(text)


# --- patterns that are declared -----------------------------------------------------------------------------------


def test_a_pattern_without_a_placeholder_is_one_channel() -> None:
    """It matches its own text and nothing else, whatever that means elsewhere."""
    pattern = Pattern("news.v1*")
    assert pattern.fixed
    assert pattern.match("news.v1*") == {}
    assert pattern.match("newsXv1*") is None
    assert pattern.match("news.v1**") is None


def test_a_placeholder_matches_one_part() -> None:
    """Parts are separated by colons: no more and no less than one."""
    pattern = Pattern("room:{name}")
    assert not pattern.fixed
    assert pattern.parts == ("name",)
    assert pattern.match("room:lobby") == {"name": "lobby"}
    assert pattern.match("room:") is None
    assert pattern.match("room:a:b") is None
    assert pattern.match("Room:lobby") is None
    assert pattern.match("my-room:lobby") is None


def test_a_path_matches_all_that_is_left() -> None:
    """Colons included, but at least one character."""
    pattern = Pattern("files:{path:path}")
    assert pattern.match("files:a") == {"path": "a"}
    assert pattern.match("files:a:b:c") == {"path": "a:b:c"}
    assert pattern.match("files::") == {"path": ":"}
    assert pattern.match("files:") is None


def test_a_placeholder_may_be_a_piece_of_a_part() -> None:
    """Up to the first occurrence of what stands behind it."""
    pattern = Pattern("game-{id}.{format}:{player}")
    assert pattern.match("game-7.json:ada") == {"id": "7", "format": "json", "player": "ada"}
    assert pattern.match("game-7.tar.gz:ada") == {"id": "7", "format": "tar.gz", "player": "ada"}
    assert pattern.match("game-7:ada") is None


def test_a_path_may_have_an_end() -> None:
    """Something fixed may follow the last placeholder, whichever kind it is."""
    assert Pattern("{path:path}.json").match("a:b.json.json") == {"path": "a:b.json"}
    assert Pattern("{name}!").match("hello!!") == {"name": "hello!"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "printable"),
        ("a room", "printable"),
        ("räume:{name}", "printable"),
        ("room:{name", "placeholder"),
        ("room:}", "placeholder"),
        ("room:{}", "placeholder"),
        ("room:{0}", "placeholder"),
        ("room:{a-b}", "placeholder"),
        ("room:{{name}}", "placeholder"),
        ("room:{name:int}", "only 'path'"),
        ("{a}:{a}", "twice"),
        ("{a}{b}", "not clear"),
        ("{a:path}:{b}", "not clear"),
        ("{a:path}:{b:path}", "not clear"),
    ],
)
def test_what_cannot_work_is_refused_where_it_is_declared(text: str, reason: str) -> None:
    """The message shows the pattern and says what is wrong with it."""
    with pytest.raises(DeclarationError, match=reason) as refused:
        Pattern(text)
    assert repr(text) in str(refused.value)


def test_patterns_of_one_shape_match_the_same_names() -> None:
    """A placeholder's name makes no difference, its kind does."""
    assert Pattern("room:{name}").shape == Pattern("room:{id}").shape
    assert Pattern("room:{name}").shape != Pattern("room:{name:path}").shape
    assert Pattern("room:{name}").shape != Pattern("hall:{name}").shape


def test_a_pattern_shows_itself() -> None:
    """In a log or a traceback one sees what was declared."""
    assert repr(Pattern("room:{name}")) == "Pattern('room:{name}')"


# --- build and match ----------------------------------------------------------------------------------------------


@given(st.data())
def test_what_is_built_is_matched_with_the_same_parts(data: st.DataObject) -> None:
    """A handler is given what the publisher put in, or the publisher is refused: never something else."""
    pattern = Pattern(data.draw(patterns()))
    parts = {part: data.draw(values) for part in pattern.parts}
    try:
        name = pattern.build(parts)
    except DeclarationError:
        # Some value holds what ends it in this pattern.
        assert len(parts) > 1
    else:
        assert is_name(name)
        assert pattern.match(name) == parts


@given(st.data())
def test_what_is_matched_is_built_again(data: st.DataObject) -> None:
    """There is one way to read a name: its parts make that name and no other."""
    pattern = Pattern(data.draw(patterns()))
    # Names that are likely to match: the pattern with anything for its placeholders.
    text = re.sub(r"\{[^}]*\}", lambda _: data.draw(st.text(PRINTABLE, min_size=1, max_size=6)), pattern.text)
    assume(is_name(text))
    parts = pattern.match(text)
    if parts is not None:
        assert pattern.build(parts) == text


@given(values)
def test_one_placeholder_takes_every_value(value: str) -> None:
    """With a single placeholder there is nothing to mistake, whatever stands around it."""
    for text in ("room:{name}", "{name}", "x{name}x", "{name:path}", "files:{name:path}.json"):
        pattern = Pattern(text)
        assert pattern.match(pattern.build({"name": value})) == {"name": value}


def test_parts_need_not_be_strings() -> None:
    """A number is written as its digits."""
    assert Pattern("user:{id}").build({"id": 42}) == "user:42"


@pytest.mark.parametrize(
    ("text", "parts", "reason"),
    [
        ("room:{name}", {}, "needs its part 'name'"),
        ("room:{name}", {"name": "a", "size": 1}, "no part 'size'"),
        ("room:{name}", {"name": ""}, "cannot be its part 'name'"),
        ("room:{name}", {"name": "a:b"}, "cannot be its part 'name'"),
        ("room:{name}", {"name": "a b"}, "cannot be its part 'name'"),
        ("room:{name}", {"name": "größe"}, "cannot be its part 'name'"),
        ("room:{name}", {"name": "a\n"}, "cannot be its part 'name'"),
        ("files:{path:path}", {"path": ""}, "cannot be its part 'path'"),
        ("{a}-{b}", {"a": "x-y", "b": "z"}, "cannot be its part 'a'"),
        ("{a}--{b}", {"a": "x-", "b": "z"}, "would not be read back"),
        ("news", {"name": "a"}, "no part 'name'"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(text: str, parts: dict[str, object], reason: str) -> None:
    """A channel that would be another's, or nobody's, is never built."""
    with pytest.raises(DeclarationError, match=reason):
        Pattern(text).build(parts)


def test_a_name_made_to_be_slow_is_not() -> None:
    """Clients choose names: matching one that nearly fits must not take time that grows with its power.

    Not measured: were it tried in every way, this would take longer than the age of the universe.
    """
    pattern = Pattern("-".join(f"{{p{index}}}" for index in range(20)) + ":end")
    assert pattern.match("-" * 255) is None
    assert pattern.match("a-" * 127) is None
