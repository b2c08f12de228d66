"""What a session asks of those above it: it knows neither the node nor what commands mean."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from openline.codes import DisconnectCode, UnsubscribeCode
from openline.counters import Counters
from openline.inbox import Task
from openline.notices import Notices
from openline.options import Heartbeat, Limits
from openline.quota import Quota
from openline.subscription import Subscription
from openline.timers import Clock, Timers
from openline.turn import Turn

Result = TypeVar("Result")
#: The session.
Who_contra = TypeVar("Who_contra", contravariant=True)


class Conductor(Protocol[Who_contra]):
    """What a session asks of those above it."""

    limits: Limits
    heartbeat: Heartbeat
    clock: Clock
    timers: Timers
    counters: Counters
    notices: Notices
    quota: Quota

    @property
    def turn(self) -> Turn:
        """What collects what leaves at the end of the turn."""

    def waits(self, session: Who_contra, request: Task) -> bool:
        """Tell whether carrying out a request may have to wait."""

    async def carry_out(self, session: Who_contra, identifier: int, request: Task) -> None:
        """Carry out a request and queue its reply. Never raises."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task that somebody looks after."""

    def ended(self, session: Who_contra, code: DisconnectCode, *, connected: bool) -> None:
        """Forget a session that has just ended; say whether its connect had been accepted."""

    def lost(self, session: Who_contra, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Forget a subscription that has just ended."""

    def runs_out(self, session: Who_contra, subscription: Subscription | None) -> bool:
        """Tell whether a session, or a subscription of it, is over as its time is; else its end was put off."""

    async def subscribe(self, session: Who_contra, channel: str) -> None:
        """Put a session into a channel."""

    async def unsubscribe(self, session: Who_contra, channel: str, code: UnsubscribeCode) -> None:
        """Take a session out of a channel and tell it so."""

    def encode(self, data: object) -> bytes:
        """Encode a payload of the app."""

    def in_loop(self, call: Callable[[], Result]) -> Result:
        """Call in the event loop's thread."""
