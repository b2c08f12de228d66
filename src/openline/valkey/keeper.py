"""The keeper of an embedded server: a small process beside the app's workers. It alone starts and ends the server.

It is run by its path, ``python -I -S keeper.py folder sockets program``, and knows nothing but the standard library.

Everything it has to know the kernel says, so that no `kill -9`, whoever it hits, leaves a wrong note behind:

1. There is one keeper for a folder: it holds the lock of the file ``lock`` for as long as it lives.
2. A user is a connection to its socket. One who dies hangs up; nobody counts.
3. No two servers write to a folder: each holds the lock of the file ``data.lock`` for as long as it lives. It got the
   lock with the open file, from the keeper, which has let go of it.
4. The server is ended by a signal only while it is a child that was not waited for, so its number is still its own. One
   that another keeper left behind is asked to end, over its own socket.
5. Where the system can do that (Linux), the server ends with its keeper.

A user hears ``ready`` once the server answers, or ``failed`` and why, and says ``bye``. After the last farewell the
server is ended, and then the keeper hangs up. If the last one only hung up, somebody has a moment to adopt the server.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

if sys.platform != "win32":  # where nothing of this runs, but may be asked for
    import fcntl

#: How the process ends at once if there is a keeper already.
BUSY: Final = 75

CONTROL: Final = "keeper.sock"  #: where users are heard
SERVER: Final = "valkey.sock"  #: where the server is

#: Seconds that a server without users waits for one: a worker that was killed is replaced in less.
ORPHAN_SECONDS: Final = 5.0
#: Seconds that a server has to end by itself.
STOP_SECONDS: Final = 10.0
#: Seconds between two questions to a server that begins, or that has to end.
ASKING_SECONDS: Final = 0.02
#: Seconds before a server that ended is started again: after the second start in a row, and at most.
RETRY_SECONDS: Final = (0.1, 5.0)
#: A server that ran this long and ended is started again at once.
STEADY_SECONDS: Final = 10.0
#: A server that begins and ends this often, and never answers, is given up.
MOST_TRIES: Final = 5
#: What the log of the server may grow to before the next one begins a new log.
LOG_BYTES: Final = 1_048_576

_PR_SET_PDEATHSIG: Final = 1


def dying_with_parent() -> Callable[[], object] | None:
    """Give what a child calls to be ended with its parent, where the system can do that."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes  # noqa: PLC0415  # not every Python has it

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def is_private(folder: Path) -> bool:
    """Say whether a folder belongs to this user, and nobody else may enter it.

    Raises:
        OSError: it is not there.
    """
    state = folder.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o077


def locked(path: Path) -> int:
    """Lock a file; give its descriptor.

    Raises:
        BlockingIOError: another process has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@final
class Server:
    """The `valkey-server` of a folder.

    Args:
        folder: what it keeps is in there.
        path: its socket.
        program: the file to run.
    """

    def __init__(self, folder: Path, path: Path, program: str) -> None:
        self._folder = folder
        self._path = path
        self._program = program
        self._dies_with_me = dying_with_parent()
        self._keeper = 0
        self._child = 0

    @property
    def command(self) -> list[str]:
        """What is run."""
        options = {
            "port": "0",
            "unixsocket": str(self._path),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "daemonize": "no",
            "logfile": str(self._folder / "valkey.log"),
        }
        return [self._program, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def start(self) -> None:
        """Start it.

        Raises:
            BlockingIOError: one that an earlier keeper started has not ended yet; it was asked to.
            OSError: there is no process to be had.
        """
        try:
            lock = locked(self._folder / "data.lock")
        except BlockingIOError:
            self._say(b"SHUTDOWN\r\n")
            raise
        log = self._folder / "valkey.log"
        with contextlib.suppress(OSError):
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
        self._path.unlink(missing_ok=True)
        try:
            self._keeper = os.getpid()
            self._child = os.fork()
            if not self._child:
                self._become(lock)
        finally:
            os.close(lock)

    def _become(self, lock: int) -> None:
        """Be the server, in the child."""
        try:
            os.set_inheritable(lock, True)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            if self._dies_with_me is not None:
                self._dies_with_me()
                if os.getppid() != self._keeper:  # it ended just before
                    os._exit(1)
            os.execv(self._program, self.command)  # noqa: S606  # no shell is wanted
        finally:
            os._exit(127)

    def has_ended(self) -> bool:
        """Say whether it does not run."""
        if self._child and os.waitpid(self._child, os.WNOHANG)[0]:
            self._child = 0
        return not self._child

    def answers(self) -> bool:
        """Say whether it takes commands."""
        return self._say(b"PING\r\n") == b"+PONG\r\n"

    def _say(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(0.2)
            try:
                connection.connect(str(self._path))
                connection.sendall(command)
                return connection.recv(64)
            except OSError:
                return b""

    def stop(self) -> None:
        """End it, by force if it takes too long."""
        deadline = time.monotonic() + STOP_SECONDS
        if not self.has_ended():
            os.kill(self._child, signal.SIGTERM)
        while not self.has_ended():
            if time.monotonic() > deadline:
                os.kill(self._child, signal.SIGKILL)
            time.sleep(ASKING_SECONDS)


@final
class Keeper:
    """Keeps a server for as long as it has users.

    Args:
        server: what is kept.
        listener: where users are heard.
    """

    def __init__(self, server: Server, listener: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._users: set[socket.socket] = set()
        self._leaving: set[socket.socket] = set()  #: said farewell, and are hung up on when all is done
        self._answers = False
        self._tries = 0
        self._tried_at = self._start_at = self._alone_since = time.monotonic()
        self._running = True
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Keep the server until nobody uses it; it has ended then."""
        try:
            while self._running:
                self._look_after_server()
                self._hear()
                if self._users:  # somebody came after the last one's farewell
                    for user in tuple(self._leaving):
                        self._forget(user)
                elif self._leaving or time.monotonic() - self._alone_since > ORPHAN_SECONDS:
                    self._running = False
        finally:
            self._server.stop()

    # --- the server -----------------------------------------------------------------------------------------------

    def _look_after_server(self) -> None:
        if not self._server.has_ended():
            if not self._answers and self._server.answers():
                self._answers = True
                self._tell(b"ready\n")
            return
        now = time.monotonic()
        if self._answers:  # until just now
            self._answers = False
            if now - self._tried_at > STEADY_SECONDS:
                self._tries, self._start_at = 0, now
        if now >= self._start_at:
            self._start_server(now)

    def _start_server(self, now: float) -> None:
        if self._tries >= MOST_TRIES:
            self._give_up("it ends again and again; valkey.log says why")
            return
        try:
            self._server.start()
        except BlockingIOError:
            self._start_at = now + ASKING_SECONDS
            if now - self._tried_at > STOP_SECONDS:
                self._give_up("one that was left behind has its data and does not end")
        except OSError as error:
            self._give_up(str(error))
        else:
            least, most = RETRY_SECONDS
            self._tried_at, self._start_at = now, now + min(least * 2**self._tries, most)
            self._tries += 1

    def _give_up(self, reason: str) -> None:
        self._tell(f"failed {reason}\n".encode())
        self._running = False

    # --- its users ------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Wait until there is something to do, and hear what users say."""
        watched = [self._listener, self._woken, *self._users, *self._leaving]
        for readable in select.select(watched, (), (), self._patience())[0]:
            if readable is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            elif readable is self._listener:
                self._welcome()
            else:
                self._listen_to(readable)

    def _patience(self) -> float | None:
        """Say for how long there is nothing to do by itself; None for ever."""
        if not self._answers:
            return ASKING_SECONDS
        return None if self._users else 0.1

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):  # it may have hung up already
            user, _ = self._listener.accept()
            user.setblocking(False)
            self._users.add(user)
            if self._answers:
                self._tell_one(user, b"ready\n")

    def _listen_to(self, user: socket.socket) -> None:
        try:
            said = user.recv(64)
        except OSError:
            said = b""
        if not said:
            self._forget(user)
        elif user in self._users:
            self._users.discard(user)
            if self._users:
                user.close()
            else:
                self._leaving.add(user)

    def _forget(self, user: socket.socket) -> None:
        self._users.discard(user)
        self._leaving.discard(user)
        user.close()
        if not self._users:
            self._alone_since = time.monotonic()

    def _tell(self, word: bytes) -> None:
        for user in tuple(self._users):
            self._tell_one(user, word)

    def _tell_one(self, user: socket.socket, word: bytes) -> None:
        try:
            user.sendall(word)
        except OSError:
            self._forget(user)


def listen(path: Path) -> socket.socket:
    """Listen on a socket; whoever holds the lock may do that.

    Raises:
        OSError: it cannot be made.
        PermissionError: others could make one of the same name.
    """
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if not is_private(path.parent):
        raise PermissionError(f"others may enter {path.parent}")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def _leave_terminal(log: Path) -> None:
    """Go into the background: no session, and no output but a log, is shared with whoever started this."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.close(output)


def main(arguments: Sequence[str]) -> int:
    """Become the keeper, in the background; the process that was started ends once users are heard.

    Args:
        arguments: the folder, the folder of the sockets, and the server's program.
    Returns:
        `BUSY` if there is a keeper. Else it ends with 0.
    """
    folder, sockets, program = Path(arguments[0]), Path(arguments[1]), arguments[2]
    os.umask(0o077)
    os.chdir(folder)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Whoever ends everything at once, as a service manager does, ends the users too. They decide.
        signal.signal(number, signal.SIG_IGN)
    try:
        locked(folder / "lock")  # kept open, so held, until this process ends
    except BlockingIOError:
        return BUSY
    listener = listen(sockets / CONTROL)
    if os.fork():
        os._exit(0)
    _leave_terminal(folder / "keeper.log")
    kept = Keeper(Server(folder, sockets / SERVER, program), listener)
    kept.run()
    for name in (CONTROL, SERVER):
        (sockets / name).unlink(missing_ok=True)
    if sockets != folder:
        sockets.rmdir()
    # The system hangs up on those who wait, and lets go of the lock: nothing is left when they hear of it.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
