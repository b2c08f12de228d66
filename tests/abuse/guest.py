"""A client that speaks the protocol over a real socket, or as much of it as a test wants; it never waits for ever."""

from __future__ import annotations

import json
import socket
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, final

from tests.wires.client import CLOSE, PING, PONG, TEXT, WAIT_SECONDS, Client, frame

PATH: Final = "/connection/websocket"
#: A receive buffer that the system makes as small as it can.
NARROW_BYTES: Final = 1
_WIDE_BYTES: Final = 1 << 20
#: A server that has not read in so long does not read.
_UNREAD_SECONDS: Final = 0.2


class Refused(Exception):
    """A command was answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.code = code


class Ended(Exception):
    """The server closed the line."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


@final
class Guest:
    """One line, in JSON.

    Args:
        port: of the server, on 127.0.0.1.
        query: of the handshake, such as ``cf_ws_frame_ping_pong=true``.
        connect: say who one is at once; else `connect` does.
        receive_bytes: of the socket's buffer; `NARROW_BYTES` for one that is to freeze.
        answers_pings: whether pings, of either kind, are answered as they are read.
        user: what the hub is told at connect.
    Attributes:
        client: the connection itself.
        id: of the session, once connected.
        pings: of the protocol, read so far.
        native_pings: of the wire, read so far.
        pushes: read and not asked for yet.
    """

    def __init__(
        self,
        port: int,
        *,
        query: str = "",
        connect: bool = True,
        receive_bytes: int | None = None,
        answers_pings: bool = True,
        user: str = "",
    ) -> None:
        self.client = Client(port, f"{PATH}?{query}" if query else PATH, receive_bytes=receive_bytes)
        assert self.client.status == 101, self.client.body
        self.id = ""
        self.pings = 0
        self.native_pings = 0
        self.pushes: deque[dict[str, Any]] = deque()
        self._answers_pings = answers_pings
        self._replies: dict[int, dict[str, Any]] = {}
        self._next_id = 1
        if connect:
            self.connect(token=user)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.socket.close()

    # --- what it says ---------------------------------------------------------------------------------------------

    def connect(self, **request: Any) -> dict[str, Any]:
        """Connect; give the result."""
        result = self.command("connect", **request)
        self.id = result["client"]
        return result

    def subscribe(self, channel: str, **wish: Any) -> dict[str, Any]:
        """Enter a channel; give the result."""
        return self.command("subscribe", channel=channel, **wish)

    def rpc(self, method: str, data: Any = None) -> Any:
        """Call a procedure; give what it returns."""
        return self.command("rpc", method=method, data=data).get("data")

    def command(self, kind: str, **request: Any) -> dict[str, Any]:
        """Send a command and wait for its result.

        Raises:
            Refused: it was answered with an error.
            Ended: the server closed the line instead.
        """
        identifier = self.say(kind, **request)
        while identifier not in self._replies:
            self.hear()
        reply = self._replies.pop(identifier)
        if "error" in reply:
            raise Refused(reply["error"]["code"], reply["error"]["message"])
        result: dict[str, Any] = reply[kind]
        return result

    def say(self, kind: str, **request: Any) -> int:
        """Send a command and wait for nothing; give its id."""
        identifier = self._next_id
        self._next_id += 1
        self.client.send_text(json.dumps({"id": identifier, kind: request}))
        return identifier

    def press(self, text: str) -> None:
        """Send a message over and over until no more of it is taken: until for so long nobody reads it."""
        data = frame(TEXT, text.encode())
        self.client.socket.settimeout(_UNREAD_SECONDS)
        with suppress(TimeoutError):
            while True:
                self.client.send(data)
        self.client.socket.settimeout(WAIT_SECONDS)

    def thaw(self) -> None:
        """Have room for what comes, and so read at an ordinary speed from now on."""
        self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WIDE_BYTES)

    # --- what it hears --------------------------------------------------------------------------------------------

    def unclaimed(self) -> dict[int, int]:
        """Give, by its id, the code of the error of each answer that came and nobody waited for; 0 where it is none.

        They are forgotten with this.
        """
        replies, self._replies = self._replies, {}
        return {identifier: reply.get("error", {}).get("code", 0) for identifier, reply in replies.items()}

    def push(self) -> dict[str, Any]:
        """Wait for the next push."""
        while not self.pushes:
            self.hear()
        return self.pushes.popleft()

    def publication(self) -> Any:
        """Wait for the next publication; give its data."""
        while "pub" not in (push := self.push()):
            pass
        return push["pub"]["data"]

    def ended(self) -> tuple[int, str]:
        """Read on to the end; give the code and the reason of the close."""
        try:
            while True:
                self.hear()
        except Ended as end:
            return end.code, end.reason

    def hear(self) -> None:
        """Read one frame.

        Raises:
            Ended: it was a close.
        """
        received = self.client.read_frame()
        if received.opcode == CLOSE:
            raise Ended(int.from_bytes(received.payload[:2], "big"), received.payload[2:].decode())
        if received.opcode == PING:
            self.native_pings += 1
            if self._answers_pings:
                self.client.send_frame(PONG, received.payload)
        elif received.opcode == TEXT:
            for line in received.payload.split(b"\n"):
                self._sort(json.loads(line))

    def _sort(self, reply: dict[str, Any]) -> None:
        if "id" in reply:
            self._replies[reply["id"]] = reply
        elif reply:
            self.pushes.append(reply["push"])
        else:
            self.pings += 1
            if self._answers_pings:
                self.client.send_text("{}")
