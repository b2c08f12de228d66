"""Openline: a declared channel, without and with history. `openline run` serves it, on the fast wire.

Chosen: the one publisher may ask faster than a client usually may, as no other server here counts. It is counted all
the same. The rest are the defaults.
"""

from __future__ import annotations

from fastapi import FastAPI

from openline import History, Hub, Limits

app = FastAPI()
hub = Hub(limits=Limits(commands_per_second=100_000))
app.include_router(hub.router)
hub.channel("plain:{name}", publish=True)
hub.channel("kept:{name}", publish=True, history=History(size=100, seconds=300))
