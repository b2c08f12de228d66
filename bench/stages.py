"""What a handshake is made of: the time of each stage, in one process, with nothing of the kernel in it.

`PYTHONPATH=src .bench/bin/python -m bench.stages` prints it. The connections are objects in memory, so what is left is
Python: uvicorn's reading of the request, the app, the hub. Three ways are compared: FastAPI's bare accept on uvicorn's
own WebSocket; a hub in a FastAPI app; and the same hub with the app left out, which no user can have. The difference of
the last two is what it costs that a hub's route is a route of FastAPI.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, NamedTuple

import uvloop
from uvicorn.config import Config
from uvicorn.server import Server

from bench.servers import bare_accept
from bench.servers import openline as with_hub
from openline.framing import WEBSOCKET, encoding
from openline.handshake import Handshake
from openline.protocol.json import JSON
from openline.testing.line import started

CONNECTIONS: Final = 1000
ROUNDS: Final = 7
TURNS_AT_MOST: Final = 20  #: of the event loop, for an answer

HELLO: Final = b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"plain:a"}}'


class Way(NamedTuple):
    """One way to a connection that is open."""

    name: str
    app: Any
    path: str
    options: dict[str, str]  #: of uvicorn's
    hello: bytes  #: the first frame of the client; empty where it says nothing


class Memory(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50_000)})
        self.protocol: Any = None
        self.written: list[bytes] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change who is told what comes."""
        self.protocol = protocol

    def write(self, data: Any) -> None:
        """Keep what was written."""
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def is_closing(self) -> bool:
        """It stays open."""
        return False

    def nothing(self) -> None:
        """Do nothing."""

    close = abort = pause_reading = resume_reading = nothing


async def detach(scope: Any, receive: Any, send: Any) -> None:
    """Stand in for the whole app: take the socket at once."""
    commands, handshake = with_hub.hub._commands, Handshake.bare()
    wrapped = encoding(JSON, WEBSOCKET)
    scope["extensions"]["openline.detach"](lambda wire: commands.open(wire, handshake), wrapped, None, 65_536, 5.0)


OURS: Final = {"ws": "openline.uvicorn:WebSocketProtocol", "http": "openline.uvicorn_http:HTTPProtocol"}
WAYS: Final = (
    Way("FastAPI's bare accept on uvicorn", bare_accept.app, "/ws", {}, b""),
    Way("Openline", with_hub.app, "/connection/websocket", OURS, HELLO),
    Way("Openline, the app left out", detach, "/connection/websocket", OURS, HELLO),
)


def request(path: str) -> bytes:
    """Write the opening request."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1:8000",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "\r\n"]).encode()


async def until(done: Callable[[], bool]) -> None:
    """Let the loop go round until something is so."""
    for _ in range(TURNS_AT_MOST):
        if done():
            return
        await asyncio.sleep(0)
    raise SystemExit("bench.stages: no answer came")


async def stages(way: Way, config: Config, server: Server) -> tuple[Memory, list[float]]:
    """Open one connection; give the microseconds until the request is read, it is answered, the commands are."""
    loop = asyncio.get_running_loop()
    transport = Memory()
    clock = [time.perf_counter()]
    protocol_class: Any = config.http_protocol_class
    transport.protocol = protocol_class(config=config, server_state=server.server_state, app_state={}, _loop=loop)
    transport.protocol.connection_made(transport)
    transport.protocol.data_received(request(way.path))
    clock.append(time.perf_counter())
    await until(lambda: bool(transport.written))
    clock.append(time.perf_counter())
    assert b" 101 " in transport.written[0]
    if way.hello:
        frame = bytes((0x81, 0x80 | len(way.hello))) + bytes(4) + way.hello
        transport.protocol.data_received(frame)
        await until(lambda: b'"subscribe"' in transport.written[-1])
        clock.append(time.perf_counter())
    return transport, [(after - before) * 1e6 for before, after in pairwise(clock)]


async def measure(way: Way) -> list[float]:
    """Give the median of each stage over many connections, in the quickest round."""
    config = Config(way.app, log_level="warning", **way.options)  # type: ignore[arg-type]
    config.load()
    server = Server(config)
    rounds = []
    for _ in range(ROUNDS):
        opened = [await stages(way, config, server) for _ in range(CONNECTIONS)]
        rounds.append([statistics.median(stage) for stage in zip(*(times for _, times in opened), strict=True)])
        for transport, _ in opened:
            transport.protocol.connection_lost(None)
        for _ in range(TURNS_AT_MOST):
            await asyncio.sleep(0)
    return min(rounds, key=sum)


async def main() -> None:
    """Measure each way and print the table."""
    print("| µs | connection and request read | app, to the 101 | connect and subscribe | sum |")
    print("| --- | --- | --- | --- | --- |")
    async with started(with_hub.app), started(bare_accept.app):
        for way in WAYS:
            found = await measure(way)
            cells = [f"{stage:.0f}" for stage in found] + [""] * (3 - len(found))
            print(f"| {way.name} | {' | '.join(cells)} | {sum(found):.0f} |")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
