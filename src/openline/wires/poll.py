"""The wire of one poll: it writes nothing, and keeps what it is given until that makes an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, final

import msgspec

from openline.framing import MESSAGES, Encoding, encoding
from openline.outbox import Receiver
from openline.protocol.messages import ConnectPush, Pub, Push
from openline.protocol.unidirectional import UNIDIRECTIONAL, positions_of
from openline.publication import Position
from openline.wires.fast import NOBODY

_decoder: Final = msgspec.json.Decoder(Push)


@final
class Found:
    """What there is to say of one channel."""

    __slots__ = ("position", "publications", "recovered")

    def __init__(self, position: Position, publications: list[Pub], recovered: bool | None) -> None:
        self.position = position
        self.publications = publications
        #: Nothing is missing before the publications; None where the client did not say where it stood.
        self.recovered = recovered


@final
class PollWire:
    """A `Wire` of which one answer is made.

    Attributes:
        found: by channel; empty until the client is let in.
        end: code and reason, where the session ended by itself.
    """

    __slots__ = ("_is_told", "_news", "_receiver", "encoding", "end", "found", "is_let_in")

    name = "poll"
    direct = None

    def __init__(self) -> None:
        self.encoding: Encoding = encoding(UNIDIRECTIONAL, MESSAGES)
        self.found: dict[str, Found] = {}
        self.end: tuple[int, str] | None = None
        self.is_let_in = asyncio.Event()  #: or refused, or gone
        self._news = asyncio.Event()
        self._receiver: Receiver = NOBODY
        self._is_told = False

    def belong(self, receiver: Receiver) -> None:
        """Tell a receiver of the end, from now on."""
        self._receiver = receiver

    async def wait(self, seconds: float) -> None:
        """Return when there is something to say, or nothing more to wait for; after these seconds at the latest."""
        await self.is_let_in.wait()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            pass

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Keep what these chunks say."""
        for piece in (chunk, *more):
            for line in piece.split(b"\n"):
                self._keep(_decoder.decode(line))

    def _keep(self, push: Push) -> None:
        if push.connect is not None:
            self._begin(push.connect)
        elif push.pub is not None and push.channel in self.found:
            found = self.found[push.channel]
            if push.pub.offset:
                found.publications.append(push.pub)
                found.position = Position(push.pub.epoch or found.position.epoch, push.pub.offset)
                self._news.set()
        elif push.unsubscribe is not None:
            self._news.set()  # whoever asks again is told why

    def _begin(self, answer: ConnectPush) -> None:
        for channel, position in positions_of(answer.subs).items():
            result = answer.subs[channel]
            recovered = result.recovered if result.was_recovering else None
            self.found[channel] = Found(position, list(result.publications), recovered)
            if result.publications or not recovered:
                self._news.set()
        self.is_let_in.set()

    def unsent_bytes(self) -> int:
        """Say that nothing waits."""
        return 0

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Wait no longer. Idempotent."""
        if self.end is None:
            self.end = (code, reason)
        self.is_let_in.set()
        self._news.set()

    def gone(self) -> None:
        """The client has gone away: there is nobody to answer."""
        receiver, self._receiver = self._receiver, NOBODY
        self.end = self.end or (1006, "")
        receiver.closed(1006, "")
        self.is_let_in.set()
        self._news.set()

    def server_ends(self) -> None:
        """The server is about to end."""
        self._receiver.shutdown()

    def ping(self) -> bool:
        """Say that there is none."""
        return False

    def pause_reading(self) -> None:
        """Do nothing: the client says no more."""

    def resume_reading(self) -> None:
        """Do nothing."""
