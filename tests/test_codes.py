"""The codes of the protocol: numbers, words, and what a client does on seeing one."""

from __future__ import annotations

import pytest

from openline import codes
from openline.codes import DisconnectCode, ErrorCode, UnsubscribeCode

#: The public protocol's numbers, written down here a second time.
ERRORS = {
    100: "internal server error",
    101: "unauthorized",
    102: "unknown channel",
    103: "permission denied",
    104: "method not found",
    105: "already subscribed",
    106: "limit exceeded",
    107: "bad request",
    108: "not available",
    109: "token expired",
    110: "expired",
    111: "too many requests",
    112: "unrecoverable position",
    113: "concurrent pagination",
}
COMES_BACK = {
    3000: "connection closed",
    3001: "shutdown",
    3004: "internal server error",
    3005: "connection expired",
    3006: "subscription expired",
    3008: "slow",
    3009: "write error",
    3010: "insufficient state",
    3011: "force reconnect",
    3012: "no pong",
    3013: "too many requests",
    3014: "state invalidated",
}
STAYS_AWAY = {
    3500: "invalid token",
    3501: "bad request",
    3502: "stale",
    3503: "force disconnect",
    3504: "connection limit",
    3505: "channel limit",
    3506: "inappropriate protocol",
    3507: "permission denied",
    3508: "not available",
    3509: "too many errors",
}


def test_errors_have_the_numbers_and_words_of_the_protocol() -> None:
    """Each one, in order of its number."""
    assert {code.number: code.message for code in codes.ERRORS} == ERRORS
    assert [code.number for code in codes.ERRORS] == sorted(ERRORS)


def test_a_client_tries_again_after_these_errors_only() -> None:
    """Temporary are a fault of the server, too many requests, and a page that moved under the reader."""
    assert {code.number for code in codes.ERRORS if code.temporary} == {100, 111, 113}


def test_disconnects_have_the_numbers_and_words_of_the_protocol() -> None:
    """Each one, in order of its number."""
    assert {code.number: code.reason for code in codes.DISCONNECTS} == COMES_BACK | STAYS_AWAY
    assert [code.number for code in codes.DISCONNECTS] == sorted(COMES_BACK | STAYS_AWAY)


def test_a_client_comes_back_after_the_one_half_and_stays_away_after_the_other() -> None:
    """The number alone decides."""
    assert {code.number for code in codes.DISCONNECTS if code.reconnect} == set(COMES_BACK)


@pytest.mark.parametrize(
    ("number", "reconnect"),
    [
        (1000, True),
        (1006, True),
        (2999, True),
        (3000, True),
        (3499, True),
        (3500, False),
        (3999, False),
        (4000, True),
        (4499, True),
        (4500, False),
        (4999, False),
        (5000, True),
    ],
)
def test_an_unknown_number_belongs_to_its_range(number: int, reconnect: bool) -> None:
    """A newer server or an app has codes of its own; a client goes by the range."""
    assert DisconnectCode(number, "any").reconnect is reconnect


def test_unsubscribes_have_the_numbers_of_the_protocol() -> None:
    """From 2500 on the client subscribes again by itself."""
    assert {code.number: code.resubscribe for code in codes.UNSUBSCRIBES} == {
        2000: False,
        2500: True,
        2501: True,
        2502: True,
    }


@pytest.mark.parametrize(("number", "resubscribe"), [(2001, False), (2499, False), (2500, True), (2999, True)])
def test_an_unknown_unsubscribe_belongs_to_its_range(number: int, resubscribe: bool) -> None:
    """The border is 2500."""
    assert UnsubscribeCode(number, "any").resubscribe is resubscribe


@pytest.mark.parametrize("code", [*codes.DISCONNECTS, *codes.UNSUBSCRIBES], ids=lambda code: str(code.number))
def test_every_reason_can_be_sent_in_a_close(code: DisconnectCode | UnsubscribeCode) -> None:
    """Plain words of at most 32 ASCII characters: neither empty nor anything a client could take for JSON."""
    assert code.reason.isascii()
    assert code.reason.replace(" ", "").isalpha()
    assert len(code.reason) <= 32


def test_no_error_has_an_empty_message() -> None:
    """A client indexes it."""
    assert all(code.message for code in codes.ERRORS)


def test_every_code_of_the_module_is_in_its_table() -> None:
    """Docs and clients are made from the tables: a code that is missing there does not exist for them."""
    tables = (*codes.ERRORS, *codes.DISCONNECTS, *codes.UNSUBSCRIBES)
    kinds = (ErrorCode, DisconnectCode, UnsubscribeCode)
    assert [value for value in vars(codes).values() if isinstance(value, kinds)] == list(tables)


def test_no_number_is_given_twice() -> None:
    """Whatever kind a code is of, its number is its own."""
    numbers = [code[0] for code in (*codes.ERRORS, *codes.DISCONNECTS, *codes.UNSUBSCRIBES)]
    assert len(numbers) == len(set(numbers))
