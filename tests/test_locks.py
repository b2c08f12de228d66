"""Work on one key, one after the other."""

from __future__ import annotations

import asyncio

from openline.locks import Locks


async def test_those_who_wait_come_in_their_order() -> None:
    """One at a time for a key; other keys do not wait."""
    locks, order, gate = Locks(), list[str](), asyncio.Event()

    async def work(key: str, name: str) -> None:
        async with locks.hold(key):
            order.append(name)
            await gate.wait()

    async with asyncio.TaskGroup() as tasks:
        for key, name in (("a", "first"), ("a", "second"), ("b", "other"), ("a", "third")):
            tasks.create_task(work(key, name))
        for _ in range(5):
            await asyncio.sleep(0)
        assert order == ["first", "other"]
        gate.set()
    assert order == ["first", "other", "second", "third"]
    assert len(locks) == 0


async def test_one_who_is_cancelled_while_waiting_keeps_nobody() -> None:
    """Its place is given up, and nothing of the key is left."""
    locks, gate = Locks(), asyncio.Event()

    async def hold() -> None:
        async with locks.hold("a"):
            await gate.wait()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold())
        waiting = tasks.create_task(hold())
        last = tasks.create_task(hold())
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()
        gate.set()
        await last
    assert len(locks) == 0
