"""What HTTP calls a refusal."""

from __future__ import annotations

import pytest

from openline import codes
from openline.codes import DisconnectCode, ErrorCode
from openline.routes.refusing import end_status, error_status


@pytest.mark.parametrize("code", codes.ERRORS)
def test_every_error_has_a_status_and_those_that_pass_have_one_that_says_so(code: ErrorCode) -> None:
    """A client that is to try again sees 429 or 503."""
    status = error_status(code)
    assert 400 <= status < 600
    assert (status in (429, 503)) == code.temporary


@pytest.mark.parametrize("code", codes.DISCONNECTS)
def test_every_end_has_a_status(code: DisconnectCode) -> None:
    """One the client is to come back after is 429 or 503, save where a token has run out."""
    status = end_status(code)
    assert 400 <= status < 600
    expired = code in (codes.CLOSED_CONNECTION_EXPIRED, codes.CLOSED_SUBSCRIPTION_EXPIRED)
    assert expired or code == codes.CLOSED_CONNECTION_LIMIT or (status in (429, 503)) == code.reconnect


def test_an_apps_own_codes_have_one_too() -> None:
    """By their range."""
    assert error_status(ErrorCode(1_000, "own")) == 400
    assert error_status(ErrorCode(1_000, "own", temporary=True)) == 503
    assert end_status(DisconnectCode(4_000, "own")) == 503
    assert end_status(DisconnectCode(4_500, "own")) == 403
