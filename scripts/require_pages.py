"""Hatchling's build hook: a wheel or an sdist without the built pages is never made.

The pages are written by `make web` and kept out of git. The sdist carries them too, so every wheel holds them and
installing one needs no Node. An editable install takes them from the work tree, built or not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGES = ("src/openline/demo/static/index.html",)


class RequirePages(BuildHookInterface):  # type: ignore[type-arg]  # its parameter is hatchling's own config class, unused here
    """Refuses to build while a page is missing."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Look for every page before anything is packed.

        Args:
            version: hatchling's name for the kind of build; "editable" packs nothing and needs no page.
            build_data: what other hooks added; not used.
        Raises:
            FileNotFoundError: a page is missing; the message names it and the command that builds it.
        """
        if version == "editable":
            return
        missing = [page for page in PAGES if not (Path(self.root) / page).is_file()]
        if missing:
            message = f"{', '.join(missing)} is not built yet: run `make web` first (it needs Node 20 or newer)"
            raise FileNotFoundError(message)
