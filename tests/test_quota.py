"""How fast one client may ask: a burst, then a rate; past it 111, and the end for who does not stop."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import codes
from openline.codes import DisconnectCode
from openline.counters import Counters
from openline.notices import Notices
from openline.options import Limits
from openline.protocol.messages import Reply
from openline.quota import Quota
from openline.testing import VirtualClock


class Asker:
    """A session that keeps what it is told."""

    def __init__(self) -> None:
        self.id = "abc"
        self.user = "42"
        self.asked_until = 0.0
        self.replies: list[Reply] = []
        self.ended: list[DisconnectCode] = []

    def push(self, reply: Reply) -> bool:
        """Keep a reply."""
        self.replies.append(reply)
        return True

    def end(self, code: DisconnectCode) -> None:
        """Keep the end."""
        self.ended.append(code)


class Trial:
    """A quota with its time, and one who asks."""

    def __init__(self, rate: float = 10, burst: int = 20, channels: int = 1) -> None:
        self.clock = VirtualClock()
        self.counters = Counters()
        self.asker = Asker()
        limits = Limits(commands_per_second=rate, commands_burst=burst, channels=channels)
        self.quota = Quota(limits, self.clock, self.counters, Notices(self.counters, self.clock))

    def ask(self, times: int = 1, identifier: int = 7) -> int:
        """Ask so many times at once; say how many were let through. Nobody asks after the end."""
        passed = 0
        for _ in range(times):
            if not self.asker.ended:
                passed += self.quota.lets(self.asker, identifier)
        return passed


def test_a_burst_passes_and_not_one_more() -> None:
    """After a silence of any length: what is not used is not saved up beyond it."""
    trial = Trial(burst=20)

    assert trial.ask(20) == 20
    assert trial.ask() == 0


@pytest.mark.parametrize(("burst", "channels", "passed"), [(3, 5, 5), (5, 3, 5)])
def test_who_comes_back_may_subscribe_to_all_its_channels_at_once(burst: int, channels: int, passed: int) -> None:
    """The SDKs do so in one frame, whatever the burst says."""
    assert Trial(burst=burst, channels=channels).ask(9) == passed


def test_the_default_lets_a_returning_client_ask_for_more_than_its_channels() -> None:
    """128 subscribes, and presence and history of each."""
    defaults = Limits()
    trial = Trial(defaults.commands_per_second, defaults.commands_burst, defaults.channels)

    assert trial.ask(3 * 128) == 3 * 128


async def test_the_rate_comes_back_with_the_time() -> None:
    """One command for each step of it, until the burst is whole again."""
    trial = Trial(rate=10, burst=20)
    trial.ask(20)
    await trial.clock.advance(0.1)
    assert trial.ask(2) == 1
    await trial.clock.advance(1)
    assert 9 <= trial.ask(20) <= 10  # what was refused cost a little
    await trial.clock.advance(1000)
    assert trial.ask(30) == 20


async def test_who_keeps_to_the_rate_is_never_refused() -> None:
    """For as long as it likes, with the burst still to come."""
    trial = Trial(rate=10, burst=20)
    for _ in range(500):
        assert trial.ask() == 1
        await trial.clock.advance(0.1)

    assert trial.ask(20) == 20
    assert trial.asker.replies == []


def test_a_command_past_it_is_answered_with_111() -> None:
    """By its own id, as temporary: the client tries again. Nothing is sent for what has no id."""
    trial = Trial(burst=1)
    trial.ask()
    trial.ask(identifier=5)
    trial.ask(identifier=0)

    (reply,) = trial.asker.replies
    assert reply.id == 5
    assert reply.error is not None
    assert (reply.error.code, reply.error.message, reply.error.temporary) == (111, "too many requests", True)
    assert trial.counters.commands_too_fast == 2
    assert trial.counters.refusals == 1


def test_who_floods_is_closed_with_3013() -> None:
    """After eight bursts of refusals at once; the client may come back, more slowly."""
    trial = Trial(rate=10, burst=20)
    trial.ask(20)
    trial.ask(8 * 20)
    assert trial.asker.ended == []
    trial.ask(10)

    assert trial.asker.ended == [codes.CLOSED_TOO_MANY_REQUESTS]
    assert trial.asker.ended[0].reconnect
    assert trial.counters.floods == 1


async def test_who_is_somewhat_too_fast_is_held_at_the_rate_and_stays() -> None:
    """Twice or six times too fast: some are refused, some pass, for ever."""
    for factor in (2, 6):
        trial = Trial(rate=10, burst=20)
        passed = 0
        for _ in range(1000):
            passed += trial.ask(factor)
            await trial.clock.advance(0.1)
        assert trial.asker.ended == []
        assert 20 + 1000 * (8 - factor) / 8 < passed <= 20 + 1000


async def test_who_is_many_times_too_fast_for_long_is_closed() -> None:
    """Refusing costs too."""
    trial = Trial(rate=10, burst=20)
    for _ in range(200):
        trial.ask(20)
        await trial.clock.advance(0.1)

    assert trial.asker.ended == [codes.CLOSED_TOO_MANY_REQUESTS]


def test_without_a_limit_everything_passes() -> None:
    """At once, too."""
    trial = Trial(rate=math.inf, burst=1)

    assert trial.ask(10_000) == 10_000


def test_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line for the first refusal, one for the end, however many there were."""
    trial = Trial(rate=10, burst=20)
    trial.ask(1000)

    assert len(caplog.messages) == 2
    assert "session abc of user '42' asks faster than Limits.commands_per_second (10)" in caplog.messages[0]
    assert "closed with 3013" in caplog.messages[1]
    assert trial.counters.commands_too_fast > 100


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 5)), max_size=50), st.integers(1, 30), st.floats(1, 1000))
def test_no_more_passes_than_the_rate_and_one_burst(waves: list[tuple[int, float]], burst: int, rate: float) -> None:
    """Over any stretch of time that begins with a silence, however the commands come."""
    trial = Trial(rate=rate, burst=burst)
    passed, elapsed = 0, 0.0
    for asked, pause in waves:
        passed += trial.ask(asked)
        assert passed <= burst + rate * elapsed + 1
        asyncio.run(trial.clock.advance(pause))
        elapsed += pause
