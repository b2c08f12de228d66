"""The words for what travels: values that compare, and cannot change on the way."""

from __future__ import annotations

import msgspec
import pytest

from openline.errors import UnrecoverablePosition
from openline.publication import EMPTY, Arrival, ClientInfo, Position, Publication

ADA = ClientInfo(user="42", client="c-1")


def test_a_channel_without_history_has_no_position() -> None:
    """There is one value for it: no epoch, offset zero."""
    assert Position() == Position.NONE == Position("", 0)


def test_positions_compare_by_epoch_and_offset() -> None:
    """The same offset in another epoch is another place."""
    assert Position("a", 1) == Position("a", 1)
    assert Position("a", 1) != Position("b", 1)
    assert Position("a", 1) != Position("a", 2)


@pytest.mark.parametrize("position", [Position("a", 1), Position("a:b", 2**64 - 1), Position.NONE], ids=str)
def test_a_position_is_one_word(position: Position) -> None:
    """It is written into the id of an event, and read from what a client sends back."""
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "a", "a:", "a:-1", "a:1.0", "a:٣", f"a:{2**64}", "a:" + "1" * 5_000])
def test_what_is_no_position(text: str) -> None:
    """A client may send anything: from there nothing can be recovered."""
    with pytest.raises(UnrecoverablePosition, match="is no position"):
        Position.parse(text)


@pytest.mark.parametrize(
    "value",
    [Position("a", 1), ADA, Publication(b"1"), Arrival(ADA, joined=True)],
    ids=lambda value: type(value).__name__,
)
def test_what_travels_cannot_change(value: msgspec.Struct) -> None:
    """One publication is handed to every subscriber."""
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], "other")


def test_a_publication_of_the_server_is_data_and_nothing_else() -> None:
    """No history, no client, no tags."""
    publication = Publication(b'{"x":1}')
    assert (publication.offset, publication.previous, publication.epoch) == (0, 0, "")
    assert publication.info is None
    assert publication.tags is None


def test_everything_that_travels_has_a_size() -> None:
    """Whatever is beside the data: it is what replies, pages and batches are measured by."""
    bare = Publication(b"1")
    sizes = [
        (Publication(b"1" * 101), 100),
        (Publication(b"1", tags={"я": "x" * 91}), 99),
        (Publication(b"1", info=ClientInfo("u", "c", b"x" * 60, b"y" * 39)), 100),
    ]
    for publication, more in sizes:
        assert publication.size_bytes == bare.size_bytes + more
    assert Arrival(ADA, joined=True).size_bytes == bare.size_bytes + 1


def test_nothing_is_an_encoded_payload_too() -> None:
    """An empty payload is there, with no bytes in it."""
    assert EMPTY == b""
    assert ADA.connection == ADA.channel == EMPTY
