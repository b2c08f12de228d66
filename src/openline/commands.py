"""What each command of a client does: the checks of the protocol, in its order, then the node's work, then the reply.

Source: docs/reference/protocol.md, "Commands".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, final

from openline import codes
from openline.application import Admission, Application, Rules, Welcome
from openline.catching_up import catch_up
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.errors import (
    BadRequest,
    BrokerUnavailable,
    Disconnect,
    InternalError,
    NotAvailable,
    OpenlineError,
    PermissionDenied,
    UnknownChannel,
    UsageError,
)
from openline.inbox import CatchUp, Task
from openline.life import State
from openline.membership import Joining, Leaving, Membership, time_to_live
from openline.names import is_name
from openline.nesting import Nesting
from openline.node import Node
from openline.outbox import Wire
from openline.paging import read_history
from openline.protocol import messages
from openline.protocol.messages import Reply, SubscribeRequest, raw
from openline.protocol.pushes import error_reply, info_message
from openline.quota import Quota
from openline.session import Session
from openline.subscription import Subscription
from openline.turn import Turn
from openline.version import VERSION

_log: Final = logging.getLogger("openline")

Result = TypeVar("Result")

#: Never on the wire: what a handler is told of a subscription that its client ended.
UNSUBSCRIBED_BY_CLIENT: Final = UnsubscribeCode(0, "unsubscribed by the client")

#: Which field of a reply holds a result.
_FIELDS: Final[dict[type, str]] = {
    messages.ConnectResult: "connect",
    messages.SubscribeResult: "subscribe",
    messages.UnsubscribeResult: "unsubscribe",
    messages.PublishResult: "publish",
    messages.PresenceResult: "presence",
    messages.PresenceStatsResult: "presence_stats",
    messages.HistoryResult: "history",
    messages.RpcResult: "rpc",
    messages.RefreshResult: "refresh",
    messages.SubRefreshResult: "sub_refresh",
}


@final
class Commands:
    """Carries out the commands of every session of a node; what sessions know as their conductor."""

    def __init__(self, node: Node, application: Application) -> None:
        self.node = node
        self.limits = node.limits
        self.heartbeat = node.heartbeat
        self.clock = node.clock
        self.timers = node.timers
        self.counters = node.counters
        self.notices = node.notices
        self.quota = Quota(node.limits, node.clock, node.counters, node.notices)
        self._nesting = Nesting(node.limits.json_depth, node.notices)
        self._application = application
        self._membership = Membership(node)
        self._immediate = node.broker.immediate and node.presence.immediate
        self._acts: Final = {
            messages.ConnectRequest: self._connect,
            messages.SubscribeRequest: self._subscribe,
            messages.UnsubscribeRequest: self._unsubscribe,
            messages.PublishRequest: self._publish,
            messages.PresenceRequest: self._presence,
            messages.PresenceStatsRequest: self._presence_stats,
            messages.HistoryRequest: self._history,
            messages.SendRequest: self._send,
            messages.RpcRequest: self._rpc,
            messages.RefreshRequest: self._refresh,
            messages.SubRefreshRequest: self._sub_refresh,
            CatchUp: self._catch_up,
        }

    # --- for wires and the app ------------------------------------------------------------------------------------

    def open(self, wire: Wire, handshake: object = None, *, native_heartbeat: bool = False) -> Session:
        """Begin a session on a wire that has just opened.

        Args:
            handshake: kept for the app's handlers.
            native_heartbeat: the client wants pings of the wire instead of the protocol's.
        """
        session = Session(wire, self, handshake, native_heartbeat=native_heartbeat)
        self.node.add(session)
        return session

    async def subscribe(self, session: Session, channel: str) -> None:
        """Put a session into a channel, as the server wants it; see `Session.subscribe`."""
        if session.life is State.CONNECTED:
            await self._membership.put(session, channel, self._rules(channel), Admission())
        elif session.life is not State.ENDED:
            raise UsageError("subscribe: the session is not let in yet; on_connect returns Accept(channels=[…])")

    async def unsubscribe(self, session: Session, channel: str, code: UnsubscribeCode) -> None:
        """Take a session out of a channel, as the server wants it; see `Session.unsubscribe`."""
        subscription = session.subscription(channel)
        if subscription is not None:
            session.lose(subscription, code)
        else:
            self._membership.revoke(session, channel)

    def encode(self, data: object) -> bytes:
        """Encode a payload of the app."""
        return self._application.encode(data)

    def in_loop(self, call: Callable[[], Result]) -> Result:
        """Call in the event loop's thread."""
        return self.node.in_loop(call)

    # --- for sessions ---------------------------------------------------------------------------------------------

    @property
    def turn(self) -> Turn:
        """What collects what leaves at the end of the turn."""
        return self.node.turn

    def waits(self, session: Session, request: Task) -> bool:
        """Tell whether carrying out a request may have to wait."""
        return not self._immediate or (not isinstance(request, CatchUp) and self._application.waits(request))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task of the node."""
        self.node.spawn(work)

    def ended(self, session: Session, code: DisconnectCode, *, connected: bool) -> None:
        """Forget a session that has just ended."""
        self.node.remove(session)
        self._part(session, session.subscriptions(), code, told=connected and self._application.hears_disconnects)

    def lost(self, session: Session, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Forget a subscription that has just ended."""
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
            self.node.spawn_or_finish(self._farewells(leaving), immediate=self._immediate)
        listening = self._listening(subscriptions)
        if told or listening:
            self.node.spawn(self._tell(session, listening, code, told=told))

    async def _farewells(self, leavings: Sequence[Leaving]) -> None:
        for leaving in leavings:
            await self._hear(self._membership.farewell(leaving))

    async def _tell(
        self,
        session: Session,
        listening: Sequence[tuple[str, Rules]],
        code: UnsubscribeCode | DisconnectCode,
        *,
        told: bool,
    ) -> None:
        for channel, rules in listening:
            await self._hear(rules.left(session, channel, code.number, code.reason))
        if told and isinstance(code, DisconnectCode):
            await self._hear(self._application.disconnected(session, code))

    def _listening(self, subscriptions: tuple[Subscription, ...]) -> list[tuple[str, Rules]]:
        """Give the channels in which a handler of the app hears of those who leave."""
        channels = [subscription.channel for subscription in subscriptions]
        found = [(channel, self._application.rules(channel)) for channel in channels]
        return [(channel, rules) for channel, rules in found if rules is not None and rules.hears_leaving]

    async def _hear(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what comes after the answer, so that no error of it can be one: it is counted and logged."""
        try:
            await work
        except asyncio.CancelledError:
            if _is_cancelled():
                raise  # the node stops
            self.counters.handler_errors += 1
            _log.exception("a handler let a cancellation out")
        except BrokerUnavailable as error:
            self.notices.take("commands_unserved", "after a command was answered or a session ended: %s", error)
        except OpenlineError as error:
            _log.error("after a command was answered or a session ended: %s", error)
        except Exception:  # noqa: BLE001  # counted and logged: nobody waits for an answer
            self.counters.handler_errors += 1
            _log.exception("a handler failed after a command was answered or a session ended")

    async def carry_out(self, session: Session, identifier: int, request: Task) -> None:
        """Carry out a request and queue its reply. Never raises."""
        act: Any = self._acts[type(request)]
        try:
            if not isinstance(request, CatchUp):
                self.counters.commands += 1
                self._nesting.check(session.id, request)
            await act(session, identifier, request)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise  # the node stops
            self._fail(session, identifier, request, RuntimeError(f"a handler let a cancellation out: {error!r}"))
        except Exception as error:  # noqa: BLE001  # whatever it was, the client is answered and the log told
            self._fail(session, identifier, request, error)

    def _fail(self, session: Session, identifier: int, request: Task, error: Exception) -> None:
        answer = self._application.refusal(error)
        name = type(request).__name__
        if isinstance(error, BrokerUnavailable):
            self.notices.take("commands_unserved", "%s of session %s: the broker is away: %s", name, session.id, error)
            answer = InternalError()
        elif answer is None:
            self.counters.handler_errors += 1
            _log.error("%s of session %s failed", name, session.id, exc_info=error)
            answer = InternalError()
        if isinstance(answer, Disconnect):
            _log.info("%s of session %s: closed with %s", name, session.id, answer)
            session.end(answer.code)
            return
        self.counters.refusals += 1
        _log.debug("%s of session %s: refused with %s", name, session.id, answer)
        if session.life is State.CONNECTING:
            session.life = State.REFUSED
        if identifier:
            session.push(error_reply(identifier, answer.code))

    @staticmethod
    def _reply(session: Session, identifier: int, result: object) -> bool:
        fields: dict[str, Any] = {_FIELDS[type(result)]: result}
        return session.push(Reply(id=identifier, **fields))

    # --- connect --------------------------------------------------------------------------------------------------

    async def _connect(self, session: Session, identifier: int, request: messages.ConnectRequest) -> None:
        welcome = await self._application.welcome(session, request)
        result = messages.ConnectResult(client=session.id, version=VERSION, data=raw(welcome.data))
        if not session.native_heartbeat:
            result.ping, result.pong = self.heartbeat.ping_seconds, True
        if welcome.expires_at is not None:
            ttl = time_to_live(welcome.expires_at, self.clock.wall())
            if welcome.client_refresh:
                result.expires, result.ttl = True, ttl
        session.user, session.encoded_info, session.encoded_meta = welcome.user, welcome.info, welcome.meta
        self._expire(session, welcome.expires_at, client_refresh=welcome.client_refresh)
        with self.node.places.arriving(session):
            joinings = await self._prepare(session, request, welcome)
            try:
                decided = [(joining, *joining.decide()) for joining in joinings]
                result.subs = {joining.topic.channel: sub_result for joining, sub_result, _ in decided}
                if session.life is State.ENDED or not self._reply(session, identifier, result):
                    raise Disconnect(codes.CLOSED_NORMAL)
            except Exception:
                await self._membership.abandon(*joinings)
                raise
            session.connected()
            self.node.identify(session)
        for joining, _, position in decided:
            joining.complete(position, server_side=True)
        for joining in joinings:
            await self._hear(self._membership.announce(joining))

    async def _prepare(self, session: Session, request: messages.ConnectRequest, welcome: Welcome) -> list[Joining]:
        """Begin every server-side subscription of a connect, or none."""
        if len(welcome.channels) > self.limits.channels:
            words = "session %s of user %r was to begin with more channels (%d) than Limits.channels: closed with 3505"
            self.node.notices.take("subscriptions_refused", words, session.id, session.user, len(welcome.channels))
            raise Disconnect(codes.CLOSED_CHANNEL_LIMIT)
        joinings: list[Joining] = []
        try:
            for channel, admission in welcome.channels.items():
                wish = request.subs.get(channel, SubscribeRequest())
                rules = self._rules(channel)
                joinings.append(await self._membership.begin(session, channel, rules, wish, admission))
        except BaseException:
            await self._membership.abandon(*joinings)
            raise
        return joinings

    def _expire(self, session: Session, expires_at: float | None, *, client_refresh: bool) -> None:
        session.client_refresh = client_refresh
        session.ends_at = None
        if expires_at is not None:
            session.ends_at = self.node.ends_at(expires_at, client_refresh=client_refresh)

    async def _refresh(self, session: Session, identifier: int, request: messages.RefreshRequest) -> None:
        if not request.token or not session.client_refresh:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        expires_at = await self._application.refresh(session, request.token)
        result = messages.RefreshResult(client=session.id, version=VERSION)
        if expires_at is not None:
            result.expires, result.ttl = True, time_to_live(expires_at, self.clock.wall())
        self._expire(session, expires_at, client_refresh=True)
        session.schedule()
        self._reply(session, identifier, result)

    # --- subscribe ------------------------------------------------------------------------------------------------

    def _rules(self, channel: str) -> Rules:
        if len(channel) > self.limits.name_length:
            raise BadRequest(f"channel name is longer than {self.limits.name_length} characters")
        if not is_name(channel):
            raise BadRequest("channel name is not printable ASCII without spaces")
        rules = self._application.rules(channel)
        if rules is None:
            raise UnknownChannel
        return rules

    async def _subscribe(self, session: Session, identifier: int, request: SubscribeRequest) -> None:
        channel = request.channel
        if not channel or request.delta not in ("", "fossil"):
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        if len(channel) > self.limits.name_length:
            raise BadRequest(f"channel name is longer than {self.limits.name_length} characters")
        self._membership.check(session, channel)
        with self._membership.revocable(session, channel):
            rules = self._rules(channel)
            if request.tf is not None:
                raise BadRequest("tag filters are not offered")
            if request.type:
                raise BadRequest("only stream subscriptions are offered")
            admission = await rules.admit(session, channel, request)
            joining = await self._membership.begin(session, channel, rules, request, admission)
        try:
            result, position = joining.decide()
            if not self._reply(session, identifier, result):
                raise Disconnect(codes.CLOSED_SLOW)
        except Exception:
            await self._membership.abandon(joining)
            raise
        joining.complete(position, server_side=False)
        await self._hear(self._membership.announce(joining))

    async def _catch_up(self, session: Session, identifier: int, request: CatchUp) -> None:
        await catch_up(self.node, session, request.channel)

    async def _unsubscribe(self, session: Session, identifier: int, request: messages.UnsubscribeRequest) -> None:
        if not request.channel:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        subscription = session.remove(request.channel)
        if subscription is not None:
            await self._farewells([self._membership.cut(subscription)])
        self._reply(session, identifier, messages.UnsubscribeResult())
        if subscription is not None:
            # In the order of the commands, so that a client has one handler running at a time, however often it leaves.
            await self._tell(session, self._listening((subscription,)), UNSUBSCRIBED_BY_CLIENT, told=False)

    async def _sub_refresh(self, session: Session, identifier: int, request: messages.SubRefreshRequest) -> None:
        if not request.channel:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        subscription = session.subscription(request.channel)
        if subscription is None:
            raise PermissionDenied
        if not subscription.client_refresh:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        if not request.token:
            raise BadRequest("token is missing")
        rules = self._rules(request.channel)
        admission = await rules.readmit(session, request.channel, request.token)
        result = messages.SubRefreshResult()
        ends_at = None
        if admission.expires_at is not None:
            now = self.clock.wall()
            result.expires, result.ttl = True, time_to_live(admission.expires_at, now)
            ends_at = self.node.ends_at(admission.expires_at, client_refresh=True)
        # Only now: a token that is refused leaves the old expiry in force.
        subscription.ends_at = ends_at
        session.schedule()
        self._reply(session, identifier, result)

    # --- publish, presence, history -------------------------------------------------------------------------------

    async def _publish(self, session: Session, identifier: int, request: messages.PublishRequest) -> None:
        rules = self._rules(request.channel)
        data = bytes(request.data)
        if not data:
            raise BadRequest("data is missing")
        if request.type:
            raise BadRequest("only stream publications are offered")
        data = await rules.accept(session, request.channel, data)
        subscription = session.subscription(request.channel)
        info = session.client_info() if subscription is None else subscription.info
        await self.node.publish(request.channel, data, rules.options, info=info)
        self._reply(session, identifier, messages.PublishResult())

    async def _presence(self, session: Session, identifier: int, request: messages.PresenceRequest) -> None:
        await self._may_read(session, request.channel, offered=self._rules(request.channel).options.presence)
        members = await self.node.presence.members(request.channel)
        presence = {client: info_message(info) for client, info in members.items()}
        self._reply(session, identifier, messages.PresenceResult(presence=presence))

    async def _presence_stats(self, session: Session, identifier: int, request: messages.PresenceStatsRequest) -> None:
        await self._may_read(session, request.channel, offered=self._rules(request.channel).options.presence)
        stats = await self.node.presence.stats(request.channel)
        result = messages.PresenceStatsResult(num_clients=stats.clients, num_users=stats.users)
        self._reply(session, identifier, result)

    async def _may_read(self, session: Session, channel: str, *, offered: bool) -> None:
        if not offered:
            raise NotAvailable
        if session.subscription(channel) is None:
            await self._rules(channel).may_read(session, channel)

    async def _history(self, session: Session, identifier: int, request: messages.HistoryRequest) -> None:
        options = self._rules(request.channel).options
        await self._may_read(session, request.channel, offered=options.history is not None)
        result = await read_history(self.node, session, request, options)
        self._reply(session, identifier, result)

    # --- messages -------------------------------------------------------------------------------------------------

    async def _send(self, session: Session, identifier: int, request: messages.SendRequest) -> None:
        await self._application.message(session, bytes(request.data))

    async def _rpc(self, session: Session, identifier: int, request: messages.RpcRequest) -> None:
        data = await self._application.call(session, request.method, bytes(request.data))
        self._reply(session, identifier, messages.RpcResult(data=raw(data)))


def _is_cancelled() -> bool:
    """Tell whether this task was cancelled from outside, and not by something a handler awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
