"""The scenarios of the JavaScript SDK, in its JSON and its Protobuf mode, on every server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers.program import SECRET
from tests.servers.server import Server

HERE = Path(__file__).parent
SUITE_SECONDS = 60

#: Every scenario, as its file declares it.
SCENARIOS = [
    name for file in sorted(HERE.glob("*.mjs")) for name in re.findall(r'^  scenario\("(.+)",', file.read_text(), re.M)
]

Outcome = dict[str, Any]


@pytest.fixture(scope="session", params=["json", "protobuf"])
def outcomes(request: pytest.FixtureRequest, running: Server) -> dict[str, Outcome]:
    """Run the whole suite once against a server in one mode; give each scenario's outcome by its name."""
    node = shutil.which("node")
    assert node is not None, "no node here: `make test` asks for Node 20 or newer"
    environment = {
        "OPENLINE_TEST_CODEC": request.param,
        "OPENLINE_TEST_SECRET": SECRET,
        "OPENLINE_TEST_SERVER": running.http,
    }
    done = subprocess.run(
        [node, "--test", "--test-reporter=./reporter.mjs", "suite.test.mjs"],
        cwd=HERE,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=SUITE_SECONDS,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["name"]: line for line in lines if "name" in line}
    assert found.keys() >= set(SCENARIOS), f"node did not run all of it:\n{done.stdout}\n{done.stderr}"
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(outcomes: dict[str, Outcome], server: Server, scenario: str) -> None:
    """A scenario of the JavaScript SDK passes."""
    assert outcomes[scenario]["failure"] is None, outcomes[scenario]["failure"]
    assert not outcomes[scenario]["skipped"]
