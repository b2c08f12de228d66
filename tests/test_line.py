"""Lines without a protocol, in an app's own WebSocket routes; on real servers in servers/test_plain.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from openline import History, Hub, Limits, Line, Session
from openline.codes import CLOSED_FORCED
from openline.errors import AlreadySubscribed, BrokerUnavailable, UnknownChannel, UsageError
from openline.testing import Client, HandshakeRefused, connect, started
from openline.wires.fast import DETACH
from tests.bare_client import BareClient, bare_line


class App:
    """An app with a hub and one route, `/ws`, that holds a plain line.

    Attributes:
        lines: the lines that were opened.
        heard: what their clients sent.
        error: what the route raised.
        task: the newest route runs in it.
        listening: cleared, routes wait before they hear their clients.
    """

    def __init__(self, *, accept_first: bool = False, **hub: Any) -> None:
        self.app = FastAPI()
        self.hub = Hub(**hub)
        self.app.include_router(self.hub.router)
        self.chat = self.hub.channel("chat", str, presence=True, join_leave=True, publish=True)
        self.blob = self.hub.channel("blob", bytes)
        self.kept = self.hub.channel("kept", history=History())
        self.options: dict[str, Any] = {"channels": ["chat"]}
        self.lines: list[Line] = []
        self.heard: list[str | bytes] = []
        self.error: BaseException | None = None
        self.task: asyncio.Task[Any] | None = None
        self.listening = asyncio.Event()
        self.listening.set()

        @self.app.websocket("/ws")
        async def route(websocket: WebSocket) -> None:
            if accept_first:
                await websocket.accept()
            try:
                await self.hold(websocket)
            except BaseException as error:
                self.error = error
                raise

    async def hold(self, websocket: WebSocket) -> None:
        """Hold a line for as long as it lasts."""
        async with self.hub.plain(websocket, **self.options) as line:
            self.lines.append(line)
            self.task = asyncio.current_task()
            await self.listening.wait()
            async for message in line:
                self.heard.append(message)
                if message == "fail":
                    raise ValueError("as the client wants")
                if message == "return":
                    break

    @property
    def line(self) -> Line:
        """The newest line."""
        return self.lines[-1]

    def open(self, **options: Any) -> Any:
        """Open a line to it."""
        return bare_line(self.app, "/ws", **options)


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """One that runs."""
    made = App()
    async with started(made.app):
        yield made


async def until(condition: Any) -> None:
    """Let the loop go round until something is so."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the app has no event for each of these
            await asyncio.sleep(0)


# --- what goes out ----------------------------------------------------------------------------------------------------


async def test_publications_are_messages(app: App) -> None:
    """A text is that text, all else JSON text, of a raw channel binary; one message each, in their order."""
    app.options["channels"] = ["chat", "blob", "kept"]
    async with app.open() as client:
        await until(lambda: app.lines)
        for text in ("hello", "", '"quoted"'):
            await app.chat.publish(text)
        await app.blob.publish(b"\x00\xff")
        for value in ({"a": 1}, 2, "three"):
            await app.kept.publish(value)
        assert await client.each(3) == ["hello", "", '"quoted"']
        assert sorted(await client.each(4), key=str) == sorted([b"\x00\xff", '{"a":1}', "2", "three"], key=str)


async def test_what_the_route_sends_comes_before_what_it_publishes_then(app: App) -> None:
    """Both wait in one outbox."""
    async with app.open() as client:
        await until(lambda: app.lines)
        assert app.line.send("first")
        await app.chat.publish("second")
        assert app.line.send({"third": 3})
        assert app.line.send(b"fourth")
        assert await client.next() == "first"
        assert sorted(await client.each(3), key=str) == sorted(["second", '{"third":3}', b"fourth"], key=str)
    assert not app.line.send("too late")


async def test_sending_from_another_thread(app: App) -> None:
    """As plain functions of FastAPI run in one."""
    async with app.open() as client:
        await until(lambda: app.lines)
        assert await asyncio.to_thread(app.line.send, "from afar")
        assert await client.next() == "from afar"


async def test_more_channels_and_fewer(app: App) -> None:
    """The route moves its client about; the client is told nothing of it."""
    app.options = {}
    async with app.open() as client:
        await until(lambda: app.lines)
        await app.line.subscribe("kept")
        with pytest.raises(AlreadySubscribed):
            await app.line.subscribe("kept")
        with pytest.raises(UnknownChannel):
            await app.line.subscribe("nowhere")
        await app.kept.publish(1)
        assert await client.next() == "1"
        await app.line.unsubscribe("kept")
        await app.line.unsubscribe("chat")
        await app.kept.publish(2)
        app.line.send("end")
        assert await client.next() == "end"


# --- what comes in ----------------------------------------------------------------------------------------------------


async def test_messages_of_the_client(app: App) -> None:
    """Text is str, binary is bytes; what was sent before leaving is heard, and then the loop ends."""
    async with app.open() as client:
        for message in ("text", b"binary", "", "the end"):
            client.send(message)
        client.leave()
        await client.returned()
    assert app.heard == ["text", b"binary", "", "the end"]
    assert app.error is None
    assert app.hub.sessions == {}


async def test_a_route_that_does_not_listen_holds_its_client_back() -> None:
    """A bounded number of messages waits; then reading stops, until the route has taken them."""
    app = App(limits=Limits(waiting_commands=4))
    app.listening.clear()
    async with started(app.app), app.open() as client:
        for number in range(20):
            client.send(f"{number}")
        await until(lambda: app.hub.counters.readings_paused)
        assert not client.read_so_far
        app.listening.set()
        await until(lambda: len(app.heard) == 20)
        assert app.heard == [f"{number}" for number in range(20)]


async def test_too_large_a_message() -> None:
    """It is counted in bytes and closed with 1009."""
    app = App(limits=Limits(message_bytes=10))
    async with started(app.app), app.open() as client:
        client.send("é" * 5)
        client.send("é" * 6)
        assert await client.closed() == (1009, "message too big")
        await client.returned()
    assert app.hub.counters.messages_too_large == 1
    assert app.error is None


# --- the hub's client -------------------------------------------------------------------------------------------------


async def test_it_is_a_client_of_the_hub(app: App) -> None:
    """Sessions, users, presence and joins know it by the name the route gave it; SDK clients hear it, and it them."""
    app.options |= {"user": "ada", "info": {"name": "Ada"}}
    async with connect(app.app) as sdk:
        await sdk.subscribe("chat", join_leave=True)
        async with app.open() as client:
            await until(lambda: app.lines)
            (session,) = app.hub.user("ada").sessions
            assert (session.transport, session.protocol, *session.channels) == ("plain", "plain", "chat")
            assert app.hub.sessions[session.id] is app.line.session is session
            assert (await joined(sdk, "join"))["conn_info"] == {"name": "Ada"}
            assert (await app.chat.presence())[session.id].user == "ada"

            await sdk.publish("chat", "from the SDK")
            assert await client.next() == "from the SDK"
            await app.line.publish("chat", "from the line")
            assert await client.next() == "from the line"
            await sdk.publication()
            said = await sdk.publication()
            assert (said["data"], said["info"]["user"]) == ("from the line", "ada")

            await app.hub.user("ada").send("hello ada")
            assert await client.next() == "hello ada"
            await app.hub.user("ada").subscribe("kept")
            await app.kept.publish([1])
            assert await client.next() == "[1]"
            await app.hub.user("ada").disconnect()
            assert await client.closed() == CLOSED_FORCED
            await client.returned()
        assert (await joined(sdk, "leave"))["user"] == "ada"
        assert session.id not in await app.chat.presence()


async def joined(client: Client, kind: str) -> Any:
    """Wait for the next join or leave of another than the client itself."""
    while True:
        push = await client.push()
        if kind in push and push[kind]["info"]["user"]:
            return push[kind]["info"]


async def test_one_that_does_not_read_is_closed_with_3008() -> None:
    """Its outbox is bounded as everybody's, and nobody waits for it."""
    app = App(limits=Limits(outbox_bytes=200_000, close_seconds=0.1))
    async with started(app.app), app.open() as slow, app.open() as quick:
        await until(lambda: len(app.lines) == 2)
        slow.reading.clear()
        for _ in range(8):
            await app.chat.publish("x" * 50_000)
            await quick.next()
        await until(lambda: len(app.hub.sessions) == 1)
        assert app.hub.counters.slow_clients == 1
        await slow.returned()
    assert app.error is None


# --- its end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "code"), [("return", 1000), ("fail", 1011)])
async def test_the_end_of_the_block_closes_the_socket(app: App, said: str, code: int) -> None:
    """With 1000 where the route is done and 1011 where it failed; what it raised comes out, nothing stays behind."""
    async with app.open() as client:
        client.send(said)
        assert (await client.closed())[0] == code
        await client.returned()
        assert app.hub.sessions == {}
        assert await app.chat.presence() == {}
        assert isinstance(client.error, ValueError) is (said == "fail")


async def test_a_route_that_is_cancelled(app: App) -> None:
    """The socket is closed and the cancellation goes on."""
    async with app.open() as client:
        await until(lambda: app.task)
        assert app.task is not None
        app.task.cancel()
        assert (await client.closed())[0] == 1011
        await until(lambda: isinstance(app.error, asyncio.CancelledError))
        assert app.hub.sessions == {}


async def test_the_server_ends_it(app: App) -> None:
    """The loop ends at once; what nobody had taken counts no more."""
    app.listening.clear()
    async with app.open() as client:
        client.send("never heard")
        await until(lambda: app.lines and client.read_so_far)
        app.line.session.disconnect(4000, "go")
        assert await client.closed() == (4000, "go")
        app.listening.set()
        await client.returned()
    assert app.heard == []
    assert app.error is None


async def test_the_hub_stops() -> None:
    """Clients are told 3001, and routes come to their end."""
    app = App()
    async with started(app.app):
        opened = app.open()
        client: BareClient = await opened.__aenter__()
        await until(lambda: app.lines)
    assert await client.closed() == (3001, "shutdown")
    await opened.__aexit__(None, None, None)
    assert app.error is None


# --- who is not let in ------------------------------------------------------------------------------------------------


async def refused(app: App, **options: Any) -> HandshakeRefused:
    """Open a line in vain."""
    with pytest.raises(HandshakeRefused) as refusal:
        async with app.open(**options):
            pass
    return refusal.value


async def test_refused_at_the_door() -> None:
    """As on the hub's own routes: no other site's page, no more than there are places, no hub that does not run."""
    app = App(limits=Limits(connections=1))
    assert (await refused(app)).status == 503
    async with started(app.app):
        assert (await refused(app, headers={"origin": "https://evil.example"})).status == 403
        assert app.hub.counters.origins_refused == 1
        async with app.open():
            await until(lambda: app.lines)
            assert (await refused(app)).status == 503
        async with app.open():
            pass
    assert app.error is not None


async def test_refused_where_the_server_has_no_answer_but_closing(app: App) -> None:
    """It closes with 1011, as the hub's own routes do."""
    async with app.open(headers={"origin": "https://evil.example"}, denial=False, accepted=False) as client:
        assert await client.closed() == (1011, "pages of this origin may not connect here")


async def test_a_route_that_accepted_the_socket_itself() -> None:
    """It is told what to leave out."""
    app = App(accept_first=True)
    async with started(app.app), app.open() as client:
        await client.returned()
    assert isinstance(app.error, UsageError)
    assert "websocket.accept()" in str(app.error)


async def test_an_unknown_channel(app: App) -> None:
    """It is an error of the route before anyone is let in."""
    app.options["channels"] = ["chat", "nowhere"]
    with pytest.raises(UnknownChannel, match="nowhere"):
        async with app.open():
            pass
    assert app.hub.sessions == {}


async def test_more_connections_of_a_user_than_there_may_be() -> None:
    """The line has ended when the route gets it: its client was told 3504."""
    app = App(limits=Limits(connections_per_user=1))
    app.options["user"] = "ada"
    async with started(app.app), app.open(), app.open() as second:
        assert (await second.closed())[0] == 3504
        await second.returned()
    assert app.error is None


async def test_a_broker_that_is_away(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The route is told, its client closed with 1011, and nothing is left behind."""

    async def away(*_: Any) -> Any:
        raise BrokerUnavailable("as the test wants")

    monkeypatch.setattr(app.hub._node, "enter_topic", away)
    async with app.open() as client:
        assert (await client.closed())[0] == 1011
        await client.returned()
    assert isinstance(app.error, BrokerUnavailable)
    assert app.hub.sessions == {}


async def test_handlers_that_decide_are_not_asked_and_those_that_hear_are() -> None:
    """The route decided; that somebody went is told, and by which wire they came."""
    app = App()
    heard: list[str] = []

    @app.hub.on_connect
    def nobody() -> None:
        raise AssertionError("asked")

    app.chat.on_subscribe(nobody)

    @app.chat.on_unsubscribe
    def left(session: Session, code: int) -> None:
        heard.append(f"{session.transport} left: {code}")

    @app.hub.on_disconnect
    def gone(session: Session, code: int) -> None:
        heard.append(f"{session.transport} gone: {code}")

    async with started(app.app):
        async with app.open() as client:
            client.send("return")
            await client.closed()
        await until(lambda: len(heard) == 2)
    assert heard == ["plain left: 1000", "plain gone: 1000"]


@pytest.mark.parametrize("wire", ["fast", "plain"])
async def test_a_client_that_left_before_it_was_accepted(app: App, wire: str) -> None:
    """The route gets a line that has ended, and nothing stays behind."""

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(_: Any) -> None:
        raise OSError("it is gone")

    scope: dict[str, Any] = {"type": "websocket", "path": "/", "query_string": b"", "headers": [(b"host", b"test")]}
    if wire == "fast":
        scope["extensions"] = {DETACH: lambda *_, **__: None}
    async with app.hub.plain(WebSocket(scope, receive, send), channels=["chat"]) as line:
        assert [message async for message in line] == []
        assert not line.send("hello")
        assert repr(line).startswith("<Line of <Session")
    assert app.hub.sessions == {}
    assert await app.chat.presence() == {}
