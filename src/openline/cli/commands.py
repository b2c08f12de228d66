"""Each command of `openline`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from openline.version import VERSION

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Openline: the real-time layer for FastAPI.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openline {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Openline: the real-time layer for FastAPI."""


@app.command()
def run(
    target: Annotated[str, typer.Argument(metavar="APP", help="The app, as module:name, such as main:app.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 takes a free one.")] = 8000,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when a source file changes.")] = False,
    log_level: Annotated[str, typer.Option(help="critical, error, warning, info, debug or trace.")] = "info",
    access_log: Annotated[bool, typer.Option(help="Log a line for each HTTP request.")] = True,
) -> None:
    """Run an app on uvicorn with the fast wire."""
    import uvicorn

    if log_level not in uvicorn.config.LOG_LEVELS:
        raise typer.BadParameter(f"{log_level!r} is none of {', '.join(uvicorn.config.LOG_LEVELS)}")
    sys.path.insert(0, os.getcwd())  # as uvicorn's own command does: `main:app` means ./main.py
    uvicorn.run(
        target,
        host=host,
        port=port,
        reload=reload,
        log_level=log_level,
        access_log=access_log,
        ws="openline.uvicorn:WebSocketProtocol",
    )
