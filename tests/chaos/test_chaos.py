"""A short run of the chaos suite: a node is killed, and Valkey is killed and started again, under a small load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.node import ROOT

#: Several times what it needs.
LIMIT_SECONDS = 110


@pytest.mark.timeout(LIMIT_SECONDS + 10)
@pytest.mark.parametrize("fault", ["node-killed", "valkey-killed"])
def test_nothing_is_lost_when_something_is_killed(fault: str, tmp_path: Path) -> None:
    """Nor repeated, nor out of order; nobody is told otherwise, presence is right, and no node logs a fault."""
    table = tmp_path / "table.json"
    options = ["--only", fault, "--subscribers", "20", "--seconds", "2", "--json", table, "--logs", tmp_path]
    run = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    (row,) = json.loads(table.read_text())
    assert row["messages"] > 20
    assert row["subscribers"] == 20
    told = {name: row[name] for name in ("lost", "repeated", "out of order", "told", "ghosts", "problems")}
    assert told == {"lost": 0, "repeated": 0, "out of order": 0, "told": 0, "ghosts": 0, "problems": []}
