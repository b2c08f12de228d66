"""One timer for all sessions: a wheel of ticks, each with those who want to be woken in it.

A heartbeat, an expiry or a deadline is never a timer of its own: a session has one entry here, for the earliest of
what it waits for, and says when to come back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Final, Protocol, final

_log: Final = logging.getLogger("openline")

#: Seconds of one tick: nobody is woken early, and at most this much late.
TICK_SECONDS: Final = 0.25


class Cancellable(Protocol):
    """A call that may still be called off."""

    def cancel(self) -> None:
        """Call it off."""


class Clock(Protocol):
    """The time as the engine sees it; tests bring their own."""

    def monotonic(self) -> float:
        """Give seconds that never go back; only differences mean anything."""

    def wall(self) -> float:
        """Give unix seconds."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> Cancellable:
        """Call once, so many seconds from now."""


@final
class SystemClock:
    """The machine's clock and the running event loop."""

    __slots__ = ()

    def monotonic(self) -> float:
        """Give the monotonic time of the machine."""
        return time.monotonic()

    def wall(self) -> float:
        """Give the unix time of the machine."""
        return time.time()

    def call_later(self, seconds: float, call: Callable[[], None]) -> Cancellable:
        """Call by the running event loop."""
        return asyncio.get_running_loop().call_later(seconds, call)


class Timed(Protocol):
    """Who can be woken."""

    wake_tick: int  #: the tick it waits in; 0 for none. Only `Timers` writes it

    def wake(self, now: float) -> float | None:
        """Do what is due at this monotonic time; give when to be woken next, None for never."""


@final
class Timers:
    """The wheel. It turns only while somebody waits."""

    __slots__ = ("_clock", "_handle", "_ticks")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ticks: dict[int, dict[Timed, None]] = {}
        self._handle: Cancellable | None = None

    def wake_at(self, when: float, timed: Timed) -> None:
        """Wake somebody at a monotonic time, unless it is to be woken before that already."""
        tick = math.ceil(when / TICK_SECONDS)
        if timed.wake_tick and timed.wake_tick <= tick:
            return
        self.forget(timed)
        timed.wake_tick = tick
        self._ticks.setdefault(tick, {})[timed] = None
        if self._handle is None:
            self._handle = self._clock.call_later(TICK_SECONDS, self._turn)

    def forget(self, timed: Timed) -> None:
        """Wake somebody no more."""
        waiting = self._ticks.get(timed.wake_tick)
        if waiting is not None:
            waiting.pop(timed, None)
            if not waiting:
                del self._ticks[timed.wake_tick]
        timed.wake_tick = 0

    def stop(self) -> None:
        """Wake nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._ticks.clear()

    def _turn(self) -> None:
        # The next turn stands before anybody is woken: one that fails must not stop the wheel for all.
        self._handle = self._clock.call_later(TICK_SECONDS, self._turn)
        now = self._clock.monotonic()
        for tick in sorted(tick for tick in self._ticks if tick * TICK_SECONDS <= now):
            for timed in self._ticks.pop(tick):
                timed.wake_tick = 0
                try:
                    when = timed.wake(now)
                except Exception:  # noqa: BLE001  # one that fails must not cost the others their heartbeats
                    _log.exception("%r failed when it was woken", timed)
                else:
                    if when is not None:
                        self.wake_at(when, timed)
        if not self._ticks and self._handle is not None:
            self._handle.cancel()
            self._handle = None
