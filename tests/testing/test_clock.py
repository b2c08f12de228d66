"""The virtual clock: time passes when a test says so, and everything due happens in its order."""

from __future__ import annotations

import asyncio

from openline.testing import VirtualClock
from openline.timers import Clock


async def test_it_stands_still_until_it_is_advanced() -> None:
    """Both times move together; the wall time begins where one likes."""
    clock: Clock
    clock = virtual = VirtualClock(unix_seconds=1_000)
    assert (clock.monotonic(), clock.wall()) == (0, 1_000)
    await asyncio.sleep(0)
    assert clock.monotonic() == 0
    await virtual.advance(2.5)

    assert (clock.monotonic(), clock.wall()) == (2.5, 1_002.5)


async def test_what_is_due_happens_in_its_order_at_its_time() -> None:
    """What is due at one moment, in the order it was asked for."""
    clock, log = VirtualClock(), []
    for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("B", 2), ("now", 0), ("past", -5), ("later", 9)):
        clock.call_later(seconds, lambda name=name: log.append((name, clock.monotonic())))  # type: ignore[misc]
    assert log == []
    await clock.advance(3)

    assert log == [("now", 0), ("past", 0), ("a", 1), ("b", 2), ("B", 2), ("c", 3)]
    assert clock.waiting == 1


async def test_what_a_call_asks_for_happens_within_the_same_advance() -> None:
    """If it is due by then."""
    clock, log = VirtualClock(), []

    def tick() -> None:
        log.append(clock.monotonic())
        clock.call_later(1, tick)

    clock.call_later(1, tick)
    await clock.advance(3.5)
    assert log == [1, 2, 3]
    await clock.advance(0.5)

    assert log == [1, 2, 3, 4]


async def test_what_was_called_off_does_not_happen() -> None:
    """Also by a call that is due before it."""
    clock, log = VirtualClock(), []
    late = clock.call_later(2, lambda: log.append("late"))
    clock.call_later(1, late.cancel)
    clock.call_later(1, lambda: log.append("kept"))
    await clock.advance(5)

    assert log == ["kept"]
    assert clock.waiting == 0


async def test_the_event_loop_goes_round_between_two_calls() -> None:
    """So that what one of them woke has run before time goes on."""
    clock, log = VirtualClock(), []
    woken = asyncio.Event()

    async def wait() -> None:
        await woken.wait()
        log.append(clock.monotonic())

    waiter = asyncio.create_task(wait())
    await asyncio.sleep(0)
    clock.call_later(1, woken.set)
    clock.call_later(100, lambda: None)
    await clock.advance(200)
    await waiter

    assert log == [1]
