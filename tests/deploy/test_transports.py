"""Everybody follows one channel through the proxy, while both nodes publish, are killed and come back, one by one.

All clients are there at the same time, three of each kind, so that some are on either node; what each of them heard is
reported as a test of its own. There are no sticky sessions.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Final, NamedTuple

import pytest

from tests.deploy.followers import BARE, SDK_JS, SDK_PYTHON, Heard, sdk_js, sdk_python
from tests.deploy.house import House
from tests.deploy.node import Node

KINDS: Final = (*SDK_JS, *SDK_PYTHON, *BARE)
EACH: Final = 3

#: How many numbers are published while all is well, and while a node is away and after.
CALM, PART = 30, 20
LIMIT_SECONDS: Final = 10


class Outcome(NamedTuple):
    """What came of it."""

    heard: dict[str, list[int]]  #: by client
    spread: list[int]  #: the clients of each node, while all was well
    calm: dict[str, list[int]]  #: what had been heard when the first node was killed
    problems: list[str]
    last: int  #: the number published last


@pytest.fixture(scope="module", params=[("nginx", "valkey"), ("haproxy", "valkey"), ("nginx", "nats")], ids="-".join)
def outcome(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """Let everybody listen, once behind each proxy, and on each engine."""
    proxy, engine = request.param
    with House(proxy, request.getfixturevalue(engine).url) as house:
        yield asyncio.run(_listen(house))


async def _listen(house: House) -> Outcome:
    """Have everybody listen through the worst."""
    channel = f"room:{secrets.token_hex(4)}"
    heard = Heard()
    people = [f"{kind} #{number}" for kind in KINDS for number in range(EACH)]
    base = house.proxy.http
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_settle)
        names = {name: SDK_JS[kind] for name in people if (kind := _kind(name)) in SDK_JS}
        await stack.enter_async_context(sdk_js(heard, names, base, channel))
        for name in people:
            if (kind := _kind(name)) in SDK_PYTHON:
                client = sdk_python(heard, name, base, channel, protobuf=SDK_PYTHON[kind])
                await stack.enter_async_context(client)
            elif kind in BARE:
                task = asyncio.create_task(_follow(kind, heard, name, base, channel))
                stack.push_async_callback(_end, task)
        everybody = await heard.until(lambda: len(heard.numbers) == len(people))
        assert everybody, f"never there: {set(people) - heard.numbers.keys()}; {heard.problems}"
        spread = [node.state()["sessions"] for node in house.nodes]
        stage = _Stage(house, channel)
        await stage.publish(CALM, *house.nodes)
        await heard.until(lambda: all(len(numbers) == CALM for numbers in heard.numbers.values()))
        calm = {name: [*numbers] for name, numbers in heard.numbers.items()}
        one, two = house.nodes
        for gone, other, how in ((one, two, Node.kill), (two, one, Node.kill), (one, two, Node.stop)):
            await stage.break_node(gone, other, how)
        remembering = [name for name in people if _kind(name) != "plain"]
        await heard.until(lambda: all(heard.numbers[name][-1:] == [stage.last] for name in remembering))
    return Outcome(heard.numbers, spread, calm, heard.problems, stage.last)


class _Stage:
    """Publishes, and breaks nodes meanwhile."""

    def __init__(self, house: House, channel: str) -> None:
        self._house = house
        self._channel = channel
        self.last = -1

    async def publish(self, count: int, *nodes: Node) -> None:
        """Publish the next numbers, each from the next of these nodes."""
        for number in range(count):
            self.last += 1
            await asyncio.to_thread(nodes[number % len(nodes)].publish, self._channel, self.last)

    async def break_node(self, gone: Node, other: Node, how: Callable[[Node], None]) -> None:
        """End a node in the midst of publications, go on without it, and bring it back."""
        publishing = asyncio.create_task(self.publish(2 * PART, other))
        while self.last % PART != PART // 2 and not publishing.done():  # noqa: ASYNC110  # a number, not an event
            await asyncio.sleep(0)
        await asyncio.to_thread(how, gone)
        await publishing
        await asyncio.to_thread(gone.start)
        await self.publish(PART, gone, other)
        await asyncio.to_thread(self._house.wait_until_whole)


def _kind(name: str) -> str:
    return name.rpartition(" #")[0]


async def _follow(kind: str, heard: Heard, name: str, base: str, channel: str) -> None:
    await BARE[kind](heard, name, base, channel)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def _settle() -> None:
    """The Python SDK closes its sockets in tasks that nobody can wait for but all at once."""
    if closing := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(closing, timeout=LIMIT_SECONDS)


def test_clients_are_on_both_nodes(outcome: Outcome) -> None:
    """The proxy gives connections to both in turn, and leads nobody back to where it was."""
    assert min(outcome.spread) >= sum(outcome.spread) // 3


@pytest.mark.parametrize("kind", KINDS)
def test_both_nodes_are_heard(outcome: Outcome, kind: str) -> None:
    """Whatever the transport: each publication of either node, in order, once."""
    for number in range(EACH):
        assert outcome.calm[f"{kind} #{number}"] == list(range(CALM))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_nothing_is_lost_when_nodes_are_killed(outcome: Outcome, kind: str) -> None:
    """Each node is ended once in the midst of it, one of them twice: all is heard, in order, once."""
    for number in range(EACH):
        assert outcome.heard[f"{kind} #{number}"] == list(range(outcome.last + 1))


def test_who_remembers_nothing_comes_back_too(outcome: Outcome) -> None:
    """On a route of the app's own nothing is recovered; what is heard is in order all the same, up to the end."""
    for number in range(EACH):
        numbers = outcome.heard[f"plain #{number}"]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] > outcome.calm[f"plain #{number}"][-1]


def test_nobody_was_told_of_anything(outcome: Outcome) -> None:
    """No client was unsubscribed, disconnected for good, or told that something is lost."""
    assert outcome.problems == []
