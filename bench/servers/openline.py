"""Openline: a declared channel, without and with history, and an rpc. `openline run` serves it, on the fast wire.

Chosen: a client may ask as fast as it likes, as no other server here counts. It is counted all the same. The rest are
the defaults. An older Openline, which knows fewer limits, is given those that it knows.
"""

from __future__ import annotations

import math
import tracemalloc

import msgspec
from fastapi import FastAPI

from bench.servers.memory import account
from openline import History, Hub, Limits

app = FastAPI()
hub = Hub(limits=msgspec.convert({"commands_per_second": math.inf}, Limits))
app.include_router(hub.router)
hub.channel("plain:{name}", publish=True)
hub.channel("kept:{name}", publish=True, history=History(size=100, seconds=300))


@hub.rpc("echo")
async def echo(message: str) -> str:
    """Say back what a client says."""
    return message


if tracemalloc.is_tracing():
    tracemalloc.clear_traces()  # what is loaded is not asked for, and would make each account slow
    app.get("/memory")(account)
