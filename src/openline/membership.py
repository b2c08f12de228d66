"""How a session enters a channel and leaves it.

The order of entering, for which there is a race at each step:

1. the topic is followed at the broker and keeps a tail, so that nothing published from now on is missed;
2. the session enters presence;
3. history is read;
4. in one call that does not wait: the tail is joined to what was read, the reply is queued, the subscription is live;
5. the join is announced, so that whoever hears of it finds the session in presence.

Of leaving: the subscription is dead before anything else happens, and the reply is queued after that.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Final, NamedTuple, final

from openline import codes
from openline.application import Admission, Rules
from openline.brokers.base import Page
from openline.errors import (
    AlreadySubscribed,
    Disconnect,
    Expired,
    LimitExceeded,
    OpenlineError,
    PermissionDenied,
    UnrecoverablePosition,
)
from openline.life import State
from openline.locks import Locks, Place
from openline.node import Node
from openline.options import ChannelOptions
from openline.protocol.messages import Push, Reply, SubscribePush, SubscribeRequest, SubscribeResult, raw
from openline.protocol.pushes import subscribe_push
from openline.publication import Arrival, ClientInfo, Position, Publication
from openline.recovery import BrokenTail, Recovered, Wish, decide, read, wish_of
from openline.reduction import Reduction, reduction_of
from openline.session import Session
from openline.subscription import Subscription
from openline.topic import Topic

_log: Final = logging.getLogger("openline")

#: Expiries beyond this are cut to it.
MAX_TTL_SECONDS = 365 * 24 * 3600

#: A bit of a subscribe request: answer error 112 instead of `recovered: false`.
REJECT_UNRECOVERED = 2


@final
class Joining:
    """One session on its way into one channel: everything is read, nothing is decided.

    Exactly one of `complete` and `Membership.abandon` ends it.
    """

    __slots__ = (
        "_before",
        "_follows",
        "_limits",
        "_node",
        "_page",
        "_reduction",
        "_request",
        "_wish",
        "admission",
        "brought_bytes",
        "in_presence",
        "info",
        "is_announced",
        "rules",
        "session",
        "topic",
    )

    def __init__(
        self,
        node: Node,
        session: Session,
        rules: Rules,
        topic: Topic,
        request: SubscribeRequest,
        reduction: Reduction,
        admission: Admission,
    ) -> None:
        self._node = node
        self._limits = node.limits
        self._request = request
        self._reduction = reduction
        self._page: Page | None = None
        self._follows = False  #: the reply does not bring all that was missed
        self._before: Position | None = None  #: where the client stands before what the reply brings
        #: About what the publications of the result take on the wire.
        self.brought_bytes = 0
        quoted = reduction.is_quoted(session.outbox.encoding.codec)
        self._wish: Wish | None = wish_of(request, topic.options, admission.override, reduction, quoted=quoted)
        self.session = session
        self.rules = rules
        self.topic = topic
        self.admission = admission
        self.info: ClientInfo = session.client_info(admission.info)
        options, override = topic.options, admission.override
        self.in_presence = options.presence if override.presence is None else override.presence
        self.is_announced = bool(options.join_leave) if override.join_leave is None else override.join_leave

    async def prepare(self) -> None:
        """Read history."""
        options = self.topic.options
        if self._wish is not None and options.history is not None:
            broker = self._node.broker
            self._page = await read(broker, self.topic.channel, options.history, self._limits, self._wish)

    def decide(self) -> tuple[SubscribeResult, Position]:
        """Make the result of now, and the position it covers. `complete` follows in the same call.

        Raises:
            UnrecoverablePosition: the client asked to be refused rather than told it was not recovered.
        """
        result = SubscribeResult(data=raw(self.admission.data), delta=self._reduction.delta)
        if self.admission.expires_at is not None and self.admission.client_refresh:
            result.expires = True
            result.ttl = time_to_live(self.admission.expires_at, self._node.clock.wall())
        if self._wish is None or self._page is None:
            return result, Position.NONE
        try:
            recovered = decide(self._wish, self._page, self.topic.tail, self._limits)
        except BrokenTail as error:
            raise Disconnect(codes.CLOSED_INSUFFICIENT_STATE) from error
        self._follows = recovered.follows
        if not recovered.follows and self.topic.is_past(recovered.position):
            # The topic gave up a gap while history was being read: what was read is of before.
            raise Disconnect(codes.CLOSED_INSUFFICIENT_STATE)
        self._positions(result, self._wish, recovered)
        return result, recovered.position

    def _positions(self, result: SubscribeResult, wish: Wish, recovered: Recovered) -> None:
        result.positioned = True
        result.recoverable = wish.recoverable
        result.epoch = recovered.position.epoch
        result.offset = recovered.position.offset
        if wish.asked is None:
            return
        if not recovered.whole and self._request.flag & REJECT_UNRECOVERED:
            raise UnrecoverablePosition
        result.was_recovering = True
        result.recovered = recovered.whole
        if recovered.whole and recovered.publications:
            self._before = Position(recovered.position.epoch, recovered.publications[0].previous)
        if recovered.whole:
            publications = self._reduction.wanted(recovered.publications)
            check_fit(self.session, self.topic.options, publications)
            codec = self.session.outbox.encoding.codec
            result.publications = self._reduction.messages(publications, codec, self.topic.patches)
            made = zip(publications, result.publications, strict=True)
            self.brought_bytes = sum(each.size_bytes - len(each.data) + len(pub.data) for each, pub in made)
            if wish.mode != "cache" and (publications or not recovered.publications):
                # The client walks forward from where it stood, by the publications. Where its filter lets none of them
                # through there is nothing to walk by, and it stands at once where the reply leads.
                result.offset = wish.asked.offset
        counters = self._node.counters
        counters.recoveries += recovered.whole
        counters.recoveries_failed += not recovered.whole

    def defer(self, result: SubscribeResult, position: Position) -> Position:
        """Bring what was missed behind the reply, part by part, and not within it.

        In the call that decided, and before the reply is queued.

        Args:
            result, position: as `decide` gave them; the result is changed.
        Returns:
            The position the reply covers.
        """
        if self._before is None or not result.publications:
            return position
        self._follows = True
        result.publications = []
        result.offset = self._before.offset
        return self._before

    def complete(self, position: Position, *, server_side: bool) -> Subscription:
        """Go live; the reply was queued in this same call."""
        node, topic = self._node, self.topic
        offered, override = topic.options.join_leave, self.admission.override
        asked = server_side or self._request.join_leave or offered == "forced" or bool(override.force_push_join_leave)
        join_leave = bool(offered) and asked
        subscription = Subscription(
            topic.channel, self.session, self.info, join_leave=join_leave, reduction=self._reduction
        )
        subscription.server_side = server_side
        subscription.in_presence, subscription.is_announced = self.in_presence, self.is_announced
        subscription.recoverable = self._wish is not None and self._wish.recoverable
        subscription.client_refresh = self.admission.client_refresh
        if self.admission.expires_at is not None:
            ends_at = node.ends_at(self.admission.expires_at, client_refresh=self.admission.client_refresh)
            subscription.ends_at = ends_at
        current = True
        if self._follows:
            topic.hold(subscription, position)
        else:
            current = topic.join(subscription, position)
        self.session.add(subscription)
        node.leave_topic(topic)
        if not current:
            node.heal(topic)
        if self._follows:
            self.session.catch_up(topic.channel)
        return subscription


class Leaving(NamedTuple):
    """A dead subscription that others still have to hear of."""

    subscription: Subscription
    place: Place | None  #: among what is done for this session in this channel; None where nothing waits


@final
class Membership:
    """Brings sessions into channels and out of them."""

    __slots__ = ("_immediate", "_joining", "_locks", "_node", "_revocable", "_revoked")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._joining: set[tuple[str, str]] = set()
        self._revocable: set[tuple[str, str]] = set()
        self._revoked: set[tuple[str, str]] = set()
        self._immediate = node.broker.immediate and node.presence.immediate
        self._locks = Locks()

    def check(self, session: Session, channel: str) -> None:
        """Say whether a session could enter a channel as things are.

        Raises:
            AlreadySubscribed: the session is in the channel, or on its way.
            LimitExceeded: it is in too many.
        """
        if (session.id, channel) in self._joining or session.subscription(channel) is not None:
            raise AlreadySubscribed
        if len(session.subscriptions()) >= self._node.limits.channels:
            words = "session %s of user %r is in as many channels as Limits.channels allows (%d)"
            self._node.notices.take("subscriptions_refused", words, session.id, session.user, len(session.channels))
            raise LimitExceeded(f"more than {self._node.limits.channels} channels in one session")

    @contextmanager
    def revocable(self, session: Session, channel: str) -> Iterator[None]:
        """Let the server call a join off while the app still decides on it, or the broker is asked: see `revoke`."""
        key = (session.id, channel)
        self._revocable.add(key)
        try:
            yield
        finally:
            self._revocable.discard(key)
            self._revoked.discard(key)

    def revoke(self, session: Session, channel: str) -> None:
        """Let a join that is under way, if there is one, come to nothing; "" means every one of the session."""
        key = (session.id, channel)
        if not channel:
            self._revoked.update(key for key in self._revocable if key[0] == session.id)
        elif key in self._revocable:
            self._revoked.add(key)

    async def begin(
        self, session: Session, channel: str, rules: Rules, request: SubscribeRequest, admission: Admission
    ) -> Joining:
        """Do everything of a join that waits.

        Raises:
            AlreadySubscribed, LimitExceeded: as `check`.
            BadRequest, Disconnect: as `reduction_of`.
            Expired: the admission has run out already.
            PermissionDenied: the server took the session out meanwhile.
            BrokerUnavailable: it is away; nothing has changed.
            Disconnect: the broker failed in a way that none should (3004).
        """
        self.check(session, channel)
        reduction = reduction_of(request, rules.options)
        if admission.expires_at is not None:
            time_to_live(admission.expires_at, self._node.clock.wall())
        key = (session.id, channel)
        self._joining.add(key)
        try:
            topic = await self._node.enter_topic(channel, rules.options)
            joining = Joining(self._node, session, rules, topic, request, reduction, admission)
            try:
                if joining.in_presence:
                    async with self._in_order(session, channel):
                        await self._node.presence.add(channel, joining.info, announced=joining.is_announced)
                await joining.prepare()
                if session.life is State.ENDED:
                    raise Disconnect(codes.CLOSED_NORMAL)
                if key in self._revoked:
                    raise PermissionDenied("unsubscribed by the server")
            except BaseException:
                await self.abandon(joining)
                raise
        except OpenlineError:
            raise
        except Exception as error:
            _log.exception("session %s could not enter %s", session.id, channel)
            raise Disconnect(codes.CLOSED_INTERNAL_ERROR) from error
        finally:
            self._joining.discard(key)
        return joining

    def _in_order(self, session: Session, channel: str) -> AbstractAsyncContextManager[None]:
        """Keep what is done to presence and announced in the order of what a session did in a channel.

        With a broker on the network a slow "remove" would else undo the "add" of one who came right back.
        """
        return nullcontext() if self._immediate else self._locks.hold((session.id, channel))

    async def abandon(self, *joinings: Joining) -> None:
        """Give up joins that were begun. Never raises: whoever gives up has an error of its own to tell."""
        for joining in joinings:
            channel, session = joining.topic.channel, joining.session
            self._node.leave_topic(joining.topic)
            if not joining.in_presence:
                continue
            try:
                async with self._in_order(session, channel):
                    await self._node.presence.remove(channel, session.id)
            except Exception as error:  # noqa: BLE001  # a driver's own too: the other joins are given up all the same
                _log.error("session %s may stay in presence of %s for a while: %r", session.id, channel, error)

    async def announce(self, joining: Joining) -> None:
        """Tell the channel who came."""
        if joining.is_announced:
            channel = joining.topic.channel
            async with self._in_order(joining.session, channel):
                await self._node.broker.announce(channel, Arrival(joining.info, joined=True))

    async def put(
        self, session: Session, channel: str, rules: Rules, admission: Admission, since: Position | None = None
    ) -> None:
        """Subscribe a session in mid-connection, as the server wants it, and tell its client.

        A session that ends meanwhile is no error.

        Args:
            since: what was published after this follows what the client is told, as ordinary publications.
        Raises:
            Refusal: as `begin`; or history no longer holds all after `since`.
            BrokerUnavailable: nothing has changed.
        """
        request = SubscribeRequest(channel=channel)
        if since is not None:
            request.recover, request.epoch, request.offset = True, since.epoch, since.offset
            request.flag = REJECT_UNRECOVERED  # what the client is told has no place for "not recovered"
        try:
            with self.revocable(session, channel):
                joining = await self.begin(session, channel, rules, request, admission)
            try:
                result, position = joining.decide()
            except Exception:
                await self.abandon(joining)
                raise
        except Disconnect as error:
            session.end(error.code)
            return
        push = SubscribePush(
            recoverable=result.recoverable,
            epoch=result.epoch,
            offset=result.offset,
            positioned=result.positioned,
            data=result.data,
        )
        missed = [Reply(push=Push(channel=channel, pub=publication)) for publication in result.publications]
        if not all(session.push(reply) for reply in (subscribe_push(channel, push), *missed)):
            await self.abandon(joining)
            return
        joining.complete(position, server_side=True)
        await self.announce(joining)

    async def show(self, session: Session) -> None:
        """Have others see what is known of a session by now: in presence, and with what it says from now on."""
        for subscription in session.subscriptions():
            subscription.info = session.client_info(subscription.info.channel)
            if not subscription.in_presence:
                continue
            async with self._in_order(session, subscription.channel):
                if session.subscription(subscription.channel) is subscription:
                    announced = subscription.is_announced
                    await self._node.presence.add(subscription.channel, subscription.info, announced=announced)

    def cut(self, subscription: Subscription) -> Leaving:
        """Make a subscription dead. Does not wait; `farewell` does the rest, in the order of the cuts and joins."""
        topic = self._node.topic(subscription.channel)
        if topic is not None:
            topic.leave(subscription)
            self._node.desert(topic)
        place = None if self._immediate else self._locks.hold((subscription.subscriber.id, subscription.channel))
        return Leaving(subscription, place)

    async def farewell(self, leaving: Leaving) -> None:
        """Take a dead subscription out of presence, and tell the channel who went."""
        subscription = leaving.subscription
        channel = subscription.channel
        async with leaving.place or nullcontext():
            try:
                if subscription.in_presence:
                    await self._node.presence.remove(channel, subscription.subscriber.id)
            finally:
                if subscription.is_announced:
                    await self._node.broker.announce(channel, Arrival(subscription.info, joined=False))


def check_fit(session: Session, options: ChannelOptions, publications: Sequence[Publication]) -> None:
    """Say whether a client's codec can carry what a raw channel holds.

    Raises:
        Disconnect: it cannot (3506).
    """
    codec = session.outbox.encoding.codec
    if options.raw and not all(codec.carries(publication.data) for publication in publications):
        raise Disconnect(codes.CLOSED_INAPPROPRIATE_PROTOCOL)


def time_to_live(expires_at: float, now: float) -> int:
    """Give the whole seconds a client has left, at least 1.

    Raises:
        Expired: none are left.
    """
    left = expires_at - now
    if left <= 0:
        raise Expired
    return min(max(1, math.ceil(left)), MAX_TTL_SECONDS)
