"""The script behind what is said of patches: it runs, and shows that small changes are small."""

from __future__ import annotations

import pytest

from bench import deltas


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each change, with sizes; what has nothing in common is whole. No time is tested."""
    monkeypatch.setattr(deltas, "SIZES", (22,))
    deltas.main()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["change", "bytes", "patch", "µs"]
    table = {line[:36].strip(): line[36:].split()[:2] for line in lines}
    size, patch = table["one number"]
    assert int(patch) < int(size) / 20
    assert table["all of it"][1] == "whole"
