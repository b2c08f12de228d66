"""A server that tells everyone what one says, with one fault each time: for the load generator to notice, or to bear.

`python tests/faulty_server.py PORT FAULT`. To notice: of the fourth message the last client's copy is lost (`loses`),
comes twice (`repeats`) or after the fifth (`swaps`), or that client's socket is closed (`closes`); or the process ends
at once (`dies`). To bear: every byte is a write of its own (`pieces`); a message is longer than any buffer (`large`);
the next message waits until all have answered two pings (`pings`); a greeting is right behind the handshake's answer
(`greets`).
"""

from __future__ import annotations

import asyncio
import sys

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

PADDING = "-" * 400_000
FOURTH = 3  #: said before it


class Room:
    """Everyone, and the fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.lines: list[Line] = []
        self.said = 0
        self.unanswered = 0  #: pings
        self.waiting: list[str] = []
        self.late = ""

    def say(self, text: str) -> None:
        """Tell everyone, as the fault will have it."""
        if self.unanswered:
            self.waiting.append(text)
            return
        for line in self.lines[:-1]:
            line.tell(text)
        self.tell_last(text)
        self.said += 1

    def tell_last(self, text: str) -> None:
        """Tell the last client: that is who suffers."""
        last = self.lines[-1]
        match self.fault if self.said == FOURTH else "":
            case "loses":
                return
            case "repeats":
                last.tell(text)
            case "swaps":
                self.late = text
                return
            case "closes":
                last.protocol.send_close(1012, "no more")
                last.flush()
                return
        last.tell(text)
        if self.late:
            last.tell(self.late)
            self.late = ""

    def answered(self) -> None:
        """A ping was answered."""
        self.unanswered -= 1
        while self.waiting and not self.unanswered:
            self.say(self.waiting.pop(0))


class Line(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def __init__(self, room: Room) -> None:
        self.room = room
        self.protocol = ServerProtocol()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        if self in self.room.lines:
            self.room.lines.remove(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client says."""
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.protocol.send_response(self.protocol.accept(event))
                self.room.lines.append(self)
                if self.room.fault == "greets":
                    self.protocol.send_text(b"welcome")
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT and event.data != b"pong":
                self.room.say(bytes(event.data).decode())
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.PONG):
                self.room.answered()
        self.flush()

    def tell(self, text: str) -> None:
        """Send a message."""
        if self.room.fault == "pings":
            self.room.unanswered += 2
            self.protocol.send_ping(b"are you there")
            text = f"before\nping\n{text}"
        if self.room.fault == "large":
            text = f"{PADDING}{text}{PADDING}"
        self.protocol.send_text(text.encode())
        self.flush()

    def flush(self) -> None:
        """Write what the protocol has to say."""
        for data in self.protocol.data_to_send():
            if not data:
                self.transport.close()
            size = 1 if self.room.fault == "pieces" else len(data) + 1
            for start in range(0, len(data), size):
                self.transport.write(data[start : start + size])


async def main() -> None:
    """Serve until the process is ended."""
    if sys.argv[2] == "dies":
        sys.exit(1)
    room = Room(sys.argv[2])
    server = await asyncio.get_running_loop().create_server(lambda: Line(room), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
