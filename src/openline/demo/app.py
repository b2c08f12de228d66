"""The demo as one FastAPI app: `openline run openline.demo.app:app`."""

from __future__ import annotations

from fastapi import FastAPI

from openline.demo import visitors
from openline.demo.chat import hub
from openline.demo.pages import Pages

app = FastAPI(title="Openline demo")
app.include_router(visitors.router)
app.include_router(hub.router)
app.mount("/", Pages(), name="pages")
