"""The built pages, as plain files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fastapi import Response
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

FOLDER: Final = Path(__file__).parent / "static"
UNBUILT: Final = PlainTextResponse("The pages are not built: run `make web`.\n", status_code=503)


class Pages(StaticFiles):
    """Files whose names change with their content are kept by browsers; the page that names them is asked for anew.

    Args:
        folder: where `make web` put them; where it has not run, the page says so.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file, or with what to run to have one."""
        if (self._folder / "index.html").is_file():
            await super().__call__(scope, receive, send)
        else:
            await UNBUILT(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file, and with how long it may be kept."""
        response = await super().get_response(path, scope)
        kept = path.startswith(f"assets{os.sep}")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response
