"""One connected client: its life from the opened socket to its end.

Invariants of this file:

1. The first command is connect, and there is one. After a refused connect nothing but the end follows.
2. Ending is done once, in one call that does not wait: from then on nothing is sent and nothing is taken.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Coroutine
from typing import Any, Final, TypeVar, final

import msgspec

from openline import codes
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.conductor import Conductor
from openline.errors import Disconnect
from openline.framing import SEPARATE
from openline.inbox import CatchUp, Inbox, Task
from openline.life import State
from openline.notices import Excess
from openline.outbox import Outbox, Wire
from openline.protocol.codec import DecodeError, NestedTooDeep
from openline.protocol.messages import PING, Command, ConnectRequest, PingRequest, Reply, SendRequest
from openline.protocol.pushes import disconnect_push, message_push, unsubscribe_push
from openline.protocol.unidirectional import UnidirectionalCodec
from openline.publication import ClientInfo
from openline.subscription import Subscription

_log: Final = logging.getLogger("openline")

Result = TypeVar("Result")


@final
class Session:
    """One connected client.

    Handlers receive it by its annotation. Valid until the client is gone; then sending does nothing.

    Attributes:
        id: names the connection; new at every reconnect.
        user: the id of who is connected; "" for an anonymous one.
        state: the app's own, kept as long as the connection.
        handshake: what was kept of the opening request; None where no handler reads it.
        native_heartbeat: pings are the wire's own, not the protocol's.
        secret: what the client's posts name it by, where its wire goes one way only; else "". For its client alone.
    """

    __slots__ = (
        "__weakref__",
        "_codec",
        "_conductor",
        "_inbox",
        "_is_lossy",
        "_is_unread",
        "_pong_due",
        "_subscriptions",
        "_wait_until",
        "_wire",
        "asked_until",
        "client_refresh",
        "encoded_info",
        "encoded_meta",
        "end_code",
        "ends_at",
        "handshake",
        "id",
        "life",
        "native_heartbeat",
        "outbox",
        "ping_due",
        "secret",
        "state",
        "user",
        "wake_tick",
    )

    def __init__(
        self,
        wire: Wire,
        conductor: Conductor[Session],
        handshake: object = None,
        *,
        native_heartbeat: bool = False,
        secret: str = "",
    ) -> None:
        self.id = str(uuid.uuid4())
        self.user = ""
        self.encoded_info = self.encoded_meta = b""
        self.state: dict[str, Any] = {}
        self.handshake = handshake
        self.native_heartbeat = native_heartbeat
        self.secret = secret
        self.life = State.OPENED
        self.outbox = Outbox(wire, conductor.limits.outbox_bytes, self)
        self.end_code: DisconnectCode | None = None  #: what it ended with
        self.ends_at: float | None = None  #: monotonic; the connection ends then unless it is refreshed before
        self.client_refresh = False
        self.ping_due: float | None = None  #: monotonic; None before connect
        self.asked_until = 0.0  #: monotonic; see `Quota`
        self.wake_tick = 0
        self._wire = wire
        self._codec = wire.encoding.codec
        self._conductor = conductor
        self._inbox = Inbox(conductor.limits.waiting_commands)
        self._subscriptions: dict[str, Subscription] = {}
        self._pong_due: float | None = None
        self._is_unread = self._is_lossy = False
        self._wait_until = conductor.clock.monotonic() + conductor.limits.connect_seconds
        conductor.timers.wake_at(self._wait_until, self)

    # --- for the app ----------------------------------------------------------------------------------------------

    @property
    def info(self) -> Any:
        """What others see of this client in presence, joins and publications, decoded; None for nothing."""
        return msgspec.json.decode(self.encoded_info) if self.encoded_info else None

    @property
    def meta(self) -> Any:
        """What token or handler said for the app alone, decoded; None for nothing. No client is ever shown it."""
        return msgspec.json.decode(self.encoded_meta) if self.encoded_meta else None

    @property
    def channels(self) -> frozenset[str]:
        """The names of the channels this session is in."""
        return frozenset(self._subscriptions)

    @property
    def transport(self) -> str:
        """The kind of wire: "websocket", "http_stream", "sse", "uni_websocket" and so on."""
        name = self._wire.name
        return "uni_websocket" if self.one_way and name == "websocket" else name

    @property
    def one_way(self) -> bool:
        """Whether the client only listens: it says who it is and what it wants as it comes, and nothing after that."""
        return isinstance(self._codec, UnidirectionalCodec)

    @property
    def protocol(self) -> str:
        """The codec: "json" or "protobuf"."""
        return self._codec.name

    def send(self, data: object) -> bool:
        """Push a message to this client, outside every channel. Never waits for the client.

        Like `disconnect`, it may be called from any thread: plain handlers run in others than the event loop's.

        Args:
            data: what Pydantic can write as JSON.
        Returns:
            False when the client is gone or just became too slow: then nothing was sent.
        """
        reply = message_push(self._conductor.encode(data))
        return self._conductor.in_loop(lambda: self.push(reply))

    async def subscribe(self, channel: str) -> None:
        """Put this session into a channel; no handler is asked, and its client is told.

        Raises:
            Refusal: no pattern matches, it is in there already, or a limit is reached.
            UsageError: its connect is not decided yet; `on_connect` returns the channels it begins with.
        """
        await self._conductor.subscribe(self, channel)

    async def unsubscribe(self, channel: str, code: UnsubscribeCode = codes.UNSUBSCRIBED_BY_SERVER) -> None:
        """Take this session out of a channel, and tell its client; not being in it is no error."""
        await self._conductor.unsubscribe(self, channel, code)

    def disconnect(self, code: DisconnectCode | int = codes.CLOSED_FORCED, reason: str | None = None) -> None:
        """Close the connection. By default the client stays away; `codes.CLOSED_FORCE_RECONNECT` has it come back.

        What it was sent goes out first, save what waits for a client that is behind with reading, and what was
        published in this same turn.

        Raises:
            DeclarationError: the code or reason is not one a client can be sent.
        """
        end = Disconnect(code, reason).code
        self._conductor.in_loop(lambda: self.end(end))

    # --- what the client does -------------------------------------------------------------------------------------

    def receive(self, frame: bytes) -> None:
        """Take one message of the wire: any number of commands.

        Who only listens says one thing, and whatever else it sends goes nowhere.
        """
        if self.life is not State.OPENED and self.one_way:
            return
        refused_before = self.life is State.REFUSED
        try:
            for command in self._codec.decode(frame):
                self._take(command)
                if self.life is State.ENDED or (self.life is State.REFUSED and not refused_before):
                    return  # what stood in one frame with a refused connect is not looked at
        except DecodeError as error:
            excess: Excess = "messages_too_deep" if isinstance(error, NestedTooDeep) else "messages_malformed"
            self._conductor.notices.take(excess, "session %s sent what is not of the protocol: %s", self.id, error)
            self.end(codes.CLOSED_BAD_REQUEST)

    def begin(self, request: ConnectRequest) -> None:
        """Take the connect of a client that said it another way than by a message of the wire."""
        self._take(Command(id=1, connect=request))

    def too_large(self) -> None:
        """The client sent a message larger than the wire takes, and is being closed for it."""
        limit = self._conductor.limits.message_bytes
        words = "session %s of user %r sent a message larger than Limits.message_bytes (%d): closed with 1009"
        self._conductor.notices.take("messages_too_large", words, self.id, self.user, limit)

    def _take(self, command: Command) -> None:
        request = command.request()
        if request is None:
            self._pong(command)
        elif (
            isinstance(request, PingRequest)
            or self.life is State.REFUSED
            or (command.id == 0 and not isinstance(request, SendRequest))
            or isinstance(request, ConnectRequest) is not (self.life is State.OPENED)
        ):
            self.end(codes.CLOSED_BAD_REQUEST)
        else:
            if self.life is State.OPENED:
                self.life = State.CONNECTING
            elif not self._conductor.quota.lets(self, command.id):
                return
            self._inbox.put(self, command.id, request)

    def _pong(self, command: Command) -> None:
        if command.id or self._pong_due is None:
            self.end(codes.CLOSED_BAD_REQUEST)
        self._pong_due = None

    @property
    def takes_commands(self) -> bool:
        """Whether commands that queued still count: the connection stands and was not refused."""
        return self.life is not State.ENDED and self.life is not State.REFUSED

    def waits(self, request: Task) -> bool:
        """Tell whether carrying out a request may have to wait."""
        return self._conductor.waits(self, request)

    def carry_out(self, identifier: int, request: Task) -> Coroutine[Any, Any, None]:
        """Carry out a request and queue its reply. Never raises."""
        return self._conductor.carry_out(self, identifier, request)

    def catch_up(self, channel: str) -> None:
        """Go on with a recovery that did not fit in its reply, in turn with what the client asks."""
        self._inbox.put(self, 0, CatchUp(channel))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task that somebody looks after."""
        self._conductor.spawn(work)

    def pause_reading(self) -> None:
        """Let the client send no more."""
        self._conductor.counters.readings_paused += 1
        self._is_unread = True
        self._wire.pause_reading()

    def resume_reading(self) -> None:
        """Let the client send again."""
        self._is_unread = False
        self._wire.resume_reading()

    # --- what the client is sent ----------------------------------------------------------------------------------

    def push(self, reply: Reply) -> bool:
        """Queue one message; say whether it was taken. A client too slow for it is closed."""
        if self.life is State.ENDED:
            return False
        encoding = self.outbox.encoding
        chunk = encoding.wrap((encoding.codec.encode(reply),))
        return not chunk or self.offer(chunk)  # a wire without a protocol has no words for most of them

    def offer(self, chunk: bytes) -> bool:
        """Queue bytes made for this wire; say whether they were taken. A client too slow for them is closed."""
        if self.life is State.ENDED:
            return False
        if self.outbox.offer(chunk):
            return True
        self.end(codes.CLOSED_SLOW)
        return False

    def dirty(self) -> None:
        """Something waits in the outbox: it leaves at the end of the turn."""
        self._conductor.turn.outbox(self.outbox)

    def skipped(self, publications: int) -> None:
        """So many publications were dropped, as their channel declared, because the client is behind."""
        self._conductor.counters.publications_dropped += publications
        if not self._is_lossy:
            self._is_lossy = True
            _log.warning("session %s of user %r is behind: publications are dropped for it", self.id, self.user)

    def lose(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Tell the client that a subscription is over. A server-side one cannot be taken up again: reconnect."""
        if subscription.server_side and code.resubscribe:
            expired = code == codes.UNSUBSCRIBED_EXPIRED
            self.end(codes.CLOSED_SUBSCRIPTION_EXPIRED if expired else codes.CLOSED_INSUFFICIENT_STATE)
            return
        if self._subscriptions.pop(subscription.channel, None) is subscription:
            self.push(unsubscribe_push(subscription.channel, code))
            self._conductor.lost(self, subscription, code)

    # --- who is it, and where -------------------------------------------------------------------------------------

    def client_info(self, channel_info: bytes = b"") -> ClientInfo:
        """Say who this is, as others see it."""
        return ClientInfo(self.user, self.id, self.encoded_info, channel_info)

    def subscription(self, channel: str) -> Subscription | None:
        """Give the subscription to a channel."""
        return self._subscriptions.get(channel)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Give every subscription."""
        return tuple(self._subscriptions.values())

    def add(self, subscription: Subscription) -> None:
        """Remember a subscription that went live."""
        self._subscriptions[subscription.channel] = subscription
        if subscription.ends_at is not None:
            self.schedule()

    def remove(self, channel: str) -> Subscription | None:
        """Forget a subscription."""
        return self._subscriptions.pop(channel, None)

    # --- time -----------------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """The connect reply is queued: heartbeats begin, the first at a random moment so that waves spread out."""
        self.life = State.CONNECTED
        interval = self._conductor.heartbeat.ping_seconds
        self.ping_due = self._conductor.clock.monotonic() + interval * random.uniform(0.5, 1)  # noqa: S311  # spread, not a secret
        self.schedule()

    def schedule(self) -> None:
        """Be woken for the earliest of what is due."""
        when = self._earliest()
        if when is not None:
            self._conductor.timers.wake_at(when, self)

    def _earliest(self) -> float | None:
        if self.life is not State.CONNECTED:
            return self._wait_until
        ends = (subscription.ends_at for subscription in self._subscriptions.values())
        times = (self.ping_due, self._pong_due, self.ends_at, *ends)
        return min((when for when in times if when is not None), default=None)

    def wake(self, now: float) -> float | None:
        """Do what is due: the timers call this."""
        if self.life is State.ENDED:
            return None
        if self.life is not State.CONNECTED:
            if now < self._wait_until:
                return self._wait_until
            if self.life is not State.CONNECTING:
                self._conductor.counters.stale_clients += 1
                self.end(codes.CLOSED_STALE)
                return None
            # The client asked in time: it is the app that takes long, and 3502 would send the client away for good.
            self._wait_until = now + self._conductor.limits.connect_seconds
            return self._wait_until
        if self._pong_due is not None and now >= self._pong_due and self._is_unread and not self.outbox.is_stalled():
            self._pong_due = now + self._conductor.heartbeat.pong_seconds  # its pong may wait behind what is not read
        if self._pong_due is not None and now >= self._pong_due:
            self.end(codes.CLOSED_NO_PONG)
        elif self.ends_at is not None and now >= self.ends_at and self._conductor.runs_out(self, None):
            self.end(codes.CLOSED_CONNECTION_EXPIRED)
        else:
            for subscription in self.subscriptions():
                due = subscription.ends_at is not None and now >= subscription.ends_at
                if due and self._conductor.runs_out(self, subscription):
                    self.lose(subscription, codes.UNSUBSCRIBED_EXPIRED)
            self._ping(now)
        return self._earliest() if self.takes_commands else None

    def _ping(self, now: float) -> None:
        if not self.takes_commands or self.ping_due is None or now < self.ping_due:
            return
        pinged = self._wire.ping() if self.native_heartbeat else self.push(PING)
        if pinged and not self.one_way:  # who only listens does not answer: dead peers are found by what is not taken
            self._pong_due = now + self._conductor.heartbeat.pong_seconds
            self.outbox.is_stalled()  # it compares with this moment when it is asked again
        self.ping_due = now + self._conductor.heartbeat.ping_seconds

    def ponged(self) -> None:
        """The client answered a ping of the wire."""
        if self.native_heartbeat:
            self._pong_due = None

    # --- the end --------------------------------------------------------------------------------------------------

    def end(self, code: DisconnectCode) -> None:
        """Close the connection: what was queued goes out first, unless the client is behind with reading."""
        if self.life is State.ENDED:
            return
        self._conductor.counters.disconnects += 1
        if code == codes.CLOSED_SLOW:
            self._conductor.counters.slow_clients += 1
            _log.warning("session %s of user %r is too slow: closed with %d", self.id, self.user, code.number)
        else:
            self.outbox.flush()
        if self.one_way and self.outbox.encoding.framing is SEPARATE:
            # A close frame says it as well, but not to everyone who reads messages.
            last = disconnect_push(code)
            self._wire.write(self.outbox.encoding.wrap((self._codec.encode(last),)))
        self._finish(code)
        self._wire.close(code.number, code.reason, deadline_seconds=self._conductor.limits.close_seconds)

    def closed(self, code: int, reason: str) -> None:
        """The client is gone: the wire calls this."""
        if self.life is not State.ENDED:
            self._finish(DisconnectCode(code, reason or "connection closed"))

    def shutdown(self) -> None:
        """The server is about to end."""
        self.end(codes.CLOSED_SHUTDOWN)

    def _finish(self, code: DisconnectCode) -> None:
        connected, self.life, self.end_code = self.life is State.CONNECTED, State.ENDED, code
        self.outbox.drop()
        self._inbox.drop()
        self._conductor.timers.forget(self)
        self._conductor.ended(self, code, connected=connected)
        self._subscriptions.clear()

    def pause(self) -> None:
        """The wire is full."""
        self.outbox.pause()

    def resume(self) -> None:
        """The wire has drained: what waits goes out, and commands that had to wait for that are carried out."""
        self.outbox.resume()
        self._inbox.resume(self)

    def __repr__(self) -> str:
        return f"<Session {self.id} user={self.user!r} {self.life.name.lower()} channels={len(self._subscriptions)}>"
