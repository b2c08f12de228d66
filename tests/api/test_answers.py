"""What an exception is to the back end that asked."""

from __future__ import annotations

import pytest

from openline import codes
from openline.api.answers import INTERNAL, STATUSES, answer
from openline.counters import Counters
from openline.errors import BrokerUnavailable, Disconnect, PayloadTooBig, Refusal, UnknownChannel, UsageError
from openline.notices import Notices
from openline.testing import VirtualClock


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UnknownChannel("no such room"), 102, "no such room"),
        (Refusal("closed today", code=450), 450, "closed today"),
        (PayloadTooBig(3, 2), 107, "payload of 3 bytes exceeds the limit of 2 bytes"),
    ],
)
def test_a_refusal_is_told_in_its_own_words(error: Exception, code: int, words: str) -> None:
    """They say what to change."""
    counters = Counters()
    told = answer("publish", error, counters, Notices(counters, VirtualClock()))
    assert (told.code, told.message) == (code, words)
    assert (counters.api_errors, counters.api_failures) == (1, 0)


@pytest.mark.parametrize("error", [ValueError("secret"), UsageError("secret"), Disconnect(codes.CLOSED_STALE)])
def test_a_fault_of_the_server_is_for_its_log(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Back ends have nothing to change."""
    counters = Counters()
    assert answer("publish", error, counters, Notices(counters, VirtualClock())) == INTERNAL
    assert str(error) in caplog.text
    assert (counters.api_errors, counters.api_failures) == (1, 1)
    assert "publish of the server API failed" in caplog.text


def test_a_broker_that_is_away_is_counted() -> None:
    """And said in the log once in a while, not each time."""
    counters = Counters()
    assert answer("publish", BrokerUnavailable("no route"), counters, Notices(counters, VirtualClock())) == INTERNAL
    assert (counters.commands_unserved, counters.api_errors, counters.api_failures) == (1, 1, 1)


def test_the_statuses_are_of_errors() -> None:
    """Each of a code there is."""
    assert STATUSES.keys() <= {code.number for code in codes.ERRORS}
    assert all(400 <= status < 600 for status in STATUSES.values())
