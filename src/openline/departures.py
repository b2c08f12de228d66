"""What follows when sessions and subscriptions end: presence and channels hear of it, and then the app's handlers.

Invariant: where the app was asked and said yes, it hears of the end, also of who was gone before the answer came, or
did not come in after all. It may keep books by what it was asked and told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, final

from openline.application import Application, Rules
from openline.codes import UNSUBSCRIBED_BY_SERVER, DisconnectCode, UnsubscribeCode
from openline.errors import BrokerUnavailable, Disconnect, OpenlineError
from openline.membership import Leaving, Membership
from openline.node import Node
from openline.protocol.messages import ConnectRequest, SubscribeRequest
from openline.session import Session
from openline.subscription import Subscription

_log: Final = logging.getLogger("openline")

#: Never on the wire: what a handler is told of a subscription that its client ended.
UNSUBSCRIBED_BY_CLIENT: Final = UnsubscribeCode(0, "unsubscribed by the client")


@final
class Departures:
    """Sees to what is left to do for those who went. Nothing here can be an error to a client: it has its answer."""

    __slots__ = ("_accepted", "_application", "_immediate", "_membership", "_node")

    def __init__(self, node: Node, application: Application, membership: Membership) -> None:
        self._node = node
        self._application = application
        self._membership = membership
        self._immediate = node.broker.immediate and node.presence.immediate
        #: Those whose end the app hears of, connected or not.
        self._accepted: set[Session] = set()

    def accepted(self, session: Session, request: ConnectRequest) -> None:
        """Remember that the app said yes to a connection, if it was asked; it hears at once of one that is gone."""
        if not (self._application.hears_disconnects and self._application.waits(request)):
            return
        if session.end_code is None:
            self._accepted.add(session)
        else:
            self._node.spawn(self._tell(session, (), session.end_code, told=True))

    @contextmanager
    def entering(self, session: Session, channel: str, rules: Rules, request: SubscribeRequest) -> Iterator[None]:
        """Let the app hear of it where a subscription it said yes to comes to nothing within the block."""
        try:
            yield
        except Exception as error:
            self.kept_out(session, channel, rules, request, error)
            raise

    def kept_out(
        self, session: Session, channel: str, rules: Rules, request: SubscribeRequest, error: Exception | None = None
    ) -> None:
        """Let the app hear that a subscription came to nothing, if it was asked about it."""
        if not (rules.hears_leaving and self._application.waits(request)):
            return
        code: UnsubscribeCode | DisconnectCode = UNSUBSCRIBED_BY_SERVER
        if session.end_code is not None:
            code = session.end_code
        elif isinstance(error, Disconnect):
            code = error.code
        self._node.spawn(self._tell(session, ((channel, rules),), code, told=False))

    def ended(self, session: Session, code: DisconnectCode, *, connected: bool) -> None:
        """See to what a session leaves that has just ended."""
        told = connected or session in self._accepted
        self._accepted.discard(session)
        self._part(session, session.subscriptions(), code, told=told and self._application.hears_disconnects)

    def lost(self, session: Session, subscription: Subscription, code: UnsubscribeCode) -> None:
        """See to what a subscription leaves that the server has just ended."""
        self._part(session, (subscription,), code)

    def _part(
        self,
        session: Session,
        subscriptions: tuple[Subscription, ...],
        code: UnsubscribeCode | DisconnectCode,
        *,
        told: bool = False,
    ) -> None:
        """Cut subscriptions; presence and channels hear of it, and then, apart from that, the app's handlers."""
        leaving = [self._membership.cut(subscription) for subscription in subscriptions]
        if leaving:
            self._node.spawn_or_finish(self._farewells(leaving), immediate=self._immediate)
        listening = self._listening(subscriptions)
        if told or listening:
            self._node.spawn(self._tell(session, listening, code, told=told))

    async def left(self, subscription: Subscription) -> None:
        """Cut a subscription that its client has just ended; return once presence and the channel have heard of it."""
        await self._farewells([self._membership.cut(subscription)])

    async def tell_left(self, session: Session, subscription: Subscription) -> None:
        """Let the app's handler hear that a client ended its subscription."""
        await self._tell(session, self._listening((subscription,)), UNSUBSCRIBED_BY_CLIENT, told=False)

    async def _farewells(self, leavings: Sequence[Leaving]) -> None:
        for leaving in leavings:
            await self.hear(self._membership.farewell(leaving))

    async def _tell(
        self,
        session: Session,
        listening: Sequence[tuple[str, Rules]],
        code: UnsubscribeCode | DisconnectCode,
        *,
        told: bool,
    ) -> None:
        for channel, rules in listening:
            await self.hear(rules.left(session, channel, code.number, code.reason))
        if told and isinstance(code, DisconnectCode):
            await self.hear(self._application.disconnected(session, code))

    def _listening(self, subscriptions: tuple[Subscription, ...]) -> list[tuple[str, Rules]]:
        """Give the channels in which a handler of the app hears of those who leave."""
        channels = [subscription.channel for subscription in subscriptions]
        found = [(channel, self._application.rules(channel)) for channel in channels]
        return [(channel, rules) for channel, rules in found if rules is not None and rules.hears_leaving]

    async def hear(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what comes after an answer, so that no error of it can be one: it is counted and logged."""
        try:
            await work
        except asyncio.CancelledError:
            if is_cancelled():
                raise  # the node stops
            self._node.counters.handler_errors += 1
            _log.exception("a handler let a cancellation out")
        except BrokerUnavailable as error:
            words = "after a command was answered or a session ended: %s"
            self._node.notices.take("commands_unserved", words, error)
        except OpenlineError as error:
            _log.error("after a command was answered or a session ended: %s", error)
        except Exception:  # noqa: BLE001  # counted and logged: nobody waits for an answer
            self._node.counters.handler_errors += 1
            _log.exception("a handler failed after a command was answered or a session ended")


def is_cancelled() -> bool:
    """Tell whether this task was cancelled from outside, and not by something a handler awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
