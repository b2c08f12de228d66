"""This process in the cluster: its sessions, its topics, and the way between them and the broker.

Invariants of this file:

1. A session is in `_sessions` from the moment its wire opened to the moment it ended.
2. What is in `_expected` and `_arriving` has a place among the connections already: however many handshakes and
   connects are decided at the same time, no more come in than there are places.
3. A topic is in `_topics` exactly while it has a subscriber or somebody is joining.
4. No function here waits between reading one of these maps and changing it.
5. Every task runs in one group, and none ends in silence.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar, final

from openline import codes
from openline.brokers.base import Broker
from openline.counters import Counters
from openline.errors import BrokerUnavailable, Disconnect, HubNotStarted, PayloadTooBig
from openline.inbox import finish
from openline.interest import Interest
from openline.life import State
from openline.notices import Notices
from openline.options import ChannelOptions, Heartbeat, Limits
from openline.presence.base import Presence
from openline.publication import Arrival, ClientInfo, Message, Position
from openline.session import Session
from openline.timers import Clock, Timers
from openline.topic import Entered, Topic
from openline.turn import Turn

_log: Final = logging.getLogger("openline")

Result = TypeVar("Result")

#: Seconds between two tries to read history for a topic with a gap, while the broker is away.
HEAL_RETRY_SECONDS: Final = 0.5


@final
class Node:
    """This process: owns sessions and topics.

    Args:
        broker: carries publications and keeps history.
        presence: knows who is where.
    """

    def __init__(
        self, broker: Broker, presence: Presence, *, limits: Limits, heartbeat: Heartbeat, clock: Clock
    ) -> None:
        self.broker = broker
        self.presence = presence
        self.limits = limits
        self.heartbeat = heartbeat
        self.clock = clock
        self.counters = Counters()
        self.timers = Timers(clock)
        self.notices = Notices(self.counters, clock)
        self._interest = Interest(broker)
        self._turn: Turn | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._accepting = False
        self._stopping = False
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._sessions: dict[str, Session] = {}
        self._users: dict[str, dict[str, Session]] = {}
        #: Handshakes on their way to become sessions.
        self._expected: set[object] = set()
        #: The sessions of each user whose connect is let in and not done yet.
        self._arriving: dict[str, set[str]] = {}
        self._topics: dict[str, Topic] = {}

    # --- life -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run until the block ends; then close every session with 3001 and stop.

        What sessions left to do (handlers of the app, farewells in presence) has ``limits.close_seconds`` to end.
        """
        self._reset(asyncio.get_running_loop())
        failure: BaseException | None = None
        async with AsyncExitStack() as stack:
            stack.callback(self._halt)
            stack.push_async_callback(self.broker.stop)
            await self.broker.start(self.deliver)
            stack.push_async_callback(self.presence.stop)
            await self.presence.start()
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    yield
                except BaseException as error:  # noqa: BLE001  # raised again below: the group would wrap it
                    failure = error
                self._accepting = False
                for session in tuple(self._sessions.values()):
                    session.shutdown()
                await self._finish_tasks()
        if failure is not None:
            raise failure

    def _reset(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin anew: whatever a loop that was killed left behind is gone with it."""
        for session in self._sessions.values():
            # The app may have kept it. Its loop closed the descriptor, whose number may be another connection's by now.
            session.life = State.ENDED
            session.outbox.drop()
        self._loop = loop
        self._thread = threading.get_ident()
        self._turn = Turn(loop)
        self._stopping = False
        self._accepting = True
        self._sessions.clear()
        self._users.clear()
        self._expected.clear()
        self._arriving.clear()
        self._topics.clear()
        self._running.clear()
        self._interest = Interest(self.broker)
        self.timers.stop()

    def _halt(self) -> None:
        self._tasks = None
        self._turn = None
        self._loop = None
        self.timers.stop()

    async def _finish_tasks(self) -> None:
        """Give what runs its time to end, then cancel it; what it begins meanwhile has no more time than that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.close_seconds
        while self._running and (left := deadline - loop.time()) > 0:
            await asyncio.wait(tuple(self._running), timeout=left)
        self._stopping = True
        for task in tuple(self._running):
            _log.warning("the hub stops, and cancels what has not ended in time: %r", task)
            task.cancel()

    def in_loop(self, call: Callable[[], Result]) -> Result:
        """Call in the event loop's thread; from another, such as that of a plain handler, wait for the result.

        Raises:
            HubNotStarted: the loop was closed while the node ran in it.
        """
        loop = self._loop
        if loop is not None and loop.is_closed():
            raise _not_started("a session was reached whose event loop was closed")
        if loop is None or threading.get_ident() == self._thread:
            return call()
        done: concurrent.futures.Future[Result] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(call())
            except Exception as error:  # noqa: BLE001  # the caller's, in its own thread
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result()

    @property
    def started(self) -> bool:
        """Whether the node runs, in whatever event loop."""
        return self._tasks is not None and self._loop is not None and not self._loop.is_closed()

    @property
    def accepts(self) -> bool:
        """Whether sessions may begin, from the event loop of the caller."""
        return self._accepting and self.runs_here

    @property
    def runs_here(self) -> bool:
        """Whether the node runs in the event loop of the caller."""
        return self.started and self._loop is asyncio.get_running_loop()

    def check_started(self, what: str) -> None:
        """Say whether the node runs, before something is done that needs it.

        Raises:
            HubNotStarted: it does not.
        """
        if not self.started:
            raise _not_started(what)

    @property
    def turn(self) -> Turn:
        """What collects what leaves at the end of the turn.

        Raises:
            HubNotStarted: the node does not run.
        """
        if self._turn is None:
            raise _not_started("a session began")
        return self._turn

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in a task of the node's group. The work handles its own errors; one that escapes is logged."""
        if self._tasks is None or self._stopping:
            _log.warning("the hub has stopped, and does not begin %r", work)
            work.close()
            return
        task = self._tasks.create_task(_guarded(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def spawn_or_finish(self, work: Coroutine[Any, Any, None], *, immediate: bool) -> None:
        """Run without a task where nothing in it waits."""
        if immediate:
            finish(_guarded(work))
        else:
            self.spawn(work)

    def ends_at(self, expires_at: float, *, client_refresh: bool) -> float:
        """Say when what expires is ended: a client that can refresh is given some grace.

        Args:
            expires_at: unix seconds.
        Returns:
            A monotonic time.
        """
        grace = self.limits.expiry_grace_seconds if client_refresh else 0
        return self.clock.monotonic() + expires_at - self.clock.wall() + grace

    # --- sessions -------------------------------------------------------------------------------------------------

    def expect(self, handshake: object) -> bool:
        """Keep a place for a handshake until `expected` is called; False where every place is taken.

        Args:
            handshake: any object that stands for it.
        """
        limit = self.limits.connections
        if limit is not None and len(self._sessions) + len(self._expected) >= limit:
            return False
        self._expected.add(handshake)
        return True

    def expected(self, handshake: object) -> None:
        """A handshake has become a session, or come to nothing. Idempotent."""
        self._expected.discard(handshake)

    @contextmanager
    def arriving(self, session: Session) -> Iterator[None]:
        """Keep a place among the connections of a session's user around a block. Anonymous users are not counted.

        Raises:
            Disconnect: the user's places are taken (3504), or the session has ended.
        """
        user, limit = session.user, self.limits.connections_per_user
        if limit is None or not user:
            yield
            return
        if session.id not in self._sessions:
            raise Disconnect(codes.CLOSED_NORMAL)
        if len(self._users.get(user, ())) + len(self._arriving.get(user, ())) >= limit:
            code = codes.CLOSED_CONNECTION_LIMIT
            words = "user %r has as many connections as Limits.connections_per_user allows (%d): closed with %d"
            self.notices.take("connections_refused", words, user, limit, code.number)
            raise Disconnect(code)
        self._arriving.setdefault(user, set()).add(session.id)
        try:
            yield
        finally:
            self._arrived(session)

    def _arrived(self, session: Session) -> None:
        arriving = self._arriving.get(session.user)
        if arriving is not None:
            arriving.discard(session.id)
            if not arriving:
                del self._arriving[session.user]

    def add(self, session: Session) -> None:
        """Take over a session."""
        self._sessions[session.id] = session
        self.counters.sessions_opened += 1

    def identify(self, session: Session) -> None:
        """A session's user is known from now on."""
        self._users.setdefault(session.user, {})[session.id] = session

    def remove(self, session: Session) -> None:
        """Forget a session that ended."""
        self._sessions.pop(session.id, None)
        self._arrived(session)
        of_user = self._users.get(session.user)
        if of_user is not None:
            of_user.pop(session.id, None)
            if not of_user:
                del self._users[session.user]

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Every session of this node, by id."""
        return self._sessions

    def sessions_of(self, user: str) -> tuple[Session, ...]:
        """Give the connected sessions of a user."""
        return tuple(self._users.get(user, {}).values())

    # --- topics ---------------------------------------------------------------------------------------------------

    def topic(self, channel: str) -> Topic | None:
        """Give the live topic of a channel."""
        return self._topics.get(channel)

    async def enter_topic(self, channel: str, options: ChannelOptions) -> Topic:
        """Give the topic of a channel, followed at the broker, with somebody joining: call `leave_topic` after.

        Raises:
            BrokerUnavailable: nothing has changed.
        """
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic(channel, options)
        topic.begin_join()
        try:
            await self._interest.begin(channel)
        except BaseException:
            self.leave_topic(topic)
            raise
        return topic

    def leave_topic(self, topic: Topic) -> None:
        """A join has ended, in a subscription or not."""
        topic.end_join()
        self.desert(topic)

    def desert(self, topic: Topic) -> None:
        """Let go of a topic, if nobody is in it any more."""
        if topic.deserted and self._topics.get(topic.channel) is topic:
            del self._topics[topic.channel]
            work = self._interest.end(topic.channel, lambda: topic.channel in self._topics)
            self.spawn_or_finish(work, immediate=self.broker.immediate)

    # --- publications ---------------------------------------------------------------------------------------------

    async def publish(
        self,
        channel: str,
        data: bytes,
        options: ChannelOptions,
        *,
        info: ClientInfo | None = None,
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Publish to every subscriber of a channel, on every node; see `Broker.publish`."""
        if len(data) > self.limits.message_bytes:
            raise PayloadTooBig(len(data), self.limits.message_bytes)
        self.check_started("publish")
        return await self.broker.publish(
            channel,
            data,
            history=options.history,
            info=info,
            tags=tags,
            idempotency_key=idempotency_key,
            version=version,
            version_epoch=version_epoch,
        )

    def deliver(self, channel: str, message: Message) -> None:
        """Take what the broker carried here; it leaves at the end of the turn. Never waits."""
        topic = self._topics.get(channel)
        if topic is None or self._turn is None:
            return
        entered = topic.enter(message)
        if entered is Entered.TAKEN:
            if not isinstance(message, Arrival):
                self.counters.publications += 1
            if topic.waiting:
                self._turn.topic(topic)
        elif entered is Entered.GAP:
            self.heal(topic)

    def heal(self, topic: Topic) -> None:
        """Read what a topic misses, before anything newer is delivered."""
        self.spawn_or_finish(self._heal(topic), immediate=self.broker.immediate)

    async def _heal(self, topic: Topic) -> None:
        history = topic.options.history
        assert history is not None, "only a topic with history has positions"  # noqa: S101
        while topic.healing and self._topics.get(topic.channel) is topic:
            try:
                page = await self.broker.history(topic.channel, history=history, since=topic.position)
            except Exception as error:  # noqa: BLE001  # whatever it was, the topic may not stay silent for good
                # Subscribers stay: the gap is healed, or they are told, once the broker is back.
                _log.warning("channel %s has a gap and history cannot be read: %r; trying again", topic.channel, error)
                await asyncio.sleep(HEAL_RETRY_SECONDS)
                continue
            if topic.heal(page):
                self.counters.gaps_healed += 1
                _log.info("channel %s missed something and got it from history", topic.channel)
            else:
                self.counters.gaps_lost += 1
                _log.warning("channel %s missed what history no longer holds; its subscribers are told", topic.channel)
            if topic.waiting and self._turn is not None:
                self._turn.topic(topic)
            self.desert(topic)


def _not_started(what: str) -> HubNotStarted:
    return HubNotStarted(f"{what}: the hub is not running: its router's lifespan has not started, or has ended")


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    """Run work so that an error in it ends neither the group nor in silence."""
    try:
        await work
    except BrokerUnavailable as error:
        _log.error("the broker is away: %s", error)
    except Exception:  # noqa: BLE001  # logged: one task must not end the others
        _log.exception("a task of the hub failed")
