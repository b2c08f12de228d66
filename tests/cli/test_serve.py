"""`openline serve`: it starts, says where, ends in order, and tells what is wrong with its settings."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.cli.test_commands import said
from tests.servers.server import START_SECONDS, STOP_SECONDS, Server, start_python

OPEN = "[server]\nport = 0\n[auth]\nanonymous = true\n[[channels]]\npattern = 'a'\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to start the command in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Server]:
    """A running server that lets everybody in."""
    file = tmp_path / "openline.toml"
    file.write_text(OPEN)
    server = Server("serve", "--config", str(file))
    yield server
    server.kill()


def ended(*arguments: str) -> tuple[int, str]:
    """Run the command in a process of its own, to its end."""
    process = start_python(("openline.cli", "serve", *arguments))
    try:
        output, _ = process.communicate(timeout=START_SECONDS)
    finally:
        process.kill()
    return process.returncode, output


# --- starting ---------------------------------------------------------------------------------------------------------


def test_it_serves_on_the_fast_wire_and_says_where(serve: Server) -> None:
    """Connections are taken at the printed address, and nothing is said of a plain wire."""
    assert httpx2.get(f"{serve.http}/health", trust_env=False).json() == {"problems": []}
    with connect(serve.websocket(), proxy=None) as line:
        line.send('{"id":1,"connect":{}}')
        assert "connect" in json.loads(line.recv(START_SECONDS))
    assert "plain wire" not in serve.log


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_localhost_is_both_loopbacks(tmp_path: Path) -> None:
    """On one port, and both are printed."""
    file = tmp_path / "openline.toml"
    file.write_text(OPEN.replace("port = 0", "port = 0\nhost = 'localhost'"))
    server = Server("serve", "--config", str(file))
    try:
        for host in ("127.0.0.1", "[::1]"):
            assert f"http://{host}:{server.port}" in server.log
            assert httpx2.get(f"http://{host}:{server.port}/health", trust_env=False).status_code == 200
    finally:
        server.stop()


def test_clients_are_told_to_come_back_as_it_ends(serve: Server) -> None:
    """SIGTERM: 3001 to each, and an end without a trace of trouble."""
    with connect(serve.websocket(), proxy=None) as line:
        line.send('{"id":1,"connect":{}}')
        line.recv(START_SECONDS)

        serve.terminate()

        with pytest.raises(ConnectionClosed) as closed:
            line.recv(STOP_SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 3001
    assert serve.ended_within(STOP_SECONDS)
    assert "Traceback" not in serve.log


def test_the_usual_file_is_read_where_none_is_named(here: Path) -> None:
    """``openline.toml`` in the folder it is started in."""
    (here / "openline.toml").write_text(OPEN)

    assert said("serve", "--check") == (0, "openline.toml: the settings can be used\n")


def test_without_a_file_all_is_in_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container."""
    monkeypatch.setenv("OPENLINE_AUTH__HMAC_SECRET", "thirty-two bytes that nobody can guess")
    monkeypatch.setenv("OPENLINE_CHANNELS", '[{ pattern = "a" }]')

    assert said("serve", "--check") == (0, "environment: the settings can be used\n")


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_mistakes_are_told_before_anything_starts(here: Path, check: tuple[str, ...]) -> None:
    """Each on a line, with file and key; exit code 2 and no traceback."""
    (here / "a.toml").write_text("[server]\nprot = 1\n[[channels]]\npattern = 'a'\npublish = 'perhaps'\n")

    code, output = said("serve", "--config", "a.toml", *check)

    assert code == 2
    assert output.splitlines() == [
        "openline serve: a.toml: server.prot: there is no such key; did you mean port?",
        'openline serve: a.toml: channels "a" publish: it should be true or false',
    ]


def test_settings_that_exclude_each_other_are_told_the_same_way(here: Path) -> None:
    """They are found as the hub is made."""
    (here / "openline.toml").write_text("[[channels]]\npattern = 'a'\n")

    code, output = said("serve")

    assert code == 2
    assert output.startswith("openline serve: openline.toml: auth: nobody could connect: ")


def test_a_file_that_is_not_there_is_told(here: Path) -> None:
    """It was named: the environment alone is not what was meant."""
    code, output = said("serve", "--config", "nowhere.toml")

    assert (code, output) == (2, "openline serve: nowhere.toml: cannot be read: No such file or directory\n")


def test_a_taken_port_is_told(serve: Server, tmp_path: Path) -> None:
    """With its number."""
    file = tmp_path / "second.toml"
    file.write_text(OPEN.replace("port = 0", f"port = {serve.port}"))

    code, output = ended("--config", str(file))

    assert code == 2
    assert f"second.toml: server: cannot listen on 127.0.0.1, port {serve.port}: " in output
    assert "Traceback" not in output


def test_a_server_that_cannot_start_says_so_by_its_exit(tmp_path: Path) -> None:
    """Its engine is not there: the log says why."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    file = tmp_path / "openline.toml"
    file.write_text(OPEN.replace("port = 0", f"port = 0\nbroker = 'valkey://127.0.0.1:{port}'"))

    code, output = ended("--config", str(file))

    assert code == 3
    assert str(port) in output
