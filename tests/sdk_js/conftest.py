"""The servers of the other suite, for the JavaScript SDK."""

from __future__ import annotations

from tests.servers.conftest import running

__all__ = ["running"]
