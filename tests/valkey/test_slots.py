"""Slots: as every server of a cluster counts them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from openline.valkey.slots import SLOTS, slot_of
from tests.engines.valkey import ValkeyCluster


def test_the_specification_gives_one() -> None:
    """The one value that the specification of the checksum names."""
    assert slot_of(b"123456789") == 0x31C3 % SLOTS


def test_braces_say_what_counts() -> None:
    """What the first braces hold decides, unless it is nothing."""
    assert slot_of(b"a{tag}b") == slot_of(b"tag") == slot_of(b"{tag}{other}")
    assert slot_of(b"{}tag") != slot_of(b"")
    assert slot_of(b"{tag") != slot_of(b"tag")


def test_a_server_agrees(valkey_cluster: ValkeyCluster) -> None:
    """Whatever the key is, a server counts as we do."""
    server = valkey_cluster.servers[0]

    @settings(max_examples=30)
    @given(st.lists(st.sampled_from([b"{", b"}", b"a", b"\xff", b"long key"]), max_size=6).map(b"".join))
    def agree(key: bytes) -> None:
        assert server.call("CLUSTER", "KEYSLOT", key) == slot_of(key)

    agree()
