"""Each command of `openline`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from uvicorn.importer import ImportFromStringError, import_from_string

from openline.access_log import without_tokens
from openline.cli.serve import serve
from openline.version import VERSION

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # the app's own faults read as they do everywhere else
    help="Openline: the real-time layer for FastAPI.",
)


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
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="The number of processes; $WEB_CONCURRENCY or 1 by default.", show_default=False),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when a source file changes.")] = False,
    log_level: Annotated[str, typer.Option(help="critical, error, warning, info, debug or trace.")] = "info",
    access_log: Annotated[bool, typer.Option(help="Log a line for each HTTP request.")] = True,
) -> None:
    """Run an app on uvicorn with the fast wire."""
    if log_level not in uvicorn.config.LOG_LEVELS:
        levels = ", ".join(uvicorn.config.LOG_LEVELS)
        raise typer.BadParameter(f"{log_level!r} is none of {levels}", param_hint="--log-level")
    if reload and workers is not None and workers > 1:
        raise typer.BadParameter("--reload runs one process", param_hint="--workers")
    sys.path.insert(0, str(Path.cwd()))  # as uvicorn's own command does: `main:app` means ./main.py
    if not reload:  # else the first save after a mistake mends it, and uvicorn waits for that
        _check(target)
    uvicorn.run(
        target,
        host=host,
        port=port,
        workers=workers,
        reload=reload,
        log_level=log_level,
        access_log=access_log,
        log_config=without_tokens(uvicorn.config.LOGGING_CONFIG),
        http="openline.uvicorn_http:HTTPProtocol",
        ws="openline.uvicorn:WebSocketProtocol",
    )


app.command()(serve)


def _check(target: str) -> None:
    """Say what is wrong with the name of an app before a server is started for it.

    Raises:
        BadParameter: it names no app. What an app's module raises as it is imported is let through.
    """
    try:
        found = import_from_string(target)
    except ImportFromStringError as error:
        raise typer.BadParameter(str(error), param_hint="APP") from None
    except ModuleNotFoundError as error:
        package = f"{error.name}."
        if not target.startswith(package):
            raise  # the app's module is there, and what it imports is not
        raise typer.BadParameter(f'Could not import module "{error.name}".', param_hint="APP") from None
    if not callable(found):
        raise typer.BadParameter(f"{target} is a {type(found).__name__}, not an app.", param_hint="APP")
