"""The wires of lines without a protocol: text and binary messages in any order, each as it is, both ways.

The two differ as `FastWire` and `PlainWire` do. Their receiver is a `Listener`: it is told which messages are text, and
at once when the server closes, as there is a route that waits for messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast, final

from starlette.websockets import WebSocket

from openline.bare import BARE, unframed
from openline.framing import Encoding
from openline.outbox import Receiver, Wire
from openline.wires.fast import FastWire
from openline.wires.message import is_utf8
from openline.wires.websocket import PlainWire


class Listener(Receiver, Protocol):
    """Whom such a wire tells what its client did."""

    def take(self, message: str | bytes) -> None:
        """Take one whole message of the client."""

    def closing(self) -> None:
        """The server closes: no message follows. May be told again."""


@final
class BareWire(FastWire):
    """One straight on the socket."""

    __slots__ = ("_listener",)

    name = "plain"
    _listener: Listener | None

    def open(self, open_receiver: Callable[[Wire], Receiver]) -> None:
        """Make the receiver, which is a listener."""
        self._listener = None
        super().open(open_receiver)
        self._listener = cast(Listener, self._receiver)

    def _take(self, payload: bytes, *, binary: bool) -> None:
        if not binary and not is_utf8(payload):
            self.close(1007, "invalid UTF-8", deadline_seconds=self._close_seconds)
        elif self._listener is not None:
            self._listener.take(payload if binary else payload.decode())

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Close, and tell the listener at once."""
        super().close(code, reason, deadline_seconds=deadline_seconds)
        if self._listener is not None:
            self._listener.closing()

    def _ended(self, code: int, reason: str) -> None:
        self._listener = None
        super()._ended(code, reason)


@final
class BarePlainWire(PlainWire):
    """One on the `send` and `receive` of ASGI. A task of the hub holds it, beside the route."""

    __slots__ = ("_listener",)

    name = "plain"

    def __init__(self, websocket: WebSocket, encoding: Encoding, message_bytes: int, close_seconds: float) -> None:
        super().__init__(websocket, encoding, message_bytes, close_seconds)
        self._listener: Listener | None = None

    async def run(self, open_receiver: Callable[[Wire], Receiver]) -> None:
        """Hold the accepted socket until the conversation is over."""

        def open_listener(wire: Wire) -> Receiver:
            self._listener = cast(Listener, open_receiver(wire))
            return self._listener

        try:
            await super().run(open_listener)
        finally:
            self._listener = None

    def _take(self, message: Mapping[str, Any]) -> None:
        text = message.get("text")
        payload: str | bytes = message["bytes"] if text is None else text
        size = len(payload) if text is None else len(text.encode())
        if size > self._message_bytes:
            self._receiver.too_large()
            self.close(1009, "message too big", deadline_seconds=self._close_seconds)
        elif self._listener is not None:
            self._listener.take(payload)

    async def _send_some(self) -> None:
        chunk = self._unsent.take()
        for message in unframed(chunk):
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        self._unsent.sent(self._receiver, len(chunk))

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """Close, and tell the listener at once."""
        super().close(code, reason, deadline_seconds=deadline_seconds)
        if self._listener is not None:
            self._listener.closing()


@final
class GoneWire:
    """The wire of a client that left before it was accepted: nothing comes and nothing goes."""

    encoding = BARE
    name = "plain"
    direct = None

    def write(self, chunk: bytes, more: Sequence[bytes] = ()) -> None:
        """Send nothing."""

    def unsent_bytes(self) -> int:
        """Nothing waits."""
        return 0

    def close(self, code: int, reason: str, *, deadline_seconds: float) -> None:
        """It is closed."""

    def ping(self) -> bool:
        """Send nothing."""
        return False

    def pause_reading(self) -> None:
        """Nothing is read."""

    def resume_reading(self) -> None:
        """Nothing is read."""
