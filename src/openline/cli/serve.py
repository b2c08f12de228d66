"""`openline serve`: the standalone server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openline.server import application
from openline.server import serve as run_server
from openline.settings import SettingsError, load

#: What is read where no file is named and there is one.
USUAL = Path("openline.toml")


def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="The settings; ./openline.toml where there is one.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Check the settings, and do not start.")] = False,
) -> None:
    """Run a hub without an app: a standalone server, as its settings say."""
    try:
        settings = load(config if config is not None else USUAL if USUAL.exists() else None)
        if check:
            application(settings)
            typer.echo(f"{settings.source}: the settings can be used")
            return
        started = run_server(settings)
    except SettingsError as error:
        for problem in error.problems:
            typer.echo(f"openline serve: {problem}", err=True)
        raise typer.Exit(2) from None
    if not started:
        raise typer.Exit(3)  # as uvicorn's own command ends; the log says why
