"""The nodes of a cluster: which there are, and how one has all of them do something.

Every node says hello every three seconds; one that was not heard for nine is gone. An order goes to every node and is
answered by every node, its giver's own included, so that whoever gives it knows that it was carried out, or where it
was not.

Words travel at most once. A hello that is lost is followed by the next; an order that is lost, or whose answer is, is
an error to whoever gave it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, final

import msgspec

from openline.brokers.base import Broker
from openline.counters import Counters
from openline.errors import BrokerUnavailable, OpenlineError
from openline.notices import Notices
from openline.timers import Clock

_log: Final = logging.getLogger("openline")

#: Seconds between two hellos.
HELLO_SECONDS: Final = 3.0
#: A node that said nothing for so many seconds is gone.
GONE_SECONDS: Final = 9.0
#: How long the answers of the others are waited for.
ANSWER_SECONDS: Final = 5.0
#: How long the hello of one other is waited for, by a node that has just come; it takes milliseconds.
MEETING_SECONDS: Final = 1.0


class NodeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One node, as it described itself last. A user with connections to two nodes is counted on both."""

    id: str  #: anew each time the node starts
    process: str  #: its host and process id, for people
    version: str  #: of this library
    started_at: float  #: unix seconds
    clients: int  #: connections
    users: int  #: different users among them, save anonymous ones
    channels: int  #: that have subscribers there
    subscriptions: int


class _Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Here is a node."""

    node: NodeInfo
    answer: bool = False  #: say hello too: this one has just come


class _Bye(msgspec.Struct, frozen=True, tag="bye"):
    """A node ends."""

    node: str


class _Order(msgspec.Struct, frozen=True, tag="order"):
    """Do something, and answer."""

    giver: str
    number: int
    order: bytes


class _Answer(msgspec.Struct, frozen=True, tag="answer"):
    """What came of an order."""

    node: str
    number: int
    report: bytes


class _Frame(msgspec.Struct, frozen=True, tag="frame"):
    """A client sent this beside its stream, which is on the node that hears it."""

    session: str
    frame: bytes


_Word = _Hello | _Bye | _Order | _Answer | _Frame


class _Asked:
    """An order that is out."""

    __slots__ = ("_waiting", "done", "reports")

    def __init__(self, waiting: set[str]) -> None:
        self._waiting = waiting
        self.reports: dict[str, bytes] = {}  #: by node, in the order in which they came
        self.done = asyncio.Event()

    @property
    def waiting(self) -> frozenset[str]:
        """The nodes that have not answered."""
        return frozenset(self._waiting)

    def take(self, node: str, report: bytes) -> None:
        """A node has answered. What comes twice, or from one that is not waited for any more, does not count."""
        if node in self._waiting:
            self.reports[node] = report
            self.forget(node)

    def forget(self, node: str) -> None:
        """A node is waited for no more."""
        self._waiting.discard(node)
        if not self._waiting:
            self.done.set()


@final
class Cluster:
    """What one node knows of the others.

    Args:
        spawn: runs work in a task somebody looks after.
        describe: describes this node.
    """

    def __init__(
        self,
        broker: Broker,
        counters: Counters,
        notices: Notices,
        clock: Clock,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        describe: Callable[[], NodeInfo],
    ) -> None:
        self.wake_tick = 0
        #: Carries out an order on this node and reports; what gives orders sets it.
        self.carry_out: Callable[[bytes], Awaitable[bytes]] = _refuse
        #: Takes a frame for a session of this node that another node was given; what has such sessions sets it.
        self.take_frame: Callable[[str, bytes], object] = _forget
        self._broker = broker
        self._counters = counters
        self._notices = notices
        self._clock = clock
        self._spawn = spawn
        self._describe = describe
        self._id = ""  #: "" while this node is not among the others
        self._nodes: dict[str, tuple[float, NodeInfo]] = {}  #: when each other node was heard last
        self._heard_self = 0.0  #: when this node heard itself last
        self._joined = 0.0  #: when this node came
        self._left: set[str] = set()  #: those that went before this node knew all
        self._greeted = asyncio.Event()  #: set, and replaced, when somebody was met or has left
        self._asked: dict[int, _Asked] = {}
        self._orders = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[_Word] = msgspec.msgpack.Decoder(_Word)

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """Every node there is, this one first."""
        return (self._describe(), *(node for _, node in self._nodes.values()))

    async def join(self, node: str) -> None:
        """Let the others know of this node, and get to know them.

        Raises:
            BrokerUnavailable: nobody was told.
        """
        self._id = node
        self._nodes.clear()
        self._asked.clear()
        self._left.clear()
        self._joined = self._clock.monotonic()
        await self._tell(_Hello(self._describe(), answer=True))

    async def leave(self) -> None:
        """Let the others know that this node ends. Never raises: they find out by themselves."""
        if self._id:
            node, self._id = self._id, ""
            self._tell_who_waits()
            try:
                await self._tell(_Bye(node))
            except Exception as error:  # noqa: BLE001  # whatever it is, the stop goes on
                _log.info("the other nodes were not told that this one ends: %r", error)

    async def order(self, order: bytes) -> list[bytes]:
        """Have every node carry out an order; give their reports, that of this one first.

        This node carries it out in any case, also where the others cannot be told.

        Raises:
            BrokerUnavailable: not every node answered in time; those that got the order carry it out all the same.
        """
        if self._broker.immediate:
            return [await self.carry_out(order)]
        if not self._id:
            raise BrokerUnavailable("this node is not among the others yet, or no more")
        self._orders += 1
        node, number = self._id, self._orders
        asked = self._asked[number] = _Asked({node, *self._nodes})
        try:
            # In a task, as the others do it: whoever gives the order up does not break it off half-way.
            self._spawn(self._obey_own(node, asked, order))
            await self._tell(_Order(node, number, order))
            async with asyncio.timeout(ANSWER_SECONDS):
                await asked.done.wait()
        except TimeoutError:
            self._counters.words_unanswered += len(asked.waiting)
            names = ", ".join(sorted(self._name(node) for node in asked.waiting))
            _log.warning("these nodes did not answer in %s s: %s", ANSWER_SECONDS, names)
            raise BrokerUnavailable(f"these nodes did not answer in {ANSWER_SECONDS} s: {names}") from None
        finally:
            self._asked.pop(number, None)  # where the node began anew meanwhile, nothing is asked any more
        reports = asked.reports
        return [reports.pop(node), *reports.values()]

    def knows(self, node: str) -> bool:
        """Tell whether a node is one of the others."""
        return node in self._nodes

    @property
    def is_new(self) -> bool:
        """Whether there may be nodes that this one has not heard yet: each says hello within that time."""
        return not self._broker.immediate and self._clock.monotonic() - self._joined <= 2 * HELLO_SECONDS

    async def find(self, node: str) -> bool | None:
        """Tell whether a node is one of the others; None while that is not to be known.

        A node that has just come waits for a moment for the hello of one it does not know.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(MEETING_SECONDS):
                while self._id and self.is_new and not self.knows(node) and node not in self._left:
                    await self._greeted.wait()
        if self.knows(node):
            return True
        return None if self.is_new and node not in self._left else False

    async def forward(self, node: str, session: str, frame: bytes) -> None:
        """Carry a frame to the node that has its session. What this node forwards to another stays in order.

        Raises:
            BrokerUnavailable: it may or may not be out.
        """
        await self._tell(_Frame(session, frame), node)

    def _name(self, node: str) -> str:
        known = self._nodes.get(node)
        if known is not None:
            return f"{known[1].process} ({node})"
        return f"this one ({node})" if node == self._id else node

    async def _tell(self, word: _Word, node: str = "") -> None:
        await self._broker.tell(self._encoder.encode(word), node)

    # --- what the others say --------------------------------------------------------------------------------------

    def hear(self, word: bytes) -> None:
        """Take a word. Never waits and never raises."""
        if not self._id:
            return  # those who speak here do not know of this node
        try:
            said = self._decoder.decode(word)
        except (ValueError, RecursionError) as error:  # what is no text and what nests too deep are no MsgspecError
            words = "a word of another node cannot be read, which may be of another version: %s"
            self._notices.take("words_unreadable", words, error)
            return
        if isinstance(said, _Hello):
            self._greet(said)
        elif isinstance(said, _Bye):
            if said.node != self._id:
                self._forget(said.node)
        elif isinstance(said, _Order):
            if said.giver != self._id:
                self._spawn(self._obey(said))
        elif isinstance(said, _Frame):
            self.take_frame(said.session, said.frame)
        else:
            asked = self._asked.get(said.number)
            if asked is not None:
                asked.take(said.node, said.report)

    def _greet(self, hello: _Hello) -> None:
        if hello.node.id == self._id:
            self._heard_self = self._clock.monotonic()
            return
        self._nodes[hello.node.id] = (self._clock.monotonic(), hello.node)
        self._tell_who_waits()
        if hello.answer:
            self._spawn(self._tell(_Hello(self._describe()), hello.node.id))

    def _tell_who_waits(self) -> None:
        greeted, self._greeted = self._greeted, asyncio.Event()
        greeted.set()

    def _forget(self, node: str) -> None:
        self._nodes.pop(node, None)
        if self.is_new:
            self._left.add(node)
            self._tell_who_waits()
        for asked in self._asked.values():
            asked.forget(node)

    async def _obey_own(self, node: str, asked: _Asked, order: bytes) -> None:
        asked.take(node, await self.carry_out(order))

    async def _obey(self, order: _Order) -> None:
        report = await self.carry_out(order.order)
        await self._tell(_Answer(self._id, order.number, report), order.giver)

    # --- time -----------------------------------------------------------------------------------------------------

    def wake(self, now: float) -> float:
        """Say hello, and forget those who do not. While this node does not hear itself, that says nothing of others."""
        if now - self._heard_self > 2 * HELLO_SECONDS:
            self._nodes = {node: (now, info) for node, (_, info) in self._nodes.items()}
        for node in [node for node, (heard, _) in self._nodes.items() if now - heard > GONE_SECONDS]:
            _log.info("node %s is gone: it was not heard for %s s", self._name(node), GONE_SECONDS)
            self._forget(node)
        self._spawn(self._say_hello())
        return now + HELLO_SECONDS

    async def _say_hello(self) -> None:
        try:
            await self._tell(_Hello(self._describe()))
        except OpenlineError as error:
            _log.debug("no hello: %s", error)  # the broker says in the log that it is away


def _forget(session: str, frame: bytes) -> None:
    """Take a frame where there are no such sessions."""


async def _refuse(order: bytes) -> bytes:
    raise BrokerUnavailable("this node carries out no orders")
