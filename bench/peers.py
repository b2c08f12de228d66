"""Who is measured, and how each is run: one process on one port, as its own docs say for production.

What each peer was given and why stands at the top of its file in `bench/servers` and `bench/node`. Everyone, the
publisher too, is in one room; a message goes to all of them. Those that are asked answer each command with one message.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, get_args

#: What is measured, in this order: memory in new servers, the rest in servers that stay, the largest last.
Measure = Literal["idle", "memory", "handshake", "commands", "delivery", "frozen", "many"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)

#: What is measured of whoever has a room.
ROOM: Final[tuple[Measure, ...]] = ("idle", "handshake", "delivery", "frozen", "many")

SOURCES: Final = Path(__file__).parent.parent / "src"
_PAYLOAD: Final = 64 * "x"
_OPENLINE_RUN: Final = (sys.executable, "-m", "openline.cli", "run")
_OPENLINE_OPTIONS: Final = ("--log-level", "warning", "--no-access-log", "--port", "{port}")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way to do it."""

    key: str  #: what `--only` calls it
    name: str  #: in the tables
    command: tuple[str, ...]  #: {port} is where it listens
    path: str = "/ws"
    steps: tuple[tuple[str, str], ...] = ()  #: after the handshake: what is said, and what has to be heard then
    ping: str = ""  #: of its own protocol, a message or a line of one
    pong: str = ""
    publish: str = "%s"  #: the message that publishes a payload
    ask: str = ""  #: a command, # for its number: with it the load are commands of every connection
    answer: str = ""  #: how the answer begins
    sources: Path | None = None  #: of the Openline it runs
    measures: tuple[Measure, ...] = ROOM
    idle_lines: int = 10_000  #: how many connections its memory is measured with


def _uvicorn(module: str) -> tuple[str, ...]:
    """Uvicorn as `uvicorn[standard]` runs: uvloop, httptools, and its default protocol on websockets."""
    options = ("--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--no-access-log")
    return (sys.executable, "-m", "uvicorn", f"bench.servers.{module}:app", *options, "--port", "{port}")


def _openline(*, key: str, name: str, channel: str, measures: tuple[Measure, ...], one_frame: bool = False) -> Peer:
    """Openline's whole protocol, in JSON, on the fast wire.

    Args:
        one_frame: connect and subscribe come in one frame, as the SDKs send them.
    """
    connect = '{"id":1,"connect":{}}'
    subscribe = f'{{"id":2,"subscribe":{{"channel":"{channel}"}}}}'
    steps = ((connect, '"connect":{'), (subscribe, '"subscribe":{'))
    return Peer(
        key=key,
        name=name,
        command=(*_OPENLINE_RUN, "bench.servers.openline:app", *_OPENLINE_OPTIONS),
        path="/connection/websocket",
        steps=((f"{connect}\n{subscribe}", '"subscribe":{'),) if one_frame else steps,
        ping="{}",
        pong="{}",
        publish=f'{{"id":3,"publish":{{"channel":"{channel}","data":"%s"}}}}',
        sources=SOURCES,
        measures=measures,
    )


def _asked(*, key: str, name: str, request: str, result: str) -> Peer:
    """Openline, whose clients send a command and hear its result."""
    peer = _openline(key=key, name=name, channel="plain:a", measures=("commands",))
    return replace(peer, ask=f'{{"id":#,{request}}}', answer=f'{{"id":#,{result}')


def _echo(*, key: str, name: str, command: tuple[str, ...]) -> Peer:
    """Whoever says back what it hears."""
    return Peer(
        key=key,
        name=name,
        command=command,
        path="/echo",
        ask=f"# {_PAYLOAD}",
        answer=f"# {_PAYLOAD[:8]}",
        measures=("commands",),
    )


def _socket_io(
    *, key: str, name: str, command: tuple[str, ...], measures: tuple[Measure, ...] = ROOM, idle_lines: int = 10_000
) -> Peer:
    """Socket.IO's protocol: Engine.IO's opening and pings, the namespace's connect, events as JSON."""
    return Peer(
        key=key,
        name=name,
        command=command,
        path="/socket.io/?EIO=4&transport=websocket",
        steps=(("", '0{"sid"'), ("40", '40{"sid"')),
        ping="2",
        pong="3",
        publish='42["say","%s"]',
        measures=measures,
        idle_lines=idle_lines,
    )


PEERS: Final = (
    Peer(
        key="uwebsockets",
        name="uWebSockets (C++)",
        command=(sys.executable, "-m", "bench.servers.uwebsockets", "{port}"),
    ),
    _echo(
        key="uwebsockets-echo",
        name="uWebSockets' echo (C++)",
        command=(sys.executable, "-m", "bench.servers.uwebsockets", "{port}"),
    ),
    _openline(key="openline", name="Openline", channel="plain:a", measures=(*ROOM, "memory")),
    _openline(
        key="openline-history",
        name="Openline, with history",
        channel="kept:a",
        measures=("idle", "handshake", "delivery", "many"),
    ),
    _openline(
        key="openline-one-frame",
        name="Openline, both commands in one frame",
        channel="plain:a",
        measures=("handshake",),
        one_frame=True,
    ),
    _asked(
        key="openline-publish",
        name="Openline, publish",
        request=f'"publish":{{"channel":"plain:nobody","data":"{_PAYLOAD}"}}',
        result='"publish":{}}',
    ),
    _asked(
        key="openline-rpc",
        name="Openline, rpc",
        request=f'"rpc":{{"method":"echo","data":"{_PAYLOAD}"}}',
        result=f'"rpc":{{"data":"{_PAYLOAD[:8]}',
    ),
    Peer(
        key="openline-plain",
        name="Openline, plain lines",
        command=(*_OPENLINE_RUN, "bench.servers.plain:app", *_OPENLINE_OPTIONS),
        idle_lines=5_000,
    ),
    Peer(key="ws", name="ws (Node)", command=("node", "bench/node/ws.mjs", "{port}")),
    _socket_io(
        key="socket.io",
        name="Socket.IO (Node)",
        command=("node", "bench/node/socket_io.mjs", "{port}"),
    ),
    Peer(
        key="bare-accept",
        name="FastAPI's bare accept",
        command=_uvicorn("bare_accept"),
        measures=("idle", "handshake"),
        idle_lines=5_000,
    ),
    _echo(key="echo", name="FastAPI's echo", command=_uvicorn("echo")),
    Peer(
        key="connection-manager",
        name="FastAPI's ConnectionManager",
        command=_uvicorn("connection_manager"),
        idle_lines=5_000,
    ),
    # Not among the many: a round of 10,000 would take it more than a minute.
    _socket_io(
        key="python-socketio",
        name="python-socketio",
        command=_uvicorn("python_socketio"),
        measures=("idle", "handshake", "delivery", "frozen"),
        idle_lines=2_000,
    ),
)


def name_of(key: str) -> str:
    """What a peer of this key is called in the tables."""
    key, _, ref = key.partition("@")
    (name,) = (peer.name for peer in PEERS if peer.key == key)
    return name.replace("Openline", f"Openline at {ref}", 1) if ref else name


def at(peer: Peer, ref: str, sources: Path) -> Peer:
    """Give the peer that runs Openline from the sources of a commit."""
    key = f"{peer.key}@{ref}"
    return replace(peer, key=key, name=name_of(key), sources=sources)
