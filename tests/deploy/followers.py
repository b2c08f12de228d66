"""Everybody who may follow a channel: the released SDKs on each transport, and clients without one.

What they hear is noted in `Heard`, by name. Each comes back by itself when its line ends, from where it was.
"""

from __future__ import annotations

import asyncio
import json
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, final

import centrifuge
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.running import environment

#: Each kind of client: its name, and what it is. Those of the JavaScript SDK are (transport, codec).
SDK_JS: Final = {
    "centrifuge-js websocket json": ("websocket", "json"),
    "centrifuge-js websocket protobuf": ("websocket", "protobuf"),
    "centrifuge-js http_stream json": ("http_stream", "json"),
    "centrifuge-js http_stream protobuf": ("http_stream", "protobuf"),
    "centrifuge-js sse": ("sse", "json"),
}

_PAUSE_SECONDS: Final = 0.02
_LIMIT_SECONDS: Final = 15.0

Position = dict[str, Any]


@final
class Heard:
    """What clients hear, by their names."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[int]] = {}
        self.problems: list[str] = []
        self.published: list[int] = []
        self._news = asyncio.Condition()

    async def ready(self, name: str) -> None:
        """Note that somebody is there."""
        async with self._news:
            self.numbers.setdefault(name, [])
            self._news.notify_all()

    async def note(self, name: str, number: int) -> None:
        """Note what somebody heard."""
        async with self._news:
            self.numbers.setdefault(name, []).append(number)
            self._news.notify_all()

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; say whether it came about in time."""
        try:
            async with asyncio.timeout(_LIMIT_SECONDS), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            return False
        return True

    async def wake(self) -> None:
        """Have conditions looked at."""
        async with self._news:
            self._news.notify_all()


# --- without an SDK ---------------------------------------------------------------------------------------------------


async def uni_websocket(heard: Heard, name: str, base: str, channel: str) -> None:
    """A bare WebSocket client that remembers its position."""
    position: Position = {}
    while True:
        try:
            async with connect(f"ws{base[4:]}/connection/uni_websocket", proxy=None) as line:
                await line.send(json.dumps({"subs": {channel: position}}))
                async for text in line:
                    await _take(json.loads(text), position, heard, name, channel)
        except (OSError, ConnectionClosed, InvalidHandshake):
            pass
        await asyncio.sleep(_PAUSE_SECONDS)


async def plain(heard: Heard, name: str, base: str, channel: str) -> None:
    """A bare WebSocket client on a route of the app's own: no envelope, and no memory."""
    while True:
        try:
            async with connect(f"ws{base[4:]}/plain/{channel.partition(':')[2]}", proxy=None) as line:
                await heard.ready(name)
                async for text in line:
                    await heard.note(name, int(text))
        except (OSError, ConnectionClosed, InvalidHandshake):
            pass
        await asyncio.sleep(_PAUSE_SECONDS)


async def uni_sse(heard: Heard, name: str, base: str, channel: str) -> None:
    """A `curl` that comes back with the last id it read, as every EventSource does."""
    request = urllib.parse.quote(json.dumps({"subs": {channel: {}}}))
    last_id, event_id = "", ""
    while True:
        header = ("-H", f"Last-Event-ID: {last_id}") if last_id else ()
        async with aclosing(curl(f"{base}/connection/uni_sse?cf_connect={request}", *header)) as lines:
            async for line in lines:
                if line.startswith("id:"):
                    event_id = line[3:].strip()
                elif line.startswith("data:"):
                    await _take(json.loads(line[5:]), {}, heard, name, channel)
                elif not line:
                    last_id = event_id
        await asyncio.sleep(_PAUSE_SECONDS)


async def uni_http_stream(heard: Heard, name: str, base: str, channel: str) -> None:
    """A `curl` that posts once and reads on, and remembers its position."""
    position: Position = {}
    while True:
        request = json.dumps({"subs": {channel: position}})
        async with aclosing(curl(f"{base}/connection/uni_http_stream", "--data", request)) as lines:
            async for line in lines:
                await _take(json.loads(line), position, heard, name, channel)
        await asyncio.sleep(_PAUSE_SECONDS)


async def poll(heard: Heard, name: str, base: str, channel: str) -> None:
    """A `curl` that asks again and again."""
    since = ""
    while True:
        query = {"channel": channel, "wait": "5"} | ({"since": since} if since else {})
        async with aclosing(curl(f"{base}/connection/poll?{urllib.parse.urlencode(query)}")) as lines:
            text = "".join([line async for line in lines])
        if text.startswith('{"channels"'):  # else a proxy's own words, or an error of the hub's
            if not since:
                await heard.ready(name)
            answer = json.loads(text)
            since = answer["since"]
            for publication in answer["channels"][channel].get("publications", ()):
                await heard.note(name, publication["data"])
        await asyncio.sleep(_PAUSE_SECONDS)


async def _take(push: dict[str, Any], position: Position, heard: Heard, name: str, channel: str) -> None:
    """Take a push of a one-way line; keep the position."""
    publications: Sequence[dict[str, Any]] = ()
    if "connect" in push:
        result = push["connect"]["subs"][channel]
        if result.get("was_recovering") and not result.get("recovered"):
            heard.problems.append(f"{name}: not recovered")
        position |= {"recover": True, "epoch": result["epoch"]}
        publications = result.get("publications", ())
        if not publications:
            position["offset"] = result.get("offset", 0)
        await heard.ready(name)
    elif "pub" in push:
        publications = (push["pub"],)
    for publication in publications:
        position["offset"] = publication.get("offset", 0)
        await heard.note(name, publication["data"])


async def curl(address: str, *options: str) -> AsyncGenerator[str, None]:
    """Run `curl` and give the lines it prints, until it ends."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--no-buffer", "--noproxy", "*", *options, address),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield line.decode().rstrip("\r\n")
    except BaseException:  # whoever reads has had enough
        with suppress(ProcessLookupError):  # so has it
            process.kill()
        raise
    finally:
        await process.wait()


BARE: Final[dict[str, Callable[[Heard, str, str, str], Awaitable[None]]]] = {
    "uni_websocket": uni_websocket,
    "uni_sse": uni_sse,
    "uni_http_stream": uni_http_stream,
    "poll": poll,
    "plain": plain,
}


# --- the SDKs ---------------------------------------------------------------------------------------------------------

SDK_PYTHON: Final = {"centrifuge-python json": False, "centrifuge-python protobuf": True}


@asynccontextmanager
async def sdk_python(heard: Heard, name: str, base: str, channel: str, *, protobuf: bool) -> AsyncIterator[None]:
    """A client of the released Python SDK."""
    client = centrifuge.Client(
        f"ws{base[4:]}/connection/websocket",
        use_protobuf=protobuf,
        proxy=None,
        min_reconnect_delay=0.02,
        max_reconnect_delay=0.2,
    )

    class Ear(centrifuge.SubscriptionEventHandler):  # type: ignore[misc]
        async def on_subscribed(self, context: Any) -> None:
            if context.was_recovering and not context.recovered:
                heard.problems.append(f"{name}: not recovered")
            await heard.ready(name)

        async def on_publication(self, context: Any) -> None:
            await heard.note(name, int(context.pub.data))

    subscription = client.new_subscription(channel, Ear(), min_resubscribe_delay=0.02, max_resubscribe_delay=0.2)
    await client.connect()
    await subscription.subscribe()
    try:
        yield
    finally:
        await client.disconnect()


@final
class Scripts:
    """The clients of the JavaScript SDK, in one process. Make it with `sdk_js`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def publish(self, name: str, number: int) -> None:
        """Have a client publish a number."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"name": name, "publish": number}).encode() + b"\n")


@asynccontextmanager
async def sdk_js(heard: Heard, names: dict[str, tuple[str, str]], base: str, channel: str) -> AsyncIterator[Scripts]:
    """Clients of the released JavaScript SDK: by name, each with its transport and codec."""
    clients = [{"name": name, "transport": one, "codec": codec} for name, (one, codec) in names.items()]
    process = await asyncio.create_subprocess_exec(
        *("node", "follow.mjs", json.dumps({"base": base, "channel": channel, "clients": clients})),
        cwd=Path(__file__).parent,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            if "number" in told:
                await heard.note(told["name"], told["number"])
            elif "ready" in told:
                await heard.ready(told["name"])
            elif "published" in told:
                heard.published.append(told["published"])
                await heard.wake()
            else:
                heard.problems.append(f"{told['name']}: {told['problem']}")

    reading = asyncio.create_task(read())
    try:
        yield Scripts(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
