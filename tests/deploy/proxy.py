"""nginx and HAProxy on the files of `deploy/`, word for word but for where things are.

A file is not made for tests: what it says of ports, paths and users is replaced here, each by exact text that has to
stand in it once. Nothing else differs from what a reader of the repository runs.
"""

from __future__ import annotations

import getpass
import grp
import os
import re
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, final

from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess
from tests.wires.certificates import make_certificate

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
_ANSWER_SECONDS: Final = 10


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Replace each text, which has to stand there once, as whole words on a line of its own or in one."""
    for old, new in replacements.items():
        found = re.findall(rf"(?m)(?<![\w/.]){re.escape(old)}(?![\w/])", text)
        assert len(found) == 1, f"{old!r} stands there {len(found)} times, and not once"
        text = re.sub(rf"(?<![\w/.]){re.escape(old)}(?![\w/])", lambda _, new=new: new, text)  # type: ignore[misc]
    return text


class Proxy(ServerProcess):
    """A proxy in front of two nodes.

    Args:
        file: the configuration, in `deploy/`.
        ports: of the two nodes.
    Attributes:
        trusting: a TLS context that trusts its certificate.
    """

    def __init__(self, name: str, file: str, ports: Sequence[int]) -> None:
        super().__init__(name)
        self.file = self.folder / file
        self._plain, self._encrypted = HeldPort(), HeldPort()
        self.certificate, self.key, self.trusting = make_certificate(self.folder)
        source = (DEPLOY / file).read_text()
        self.file.write_text(replaced(source, self._replacements(ports)))

    @abstractmethod
    def _replacements(self, ports: Sequence[int]) -> Mapping[str, str]:
        """What stands in the file, and what this machine has in its place."""

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self._plain.number

    @property
    def http(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def https(self) -> str:
        """Its address, with TLS."""
        return f"https://127.0.0.1:{self._encrypted.number}"

    def close(self) -> None:
        """End it, by force, remove its folder and give its ports back; nothing happens the second time."""
        super().close()
        self._plain.close()
        self._encrypted.close()

    def ask(self, path: str, body: bytes | None = None, *, origin: str = "") -> int:
        """Ask for a path, or post to it; give the status of the answer, 0 for none.

        Args:
            origin: of the page that asks; "" for none.
        """
        request = urllib.request.Request(self.http + path, body, {"Origin": origin} if origin else {})
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def _answers(self) -> bool:
        return self.ask("/state") == 200


@final
class Nginx(Proxy):
    """nginx on `deploy/nginx.conf`."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__("nginx", "nginx.conf", ports)

    def reload(self) -> None:
        """Read the file again, as `nginx -s reload` does: new workers take over, the old ones keep their lines."""
        os.kill(self.pid, signal.SIGHUP)

    def workers(self) -> set[int]:
        """The process ids of its workers, those that are on their way out included."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return {int(child) for child in children.split()}

    def accepting(self) -> set[int]:
        """Those of its workers that take connections."""
        return {pid for pid in self.workers() if "shutting down" not in Path(f"/proc/{pid}/cmdline").read_text()}

    def close(self) -> None:
        """End it with its workers, whom a killed master would leave behind; nothing happens the second time."""
        self.stop()
        super().close()

    def _replacements(self, ports: Sequence[int]) -> Mapping[str, str]:
        folder = self.folder
        return nginx_places(folder) | {
            "127.0.0.1:8001": f"127.0.0.1:{ports[0]}",
            "127.0.0.1:8002": f"127.0.0.1:{ports[1]}",
            "listen 80;": f"listen 127.0.0.1:{self._plain.number};",
            "listen 443 ssl": f"listen 127.0.0.1:{self._encrypted.number} ssl",
            "/etc/ssl/openline/certificate.pem": str(self.certificate),
            "/etc/ssl/openline/key.pem": str(self.key),
        }

    def _command(self) -> Sequence[str | Path]:
        return nginx_command(self.file)


def program(name: str) -> str:
    """Find a proxy, also where it is not in everybody's PATH."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert found is not None, f"no {name} here: `make test` installs it"
    return found


def nginx_places(folder: Path) -> dict[str, str]:
    """What an nginx needs to run from a folder, as whoever runs the tests."""
    kept = "".join(f"    {kind}_temp_path {folder / kind};\n" for kind in _TEMPORARY)
    return {
        "user www-data;": f"user {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name};",
        "worker_rlimit_nofile 65536;": "",
        "worker_connections 16384;": "worker_connections 512;",
        "/run/nginx.pid": str(folder / "nginx.pid"),
        "/var/log/nginx/error.log": str(folder / "log"),
        "/var/log/nginx/access.log": str(folder / "access"),
        "http {\n": "http {\n" + kept,
    }


def nginx_command(file: Path) -> Sequence[str | Path]:
    """The command that runs a file of nginx's, in the foreground. End it by `ServerProcess.stop`."""
    command = (program("nginx"), "-p", file.parent, "-e", file.parent / "log", "-c", file, "-g", "daemon off;")
    if sys.platform == "linux" and (setpriv := shutil.which("setpriv")):
        return (setpriv, "--pdeathsig", "TERM", "--", *command)  # KILL would leave its workers behind
    return command


_TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@final
class HAProxy(Proxy):
    """HAProxy on `deploy/haproxy.cfg`."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__("haproxy", "haproxy.cfg", ports)
        (self.folder / "both.pem").write_bytes(self.certificate.read_bytes() + self.key.read_bytes())

    def say(self, command: str) -> str:
        """Tell it something through its socket; give what it answers."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_ANSWER_SECONDS)
            line.connect(str(self.folder / "admin.sock"))
            line.sendall(command.encode() + b"\n")
            return line.makefile().read()

    def _replacements(self, ports: Sequence[int]) -> Mapping[str, str]:
        here = f"{getpass.getuser()}"
        one, two = (f"127.0.0.1:{port}" for port in ports)
        # Both backends name the nodes; the first is told from the other by the line before.
        servers = "server one 127.0.0.1:8001\n    server two 127.0.0.1:8002"
        return {
            "log /dev/log local0": "log stdout format raw local0",
            "user haproxy": f"user {here}",
            "group haproxy": f"group {grp.getgrgid(os.getgid()).gr_name}",
            "chroot /var/lib/haproxy": f"chroot {self.folder}" if os.geteuid() == 0 else "",
            "stats socket /run/haproxy/admin.sock": f"stats socket {self.folder / 'admin.sock'}",
            "maxconn 20000": "maxconn 500",
            "bind :80": f"bind 127.0.0.1:{self._plain.number}",
            "bind :443": f"bind 127.0.0.1:{self._encrypted.number}",
            "/etc/ssl/openline/both.pem": str(self.folder / "both.pem"),
            f"503\n    default-server check inter 1s fall 2 rise 1\n    {servers}": (
                f"503\n    default-server check inter 1s fall 2 rise 1\n    server one {one}\n    server two {two}"
            ),
            servers: f"server one {one}\n    server two {two}",
        }

    def _command(self) -> Sequence[str | Path]:
        return (program("haproxy"), "-db", "-f", self.file)
