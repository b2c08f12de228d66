"""What each command of a client does: the checks of the protocol, in its order, then the node's work, then the reply.

Source: docs/reference/protocol.md, "Commands".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, final

from openline import codes
from openline.application import Admission, Application, Rules, Welcome, declared
from openline.catching_up import catch_up
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.connecting import Connecting
from openline.departures import Departures, is_cancelled
from openline.emulation import Emulation, Upstream, new_secret
from openline.errors import (
    BadRequest,
    BrokerUnavailable,
    Disconnect,
    InternalError,
    NotAvailable,
    PermissionDenied,
    UsageError,
)
from openline.inbox import CatchUp, Task
from openline.life import State
from openline.membership import Membership, time_to_live
from openline.nesting import Nesting
from openline.node import Node
from openline.outbox import Wire
from openline.paging import read_history
from openline.protocol import messages
from openline.protocol.messages import SubscribeRequest, raw
from openline.protocol.pushes import error_reply, info_message, result_reply
from openline.protocol.unidirectional import Opening, ending
from openline.publication import Position
from openline.quota import Quota
from openline.reduction import DELTAS, reduction_of
from openline.refreshing import Refreshing
from openline.session import Session
from openline.subscription import Subscription
from openline.turn import Turn

_log: Final = logging.getLogger("openline")

Result = TypeVar("Result")


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
        #: What clients post beside their streams.
        self.emulation = Emulation(node)
        self._nesting = Nesting(node.limits.json_depth, node.notices)
        self._application = application
        self._membership = Membership(node)
        self._departures = Departures(node, application, self._membership)
        self._connecting = connecting = Connecting(node, application, self._membership, self._departures)
        self._refreshing = Refreshing(node, application, self._membership)
        self._immediate = node.broker.immediate and node.presence.immediate
        self._acts: Final = {
            messages.ConnectRequest: connecting.connect,
            Opening: connecting.connect,
            messages.SubscribeRequest: self._subscribe,
            messages.UnsubscribeRequest: self._unsubscribe,
            messages.PublishRequest: self._publish,
            messages.PresenceRequest: self._presence,
            messages.PresenceStatsRequest: self._presence_stats,
            messages.HistoryRequest: self._history,
            messages.SendRequest: self._send,
            messages.RpcRequest: self._rpc,
            messages.RefreshRequest: connecting.refresh,
            messages.SubRefreshRequest: self._sub_refresh,
            CatchUp: self._catch_up,
        }

    # --- for wires and the app ------------------------------------------------------------------------------------

    def open(
        self,
        wire: Wire,
        handshake: object = None,
        *,
        native_heartbeat: bool = False,
        upstream: Upstream | None = None,
    ) -> Session:
        """Begin a session on a wire that has just opened.

        Args:
            handshake: kept for the app's handlers.
            native_heartbeat: the client wants pings of the wire instead of the protocol's.
            upstream: takes what the client posts, where the wire goes one way only: the session has a secret then.
        """
        secret = "" if upstream is None else new_secret()
        session = Session(wire, self, handshake, native_heartbeat=native_heartbeat, secret=secret)
        self.node.add(session)
        if upstream is not None:
            self.emulation.add(session, upstream)
        return session

    async def let_in(self, session: Session, welcome: Welcome) -> None:
        """Let a session in that needs no connect command, as the server wants it. It is not ended where this fails.

        Raises:
            Refusal: a channel it is to begin with is none that was declared.
            Disconnect: it has too many channels or connections, or is gone.
            BrokerUnavailable: it is in no channel.
        """
        session.life = State.CONNECTING if session.life is State.OPENED else session.life
        await self._connecting.let_in(session, 0, messages.ConnectRequest(), welcome)

    async def subscribe(
        self, session: Session, channel: str, admission: Admission | None = None, since: Position | None = None
    ) -> None:
        """Put a session into a channel, as the server wants it; see `Session.subscribe`.

        Args:
            admission: what goes with the subscription.
            since: its client is brought what was published after this.
        """
        if session.life is State.CONNECTED:
            admission = Admission() if admission is None else admission
            await self._membership.put(session, channel, self._rules(channel), admission, since)
        elif session.life is not State.ENDED:
            raise UsageError("subscribe: the session is not let in yet; on_connect returns Accept(channels=[…])")

    async def unsubscribe(self, session: Session, channel: str, code: UnsubscribeCode) -> None:
        """Take a session out of a channel, as the server wants it; see `Session.unsubscribe`."""
        subscription = session.subscription(channel)
        if subscription is not None:
            session.lose(subscription, code)
        else:
            self._membership.revoke(session, channel)

    async def refresh(self, session: Session, expires_at: float | None, info: bytes = b"") -> None:
        """Say anew when a connection ends, and what others see of it, as the server wants it; its client is told.

        Args:
            expires_at: unix seconds, which may be past; None is never.
            info: encoded; b"" leaves it as it is.
        """
        if session.life is State.CONNECTED:
            self._connecting.prolong(session, expires_at)
        if info and session.life is State.CONNECTED:
            session.encoded_info = info
            await self._membership.show(session)

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
        if isinstance(request, Opening) and request.subs:
            return True  # the app may have to be asked about each of them
        return not self._immediate or (not isinstance(request, CatchUp) and self._application.waits(request))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task of the node."""
        self.node.spawn(work)

    def ended(self, session: Session, code: DisconnectCode, *, connected: bool) -> None:
        """Forget a session that has just ended."""
        self.node.remove(session)
        self.emulation.forget(session)
        self._departures.ended(session, code, connected=connected)

    def lost(self, session: Session, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Forget a subscription that has just ended."""
        self._departures.lost(session, subscription, code)

    def runs_out(self, session: Session, subscription: Subscription | None) -> bool:
        """Tell whether a session, or a subscription of it, is over as its time is; see `Refreshing`."""
        return self._refreshing.runs_out(session, subscription)

    async def carry_out(self, session: Session, identifier: int, request: Task) -> None:
        """Carry out a request and queue its reply. Never raises."""
        act: Any = self._acts[type(request)]
        try:
            if not isinstance(request, CatchUp):
                self.counters.commands += 1
                self._nesting.check(session.id, request)
            if isinstance(request, Opening):
                for wish in request.subs.values():
                    self._nesting.check(session.id, wish)
            await act(session, identifier, request)
        except asyncio.CancelledError as error:
            if is_cancelled():
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
        if isinstance(request, Opening):
            request.refusal = answer.code
            session.end(ending(answer.code))
            return
        if session.life is State.CONNECTING:
            session.life = State.REFUSED
        if identifier:
            session.push(error_reply(identifier, answer.code))

    # --- subscribe ------------------------------------------------------------------------------------------------

    def _rules(self, channel: str) -> Rules:
        return declared(self._application, channel, name_length=self.limits.name_length)

    async def _subscribe(self, session: Session, identifier: int, request: SubscribeRequest) -> None:
        channel = request.channel
        if not channel or request.delta not in DELTAS:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        if len(channel) > self.limits.name_length:
            raise BadRequest(f"channel name is longer than {self.limits.name_length} characters")
        self._membership.check(session, channel)
        with self._membership.revocable(session, channel):
            rules = self._rules(channel)
            reduction_of(request, rules.options)  # before the app is asked
            if request.type:
                raise BadRequest("only stream subscriptions are offered")
            admission = await rules.admit(session, channel, request)
            with self._departures.entering(session, channel, rules, request):
                joining = await self._membership.begin(session, channel, rules, request, admission)
        with self._departures.entering(session, channel, rules, request):
            try:
                result, position = joining.decide()
                if not session.push(result_reply(identifier, result)):
                    raise Disconnect(codes.CLOSED_SLOW)
            except Exception:
                await self._membership.abandon(joining)
                raise
        joining.complete(position, server_side=False)
        await self._departures.hear(self._membership.announce(joining))

    async def _catch_up(self, session: Session, identifier: int, request: CatchUp) -> None:
        await catch_up(self.node, session, request.channel)

    async def _unsubscribe(self, session: Session, identifier: int, request: messages.UnsubscribeRequest) -> None:
        if not request.channel:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        subscription = session.remove(request.channel)
        if subscription is not None:
            await self._departures.left(subscription)
        session.push(result_reply(identifier, messages.UnsubscribeResult()))
        if subscription is not None:
            # In the order of the commands, so that a client has one handler running at a time, however often it leaves.
            await self._departures.tell_left(session, subscription)

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
        session.push(result_reply(identifier, result))

    # --- publish, presence, history -------------------------------------------------------------------------------

    async def _publish(self, session: Session, identifier: int, request: messages.PublishRequest) -> None:
        rules = self._rules(request.channel)
        data = bytes(request.data)
        if not data:
            raise BadRequest("data is missing")
        if request.type:
            raise BadRequest("only stream publications are offered")
        outgoing = await rules.accept(session, request.channel, data)
        subscription = session.subscription(request.channel)
        info = session.client_info() if subscription is None else subscription.info
        await self.node.publish(
            request.channel,
            outgoing.data,
            rules.options,
            info=info,
            tags=outgoing.tags,
            idempotency_key=outgoing.idempotency_key,
            version=outgoing.version,
            version_epoch=outgoing.version_epoch,
            skip_history=outgoing.skip_history,
        )
        session.push(result_reply(identifier, messages.PublishResult()))

    async def _presence(self, session: Session, identifier: int, request: messages.PresenceRequest) -> None:
        await self._may_read(session, request.channel, offered=self._rules(request.channel).options.presence)
        members = await self.node.presence.members(request.channel)
        presence = {client: info_message(info) for client, info in members.items()}
        session.push(result_reply(identifier, messages.PresenceResult(presence=presence)))

    async def _presence_stats(self, session: Session, identifier: int, request: messages.PresenceStatsRequest) -> None:
        await self._may_read(session, request.channel, offered=self._rules(request.channel).options.presence)
        stats = await self.node.presence.stats(request.channel)
        result = messages.PresenceStatsResult(num_clients=stats.clients, num_users=stats.users)
        session.push(result_reply(identifier, result))

    async def _may_read(self, session: Session, channel: str, *, offered: bool) -> None:
        if not offered:
            raise NotAvailable
        if session.subscription(channel) is None:
            await self._rules(channel).may_read(session, channel)

    async def _history(self, session: Session, identifier: int, request: messages.HistoryRequest) -> None:
        options = self._rules(request.channel).options
        await self._may_read(session, request.channel, offered=options.history is not None)
        result = await read_history(self.node, session, request, options)
        session.push(result_reply(identifier, result))

    # --- messages -------------------------------------------------------------------------------------------------

    async def _send(self, session: Session, identifier: int, request: messages.SendRequest) -> None:
        await self._application.message(session, bytes(request.data))

    async def _rpc(self, session: Session, identifier: int, request: messages.RpcRequest) -> None:
        data = await self._application.call(session, request.method, bytes(request.data))
        session.push(result_reply(identifier, messages.RpcResult(data=raw(data))))
