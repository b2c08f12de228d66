"""Which rooms there are."""

from __future__ import annotations

import pytest

from openline.demo.rooms import FIRST, Rooms


def test_first_rooms_are_open_from_the_start() -> None:
    """The list is never empty, and its order is kept."""
    assert Rooms().names() == list(FIRST)


def test_room_is_new_once() -> None:
    """The first who enters opens it; whoever follows finds it open."""
    rooms = Rooms()

    assert rooms.open("attic")
    assert not rooms.open("attic")
    assert rooms.names() == [*FIRST, "attic"]


@pytest.mark.parametrize("name", ["a", "7", "under-the-roof", "x" * 32])
def test_plain_names_are_taken(name: str) -> None:
    """Small letters, digits and inner hyphens, up to 32."""
    assert Rooms().open(name)


@pytest.mark.parametrize("name", ["", "Attic", "two words", "-edge", "edge-", "a:b", "café", "x" * 33, "attic\n"])
def test_other_names_are_refused(name: str) -> None:
    """Whatever would not do as a part of a channel's name and of a link is refused in words for the visitor."""
    with pytest.raises(ValueError, match="small letters"):
        Rooms().open(name)


def test_full_house_opens_no_room_and_keeps_those_it_has() -> None:
    """Past the limit a new room is refused; an open one is entered as before."""
    rooms = Rooms(limit=len(FIRST))

    with pytest.raises(ValueError, match="already"):
        rooms.open("attic")
    assert not rooms.open(FIRST[0])
