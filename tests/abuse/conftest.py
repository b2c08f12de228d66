"""What no client may bring about: an error in the log, or a traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import final

import h11
import pytest


@final
class Errors(logging.Handler):
    """Remembers what was logged as an error, or with an exception, by whomever.

    Attributes:
        found: the records.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Remember it, if it is one."""
        if (record.levelno >= logging.ERROR or record.exc_info) and not _is_uvicorns_own(record):
            self.found.append(self.format(record))


def _is_uvicorns_own(record: logging.LogRecord) -> bool:
    """Tell whether a record is of a request whose broken body uvicorn has answered before the app has; with h11."""
    return record.exc_info is not None and isinstance(record.exc_info[1], h11.LocalProtocolError)


@pytest.fixture(autouse=True)
def errors() -> Iterator[Errors]:
    """Whatever clients did in a test, nothing that it logged may say that something failed."""
    errors = Errors()
    root = logging.getLogger()
    level = root.level
    root.addHandler(errors)
    root.setLevel(logging.INFO)  # as in production: what is said at that level is made, and might fail
    yield errors
    root.setLevel(level)
    root.removeHandler(errors)
    assert errors.found == []
