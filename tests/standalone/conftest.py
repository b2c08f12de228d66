"""One server for all these tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.servers.program import SECRET
from tests.servers.server import Server

SETTINGS: Final = Path(__file__).with_name("server.toml")


@pytest.fixture(scope="package")
def standalone() -> Iterator[Server]:
    """The server, with the secret from the environment, as in production."""
    variable = "OPENLINE_AUTH__HMAC_SECRET"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, variable, SECRET)
        server = Server("serve", "--config", str(SETTINGS))
    yield server
    server.stop()


@pytest.fixture
def server(standalone: Server) -> Iterator[Server]:
    """The server; what it logs during a test that fails is shown with it."""
    before = len(standalone.log)
    yield standalone
    sys.stdout.write(standalone.log[before:])
