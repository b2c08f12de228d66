"""Ghosts are found: in presence, and in the joins and leaves that somebody heard."""

from __future__ import annotations

from tests.chaos.people import compare, listen
from tests.chaos.record import Moved

HERE = {"ash": {"a", "b"}, "elm": {"b"}}


def test_presence_is_right_where_every_node_shows_exactly_who_is_connected() -> None:
    """A room without anybody may be shown or not."""
    assert compare(HERE, {"one": HERE, "two": {**HERE, "oak": set()}}).none


def test_who_is_shown_and_not_there_is_a_ghost_on_each_node() -> None:
    """In a room that has others, or in one that has none."""
    haunted = {"ash": {"a", "b", "ghost"}, "elm": {"b"}, "oak": {"ghost"}}
    strangers = compare(HERE, {"one": HERE, "two": haunted, "three": haunted})
    assert (strangers.ghosts, strangers.missing) == (4, 0)
    assert len(strangers.words) == 4


def test_who_is_there_and_not_shown_is_missing() -> None:
    """Also where a node shows nothing at all."""
    strangers = compare(HERE, {"one": {"ash": {"a"}, "elm": {"b"}}, "two": {}})
    assert (strangers.ghosts, strangers.missing) == (0, 4)


def moved(*moves: str) -> list[Moved]:
    """Give joins and leaves: ``+a`` came, ``-a`` went."""
    return [Moved(float(at), move[1:], move[0] == "+") for at, move in enumerate(moves)]


def test_joins_and_leaves_that_end_with_who_is_there_make_sense() -> None:
    """Somebody may leave whose coming was before the listener's own; its own id says nothing."""
    heard = listen(moved("+a", "-c", "+b", "-b", "+b", "+me", "+me"), {"a", "b", "me"}, {"me"})
    assert heard == (0, 0, 0)


def test_what_is_heard_twice_is_found() -> None:
    """A join of somebody who was there, a leave of somebody who had left."""
    assert listen(moved("+a", "+a", "-c", "-c"), {"a"}).repeated == 2


def test_ghosts_and_vanished_are_found() -> None:
    """Who joined and is not there, and who left and is."""
    heard = listen(moved("+a", "+ghost", "-b"), {"a", "b"})
    assert (heard.repeated, heard.ghosts, heard.vanished) == (0, 1, 1)
