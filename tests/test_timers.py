"""One wheel for all sessions."""

from __future__ import annotations

import pytest

from openline.testing import VirtualClock
from openline.timers import TICK_SECONDS, Timers


class Sleeper:
    """Somebody who writes down when it was woken."""

    def __init__(self, *following: float | None) -> None:
        self.wake_tick = 0
        self.woken: list[float] = []
        self._following = list(following)

    def wake(self, now: float) -> float | None:
        """Write down the time; ask for the next."""
        self.woken.append(now)
        return self._following.pop(0) if self._following else None


async def test_nobody_is_woken_early() -> None:
    """A wake-up comes at its time or within a tick after it."""
    clock = VirtualClock()
    timers, sleeper = Timers(clock), Sleeper()
    timers.wake_at(3.1, sleeper)
    await clock.advance(3.0)
    assert sleeper.woken == []
    await clock.advance(1.0)
    assert len(sleeper.woken) == 1
    assert 3.1 <= sleeper.woken[0] <= 3.1 + 2 * TICK_SECONDS


async def test_an_earlier_moment_replaces_a_later_one() -> None:
    """Each has one entry, for the earliest of what it waits for."""
    clock = VirtualClock()
    timers, sleeper = Timers(clock), Sleeper()
    timers.wake_at(10, sleeper)
    timers.wake_at(2, sleeper)
    timers.wake_at(5, sleeper)
    await clock.advance(20)
    assert len(sleeper.woken) == 1
    assert sleeper.woken[0] < 3


async def test_the_woken_say_when_they_want_to_be_next() -> None:
    """What `wake` returns is the next entry."""
    clock = VirtualClock()
    timers, sleeper = Timers(clock), Sleeper(5.0, 7.0)
    timers.wake_at(1, sleeper)
    await clock.advance(30)
    assert [round(now) for now in sleeper.woken] == [1, 5, 7]


async def test_who_is_forgotten_is_not_woken() -> None:
    """A session that ended leaves nothing in the wheel."""
    clock = VirtualClock()
    timers, sleeper = Timers(clock), Sleeper()
    timers.wake_at(1, sleeper)
    timers.forget(sleeper)
    timers.forget(sleeper)
    await clock.advance(5)
    assert sleeper.woken == []


async def test_one_that_ends_another_in_the_same_tick() -> None:
    """Forgetting somebody of the very tick that is being served does no harm."""
    clock = VirtualClock()
    timers = Timers(clock)
    second = Sleeper()

    class Ender(Sleeper):
        def wake(self, now: float) -> float | None:
            timers.forget(second)
            return super().wake(now)

    first = Ender()
    timers.wake_at(1, first)
    timers.wake_at(1, second)
    await clock.advance(5)
    assert len(first.woken) == 1


async def test_the_wheel_stands_still_while_nobody_waits() -> None:
    """No timer runs in an idle node, and none after `stop`."""
    clock = VirtualClock()
    timers, sleeper = Timers(clock), Sleeper()
    timers.wake_at(1, sleeper)
    await clock.advance(3)
    assert clock.waiting == 0
    timers.wake_at(9, sleeper)
    timers.stop()
    assert clock.waiting == 0


async def test_one_who_fails_costs_the_others_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The rest of its tick is woken, and the wheel turns on."""
    clock = VirtualClock()
    timers, others = Timers(clock), [Sleeper(5.0) for _ in range(3)]

    class Failing(Sleeper):
        def wake(self, now: float) -> float | None:
            raise RuntimeError("as the test wants")

    timers.wake_at(1, Failing())
    for other in others:
        timers.wake_at(1, other)
    await clock.advance(10)
    assert [len(other.woken) for other in others] == [2, 2, 2]
    assert "as the test wants" in caplog.text
