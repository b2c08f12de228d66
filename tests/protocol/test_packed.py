"""Publications packed for followers: all that is known of them, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.protocol.codec import DecodeError
from openline.protocol.messages import Reply
from openline.protocol.packed import PACKED
from openline.publication import Arrival, ClientInfo, Publication

INFOS = st.none() | st.builds(ClientInfo, st.text(), st.text(), st.binary(), st.binary())
PUBLICATIONS = st.builds(
    Publication,
    st.binary(),
    offset=st.integers(0, 2**64 - 1),
    previous=st.integers(0, 2**64 - 1),
    epoch=st.text(),
    info=INFOS,
    tags=st.none() | st.dictionaries(st.text(), st.text()),
    time=st.floats(allow_nan=False),
)


@given(publications=st.lists(PUBLICATIONS, min_size=1))
def test_what_is_packed_is_unpacked(publications: list[Publication]) -> None:
    """Any publications, however many in one chunk."""
    chunk = PACKED.join([PACKED.pack(publication) for publication in publications])
    assert list(PACKED.unpack(chunk)) == publications


def test_joins_and_leaves_are_left_out() -> None:
    """A follower is told of publications."""
    assert PACKED.join([PACKED.pack(Arrival(ClientInfo("ada", "1"), joined=True))]) == b""
    assert PACKED.encode(Reply()) == b""


def test_there_are_no_commands() -> None:
    """A follower asks for nothing in words."""
    with pytest.raises(DecodeError):
        PACKED.decode(b"")
    assert PACKED.carries(b"\xff")
    assert PACKED.quote(b"x") == b"x"
