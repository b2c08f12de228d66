"""One ear: subscriptions in batches, and what decides them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from openline.valkey.address import ValkeyAddress
from openline.valkey.ear import Ear, Interest
from openline.valkey.fleet import Fleet
from openline.valkey.trouble import Refused
from tests.engines.process import wait_until
from tests.engines.valkey import ValkeyServer


class Head:
    """Whom an ear belongs to, here: it keeps what it is told."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []
        self.names: list[str] = []
        self.refusals: list[str] = []

    def heard(self, name: str, payload: bytes) -> None:
        """Keep it."""
        self.payloads.append((name, payload))

    def missed(self, names: Sequence[str]) -> None:
        """Keep them."""
        self.names += names

    def refused(self, interests: Sequence[Interest], refusal: Refused | None) -> None:
        """Keep them."""
        self.refusals += [interest.name for interest in interests]


@asynccontextmanager
async def ear(url: str) -> AsyncIterator[tuple[Ear, Head]]:
    """Run an ear at a server."""
    address, head = ValkeyAddress.parse(url), Head()
    made = Ear(address.endpoints[0], Fleet(address, "ear"), head)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(made.keep())
        yield made, head
        made.leave()


def interest(topic: str) -> Interest:
    """Want a channel."""
    made = Interest(topic.encode(), topic, topic.encode(), sharded=False)
    made.wanted = True
    made.waiter = asyncio.get_running_loop().create_future()
    return made


async def opened(wanted: Interest) -> str:
    """Wait until it is decided."""
    waiter = wanted.waiter
    assert waiter is not None
    return await waiter


async def test_ten_thousand_subscriptions_are_few_commands() -> None:
    """They go in batches, each with a mark, and all are open when the marks are back."""
    with ValkeyServer() as server:
        async with ear(server.url) as (made, _):
            wanted = [interest(f"channel:{number}") for number in range(10_000)]
            waiters = [opened(one) for one in wanted]
            for one in wanted:
                made.add(one)
            assert set(await asyncio.gather(*waiters)) == {""}
            assert all(one.open for one in wanted)
        assert server.call("INFO", "commandstats")["cmdstat_subscribe"]["calls"] == 10


async def test_what_is_removed_is_heard_no_more() -> None:
    """At once by us, and by the server in the next moment."""
    with ValkeyServer() as server:
        async with ear(server.url) as (made, head):
            kept, removed = interest("kept"), interest("removed")
            waiters = [opened(kept), opened(removed)]
            made.add(kept)
            made.add(removed)
            await asyncio.gather(*waiters)
            made.remove([removed])
            await asyncio.to_thread(wait_until, lambda: server.call("PUBSUB", "CHANNELS") == [b"kept"], "it is gone")
            again = interest("again")
            waiter = opened(again)
            made.add(again)
            for topic in ("removed", "kept"):
                server.call("PUBLISH", topic, "1")
            await waiter
            assert head.payloads == [("kept", b"1")]


async def test_a_line_that_was_lost_is_told_where_it_matters() -> None:
    """What was open is missed once it is open again; what was only about to be is not."""
    with ValkeyServer() as server:
        async with ear(server.url) as (made, head):
            one = interest("one")
            waiter = opened(one)
            made.add(one)
            await waiter
            server.kill()
            await asyncio.to_thread(wait_until, lambda: not one.open, "the line is lost")
            assert made.problem
            two = interest("two")
            waiter = opened(two)
            made.add(two)
            await asyncio.to_thread(server.start)
            await waiter
            assert head.names == ["one"]
