"""The testing kit: a client in the test's own process, a clock that stands still, and contract suites for engines."""

from openline.testing.client import Client, Closed, HandshakeRefused, Refused, connect, line, started
from openline.testing.clock import VirtualClock

__all__ = ["Client", "Closed", "HandshakeRefused", "Refused", "VirtualClock", "connect", "line", "started"]
