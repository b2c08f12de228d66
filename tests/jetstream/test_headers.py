"""What a message says beside its data."""

from __future__ import annotations

import pytest

from openline.jetstream.headers import (
    OPENLINE,
    Extra,
    Place,
    Version,
    is_first,
    read_extra,
    read_place,
    read_time,
    read_top,
)
from openline.publication import ClientInfo

INFO = ClientInfo("us\u00e9r\r\n", "client", b'{"name":"A"}', b"\x00\xff")


@pytest.mark.parametrize(
    "extra",
    [
        Extra(info=INFO),
        Extra(tags={"kind": "a b", "\u00e9\n": "\u2603"}),
        Extra(kind="join", info=INFO),
        Extra(version=Version("", 7)),
        Extra(info=INFO, tags={}, version=Version("\u00e9", 1)),
    ],
)
def test_what_is_written_is_read(extra: Extra) -> None:
    """Whatever characters it is of, the header is plain ASCII on one line."""
    headers = extra.written()
    assert all(" " <= character <= "~" for character in headers[OPENLINE])
    assert read_extra(headers) == extra


def test_nothing_to_say_is_no_header() -> None:
    """Which is what most publications have."""
    assert Extra().written() == {}
    assert read_extra({}) == Extra()


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"kind":"dance"}', '{"info":1}'])
def test_what_cannot_be_read_says_nothing(text: str) -> None:
    """Anybody may write to a live subject."""
    assert read_extra({OPENLINE: text}) == Extra()


def test_the_time_is_the_servers() -> None:
    """In nanoseconds, of which as many are kept as a float holds."""
    assert read_time({"Nats-Time-Stamp": "1970-01-01T00:00:01.5Z"}) == 1.5
    assert read_time({"Nats-Time-Stamp": "1970-01-01T00:01:00.250000999Z"}) == pytest.approx(60.25)


def test_a_place_is_what_the_server_says_of_it() -> None:
    """All of it, or nothing."""
    headers = {"Nats-Sequence": "7", "Nats-Last-Sequence": "0", "Nats-Time-Stamp": "1970-01-01T00:00:01.5Z"}
    assert read_place(headers) == Place(7, 0, 1.5)
    assert all(read_place({name: text for name, text in headers.items() if name != left}) is None for left in headers)


@pytest.mark.parametrize(("text", "top"), [("0", 0), ("7", 7), ("\u0667", -1), ("", -1), ("x", -1), ("1" * 5_000, -1)])
def test_a_top_is_a_number(text: str, top: int) -> None:
    """Of digits, and not too many."""
    assert read_top({"Openline-Top": text}) == top


def test_the_first_is_what_was_stored_after_nothing() -> None:
    """Not what was stored after a certain one."""
    assert is_first({"Nats-Expected-Last-Subject-Sequence": "0"})
    assert not is_first({"Nats-Expected-Last-Subject-Sequence": "7"})
    assert not is_first({})
