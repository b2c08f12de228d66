"""`openline`: what it says of itself, what it says of mistakes, and that it runs an app."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Final

import click
import pytest
from typer.testing import CliRunner

from openline.cli.commands import app
from openline.version import VERSION
from tests.servers.server import APP, START_SECONDS, Server, start_python

#: An app whose module imports what is not there.
BROKEN: Final = "import nothing_of_this_name\n\napp = None\n"


def said(*arguments: str) -> tuple[int, str]:
    """Run the command in this process; give its exit code and what it printed, without a frame around it."""
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, click.unstyle(result.output)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to start the command in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_it_tells_its_version() -> None:
    """``--version`` prints name and version."""
    assert said("--version") == (0, f"openline {VERSION}\n")


def test_without_a_command_it_shows_what_there_is() -> None:
    """Alone, and with ``--help``, it lists its commands."""
    for arguments in ((), ("--help",)):
        _, output = said(*arguments)
        assert "run" in output
        assert "Run an app on uvicorn with the fast wire." in output


def test_run_explains_its_options() -> None:
    """``run --help`` names the app and every option."""
    code, output = said("run", "--help")

    assert code == 0
    for word in ("APP", "main:app", "--host", "--port", "--workers", "--reload", "--log-level", "--no-access-log"):
        assert word in output


@pytest.mark.parametrize(
    ("target", "mistake"),
    [
        ("main", 'Import string "main" must be in format "<module>:<attribute>".'),
        ("nowhere:app", 'Could not import module "nowhere".'),
        ("nowhere.main:app", 'Could not import module "nowhere".'),
        ("tests.servers.login:app", 'Attribute "app" not found in module "tests.servers.login".'),
        ("tests.servers.program:SECRET", "tests.servers.program:SECRET is a str, not an app."),
    ],
)
def test_what_is_no_app_is_told_as_such(here: Path, target: str, mistake: str) -> None:
    """The message names what is missing, no server is started, and there is no traceback."""
    code, output = said("run", target)

    assert code == 2
    assert "APP" in output
    assert mistake in output


def test_a_module_of_the_app_that_is_missing_shows_where_it_is_imported(here: Path) -> None:
    """The app is there and cannot be imported: that is the app's fault, and its traceback stays."""
    (here / "broken_main.py").write_text(BROKEN)

    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        said("run", "broken_main:app")


def test_an_unknown_log_level_is_refused_with_those_that_are_known() -> None:
    """The message lists the levels."""
    code, output = said("run", "main:app", "--log-level", "silly")

    assert code == 2
    assert "'silly' is none of critical, error, warning, info, debug, trace" in output


def test_a_process_that_reloads_is_the_only_one(here: Path) -> None:
    """Uvicorn would ignore one of the two options and say so in passing."""
    code, output = said("run", "tests.servers.program:app", "--workers", "2", "--reload")

    assert code == 2
    assert "--reload runs one process" in output


def test_run_takes_a_free_port_and_the_fast_wire() -> None:
    """``--port 0``: the address is printed, connections are taken, and nothing is said of a plain wire."""
    server = Server("openline")
    server.stop()

    assert server.port > 0
    assert "plain wire" not in server.log


def test_run_puts_a_bound_on_what_comes_before_a_request_is_whole() -> None:
    """Uvicorn alone would read headers without an end, and wait for the end of half a request."""
    server = Server("openline")
    with socket.create_connection(("127.0.0.1", server.port), START_SECONDS) as connection:
        try:
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000)
            left = connection.recv(1)
        except ConnectionError:
            left = b""
    server.stop()

    assert left == b""


def test_a_taken_port_is_an_error_that_names_it() -> None:
    """The second server on a port ends at once with a message."""
    first = Server("openline")
    second = start_python(("openline.cli", "run", APP, "--port", str(first.port)))
    try:
        output, _ = second.communicate(timeout=START_SECONDS)
    finally:
        second.kill()
        first.stop()

    assert second.returncode != 0
    assert str(first.port) in output
    assert "Traceback" not in output
