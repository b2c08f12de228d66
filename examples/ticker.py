"""Prices that change all the time, where only the newest one counts.

    openline run examples.ticker:app

A task of the app publishes. A client that subscribes to `price:TEA` with `since: {offset: 0, epoch: ""}` gets the
newest price at once, and after a break the newest one again, however many there were.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel

from openline import History, Hub


class Price(BaseModel):
    cents: int


hub = Hub()
price = hub.channel("price:{item}", Price, history=History(size=1, seconds=3600), recovery="cache")


async def change_prices(items: tuple[str, ...], pause_seconds: float) -> None:
    cents = dict.fromkeys(items, 1000)
    while True:
        for item in items:
            cents[item] += random.randint(-10, 10)
            await price.publish(Price(cents=cents[item]), item=item)
        await asyncio.sleep(pause_seconds)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The hub's own lifespan begins inside of the app's: who publishes from a task enters the hub first.
    async with hub.running(), asyncio.TaskGroup() as tasks:
        ticking = tasks.create_task(change_prices(("TEA", "RICE"), pause_seconds=1.0))
        yield
        ticking.cancel()


app = FastAPI(lifespan=lifespan)
app.include_router(hub.router)


@app.get("/prices/{item}")
async def newest(item: str) -> Price | None:
    page = await price.history(item=item, limit=1, reverse=True)
    return page.publications[0].message if page.publications else None
