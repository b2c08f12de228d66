"""Runs the suite against the servers of `tests.wires.echo`, tells what it found, and fails if a case has failed.

    python -m tests.autobahn                                 # everything: an hour, most of it the suite's own work
    python -m tests.autobahn --cases '1.*' '6.*' --server route

PYTHON2 names the Python 2.7, --suite the folder its packages were installed to; `make autobahn` sees to both.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple

from openline.uvicorn import WebSocketProtocol
from tests.autobahn.report import Case, failures, read, told
from tests.wires.echo import app
from tests.wires.servers import uvicorn_server

#: The suite hangs for ever if its server stops in the middle of a case; this is several times what it needs.
LIMIT_SECONDS: Final = 3600

#: Of the suite's largest message.
MESSAGE_BYTES: Final = 16 << 20

#: Cases whose messages are binary, and those that ask for compression.
BINARY: Final = ("1.2.*", "9.2.*", "9.4.*", "9.6.*", "9.8.*")
COMPRESSED: Final = ("12.*", "13.*")
COMPRESSED_BINARY: Final = ("12.2.*", "12.3.*", "12.5.*")
#: Cases of a client that insists on a window of 512 bytes: a hub compresses once for all, and not for such a one.
SMALL_WINDOW: Final = ("13.3.*", "13.5.*")

#: The package is one of implicit relative imports and of namespace packages, hence the folder of a site.
RUN_SUITE: Final = "import site, sys; site.addsitedir(sys.argv.pop(1)); import autobahntestsuite.wstest as w; w.run()"


class Tested(NamedTuple):
    """A server under the suite. A hub's line sends back only one kind of message, so it gets the cases of that kind."""

    name: str
    path: str
    cases: Sequence[str] = ("*",)
    excluded: Sequence[str] = ()

    def wanted(self, patterns: Sequence[str]) -> list[str]:
        """Give the patterns of its own cases that are among those asked for."""
        both = [(own, asked) for own in self.cases for asked in patterns]
        narrower = [
            own if fnmatch(own, asked) else asked for own, asked in both if fnmatch(own, asked) or fnmatch(asked, own)
        ]
        return [one for one in narrower if not any(fnmatch(one, other) for other in self.excluded)]


SERVERS: Final = (
    Tested("route", "/route"),
    Tested("json", "/json/plain", excluded=(*BINARY, *COMPRESSED)),
    Tested("json-compressed", "/json/compressed", excluded=(*BINARY, *COMPRESSED_BINARY, *SMALL_WINDOW)),
    Tested("protobuf", "/protobuf/plain", BINARY),
    Tested("protobuf-compressed", "/protobuf/compressed", (*BINARY, *COMPRESSED_BINARY)),
)


class NotRun(Exception):
    """The suite did not come to its end."""


def run(tested: Tested, port: int, cases: Sequence[str], suite: Path, reports: Path) -> list[Case]:
    """Run the suite against one server.

    Args:
        tested: the server.
        port: where it listens.
        cases: patterns of case numbers, at least one that is not excluded.
        suite: where the packages are.
        reports: the folder for everything that is written; its `index.html` is for people.

    Raises:
        NotRun: it ended early, or not at all.
    """
    reports.mkdir(parents=True, exist_ok=True)
    specification = reports / "specification.json"
    index = reports / "index.json"
    index.unlink(missing_ok=True)
    server = {"agent": tested.name, "url": f"ws://127.0.0.1:{port}{tested.path}"}
    wanted = {"cases": cases, "exclude-cases": tested.excluded, "exclude-agent-cases": {}}
    specification.write_text(json.dumps({"outdir": str(reports), "servers": [server], **wanted}))
    python = os.environ.get("PYTHON2", "python2.7")
    arguments = ["-m", "fuzzingclient", "-s", str(specification)]
    with (reports / "suite.log").open("w+") as log:
        try:
            done = subprocess.run(
                [python, "-W", "ignore", "-c", RUN_SUITE, str(suite), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise NotRun(f"the suite is not through after {LIMIT_SECONDS} seconds: see {log.name}") from error
        log.seek(0)
        announced = re.search(r"will run (\d+) test cases", log.read())
    if done.returncode or announced is None or not index.exists():
        raise NotRun(f"the suite ended with {done.returncode}: see {log.name}")
    found = read(index)
    if len(found) != int(announced[1]):
        raise NotRun(f"the suite ran {len(found)} of {announced[1]} cases: see {log.name}")
    return found


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make autobahn", description="Run the Autobahn suite against the fast wire.")
    names = [tested.name for tested in SERVERS]
    parser.add_argument("--server", nargs="+", choices=names, default=names, help="only these")
    parser.add_argument("--cases", nargs="+", default=["*"], metavar="PATTERN", help="only these: 6.* or 9.1.1")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop", help="of the server")
    parser.add_argument("--suite", type=Path, default=Path(".autobahn/packages"), help="where its packages are")
    parser.add_argument("--reports", type=Path, default=Path(".autobahn/reports"), help="where its reports go")
    asked = parser.parse_args()

    found: list[Case] = []
    options = {"ws": WebSocketProtocol, "ws_max_size": MESSAGE_BYTES, "ws_per_message_deflate": True}
    with uvicorn_server(app(MESSAGE_BYTES), loop=asked.loop, access_log=False, **options) as served:
        for tested in SERVERS:
            wanted = tested.wanted(asked.cases)
            if tested.name not in asked.server or not wanted:
                continue
            start = time.monotonic()
            print(f"{tested.name}: …", end=" ", flush=True)
            cases = run(tested, served.port, wanted, asked.suite, (asked.reports / tested.name).absolute())
            print(f"{len(cases)} cases in {time.monotonic() - start:.0f} seconds", flush=True)
            found += cases
    print(*told(found), sep="\n")
    failed = failures(found)
    print(f"{len(found) - failed} passed, {failed} failed")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotRun, OSError) as error:
        sys.exit(f"make autobahn: {error}")
