"""This process in the cluster: its sessions, its topics, and the way between them and the broker.

Invariants of this file:

1. A session is in `_sessions` from the moment its wire opened to the moment it ended.
2. A topic is in `_topics` exactly while it has a subscriber or somebody is joining.
3. No function here waits between reading one of these maps and changing it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar, final

from openline.brokers.base import Broker
from openline.cluster import HELLO_SECONDS, Cluster, NodeInfo
from openline.counters import Counters
from openline.errors import BrokerUnavailable, HubNotStarted
from openline.healing import Healing
from openline.interest import Interest
from openline.life import State
from openline.notices import Notices
from openline.options import ChannelOptions, Heartbeat, Limits
from openline.places import Places
from openline.presence.base import Presence
from openline.protocol.json import JSON
from openline.publication import Arrival, ClientInfo, Message, Position, check_size
from openline.session import Session
from openline.tasks import Tasks
from openline.threads import call_in
from openline.timers import Clock, Timers
from openline.topic import Entered, Topic
from openline.turn import Turn
from openline.version import VERSION

_log: Final = logging.getLogger("openline")

Result = TypeVar("Result")


#: For so many seconds a publication that failed is a problem of the node, unless another succeeds.
FAILURE_SECONDS: Final = 10
_NO_FAILURE: Final = (-math.inf, "")


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
        #: The name of this node among the others, anew each time it runs.
        self.id = ""
        #: What people find this process by.
        self.process = ""
        self._started_at = 0.0
        #: When a publication failed last, and why.
        self._failure = _NO_FAILURE
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
        self._tasks = Tasks()
        self._sessions: dict[str, Session] = {}
        self._users: dict[str, dict[str, Session]] = {}
        self.places = Places(limits, self.notices, self._sessions, self._users)
        self._topics: dict[str, Topic] = {}
        self._healing = Healing(
            broker,
            self._topics,
            self.counters,
            self.notices,
            spawn=self.spawn,
            healed=self._healed,
            seconds=limits.position_check_seconds,
        )
        #: The other nodes.
        self.cluster = Cluster(broker, self.counters, self.notices, clock, spawn=self.spawn, describe=self.describe)

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
            await self.broker.start(self.id, self)
            stack.push_async_callback(self.presence.stop)
            async with self._tasks.running():
                try:
                    await self.presence.start(self.id, self.announce)
                    await self._join_cluster()
                    yield
                except BaseException as error:  # noqa: BLE001  # raised again below: the group would wrap it
                    failure = error
                self._accepting = False
                for session in tuple(self._sessions.values()):
                    session.shutdown()
                await self._tasks.end(self.limits.close_seconds)
                self.timers.stop()  # nothing is begun any more
                await self.cluster.leave()
        if failure is not None:
            raise failure

    async def _join_cluster(self) -> None:
        """Let the others know of this node, and look after topics that may miss something in silence."""
        if self.broker.immediate:
            return  # there are no others, and nothing can be lost on the way
        await self.cluster.join(self.id)
        now = self.clock.monotonic()
        self.timers.wake_at(now + self.limits.position_check_seconds, self._healing)
        self.timers.wake_at(now + HELLO_SECONDS, self.cluster)

    def describe(self) -> NodeInfo:
        """Say what this node has."""
        populations = [count for _, count in self.populations()]
        return NodeInfo(
            id=self.id,
            process=self.process,
            version=VERSION,
            started_at=self._started_at,
            clients=len(self._sessions),
            users=len(self._users) - ("" in self._users),
            channels=len(populations),
            subscriptions=sum(populations),
        )

    def _reset(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin anew: whatever a loop that was killed left behind is gone with it."""
        self.id = secrets.token_hex(8)
        self.process = f"{socket.gethostname()}:{os.getpid()}"
        self._started_at = self.clock.wall()
        for session in self._sessions.values():
            # The app may have kept it. Its loop closed the descriptor, whose number may be another connection's by now.
            session.life = State.ENDED
            session.outbox.drop()
        self.timers.stop()
        self._healing.reset()
        self.cluster.wake_tick = 0
        self._loop = loop
        self._thread = threading.get_ident()
        self._turn = Turn(loop)
        self._accepting = True
        self._sessions.clear()
        self._users.clear()
        self.places.clear()
        self._topics.clear()
        self._interest = Interest(self.broker)

    def _halt(self) -> None:
        self._turn = None
        self._loop = None
        self.timers.stop()

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
        return call_in(loop, call)

    @property
    def started(self) -> bool:
        """Whether the node runs, in whatever event loop."""
        return self._tasks.are_taken and self._loop is not None and not self._loop.is_closed()

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
        """Run in a task of the node's; see `Tasks.spawn`."""
        self._tasks.spawn(work)

    def spawn_or_finish(self, work: Coroutine[Any, Any, None], *, immediate: bool) -> None:
        """Run without a task where nothing in it waits."""
        self._tasks.spawn_or_finish(work, immediate=immediate)

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
        self.places.arrived(session)
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

    def populations(self) -> Iterator[tuple[str, int]]:
        """Give each channel that has subscribers here, and how many."""
        return ((channel, len(topic.subscriptions)) for channel, topic in self._topics.items() if topic.subscriptions)

    async def enter_topic(self, channel: str, options: ChannelOptions) -> Topic:
        """Give the topic of a channel, followed at the broker, with somebody joining: call `leave_topic` after.

        Raises:
            BrokerUnavailable: nothing has changed.
        """
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic(channel, options, self.limits)
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
        skip_history: bool = False,
        tags: dict[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Publish to every subscriber of a channel, on every node; see `Broker.publish`.

        Args:
            skip_history: carry it to those who are there now and keep nothing.
        Raises:
            PayloadTooBig: with its tags it is more than `Limits.message_bytes`; nothing was sent.
        """
        check_size(data, tags, self.limits.message_bytes)
        self.check_started("publish")
        try:
            position = await self.broker.publish(
                channel,
                data,
                history=None if skip_history else options.history,
                info=info,
                tags=tags,
                idempotency_key=idempotency_key,
                version=version,
                version_epoch=version_epoch,
            )
        except BrokerUnavailable as error:
            self.notices.take("publications_failed", "publishing in channel %r failed: %s", channel, error)
            self._failure = (self.clock.monotonic(), f"publishing failed: {error}")
            raise
        if self._failure[1]:
            self._failure = _NO_FAILURE
        return position

    def deliver(self, channel: str, message: Message) -> None:
        """Take what the broker carried here; it leaves at the end of the turn. Never waits."""
        topic = self._topics.get(channel)
        if topic is None or self._turn is None or not self._may_enter(topic, message):
            return
        entered = topic.enter(message)
        if entered is Entered.TAKEN:
            if not isinstance(message, Arrival):
                self.counters.publications += 1
            if topic.waiting:
                self._turn.topic(topic)
        elif entered is Entered.GAP:
            self.heal(topic)

    def _may_enter(self, topic: Topic, message: Message) -> bool:
        """Tell whether clients can be given this: what came from outside is not what the app declared, perhaps."""
        if not self.broker.is_open or isinstance(message, Arrival) or message.offset or topic.options.raw:
            return True  # of a raw channel each client's codec says what it carries
        if JSON.carries(message.data):
            return True
        words = "in channel %r arrived from outside what is no JSON on one line: it is left out"
        self.notices.take("publications_malformed", words, topic.channel)
        return False

    def doubt(self, channels: Iterable[str]) -> None:
        """Compare topics with their streams: the broker may have missed something of these channels."""
        self._healing.doubt(channels)

    def hear(self, word: bytes) -> None:
        """Take what a node told."""
        self.cluster.hear(word)

    def announce(self, channel: str, arrival: Arrival) -> None:
        """Tell a channel who came or went that nobody else tells of: presence found out."""
        self.spawn_or_finish(self.broker.announce(channel, arrival), immediate=self.broker.immediate)

    def heal(self, topic: Topic) -> None:
        """Read what a topic misses, before anything newer is delivered."""
        self.spawn_or_finish(self._healing.heal(topic), immediate=self.broker.immediate)

    def _healed(self, topic: Topic) -> None:
        if topic.waiting and self._turn is not None:
            self._turn.topic(topic)
        self.desert(topic)

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong as of now, in words for whoever looks after the server; empty while all works."""
        if not self.started:
            return ("the hub is not running",)
        failed_at, failure = self._failure
        if self.clock.monotonic() - failed_at > FAILURE_SECONDS:
            failure = ""
        return tuple(problem for problem in (self.broker.problem, self.presence.problem, failure) if problem)


def _not_started(what: str) -> HubNotStarted:
    return HubNotStarted(f"{what}: the hub is not running: its router's lifespan has not started, or has ended")
