"""What clients do too much of is counted each time, and said in the log once in a while."""

from __future__ import annotations

from typing import get_args

import pytest

from openline.counters import Counters
from openline.notices import SILENT_SECONDS, Excess, Notices
from openline.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """Give the time."""
    return VirtualClock()


@pytest.fixture
def counters() -> Counters:
    """Give the counts."""
    return Counters()


@pytest.fixture
def notices(counters: Counters, clock: VirtualClock) -> Notices:
    """Give what is tested."""
    return Notices(counters, clock)


def test_the_first_of_a_kind_is_said_at_once(notices: Notices, caplog: pytest.LogCaptureFixture) -> None:
    """With the values in their places, as a warning: it shows where no logging is set up."""
    notices.take("floods", "session %s sent %d", "abc", 7)

    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("openline", "WARNING", "session abc sent 7")
    ]


async def test_a_flood_is_one_line_in_a_while_and_a_count(
    notices: Notices, clock: VirtualClock, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    """However fast they come. The next line says how many there were that none was written of."""
    for _ in range(1000):
        notices.take("floods", "session %s", "abc")
    assert caplog.messages == ["session abc"]
    await clock.advance(SILENT_SECONDS)
    for _ in range(10):
        notices.take("floods", "session %s", "def")
    await clock.advance(SILENT_SECONDS)
    notices.take("floods", "session %s", "ghi")

    assert caplog.messages == [
        "session abc",
        "session def (and 999 more since the last such line)",
        "session ghi (and 9 more since the last such line)",
    ]
    assert counters.floods == 1011


async def test_what_is_seldom_is_always_said(
    notices: Notices, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is added where nothing was left out."""
    for _ in range(3):
        notices.take("floods", "once")
        await clock.advance(SILENT_SECONDS)

    assert caplog.messages == ["once"] * 3


def test_one_kind_does_not_silence_another(notices: Notices, caplog: pytest.LogCaptureFixture) -> None:
    """Each has its own time."""
    notices.take("floods", "one")
    notices.take("origins_refused", "other")

    assert caplog.messages == ["one", "other"]


def test_two_messages_of_one_counter_do_not_silence_each_other(
    notices: Notices, counters: Counters, caplog: pytest.LogCaptureFixture
) -> None:
    """What went past is the same, and what to do about it is not; each says how often it was silent itself."""
    for name in ("abc", "def"):
        notices.take("connections_refused", "the node is full: %s", name)
        notices.take("connections_refused", "the user has enough: %s", name)

    assert caplog.messages == ["the node is full: abc", "the user has enough: abc"]
    assert counters.connections_refused == 4


@pytest.mark.parametrize("excess", get_args(Excess))
def test_every_kind_is_a_counter(notices: Notices, counters: Counters, excess: Excess) -> None:
    """It is counted, said or not."""
    notices.take(excess, "one")
    notices.take(excess, "two")

    assert counters.as_dict()[excess] == 2
    assert sum(counters.as_dict().values()) == 2
