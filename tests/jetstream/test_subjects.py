"""Channels as subjects: theirs alone, readable, and never a subject that means something else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.jetstream.subjects import live, token, word

#: Names that differ little, of what is special to NATS, to MQTT and to the escaping itself.
NAMES = st.lists(st.sampled_from([*"ab:.%*>/+#$_ 25FoO", "openline", "\u00e9", "\n", "\u2603"]), max_size=12).map(
    "".join
)


@pytest.mark.parametrize(
    ("channel", "subject"),
    [
        ("sensors:7", "sensors.7"),
        ("a", "a"),
        ("a:b:c", "a.b.c"),
        ("Room-1_x=~!", "Room-1_x=~!"),
        ("a.b", "a%2Eb"),
        ("a::b", "a.%.b"),
        (":", "%.%"),
        ("100%", "100%25"),
        ("*:>", "%2A.%3E"),
        ("a/b+c#d", "a%2Fb%2Bc%23d"),
        ("$SYS:x", "%24SYS.x"),
        ("_INBOX:x", "%5FINBOX.x"),
        ("a:_b", "a._b"),
        ("openline:h", "%6Fpenline.h"),
        ("openliner:h", "openliner.h"),
        ("\u00e9 a", "%C3%A9%20a"),
    ],
)
def test_a_channel_is_called(channel: str, subject: str) -> None:
    """By its parts, and what is special by its number."""
    assert live(channel, "openline") == subject
    assert token(channel, "openline") == subject.replace(".", ":")


@given(st.sets(NAMES, max_size=30))
def test_no_two_channels_share_a_subject(channels: set[str]) -> None:
    """However little they differ."""
    for call in (live, token):
        assert len({call(channel, "openline") for channel in channels}) == len(channels)
    assert len({word(text) for text in channels}) == len(channels)


@given(NAMES)
def test_a_subject_has_no_meaning(channel: str) -> None:
    """It is one that NATS takes, that matches itself alone, and is none of NATS's or the hub's own."""
    subject = live(channel, "openline")
    assert re.fullmatch(r"[!-~]+", subject)
    tokens = subject.split(".")
    assert all(tokens)
    assert not re.search(r"[*>$/+#]", subject)
    assert tokens[0] != "openline"
    assert not subject.startswith("_")
    assert "." not in token(channel, "openline") + word(channel)
    assert token(channel, "openline").split(":") == tokens
