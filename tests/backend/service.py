"""A back end: a small FastAPI app on uvicorn, which answers as a test says and remembers what it was asked."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from openline import Hub
from openline.backend import BackendEvents
from openline.channel import Channel
from openline.testing import Closed, Refused, VirtualClock, connect
from tests.serving import serving
from tests.wires.servers import uvicorn_server

LIMIT_SECONDS: Final = 10


class Asked(NamedTuple):
    """One request of the hub's."""

    event: str
    said: dict[str, Any]
    headers: dict[str, str]
    body: bytes


#: An answer: JSON with status 200, or anything else as a response, or what makes one of a request.
Answer = dict[str, Any] | Response | Callable[[dict[str, Any]], Any]


class Service:
    """The back end.

    Attributes:
        answers: what each event is answered with, by its name; nothing is ``{"result": {}}``.
        asked: the requests so far.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[Asked] = []
        self.origin = ""
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[Asked] = asyncio.Queue()
        self.app = FastAPI()
        self.app.post("/{event}")(self._answer)

    def url(self, event: str) -> str:
        """Give the URL of an event."""
        return f"{self.origin}/{event}"

    async def told(self) -> Asked:
        """Wait for the next request."""
        return await asyncio.wait_for(self._told.get(), LIMIT_SECONDS)

    def last(self, event: str) -> Asked:
        """Give the newest request of an event."""
        of_event: list[Asked] = [asked for asked in self.asked if asked.event == event]
        return of_event[-1]

    def times(self, event: str) -> int:
        """Say how often an event was put to it."""
        return sum(asked.event == event for asked in self.asked)

    async def _answer(self, event: str, request: Request) -> Response:
        said = await request.json()
        asked = Asked(event, said, dict(request.headers), await request.body())
        self.asked.append(asked)
        self._loop.call_soon_threadsafe(self._told.put_nowait, asked)
        answer = self.answers.get(event, {"result": {}})
        if not isinstance(answer, dict | Response):
            answer = answer(said)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer if isinstance(answer, Response) else JSONResponse(answer)


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    """Run a back end until the block ends."""
    running = Service()
    with uvicorn_server(running.app, ws="none", log_level="error") as server:
        running.origin = f"http://127.0.0.1:{server.port}"
        yield running


class House:
    """A hub with its events put to a back end, and the app around it."""

    def __init__(self, hub: Hub, events: BackendEvents, room: Channel[Any], clock: VirtualClock) -> None:
        self.hub, self.events, self.room, self.clock = hub, events, room, clock
        self.app: Any = None


@asynccontextmanager
async def house(back_end: Service | None, *events: str, **options: Any) -> AsyncIterator[House]:
    """Run a hub with ``room:{name}`` and ``blob:{name}``, which is raw, and these events put to a back end.

    Args:
        options: of `BackendEvents`; one with an event's name is its URL.
    """
    clock = VirtualClock()
    hub = Hub(clock=clock, auth=options.pop("auth", None))
    room = hub.channel("room:{name}", presence=True, publish=True, **options.pop("channel", {}))
    blob = hub.channel("blob:{name}", bytes, publish=True)
    channels_of = options.pop("channels_of", None)
    urls = {event: back_end.url(event) for event in events} if back_end is not None else {}
    asked = BackendEvents(**{"timeout_seconds": LIMIT_SECONDS, **urls, **options})
    asked.attach(hub, [(room, None), (blob, None)], channels_of=channels_of)
    house = House(hub, asked, room, clock)
    async with asked.running(), serving(hub) as house.app:
        yield house


def b64(data: bytes) -> str:
    """Write bytes as a back end does."""
    return base64.b64encode(data).decode()


async def kept_out(house: House, **request: Any) -> int:
    """Connect in vain; give the code of the error or of the end."""
    with pytest.raises((Refused, Closed)) as reason:
        async with connect(house.app, **request):
            pass
    assert isinstance(reason.value, Refused | Closed)
    return reason.value.code


async def settle(house: House) -> None:
    """Let the handlers that were asked come to their end."""
    while tasks := tuple(house.hub._node._tasks._running):
        await asyncio.wait(tasks, timeout=5)
