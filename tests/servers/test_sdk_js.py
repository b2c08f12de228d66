"""The scenarios of the released JavaScript SDK, on each of its wires in JSON and Protobuf, on every server.

Node's own test runner plays them; each is reported here as a test of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.servers.program import SECRET
from tests.servers.server import ROOT, Server

FOLDER = ROOT / "tests" / "sdk_js"
SUITE_SECONDS = 50

#: Every scenario, as its file declares it.
SCENARIOS = [
    name for file in sorted(FOLDER.glob("*.mjs")) for name in re.findall(r'(?m)^  scenario\("(.+)",', file.read_text())
]


class Suite(NamedTuple):
    """What came of one run of all scenarios."""

    failures: dict[str, str | None]  #: by scenario; None for one that passed
    log: str  #: what the server said meanwhile


#: Events are text: the SDK speaks no Protobuf there.
MODES = [
    ("websocket", "json"),
    ("websocket", "protobuf"),
    ("http_stream", "json"),
    ("http_stream", "protobuf"),
    ("sse", "json"),
]


@pytest.fixture(scope="module", params=MODES, ids="-".join)
def suite(request: pytest.FixtureRequest, running: Server) -> Suite:
    """Run all scenarios, once against each server in each mode."""
    transport, codec = request.param
    node = shutil.which("node")
    assert node is not None, "no node here: `make test` asks for Node 20 or newer"
    environment = {
        "OPENLINE_TEST_CODEC": codec,
        "OPENLINE_TEST_TRANSPORT": transport,
        "OPENLINE_TEST_SECRET": SECRET,
        "OPENLINE_TEST_SERVER": running.http,
    }
    before = len(running.log)
    done = subprocess.run(
        [node, "--test", "--test-reporter=./reporter.mjs", "suite.test.mjs"],
        cwd=FOLDER,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=SUITE_SECONDS,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    failures = {outcome["name"]: outcome["failure"] for outcome in told if "name" in outcome}
    assert failures.keys() >= set(SCENARIOS), f"node did not run all of them:\n{done.stdout}\n{done.stderr}"
    return Suite(failures, running.log[before:])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(suite: Suite, scenario: str) -> None:
    """A scenario of the JavaScript SDK passes."""
    failure = suite.failures[scenario]
    if failure is not None:
        sys.stdout.write(suite.log)
        pytest.fail(failure, pytrace=False)
