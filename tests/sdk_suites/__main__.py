"""Runs the suites and tells what came of them; fails if a test of them has failed.

    python -m tests.sdk_suites                              # that of Python, and that of JavaScript where it was copied
    python -m tests.sdk_suites --suite python

`scripts/sdk-suites.sh` fetches the one and copies the other into the folder; `make sdk-suites` sees to both. The suites
want port 8000, on 127.0.0.1 and on ::1: they say ``localhost``.
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
from pathlib import Path
from typing import Final, NamedTuple

from tests.servers.server import Server

HERE: Final = Path(__file__).parent

#: A suite that waits for what does not come ends itself after some minutes.
LIMIT_SECONDS: Final = 900

#: Tests of map subscriptions and of shared poll, which the protocol marks as experimental: by file, and by name.
EXPERIMENTAL_FILES: Final = (r"/map\.", r"/shared_poll\.")
EXPERIMENTAL_NAMES: Final = r"^(?!map[ :])"


class Outcome(NamedTuple):
    """What came of one suite."""

    version: str
    passed: int
    failed: Sequence[str]  #: the names of those
    left_out: int  #: by name, here or by the suite itself


class NotRun(Exception):
    """A suite did not come to its end."""


def run_python(folder: Path) -> Outcome:
    """Run every test of centrifuge-python's source distribution."""
    (suite,) = folder.glob("centrifuge_python-*/")
    # Its own package is found before the one that is installed here: it is started in its folder.
    output = run(
        [sys.executable, "-m", "unittest", "discover", "-v", "-s", "tests", "-t", "."], suite, folder / "python"
    )
    ran = re.search(r"^Ran (\d+) tests in ", output, re.MULTILINE)
    if ran is None:
        raise NotRun(f"the suite of Python did not come to its end: see {folder / 'python.log'}")
    failed = list(dict.fromkeys(re.findall(r"^(?:FAIL|ERROR): (.*)$", output, re.MULTILINE)))
    left_out = len(re.findall(r"\.\.\. skipped ", output))
    version = suite.name.partition("-")[2]
    return Outcome(f"centrifuge-python {version}", int(ran[1]) - len(failed) - left_out, failed, left_out)


def run_js(folder: Path) -> Outcome:
    """Run the tests of a checkout of centrifuge-js, save those of what is experimental."""
    suite, report = folder / "js", folder / "js.json"
    report.unlink(missing_ok=True)
    jest = ["node", "node_modules/jest/bin/jest.js", "--runInBand", "--json", f"--outputFile={report.absolute()}"]
    choice = ["--testPathIgnorePatterns", *EXPERIMENTAL_FILES, "--testNamePattern", EXPERIMENTAL_NAMES]
    run([*jest, *choice], suite, folder / "js")
    if not report.exists():
        raise NotRun(f"the suite of JavaScript did not come to its end: see {folder / 'js.log'}")
    results = json.loads(report.read_text())
    tests = [test for file in results["testResults"] for test in file["assertionResults"]]
    failed = [test["fullName"] for test in tests if test["status"] == "failed"]
    # A file that cannot even be read has no tests, and a message.
    failed += [
        file["name"] for file in results["testResults"] if file["status"] == "failed" and not file["assertionResults"]
    ]
    passed = sum(test["status"] == "passed" for test in tests)
    package = json.loads((suite / "package.json").read_text())
    revision = (folder / "js.revision").read_text().strip()
    return Outcome(
        f"centrifuge-js {package['version']} ({revision})", passed, failed, len(tests) - passed - len(failed)
    )


def run(command: Sequence[str], suite: Path, log: Path) -> str:
    """Run a suite in its folder, beside a server with the settings it asks for; give what it printed.

    Args:
        command: that runs it.
        suite: its folder.
        log: without its suffix: beside ``.log``, ``-server.log`` is written.
    """
    server = Server("serve", "--config", str(HERE / f"{log.name}.toml"))
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    try:
        done = subprocess.run(
            command,
            cwd=suite,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotRun(f"{suite} is not through after {LIMIT_SECONDS} seconds") from error
    finally:
        server.stop()
        log.with_name(f"{log.name}-server.log").write_text(server.log)
    log.with_suffix(".log").write_text(done.stdout)
    return done.stdout


SUITES: Final = {"python": run_python, "js": run_js}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="make sdk-suites", description="Run the suites of SDKs on openline serve.")
    parser.add_argument("--suite", nargs="+", choices=SUITES, default=list(SUITES), help="only these")
    parser.add_argument("--folder", type=Path, default=Path(".sdk-suites"), help="where they are")
    asked = parser.parse_args()

    failures = 0
    for name in asked.suite:
        if name == "js" and not (asked.folder / "js").exists():
            print("js: left out; SDK_JS=path make sdk-suites runs it from a checkout of centrifuge-js")
            continue
        start = time.monotonic()
        outcome = SUITES[name](asked.folder)
        seconds = time.monotonic() - start
        counts = f"{outcome.passed} passed, {len(outcome.failed)} failed, {outcome.left_out} left out"
        print(f"{outcome.version}: {counts}, in {seconds:.0f} seconds", flush=True)
        print(
            *(f"  failed: {test}" for test in outcome.failed),
            sep="\n" if outcome.failed else "",
            end="\n" if outcome.failed else "",
        )
        failures += len(outcome.failed)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotRun, AssertionError, OSError) as error:
        sys.exit(f"make sdk-suites: {error}")
