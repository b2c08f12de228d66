"""Openline as it was: its sources at a commit, out of git."""

from __future__ import annotations

import io
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.running import ROOT, Failed


@contextmanager
def exported(ref: str, repository: Path = ROOT) -> Iterator[Path]:
    """Have the sources of a commit in a folder until the block ends, without what is built of them.

    Args:
        ref: whatever git takes for a commit.
    Returns:
        What belongs on Python's path.
    Raises:
        Failed: git knows no such commit, or it has no `src`.
    """
    command = ["git", "-C", str(repository), "archive", "--format=zip", ref, "src"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise Failed(f"git has no sources at {ref}: {done.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory(prefix="openline-bench-") as folder:
        with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
            archive.extractall(folder)
        yield Path(folder) / "src"
