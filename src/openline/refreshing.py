"""What the server prolongs: connections and subscriptions whose clients know of no end, and cannot ask for more.

As one runs out, the app is asked whether it goes on.

Invariants of this file:

1. The app is asked once about each expiry, and what it answers counts only while no other was set meanwhile: what it
   decides by itself goes before what it was asked earlier.
2. What is asked about ends `Limits.expiry_grace_seconds` after it ran out, at the latest, whatever the app does: no
   answer is no leave.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, final

from openline import codes
from openline.application import Application, Renewal
from openline.departures import is_cancelled
from openline.errors import BrokerUnavailable, Disconnect
from openline.life import State
from openline.membership import Membership
from openline.node import Node
from openline.session import Session
from openline.subscription import Subscription

_log: Final = logging.getLogger("openline")

#: The app has so many seconds to answer, even where clients have no grace.
LEAST_SECONDS: Final = 5.0


@final
class Refreshing:
    """Asks the app about what runs out."""

    __slots__ = ("_application", "_asked", "_membership", "_node")

    def __init__(self, node: Node, application: Application, membership: Membership) -> None:
        self._node = node
        self._application = application
        self._membership = membership
        #: What the app is asked about, with when it ends unless there is an answer. That it is this very object which
        #: stands there still says that nobody set another end, be it at the same moment.
        self._asked: dict[Session | Subscription, float] = {}

    def runs_out(self, session: Session, subscription: Subscription | None) -> bool:
        """Tell whether a session, or a subscription of it, is over as its time is.

        Returns:
            False where the app is asked: the end was put off for as long as it has to answer.
        """
        subject = session if subscription is None else subscription
        if subject.ends_at is not None and self._asked.get(subject) is subject.ends_at:
            _log.warning("%s: the app did not say in time whether it goes on", _named(session, subscription))
            return True
        if subject.client_refresh or not self._asks(subscription):
            return True
        until = self._node.clock.monotonic() + max(self._node.limits.expiry_grace_seconds, LEAST_SECONDS)
        self._asked[subject] = subject.ends_at = until
        self._node.spawn(self._ask(session, subscription, until))
        return False

    def _asks(self, subscription: Subscription | None) -> bool:
        if subscription is None:
            return self._application.renews
        rules = self._application.rules(subscription.channel)
        return rules is not None and rules.renews

    async def _ask(self, session: Session, subscription: Subscription | None, until: float) -> None:
        subject = session if subscription is None else subscription
        end = codes.CLOSED_CONNECTION_EXPIRED if subscription is None else None
        renewal: Renewal | None = None
        try:
            renewal = await self._renewal(session, subscription)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise  # the node stops
            self._failed(session, subscription, RuntimeError(f"a handler let a cancellation out: {error!r}"))
        except Exception as error:  # noqa: BLE001  # whatever it was, there is no leave to stay
            answer = self._application.refusal(error)
            if isinstance(answer, Disconnect):
                end = answer.code
            else:
                self._failed(session, subscription, error, said=answer is not None)
        finally:
            if self._asked.get(subject) is until:
                del self._asked[subject]
        if subject.ends_at is not until or not self._is_there(session, subscription):
            return
        if renewal is not None and (renewal.expires_at is None or renewal.expires_at > self._node.clock.wall()):
            await self._go_on(session, subscription, renewal)
        elif end is not None:
            session.end(end)
        elif subscription is not None:
            session.lose(subscription, codes.UNSUBSCRIBED_EXPIRED)

    async def _renewal(self, session: Session, subscription: Subscription | None) -> Renewal | None:
        if subscription is None:
            return await self._application.renew(session)
        rules = self._application.rules(subscription.channel)
        return None if rules is None else await rules.renew(session, subscription.channel)

    def _is_there(self, session: Session, subscription: Subscription | None) -> bool:
        """Tell whether what was asked about has not ended meanwhile."""
        connected = session.life is State.CONNECTED
        return connected and (subscription is None or session.subscription(subscription.channel) is subscription)

    async def _go_on(self, session: Session, subscription: Subscription | None, renewal: Renewal) -> None:
        subject = session if subscription is None else subscription
        subject.ends_at = None
        if renewal.expires_at is not None:
            subject.ends_at = self._node.ends_at(renewal.expires_at, client_refresh=False)
        session.schedule()
        if subscription is None:
            session.encoded_meta = renewal.meta or session.encoded_meta
        if not renewal.info:
            return
        if subscription is None:
            session.encoded_info = renewal.info
        else:
            subscription.info = session.client_info(renewal.info)
        try:
            await self._membership.show(session)
        except BrokerUnavailable as error:
            self._node.notices.take("commands_unserved", "presence does not show new info: %s", error)

    def _failed(
        self, session: Session, subscription: Subscription | None, error: Exception, *, said: bool = False
    ) -> None:
        """Say why there is no leave; a refusal is an answer, anything else a fault of the app."""
        what = _named(session, subscription)
        if said:
            _log.info("%s: refused to go on with %s", what, error)
            return
        self._node.counters.handler_errors += 1
        _log.error("%s ends: on_refresh failed", what, exc_info=error)


def _named(session: Session, subscription: Subscription | None) -> str:
    of_user = f"session {session.id} of user {session.user!r}"
    return of_user if subscription is None else f"{of_user} in {subscription.channel}"
