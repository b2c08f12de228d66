"""One line: batches out, answers in order, silence noticed, and every command's fate told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openline.valkey.line import Line
from openline.valkey.trouble import Refused, Unanswered, Unsent
from openline.valkey.words import pack
from tests.engines.valkey import ValkeyServer

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def connect(port: int, silence: float = 5, push: Callable[[Any], bool] | None = None) -> Line:
    """Connect a line."""
    line = Line(f"127.0.0.1:{port}", silence, push)
    await asyncio.get_running_loop().create_connection(lambda: line, "127.0.0.1", port)
    return line


def soon(seconds: float = 5) -> float:
    """Give a deadline."""
    return asyncio.get_running_loop().time() + seconds


@asynccontextmanager
async def strange(serve: Serve, silence: float = 5) -> AsyncIterator[Line]:
    """Connect a line to a server that does what no real one does."""
    over = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        line = await connect(server.sockets[0].getsockname()[1], silence)
        try:
            yield line
        finally:
            line.lose("the test is over")
            over.set()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def test_answers_come_in_order(valkey: ValkeyServer) -> None:
    """Each call gets its own answer, however many there are in one turn."""
    line = await connect(valkey.port)
    calls = [line.call(pack(("ECHO", number)), soon()) for number in range(10_000)]
    assert await asyncio.gather(*calls) == [b"%d" % number for number in range(10_000)]
    line.lose("done")


async def test_what_is_called_in_one_turn_leaves_in_one_write() -> None:
    """The server finds all commands of a turn in one read."""
    read: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.set_result(await reader.read(65_536))

    async with strange(serve) as line:
        packed = [pack(("ECHO", number)) for number in range(100)]
        for command in packed:
            line.call(command, soon())
        assert await read == b"".join(packed)
        line.lose("done")


async def test_an_error_is_the_answer_to_its_own_command(valkey: ValkeyServer) -> None:
    """Those before and after it are answered as ever."""
    line = await connect(valkey.port)
    calls = [line.call(pack(words), soon()) for words in (("ECHO", "1"), ("NOPE",), ("ECHO", "2"))]
    first, error, last = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, last) == (b"1", b"2")
    assert isinstance(error, Refused)
    assert error.code == "ERR"
    line.lose("done")


async def test_a_call_nobody_waits_for_any_more_disturbs_none(valkey: ValkeyServer) -> None:
    """Cancelled before or after it was sent, its answer is passed over."""
    line = await connect(valkey.port)
    calls = [line.call(pack(("ECHO", number)), soon()) for number in range(3)]
    calls[0].cancel()
    await asyncio.sleep(0)
    calls[1].cancel()
    assert await calls[2] == b"2"
    line.lose("done")


async def test_what_was_not_answered_in_time_is_unanswered() -> None:
    """A deadline ends a call that was sent; what comes behind it keeps its own deadline."""
    async with strange(silent) as line:
        early = line.call(pack(("PING",)), soon(0.05))
        late = line.call(pack(("PING",)), soon(60))
        with pytest.raises(Unanswered, match="did not answer in time"):
            await early
        assert not late.done()
        line.lose("pulled")
        with pytest.raises(Unanswered, match="pulled"):
            await late


async def test_a_later_call_may_have_the_earlier_deadline() -> None:
    """Each ends by its own time, in whatever order they were called."""
    async with strange(silent) as line:
        late = line.call(pack(("PING",)), soon(60))
        early = line.call(pack(("PING",)), soon(0.05))
        with pytest.raises(Unanswered):
            await early
        assert not late.done()
        line.lose("done")
        await asyncio.gather(late, return_exceptions=True)


async def test_what_was_never_sent_is_unsent() -> None:
    """Past what a silent server may have unanswered, nothing is sent, and its callers know that it was not."""
    async with strange(silent) as line:
        body = b"x" * 1_000_000
        calls = [line.call(pack(("ECHO", body)), soon(0.2)) for _ in range(20)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds[0] is Unanswered
        assert kinds[-1] is Unsent
        assert kinds == sorted(kinds, key=lambda kind: kind is Unsent)


async def test_too_much_is_refused_at_once() -> None:
    """What waits for a server is bounded."""
    async with strange(silent) as line:
        calls = [line.call(pack(("PING",)), soon(60)) for _ in range(70_000)]
        with pytest.raises(Unsent, match="too much"):
            await calls[-1]
        line.lose("done")
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_silent_server_is_given_up() -> None:
    """Whoever owes an answer and says nothing is left, in words."""
    async with strange(silent, silence=0.2) as line:
        call = line.call(pack(("PING",)), soon(60))
        assert "silent" in await line.lost
        with pytest.raises(Unanswered, match="silent"):
            await call


async def test_an_idle_server_is_asked_whether_it_is_there() -> None:
    """A line on which nothing happens finds out by itself that nobody is there any more."""
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set_result(await reader.read(100))

    async with strange(serve, silence=0.2) as line:
        assert await asked == pack(("PING",))
        assert "silent" in await line.lost


async def test_an_idle_server_that_answers_is_kept(valkey: ValkeyServer) -> None:
    """Signs of life keep a line, and nobody sees them."""
    line = await connect(valkey.port, silence=0.1)
    before = int(valkey.call("INFO", "commandstats").get("cmdstat_ping", {"calls": 0})["calls"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await asyncio.shield(line.lost)
    assert int(valkey.call("INFO", "commandstats")["cmdstat_ping"]["calls"]) > before
    assert await line.call(pack(("ECHO", "1")), soon()) == b"1"
    line.lose("done")


async def test_a_server_that_speaks_otherwise_is_left() -> None:
    """A web server, say: it is told in words, and nothing hangs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with strange(serve) as line:
        call = line.call(pack(("PING",)), soon())
        assert "does not speak the protocol" in await line.lost
        with pytest.raises(Unanswered):
            await call


async def test_a_server_that_says_too_much_is_left() -> None:
    """An answer to no question means that answers and questions do not match any more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n")

    async with strange(serve) as line:
        assert "nobody asked" in await line.lost


async def test_a_line_is_used_once(valkey: ValkeyServer) -> None:
    """After it was lost nothing is sent, and everything says why; losing it again changes nothing."""
    line = await connect(valkey.port)
    line.lose("first")
    line.lose("second")
    assert not line.usable
    assert await line.lost == "first"
    line.post(pack(("PING",)))
    line.say(pack(("PING",)))
    with pytest.raises(Unsent, match="first"):
        await line.call(pack(("PING",)), soon())


async def test_what_comes_unasked_is_passed_on(valkey: ValkeyServer) -> None:
    """On a line that subscribes, messages go to whoever takes them, and answers to their calls."""
    pushed: list[Any] = []
    heard = asyncio.Event()

    def push(reply: Any) -> bool:
        if isinstance(reply, list) and reply[0] != b"pong":
            pushed.append(reply)
            heard.set()
            return True
        return False

    line = await connect(valkey.port, push=push)
    line.say(pack(("SUBSCRIBE", "line:a", "line:b")))
    assert await line.call(pack(("PING", "mark")), soon()) == [b"pong", b"mark"]
    heard.clear()
    valkey.call("PUBLISH", "line:b", "hello")
    await heard.wait()
    assert [reply[0] for reply in pushed] == [b"subscribe", b"subscribe", b"message"]
    assert pushed[-1] == [b"message", b"line:b", b"hello"]
    line.lose("done")


async def test_replicas_confirm_a_whole_batch() -> None:
    """One WAIT follows what a turn sends; answers are given once it is answered."""
    with ValkeyServer() as master, ValkeyServer(replica_of=master):
        line = await connect(master.port)
        line.replicas = 1
        calls = [line.call(pack(("SET", number, "1")), soon()) for number in range(100)]
        assert set(await asyncio.gather(*calls)) == {b"OK"}
        assert master.call("INFO", "commandstats")["cmdstat_wait"]["calls"] == 1
        line.lose("done")


async def test_what_no_replica_confirms_is_unanswered(valkey: ValkeyServer) -> None:
    """An answer without its confirmation is none; an error needs no confirmation."""
    line = await connect(valkey.port, silence=0.2)
    line.replicas = 1
    confirmed, refused = line.call(pack(("ECHO", "1")), soon()), line.call(pack(("NOPE",)), soon())
    with pytest.raises(Refused):
        await refused
    with pytest.raises(Unanswered, match="0 of 1 replicas"):
        await confirmed
    line.lose("done")
