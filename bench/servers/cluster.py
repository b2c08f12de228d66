"""Openline as one of many nodes: a declared channel with history, on the engine that the environment names.

Chosen: a client may ask as fast as it likes. The rest are the defaults.
"""

from __future__ import annotations

import math
import os

from fastapi import FastAPI

from openline import History, Hub, Limits

app = FastAPI()
hub = Hub(os.environ["OPENLINE_BENCH_BROKER"], limits=Limits(commands_per_second=math.inf))
app.include_router(hub.router)
hub.channel("kept:{name}", publish=True, history=History(size=100, seconds=300))


@app.get("/nodes")
async def nodes() -> list[str]:
    """Tell the processes of all nodes that this one knows of, itself included."""
    return [node.process for node in hub.nodes]
