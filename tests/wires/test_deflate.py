"""Compression: what is agreed on with a client, and what is made of the messages it has compressed."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.wires.deflate import FORGETTING, KEEPING, agree, inflate, reading

BOTH_FORGET = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits"


def answer(offers: list[str], terms: object = FORGETTING) -> str | None:
    """Give the header that a client is answered with."""
    assert terms in (FORGETTING, KEEPING)
    headers, agreed = agree([offer.encode() for offer in offers], FORGETTING if terms is FORGETTING else KEEPING)
    assert bool(headers) == (agreed is not None)
    return headers[0][1].decode() if headers else None


@pytest.mark.parametrize(
    ("offers", "agreed"),
    [
        (["permessage-deflate"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; client_max_window_bits"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; client_max_window_bits=10"], f"{BOTH_FORGET}=12; client_max_window_bits=10"),
        (["permessage-deflate; server_max_window_bits=12"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; server_max_window_bits=15"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; server_no_context_takeover; client_no_context_takeover"], f"{BOTH_FORGET}=12"),
        (["x-other, permessage-deflate"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; server_max_window_bits=9, permessage-deflate"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; server_max_window_bits=11", "permessage-deflate"], f"{BOTH_FORGET}=12"),
        (["permessage-deflate; server_max_window_bits=8, permessage-deflate"], f"{BOTH_FORGET}=12"),
    ],
)
def test_a_hub_keeps_no_context_and_has_one_window_for_all(offers: list[str], agreed: str) -> None:
    """Neither side takes anything over, whatever the client said of it. Of several offers the first that will do."""
    assert answer(offers) == agreed


@pytest.mark.parametrize(
    "offers",
    [
        [],
        [""],
        ["x-webkit-deflate-frame"],
        ["permessage-deflate; server_max_window_bits=8"],
        ["permessage-deflate; server_max_window_bits=16"],
        ["permessage-deflate; server_max_window_bits"],
        ["permessage-deflate; client_max_window_bits=abc"],
        ["permessage-deflate; server_no_context_takeover=1"],
        ["permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
        ["permessage-deflate; something_else"],
        ["permessage-deflate;;;="],
        ["\xff"],
    ],
)
def test_what_cannot_be_had_is_not_agreed_on(offers: list[str]) -> None:
    """Zlib has no window of 256 bytes; the rest is not what RFC 7692 knows."""
    assert answer(offers) is None
    assert answer(offers, KEEPING) is None


@pytest.mark.parametrize("bits", [9, 10, 11])
def test_a_client_that_insists_on_a_smaller_window_gets_no_compression_of_a_hub(bits: int) -> None:
    """What is compressed once for all would have to be compressed once more for it. A route compresses as it likes."""
    offer = [f"permessage-deflate; server_max_window_bits={bits}"]
    assert answer(offer) is None
    assert answer(offer, KEEPING) == f"permessage-deflate; server_max_window_bits={bits}"


def test_routes_keep_their_context_in_small_windows() -> None:
    """4 KiB rather than zlib's 32: the memory is paid per connection."""
    offer = ["permessage-deflate; client_max_window_bits"]
    assert answer(offer, KEEPING) == "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def deflated(message: bytes, *, final: bool = False) -> bytes:
    """Compress as clients do; `final` as few do, with a last block that says it is the last."""
    compressor = zlib.compressobj(wbits=-15)
    if final:
        return compressor.compress(message) + compressor.flush(zlib.Z_FINISH) + b"\x00"
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@given(st.binary(max_size=3000), st.booleans())
def test_a_message_is_what_it_was(message: bytes, final: bool) -> None:
    """However it was compressed; exactly as long as it may be, too."""
    assert inflate(deflated(message, final=final), len(message)) == message
    assert inflate(deflated(message, final=final), None) == message


def test_blocks_may_be_stored_and_more_than_one() -> None:
    """The examples of RFC 7692, 7.2.3."""
    hello = b"Hello"
    for compressed in ("f248cdc9c90700", "000500faff48656c6c6f00", "f348cdc9c9070000", "f24805000000ffffcac9c90700"):
        assert inflate(bytes.fromhex(compressed), 5) == hello


@pytest.mark.parametrize("factor", [1, 1000])
def test_a_message_that_becomes_too_long_is_not_made(factor: int) -> None:
    """One byte too much, or a bomb: whoever says what is wrong with it does not have to hold it."""
    assert inflate(deflated(b"\x00" * (1000 * factor + 1)), 1000) is None


def test_what_was_not_compressed_is_nothing() -> None:
    """Bytes that zlib makes nothing of."""
    assert inflate(b"\xff\xff\xff", 1000) is None


def test_a_parser_reads_what_any_client_compresses() -> None:
    """With the largest window; and forgets it after each message."""
    agreed = reading()
    assert (agreed.remote_no_context_takeover, agreed.remote_max_window_bits) == (True, 15)
