"""A client in the test's own process, that speaks the real protocol through the app's real route.

It is an ASGI server's side of one WebSocket: the app's middleware, the router's dependencies, the plain wire and the
whole engine run as they do in production. Nothing waits longer than a limit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, final

from openline.errors import OpenlineError
from openline.publication import Position

#: Seconds that anything here waits at most.
LIMIT_SECONDS: Final = 5.0


class Refused(OpenlineError):
    """The server answered a command with an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(f"{error['code']} {error['message']}")
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.temporary: bool = error.get("temporary", False)


class Closed(OpenlineError):
    """The connection has ended."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class HandshakeRefused(OpenlineError):
    """The connection was not accepted."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class _Answer(asyncio.Future[dict[str, Any]]):
    """What a command will be answered with; knows the channel it was about."""

    channel: str = ""


@final
class Client:
    """One connection. Make it with `connect` or `line`.

    Pings are answered as they come. What a command is answered with is given to who sent it, everything else waits in
    order for `push`: what is answered to a frame sent as it is, too, with its ``id``.

    Attributes:
        id: the session's id, once connected.
        subprotocol: what the server chose.
        frames: every frame that came, as it came.
        pings: how many pings have come.
        answers_pings: set it to False for a client that has frozen.
        positions: where this client stands in each channel it can recover, as an SDK remembers it: see `recover`.
    """

    def __init__(self, *, protobuf: bool = False, limit_seconds: float = LIMIT_SECONDS) -> None:
        self.id = ""
        self.subprotocol: str | None = None
        self.frames: list[str | bytes] = []
        self.pings = 0
        self.answers_pings = True
        self.positions: dict[str, Position] = {}
        self._protobuf = protobuf
        self._limit_seconds = limit_seconds
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._pushes: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()  # None: the connection has ended
        self._answers: dict[int, _Answer] = {}
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closed: asyncio.Future[Closed] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.Event()
        self._reading.set()
        self._next_id = 1
        self._denied = (0, "")

    # --- the server's side of ASGI --------------------------------------------------------------------------------

    async def _run(self, app: Any, scope: dict[str, Any]) -> None:
        self._to_app.put_nowait({"type": "websocket.connect"})
        try:
            await app(scope, self._to_app.get, self._take)
        except Exception as error:
            if self._opened.done():
                raise
            self._opened.set_exception(error)  # for who opens the line: nobody else waits for it
        finally:
            self._end(1006, "")

    async def _take(self, message: Mapping[str, Any]) -> None:
        """Take what the app sends; wait while the test does not read."""
        await self._reading.wait()
        kind = message["type"]
        if kind == "websocket.accept":
            self.subprotocol = message.get("subprotocol")
            self._opened.set_result(None)
        elif kind == "websocket.send":
            if not self.is_closed:
                self._take_frame(message.get("text") if message.get("bytes") is None else message["bytes"])
        elif kind == "websocket.http.response.start":
            self._denied = (message["status"], "")
        elif kind == "websocket.http.response.body":
            status, body = self._denied
            self._denied = (status, body + message.get("body", b"").decode())
            if not message.get("more_body"):
                self._opened.set_exception(HandshakeRefused(*self._denied))
        elif not self._opened.done():
            self._opened.set_exception(HandshakeRefused(403, message.get("reason") or ""))
        else:
            self._leave(message.get("code", 1000), message.get("reason") or "")

    def _take_frame(self, frame: Any) -> None:
        self.frames.append(frame)
        if self._protobuf:
            from openline.testing.binary import decode_replies  # noqa: PLC0415  # its library is optional

            replies = decode_replies(frame)
        else:
            # Strict as the SDKs are: a blank line, or an object over several, is an error.
            replies = [json.loads(line) for line in frame.split("\n")]
        for reply in replies:
            self._sort(reply)

    def _sort(self, reply: dict[str, Any]) -> None:
        if not reply:
            self.pings += 1
            if self.answers_pings:
                self.send_frame(b"\0" if self._protobuf else "{}")
            self._pushes.put_nowait({"ping": {}})
        elif "id" in reply:
            answer = self._answers.pop(reply["id"], None)
            if answer is None:
                self._pushes.put_nowait(reply)
                return
            del reply["id"]
            for channel, result in reply.get("connect", {}).get("subs", {}).items():
                self._stand(channel, result)
            self._stand(answer.channel, reply.get("subscribe", {}))
            answer.set_result(reply)
        else:
            push = reply["push"]
            self._stand(push.get("channel", ""), push.get("subscribe", {}))
            self._walk(push.get("channel", ""), push.get("pub", {}))
            self._pushes.put_nowait(push)

    def _stand(self, channel: str, result: Mapping[str, Any]) -> None:
        """Remember where a subscription begins."""
        if result.get("recoverable"):
            self.positions[channel] = Position(result["epoch"], result.get("offset", 0))
            for publication in result.get("publications", []):
                self._walk(channel, publication)

    def _walk(self, channel: str, publication: Mapping[str, Any]) -> None:
        known = self.positions.get(channel)
        if known is not None and publication.get("offset"):
            self.positions[channel] = Position(publication.get("epoch") or known.epoch, publication["offset"])

    def _leave(self, code: int, reason: str) -> None:
        self._end(code, reason)
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self._reading.set()

    def _end(self, code: int, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(HandshakeRefused(500, "the app returned without an answer"))
        if self._closed.done():
            return
        closed = Closed(code, reason)
        self._closed.set_result(closed)
        self._pushes.put_nowait(None)
        for answer in self._answers.values():
            _fail(answer, closed)

    # --- what a client does ---------------------------------------------------------------------------------------

    def send_frame(self, frame: str | bytes) -> None:
        """Send one message as it is."""
        key = "text" if isinstance(frame, str) else "bytes"
        self._to_app.put_nowait({"type": "websocket.receive", key: frame})

    def batch(self, *requests: Mapping[str, Any]) -> list[asyncio.Future[dict[str, Any]]]:
        """Send several commands in one frame; give the answers to come, as `answer` takes them.

        Args:
            requests: each with its kind as the key: ``{"subscribe": {"channel": "news"}}``.
        """
        commands, answers = [], []
        for request in requests:
            answer = _Answer()
            answer.channel = request.get("subscribe", {}).get("channel", "")
            self._answers[self._next_id] = answer
            commands.append({"id": self._next_id, **request})
            answers.append(answer)
            self._next_id += 1
            if self._closed.done():
                _fail(answer, self._closed.result())
        self._send_commands(commands)
        return list(answers)

    def _send_commands(self, commands: list[dict[str, Any]]) -> None:
        if self._protobuf:
            from openline.testing.binary import encode_commands  # noqa: PLC0415

            self.send_frame(encode_commands(commands))
        else:
            self.send_frame("\n".join(map(json.dumps, commands)))

    async def answer(self, reply: asyncio.Future[dict[str, Any]]) -> dict[str, Any]:
        """Wait for the result of a command.

        Raises:
            Refused: it was answered with an error.
            Closed: the connection ended instead.
            TimeoutError: neither came.
        """
        async with asyncio.timeout(self._limit_seconds):
            answer = await asyncio.shield(reply)
        if "error" in answer:
            raise Refused(answer["error"])
        result: dict[str, Any] = next(iter(answer.values()))
        return result

    async def command(self, kind: str, /, **request: Any) -> dict[str, Any]:
        """Send one command and wait for its result; raises as `answer`."""
        return await self.answer(self.batch({kind: request})[0])

    async def connect(self, **request: Any) -> dict[str, Any]:
        """Send the connect command."""
        result = await self.command("connect", **request)
        self.id = result["client"]
        return result

    async def subscribe(self, channel: str, **request: Any) -> dict[str, Any]:
        """Subscribe to a channel."""
        return await self.command("subscribe", channel=channel, **request)

    async def recover(self, channel: str, position: Position, **request: Any) -> dict[str, Any]:
        """Subscribe to a channel from a position on, such as another client's ``positions[channel]``."""
        return await self.subscribe(channel, recover=True, epoch=position.epoch, offset=position.offset, **request)

    async def unsubscribe(self, channel: str) -> dict[str, Any]:
        """Leave a channel."""
        return await self.command("unsubscribe", channel=channel)

    async def publish(self, channel: str, data: Any) -> dict[str, Any]:
        """Publish to a channel."""
        return await self.command("publish", channel=channel, data=data)

    async def presence(self, channel: str) -> dict[str, dict[str, Any]]:
        """Ask who is in a channel; give everyone by session id."""
        presence: dict[str, dict[str, Any]] = (await self.command("presence", channel=channel)).get("presence", {})
        return presence

    async def history(self, channel: str, **request: Any) -> dict[str, Any]:
        """Read a channel's history, all of it unless told otherwise."""
        return await self.command("history", channel=channel, **{"limit": -1, **request})

    async def rpc(self, method: str, data: Any = None) -> Any:
        """Call a remote procedure; give its data."""
        return (await self.command("rpc", method=method, data=data)).get("data")

    def send(self, data: Any) -> None:
        """Send a message outside every channel; it is not answered."""
        self._send_commands([{"send": {"data": data}}])

    async def push(self) -> dict[str, Any]:
        """Wait for the next push: a dict with its kind as a key; a ping is ``{"ping": {}}``.

        Raises:
            Closed: the connection ended, and every push before that was given.
            TimeoutError: none came within the limit.
        """
        async with asyncio.timeout(self._limit_seconds):
            push = await self._pushes.get()
        if push is None:
            self._pushes.put_nowait(None)
            raise self._closed.result()
        return push

    async def publication(self, channel: str | None = None) -> dict[str, Any]:
        """Wait for the next publication, of one channel or any; other pushes before it are dropped."""
        while True:
            push = await self.push()
            if "pub" in push and channel in (None, push["channel"]):
                publication: dict[str, Any] = push["pub"]
                return publication

    def waiting(self) -> list[dict[str, Any]]:
        """Give the pushes that have come and were not asked for yet, without waiting."""
        pushes = [self._pushes.get_nowait() for _ in range(self._pushes.qsize())]
        if self.is_closed:
            self._pushes.put_nowait(None)
        return [push for push in pushes if push is not None]

    def close(self, code: int = 1000) -> None:
        """Close the connection as a client does that is done."""
        self._leave(code, "")

    def cut(self) -> None:
        """Lose the connection without a word, as when a network goes away."""
        self._leave(1006, "")

    def freeze(self) -> None:
        """Stop reading: what the server sends piles up."""
        self._reading.clear()

    def thaw(self) -> None:
        """Read again."""
        self._reading.set()

    async def closed(self) -> Closed:
        """Wait for the end of the connection; give its code and reason."""
        async with asyncio.timeout(self._limit_seconds):
            return await asyncio.shield(self._closed)

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return self._closed.done()


def _fail(answer: _Answer, closed: Closed) -> None:
    if not answer.done():
        answer.set_exception(closed)
        answer.exception()  # looked at: a test that has stopped waiting is no error
