"""A WebSocket held by an ordinary route: compression, keepalive, and nobody ahead of who is behind."""

from __future__ import annotations

import asyncio
import queue
import select
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.wires.client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WAIT_SECONDS,
    Client,
    Frame,
    close_payload,
    frame,
)
from tests.wires.servers import uvicorn_server

MEBIBYTE = 1 << 20


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send back what comes."""
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_fragmented_message_is_one_event(loop: str) -> None:
    """Cut even within a character, with a ping between."""
    with uvicorn_server(echo, loop=loop) as served, Client(served.port) as client:
        euro = "€".encode()
        client.send(frame(TEXT, euro[:1], fin=False) + frame(PING, b"!") + frame(CONTINUATION, euro[1:]))
        received = [client.read_frame(), client.read_frame()]
        assert sorted(received) == sorted([Frame(PONG, b"!"), Frame(TEXT, euro)])


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(BINARY, b"x" * 1001), 1009),
        (frame(BINARY, b"x" * 600, fin=False) + frame(CONTINUATION, b"x" * 401), 1009),
        (frame(TEXT, b"\xc3("), 1007),
        (frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"("), 1007),
        (frame(TEXT, b"hello", masked=False), 1002),
        (frame(TEXT, b"hello", reserved=4), 1002),
        (frame(11), 1002),
        (frame(CONTINUATION), 1002),
        (frame(CLOSE, close_payload(1006)), 1002),
    ],
)
def test_a_broken_frame_ends_the_conversation(loop: str, sent: bytes, code: int) -> None:
    """The client gets the code of RFC 6455, the app the same in its disconnect, and no part of the message."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.put(await receive())

    with uvicorn_server(app, loop=loop, ws_max_size=1000) as served, Client(served.port) as client:
        client.send(sent)
        answer, reason = client.read_close()
        assert answer == code
        assert told.get(timeout=WAIT_SECONDS) == {"type": "websocket.disconnect", "code": code, "reason": reason}
        client.send_close(code)
        client.read_end()


# --- compression -----------------------------------------------------------------------------------------------------


def test_messages_are_compressed_where_both_agree(loop: str) -> None:
    """As uvicorn's flag says; whole messages and fragments pass both ways."""
    text = "the same again and again, " * 1000
    with (
        uvicorn_server(echo, loop=loop) as served,
        connect(f"ws://127.0.0.1:{served.port}/", compression="deflate", proxy=None) as client,
    ):
        assert client.response is not None
        assert client.response.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        client.send(text)
        assert client.recv() == text
        client.send(["in ", "several ", "pieces"])
        assert client.recv() == "in several pieces"
        client.send(b"\x00" * 10)
        assert client.recv() == b"\x00" * 10
        assert client.ping().wait(WAIT_SECONDS)


@pytest.mark.parametrize(
    ("offer", "options"),
    [
        ("permessage-deflate", {"ws_per_message_deflate": False}),
        (None, {}),
        ("permessage-frobnicate", {}),
        ("permessage-deflate; server_max_window_bits=99", {}),
        ("permessage-deflate;;;=", {}),
    ],
)
def test_nothing_is_compressed_otherwise(offer: str | None, options: dict[str, Any]) -> None:
    """Not offered, switched off, or not understood: the frames are plain."""
    with (
        uvicorn_server(echo, **options) as served,
        Client(served.port, headers={"Sec-WebSocket-Extensions": offer}) as client,
    ):
        assert "sec-websocket-extensions" not in client.headers
        client.send_text("plain")
        assert client.read_frame() == Frame(TEXT, b"plain")


def test_a_compressed_message_is_bounded_by_what_it_becomes() -> None:
    """A kilobyte that inflates past the limit is too big."""
    with (
        uvicorn_server(echo, ws_max_size=MEBIBYTE) as served,
        connect(f"ws://127.0.0.1:{served.port}/", proxy=None) as client,
    ):
        client.send(b"\x00" * (MEBIBYTE + 1))
        with pytest.raises(ConnectionClosedError) as closed:
            client.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_a_message_before_a_broken_frame_is_answered(loop: str) -> None:
    """The app has its chance, though both came in one read; then the client is told, and the app."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            if event["type"] == "websocket.receive":
                await send({**event, "type": "websocket.send"})
        told.put(event)

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        client.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"wrong", masked=False))
        assert [client.read_text(), client.read_text()] == ["one", "two"]
        assert client.read_close() == (1002, "incorrect masking")
        assert told.get(timeout=WAIT_SECONDS)["code"] == 1002


def test_an_app_that_takes_nothing_keeps_no_broken_client(loop: str) -> None:
    """Its chance has a deadline; then the connection is gone, and the app is told."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await proceed.wait()
        told.put([await receive(), await receive()])

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        client.send(frame(TEXT, b"one") + frame(TEXT, b"wrong", masked=False))
        with suppress(ConnectionResetError):
            client.read_end()
        served.call(proceed.set)
        assert told.get(timeout=WAIT_SECONDS) == [
            {"type": "websocket.receive", "text": "one"},
            {"type": "websocket.disconnect", "code": 1006, "reason": ""},
        ]


def test_an_app_that_closes_over_unread_messages_is_not_waited_for(loop: str) -> None:
    """A broken frame ends it at once, though there are messages that nobody took."""
    accepted = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await accepted.wait()
        await send({"type": "websocket.close", "code": 4000})

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        client.send(frame(TEXT, b"one") + frame(TEXT, b"wrong", masked=False))
        served.call(accepted.set)
        assert client.read_close() == (4000, "")
        client.read_end()


# --- keepalive -------------------------------------------------------------------------------------------------------


def test_a_client_that_answers_pings_stays(loop: str) -> None:
    """Each ping has a payload of its own."""
    with (
        uvicorn_server(echo, loop=loop, ws_ping_interval=0.01, ws_ping_timeout=5.0) as served,
        Client(served.port) as client,
    ):
        pings = []
        for _ in range(5):
            ping = client.read_frame()
            assert ping.opcode == PING
            pings.append(ping.payload)
            client.send_frame(PONG, b"of nothing")
            client.send_frame(PONG, ping.payload)
        assert len(set(pings)) == 5


def test_a_client_that_does_not_answer_is_closed(loop: str) -> None:
    """With 1011, which the app hears too."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.put(await receive())

    with (
        uvicorn_server(app, loop=loop, ws_ping_interval=0.01, ws_ping_timeout=0.05) as served,
        Client(served.port) as client,
    ):
        assert client.read_frame().opcode == PING
        client.send_frame(PONG, b"wrong")
        assert client.read_close() == (1011, "keepalive ping timeout")
        assert told.get(timeout=WAIT_SECONDS)["code"] == 1011


def test_without_a_timeout_pings_need_no_answer() -> None:
    """They keep the middle boxes awake, nothing else."""
    with (
        uvicorn_server(echo, ws_ping_interval=0.01, ws_ping_timeout=None) as served,
        Client(served.port) as client,
    ):
        assert [client.read_frame().opcode for _ in range(5)] == [PING] * 5


@pytest.mark.parametrize("interval", [None, 0])
def test_without_an_interval_there_are_no_pings(interval: float | None) -> None:
    """The keepalive is off."""
    with uvicorn_server(echo, ws_ping_interval=interval, ws_ping_timeout=0.01) as served, Client(served.port) as client:
        client.send_text("still here")
        assert client.read_text() == "still here"


# --- nobody ahead of who is behind -----------------------------------------------------------------------------------


def test_a_client_is_held_back_while_the_app_does_not_receive(loop: str) -> None:
    """What an app has not taken is bounded; then it waits in the kernel, and everything arrives in order."""
    proceed, count = asyncio.Event(), 512
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await proceed.wait()
        told.put([(await receive())["bytes"][:4] for _ in range(count)])

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        client.socket.setblocking(False)
        waiting = b"".join(frame(BINARY, b"%4d" % number + b"." * 65_536) for number in range(count))
        size = len(waiting)
        while waiting and select.select([], [client.socket], [], 0.2)[1]:
            waiting = waiting[client.socket.send(waiting[:MEBIBYTE]) :]
        assert len(waiting) > size / 2, "the server went on reading"
        served.loop.call_soon_threadsafe(proceed.set)
        client.socket.settimeout(WAIT_SECONDS)
        client.send(waiting)
        assert told.get(timeout=WAIT_SECONDS) == [b"%4d" % number for number in range(count)]


def test_many_small_messages_hold_a_client_back_too(loop: str) -> None:
    """Bounded in number as in bytes; those of one read that are too many wait, in order."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        first = await receive()
        await proceed.wait()
        told.put(receive.__self__._events.qsize())
        told.put([first["text"], *[(await receive())["text"] for _ in range(199)]])

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(200)))
        served.loop.call_soon_threadsafe(proceed.set)
        assert told.get(timeout=WAIT_SECONDS) <= 32
        assert told.get(timeout=WAIT_SECONDS) == [str(number) for number in range(200)]


def test_the_app_waits_for_a_client_that_reads_slowly(loop: str) -> None:
    """`send` holds the app back; everything arrives in order when the client reads again."""
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        for number in range(64):
            sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes((number,)) * MEBIBYTE}))
            if not (await asyncio.wait((sending,), timeout=0.2))[0]:
                told.put(number)
            await sending

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert told.get(timeout=WAIT_SECONDS) < 32
        for number in range(64):
            assert client.read_frame() == Frame(BINARY, bytes((number,)) * MEBIBYTE)


def test_a_client_that_vanishes_frees_a_waiting_app(loop: str) -> None:
    """`send` raises; it does not wait for ever."""
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        try:
            while True:
                told.put("sending")
                await send({"type": "websocket.send", "bytes": b"x" * 16 * MEBIBYTE})
        except OSError:
            told.put("gone")

    with uvicorn_server(app, loop=loop) as served, Client(served.port) as client:
        assert [told.get(timeout=WAIT_SECONDS) for _ in range(2)] == ["sending"] * 2
        client.reset()
        assert told.get(timeout=WAIT_SECONDS) == "gone"


def test_an_app_behind_with_reading_is_not_the_clients_fault(loop: str) -> None:
    """While the app does not receive, pongs are not read, and their absence closes nothing."""
    proceed = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await proceed.wait()
        for _ in range(40):
            await receive()
        await send({"type": "websocket.send", "text": "all read"})
        await receive()

    with (
        uvicorn_server(app, loop=loop, ws_ping_interval=0.02, ws_ping_timeout=0.5) as served,
        Client(served.port) as client,
    ):
        client.send(b"".join(frame(TEXT, b"x") for _ in range(40)))
        for _ in range(2):  # the second comes after the time for the first pong is up
            assert client.read_frame().opcode == PING
        served.loop.call_soon_threadsafe(proceed.set)
        while (received := client.read_frame()).opcode == PING:
            client.send_frame(PONG, received.payload)
        assert received.payload == b"all read"
