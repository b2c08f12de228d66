"""The `openline` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without its library, say what to install."""
    try:
        from openline.cli.commands import app  # noqa: PLC0415  # its library is optional
    except ImportError as error:
        if error.name not in ("typer", "rich", "httpx2", "h11"):
            raise
        sys.exit("the openline command needs an optional library: pip install 'openline[server]'")
    app()
