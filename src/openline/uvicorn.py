"""The fast wire: a WebSocket implementation for uvicorn.

`uvicorn app:app --ws openline.uvicorn:WebSocketProtocol`. A hub's routes take their sockets out of ASGI with it; an
app's ordinary WebSocket routes run on it unchanged.

Invariants of this file:

1. One object answers the handshake and speaks ASGI with the app: `WebSocketProtocol`. From the 101 on another one holds
   the socket: a `FastWire` where the app detached it, a `Conversation` where the app accepted it.
2. After a detach nothing that lives longer refers to the first object, so when the app's call returns, it goes with its
   task, scope and queue.
3. Every way out of the handshake has a deadline, then the connection is aborted.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, cast, final

from uvicorn.config import Config
from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.server import ServerState
from websockets.frames import EXTERNAL_CLOSE_CODES

from openline.framing import DEFLATED, Encoding
from openline.framing import encoding as encoding_of
from openline.outbox import Receiver, Wire
from openline.wires.connection import Connection
from openline.wires.conversation import Conversation, Event
from openline.wires.deflate import EXTENSIONS, FORGETTING, KEEPING, agree
from openline.wires.fast import DETACH, DeflatedWire, FastWire
from openline.wires.upgrade import Refusal, UpgradeRequest, http_response, switching_response

#: Uvicorn's own, so that the lines stand where its users look for them.
_log: Final = logging.getLogger("uvicorn.error")


class _Stage(enum.Enum):
    NEW = "not there yet"
    REFUSED = "answered with HTTP"
    GONE = "cut short"  #: the client or the server left before the answer


@final
class _Denial:
    """The HTTP answer an app is sending instead of accepting."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers = headers
        self.body = bytearray()


#: Where the handshake stands: the request waits for the app's answer, or what became of it.
_State = UpgradeRequest | Conversation | FastWire | _Denial | _Stage


class WebSocketProtocol(asyncio.Protocol):
    """Answers the handshake of one WebSocket and runs the app for it. Made by uvicorn.

    Attributes:
        close_seconds: how long the end of a connection may take, for ordinary routes; then it is aborted.
        handshake_seconds: how long the app may take to answer a handshake, its dependencies included; then the client
            is told 503. What the app does about it goes on: it learns that the client has left.
    """

    close_seconds: ClassVar[float] = 5.0
    handshake_seconds: ClassVar[float] = 30.0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._server_state = server_state
        self._connections: set[Any] = server_state.connections
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._state: _State = _Stage.NEW
        self._transport: asyncio.Transport
        self._label = ("", "?")
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._early = b""
        self._timer: asyncio.TimerHandle | None = None

    # --- the transport's side, until the handshake is answered ----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection from uvicorn's HTTP protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take the request; keep what an impatient client sends behind it."""
        if self._state is _Stage.NEW:
            self._begin(data)
        elif isinstance(self._state, UpgradeRequest):
            self._early += data
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The client sends no more: the transport closes."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left before the handshake was answered, or has got its HTTP answer."""
        self._connections.discard(self)
        self._drop_deadline()
        if self._state is not _Stage.REFUSED:
            self._leave()

    def pause_writing(self) -> None:
        """Nothing to hold back: an HTTP answer is one write."""

    def resume_writing(self) -> None:
        """Nothing was held back."""

    def shutdown(self) -> None:
        """The server is about to end: no answer will come."""
        if self._state is not _Stage.REFUSED:
            self._respond(503, (), b"Service Unavailable")
            self._leave()

    def _give_up(self) -> None:
        """The app has not answered in time."""
        _log.warning('%s - "WebSocket %s" was not answered within %g seconds', *self._label, self.handshake_seconds)
        self._respond(503, (), b"Service Unavailable")
        self._leave()

    def _set_deadline(self, seconds: float, call: Callable[[], None]) -> None:
        self._drop_deadline()
        self._timer = self._loop.call_later(seconds, call)

    def _drop_deadline(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._state = _Stage.GONE
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1006})

    # --- the request ----------------------------------------------------------------------------------------------

    def _begin(self, data: bytes) -> None:
        try:
            request = UpgradeRequest(data)
        except ValueError:
            self._refuse(Refusal(400, (), "Invalid HTTP request."))
            return
        scope = self._scope(request)
        if _log.isEnabledFor(logging.INFO):
            self._label = (get_client_addr(scope), get_path_with_query_string(scope))  # type: ignore[arg-type]
        if refusal := request.refusal():
            self._refuse(refusal)
            return
        self._state = request
        self._set_deadline(self.handshake_seconds, self._give_up)
        self._events.put_nowait({"type": "websocket.connect"})
        # Uvicorn makes this object the transport's protocol after this call: the app must not run before, as it would
        # with eager tasks.
        self._loop.call_soon(self._start, scope)

    def _refuse(self, refusal: Refusal) -> None:
        self._respond(refusal.status, refusal.headers, refusal.text.encode())

    def _scope(self, request: UpgradeRequest) -> dict[str, Any]:
        root_path = self._config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root_path,
            "path": root_path + request.path,
            "raw_path": root_path.encode("ascii") + request.raw_path,
            "query_string": request.query,
            "headers": request.headers,
            "subprotocols": request.subprotocols(),
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}, DETACH: self._detach},
        }

    # --- the app --------------------------------------------------------------------------------------------------

    def _start(self, scope: dict[str, Any]) -> None:
        if isinstance(self._state, UpgradeRequest):
            context = contextvars.Context() if getattr(self._config, "reset_contextvars", False) else None
            task = self._loop.create_task(self._run(scope), context=context)
            task.add_done_callback(self._server_state.tasks.discard)
            self._server_state.tasks.add(task)

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            result: object = await self._config.loaded_app(scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except Exception:  # noqa: BLE001  # an app's exception ends its own socket, nothing else
            _log.exception("Exception in ASGI application\n")
            self._finish(1011)
        except BaseException:
            self._finish(1012)
            raise
        else:
            if result is not None:
                _log.error("ASGI callable should return None, but returned '%s'.", result)
            if isinstance(self._state, UpgradeRequest):
                _log.error("ASGI callable returned without completing handshake.")
            self._finish(1000)

    def _finish(self, code: int) -> None:
        """The app's call is over: nothing it began is left open, but what it detached."""
        match self._state:
            case UpgradeRequest() | _Denial():
                self._respond(500, (), b"Internal Server Error")
            case Conversation() as conversation:
                conversation.end(code)
            case FastWire() as wire if code != 1000:
                wire.close(code, "internal error", deadline_seconds=self.close_seconds)

    async def _receive(self) -> Event:
        if isinstance(self._state, FastWire):
            raise RuntimeError("the socket was detached: nothing is received here")
        event = await self._events.get()
        if isinstance(self._state, Conversation):
            self._state.taken()
        return event

    async def _send(self, message: Mapping[str, Any]) -> None:
        match (self._state, message["type"]):
            case (_Stage.GONE, _):
                raise ClientDisconnected
            case (UpgradeRequest() as request, "websocket.accept"):
                self._accept(request, message)
            case (UpgradeRequest(), "websocket.close"):
                self._respond(403, ())
            case (UpgradeRequest(), "websocket.http.response.start"):
                self._state = _Denial(message["status"], message.get("headers", ()))
            case (_Denial() as denial, "websocket.http.response.body"):
                denial.body += message.get("body", b"")
                if not message.get("more_body", False):
                    self._respond(denial.status, denial.headers, bytes(denial.body))
            case (Conversation() as conversation, "websocket.send"):
                payload = message.get("bytes")
                await conversation.send(message["text"] if payload is None else payload)
            case (Conversation() as conversation, "websocket.close"):
                conversation.end(_checked(message.get("code", 1000)), message.get("reason") or "")
            case (state, kind):
                raise RuntimeError(f"unexpected ASGI message {kind!r}: the handshake is {_name(state)}")

    def _accept(self, request: UpgradeRequest, message: Mapping[str, Any]) -> None:
        offers = request.values(EXTENSIONS) if self._config.ws_per_message_deflate else []
        answer, deflate = agree(offers, KEEPING)
        self._switch(request, message.get("subprotocol"), [*message.get("headers", ()), *answer])
        conversation = Conversation(
            self._transport,
            self._connections,
            events=self._events,
            config=self._config,
            deflate=deflate,
            close_seconds=self.close_seconds,
        )
        self._hand_over(conversation)
        self._replay(conversation)

    # --- the answers ----------------------------------------------------------------------------------------------

    def _detach(
        self,
        open_receiver: Callable[[Wire], Receiver],
        encoding: Encoding,
        subprotocol: str | None,
        message_bytes: int,
        close_seconds: float = 5.0,
        *,
        compression: bool = False,
        kind: type[FastWire] | None = None,
    ) -> None:
        """See `openline.wires.fast.Detach`."""
        if isinstance(self._state, UpgradeRequest) and self._transport.is_closing():
            self._leave()
        match self._state:
            case UpgradeRequest() as request:
                answer, deflate = agree(request.values(EXTENSIONS) if compression and kind is None else [], FORGETTING)
                self._switch(request, subprotocol, answer)
            case _Stage.GONE:
                return
            case state:
                raise RuntimeError(f"the socket cannot be detached: the handshake is {_name(state)}")
        wire = (kind or FastWire if deflate is None else DeflatedWire)(
            self._transport,
            self._connections,
            encoding=encoding if deflate is None else encoding_of(encoding.codec, DEFLATED),
            message_bytes=message_bytes,
            close_seconds=close_seconds,
        )
        self._hand_over(wire)
        wire.open(open_receiver)
        self._replay(wire)

    def _switch(self, request: UpgradeRequest, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        answer = [*self._server_state.default_headers, *headers]
        if subprotocol:
            answer.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        response = switching_response(request, answer)
        _log.info('%s - "WebSocket %s" [accepted]', *self._label)
        self._transport.write(response)

    def _hand_over(self, connection: Conversation | FastWire) -> None:
        """From here on the transport speaks to the connection alone."""
        self._drop_deadline()
        self._state = connection
        self._transport.set_protocol(connection)
        self._connections.discard(self)
        self._connections.add(connection)

    def _replay(self, connection: Connection) -> None:
        """Give on what came before the handshake was answered."""
        if self._early:
            early, self._early = self._early, b""
            connection.data_received(early)
            connection.read_on()

    def _respond(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"") -> None:
        """Answer with HTTP, after which the connection ends."""
        given = list(headers)
        names = {name.lower() for name, _ in given}
        given += [(name, value) for name, value in self._server_state.default_headers if name.lower() not in names]
        answer = http_response(status, given, body)
        self._state = _Stage.REFUSED
        self._events.put_nowait({"type": "websocket.disconnect", "code": 1006})
        _log.info('%s - "WebSocket %s" %d', *self._label, status)
        self._transport.write(answer)
        self._transport.close()
        self._set_deadline(self.close_seconds, self._transport.abort)


def _checked(code: int) -> int:
    if code not in EXTERNAL_CLOSE_CODES and not 3000 <= code < 5000:
        raise ValueError(f"{code} is no code that a close frame may carry")
    return code


def _name(state: _State) -> str:
    match state:
        case _Stage():
            return state.value
        case UpgradeRequest() | _Denial():
            return "not answered yet"
        case Conversation():
            return "accepted"
        case FastWire():
            return "accepted and the socket detached"
