"""What the commands leave in this process."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _clean(logging_as_it_was: None) -> None:
    """They set up logging."""
