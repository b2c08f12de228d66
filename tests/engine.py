"""The engine without any framework: wires that record, an app that lets everything, and a node to try them on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from openline.application import Admission, Outgoing, Renewal, Welcome
from openline.brokers.base import Broker
from openline.brokers.memory import MemoryBroker
from openline.codes import DisconnectCode
from openline.commands import Commands
from openline.errors import Disconnect, Refusal
from openline.framing import MESSAGES, Encoding
from openline.node import Node
from openline.options import ChannelOptions, Heartbeat, History, Limits
from openline.outbox import Direct
from openline.presence.base import Presence
from openline.presence.memory import MemoryPresence
from openline.protocol.json import JSON
from openline.protocol.messages import ConnectRequest, Request, SubscribeRequest
from openline.session import Session
from openline.testing import VirtualClock

JSON_MESSAGES = Encoding(JSON, MESSAGES)

PLAIN = ChannelOptions()
KEPT = ChannelOptions(history=History(size=100, seconds=300))


class RecordingWire:
    """A wire that keeps what is written, and whose peer reads only when told."""

    encoding = JSON_MESSAGES
    name = "recording"
    direct: Direct | None = None

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.writes = 0
        self.pings = 0
        self.unread_bytes = 0
        self.keeps_unread = False
        self.close_code: int | None = None
        self.reading = True
        self.on_write: Callable[[], None] = lambda: None

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Record one write."""
        self.writes += 1
        self.chunks += (chunk, *more)
        if self.keeps_unread:
            self.unread_bytes += len(chunk) + sum(map(len, more))
        self.on_write()

    def unsent_bytes(self) -> int:
        """What the peer has not read."""
        return self.unread_bytes

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Record the close."""
        self.close_code = code

    def ping(self) -> bool:
        """Record a ping of the wire's own."""
        self.pings += 1
        return True

    def pause_reading(self) -> None:
        """Record that no more may come."""
        self.reading = False

    def resume_reading(self) -> None:
        """Record that more may come."""
        self.reading = True

    def messages(self) -> list[dict[str, Any]]:
        """Give every message written so far, in order."""
        return [json.loads(line) for chunk in self.chunks for line in chunk.split(b"\n")]

    def publications(self, channel: str) -> list[Any]:
        """Give the data of every publication pushed for a channel, in order."""
        pushes = [message["push"] for message in self.messages() if "push" in message]
        return [push["pub"]["data"] for push in pushes if push.get("channel") == channel and "pub" in push]


class OpenRules:
    """A channel in which everybody may do everything."""

    hears_leaving = renews = False

    def __init__(self, options: ChannelOptions) -> None:
        self.options = options

    async def admit(self, session: Session, channel: str, request: SubscribeRequest) -> Admission:
        """Let them in."""
        return Admission()

    async def readmit(self, session: Session, channel: str, token: str) -> Admission:
        """Let them stay."""
        return Admission()

    async def renew(self, session: Session, channel: str) -> Renewal | None:
        """Nothing expires."""

    async def accept(self, session: Session, channel: str, data: bytes) -> Outgoing:
        """Let them publish."""
        return Outgoing(data=data)

    async def may_read(self, session: Session, channel: str) -> None:
        """Let them look."""

    async def left(self, session: Session, channel: str, code: int, reason: str) -> None:
        """Nobody listens."""


class OpenApplication:
    """An app of one kind of channel, with everybody welcome."""

    hears_disconnects = renews = False

    def __init__(self, options: ChannelOptions) -> None:
        self._rules = OpenRules(options)

    def rules(self, channel: str) -> OpenRules:
        """Every channel is of the one kind."""
        return self._rules

    def waits(self, request: Request) -> bool:
        """Nothing here waits."""
        return False

    async def welcome(self, session: Session, request: ConnectRequest) -> Welcome:
        """Welcome."""
        return Welcome(user="u")

    async def refresh(self, session: Session, token: str) -> float | None:
        """Nothing expires."""
        return None

    async def renew(self, session: Session) -> Renewal | None:
        """Nothing expires."""

    async def call(self, session: Session, method: str, data: bytes) -> bytes:
        """Answer with what was sent."""
        return data

    async def message(self, session: Session, data: bytes) -> None:
        """Nobody listens."""

    async def disconnected(self, session: Session, code: DisconnectCode) -> None:
        """Nobody listens."""

    def refusal(self, error: Exception) -> Refusal | Disconnect | None:
        """Refusals are said as they are."""
        return error if isinstance(error, Refusal | Disconnect) else None

    def encode(self, value: object) -> bytes:
        """Write JSON."""
        return json.dumps(value).encode()


class Engine:
    """A running node with an open app."""

    def __init__(self, node: Node, commands: Commands, options: ChannelOptions, clock: VirtualClock) -> None:
        self.node = node
        self.commands = commands
        self.options = options
        self.clock = clock

    def client(self, *channels: str, wire: RecordingWire | None = None) -> tuple[RecordingWire, Session]:
        """Connect a client that subscribes to these channels in its first frame."""
        wire = RecordingWire() if wire is None else wire
        session = self.commands.open(wire)
        assert isinstance(session, Session)
        lines = ['{"id":1,"connect":{}}']
        lines += [json.dumps({"id": 2 + i, "subscribe": {"channel": channel}}) for i, channel in enumerate(channels)]
        session.receive("\n".join(lines).encode())
        return wire, session

    async def publish(self, channel: str, *values: object) -> None:
        """Publish values, one after the other, in this turn where the broker does not wait."""
        for value in values:
            await self.node.publish(channel, json.dumps(value).encode(), self.options)

    async def settle(self) -> None:
        """Let the loop go round until everything dirty has left and no task runs."""
        for _ in range(50):
            await asyncio.sleep(0)


def send(session: Session, **command: Any) -> None:
    """Have a client send one command."""
    session.receive(json.dumps(command).encode())


@asynccontextmanager
async def running(
    options: ChannelOptions = PLAIN,
    *,
    broker: Broker | None = None,
    limits: Limits | None = None,
    heartbeat: Heartbeat | None = None,
    clock: VirtualClock | None = None,
    presence: Presence | None = None,
) -> AsyncIterator[Engine]:
    """Run an engine around a block."""
    clock = VirtualClock() if clock is None else clock
    node = Node(
        MemoryBroker(now=clock.wall) if broker is None else broker,
        MemoryPresence() if presence is None else presence,
        limits=limits or Limits(),
        heartbeat=heartbeat or Heartbeat(),
        clock=clock,
    )
    commands = Commands(node, OpenApplication(options))
    async with node.running():
        yield Engine(node, commands, options, clock)
