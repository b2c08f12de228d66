"""The testing kit: a client in the test's own process, a clock that stands still, and contract suites for engines."""

from openline.testing.brokers import BROKER_CHECKS, BrokerNodes, check_broker
from openline.testing.client import Client, Closed, HandshakeRefused, Refused
from openline.testing.clock import VirtualClock
from openline.testing.contract import Check, ContractBroken
from openline.testing.line import connect, line, started
from openline.testing.presence import PRESENCE_CHECKS, PresenceNodes, check_presence

__all__ = [
    "BROKER_CHECKS",
    "PRESENCE_CHECKS",
    "BrokerNodes",
    "Check",
    "Client",
    "Closed",
    "ContractBroken",
    "HandshakeRefused",
    "PresenceNodes",
    "Refused",
    "VirtualClock",
    "check_broker",
    "check_presence",
    "connect",
    "line",
    "started",
]
