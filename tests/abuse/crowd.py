"""Many readers of one channel, and when each of them was told each thing."""

from __future__ import annotations

import json
import selectors
import socket
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self, final

from tests.abuse.guest import Guest
from tests.wires.client import TEXT

PATIENCE_SECONDS: Final = 15.0


@final
class Reader:
    """One of them: a guest that is in the channel, read as soon as there is something.

    Attributes:
        heard: the publications, in the order in which they came.
    """

    def __init__(self, guest: Guest) -> None:
        self.heard: list[int] = []
        self.socket: socket.socket = guest.client.socket
        self.socket.setblocking(False)
        self._left = b""

    def read(self) -> int:
        """Read what there is; give how many publications that were."""
        data = self._left + self.socket.recv(65_536)
        before, position = len(self.heard), 0
        while len(data) - position >= 2 and len(data) >= (end := position + 2 + data[position + 1]):
            assert data[position] == 0x80 | TEXT, data[position:]
            assert data[position + 1] < 126, "one short publication at a time"
            self.heard.append(json.loads(data[position + 2 : end])["push"]["pub"]["data"])
            position = end
        self._left = data[position:]
        return len(self.heard) - before


@final
class Crowd:
    """Readers of one channel.

    Args:
        port: of the server.
        channel: clients may publish to it.
        count: of readers.
    """

    def __init__(self, port: int, channel: str, count: int) -> None:
        self._channel = channel
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self.readers: list[Reader] = []
        self._said = 0
        for _ in range(count):
            guest = self._stack.enter_context(Guest(port))
            guest.subscribe(channel)
            self.readers.append(Reader(guest))
            self._selector.register(self.readers[-1].socket, selectors.EVENT_READ, self.readers[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def latencies(self, talker: Guest, messages: int) -> list[float]:
        """Publish one message after the other, each once all have read the one before.

        Returns:
            The seconds from a message's sending to its reading, for each message and reader.
        """
        found: list[float] = []
        for _ in range(messages):
            begun = time.perf_counter()
            talker.say("publish", channel=self._channel, data=self._said)
            self._said += 1
            missing = len(self.readers)
            while missing:
                ready = self._selector.select(PATIENCE_SECONDS)
                assert ready, f"{missing} readers did not get message {self._said - 1}"
                for key, _ in ready:
                    count = key.data.read()
                    missing -= count
                    found += [time.perf_counter() - begun] * count
        return found

    def has_heard_everything(self) -> bool:
        """Tell whether each reader was told every message once, in order."""
        return all(reader.heard == list(range(self._said)) for reader in self.readers)
