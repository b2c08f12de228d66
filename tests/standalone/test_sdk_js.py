"""The released JavaScript SDK on the standalone server: `scenarios.test.mjs`, on each wire, in JSON and Protobuf."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.servers.program import SECRET
from tests.servers.server import Server

HERE: Final = Path(__file__).parent
SUITE_SECONDS: Final = 50

#: Every scenario, as the file declares it.
SCENARIOS: Final = re.findall(r'(?m)^  scenario\("(.+)",', (HERE / "scenarios.test.mjs").read_text())

#: Events are text: the SDK speaks no Protobuf there.
MODES: Final = [
    ("websocket", "json"),
    ("websocket", "protobuf"),
    ("http_stream", "json"),
    ("http_stream", "protobuf"),
    ("sse", "json"),
]


@pytest.fixture(scope="module", params=MODES, ids="-".join)
def failures(request: pytest.FixtureRequest, standalone: Server) -> dict[str, str | None]:
    """Run all scenarios in one mode; give what came of each, None for one that passed."""
    transport, codec = request.param
    node = shutil.which("node")
    assert node is not None, "no node here: `make test` asks for Node 20 or newer"
    environment = {
        "OPENLINE_TEST_CODEC": codec,
        "OPENLINE_TEST_TRANSPORT": transport,
        "OPENLINE_TEST_SECRET": SECRET,
        "OPENLINE_TEST_SERVER": standalone.http,
    }
    done = subprocess.run(
        [node, "--test", "--test-reporter=../sdk_js/reporter.mjs", "scenarios.test.mjs"],
        cwd=HERE,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=SUITE_SECONDS,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    found = {outcome["name"]: outcome["failure"] for outcome in told if "name" in outcome}
    assert found.keys() >= set(SCENARIOS), f"node did not run all of them:\n{done.stdout}\n{done.stderr}"
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(failures: dict[str, str | None], server: Server, scenario: str) -> None:
    """A scenario of the JavaScript SDK passes."""
    failure = failures[scenario]
    if failure is not None:
        pytest.fail(failure, pytrace=False)
