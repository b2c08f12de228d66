"""The built pages, as plain files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fastapi import Response
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).parent / "static"


class Pages(StaticFiles):
    """Files whose names change with their content are kept by browsers; the page that names them is asked for anew.

    Args:
        folder: where `make web` put them; where it has not run, the page says so.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        super().__init__(directory=folder, html=True, check_dir=False)
        self._folder = folder

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file, or with what to run to have one."""
        if not (self._folder / "index.html").is_file():
            return PlainTextResponse("The pages are not built: run `make web`.\n", status_code=503)
        response = await super().get_response(path, scope)
        kept = path.startswith(f"assets{os.sep}")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response
