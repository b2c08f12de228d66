"""Where a session is in its life."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """The states of a session, in their order; REFUSED and CONNECTED exclude each other."""

    OPENED = enum.auto()  #: waiting for connect
    CONNECTING = enum.auto()  #: connect is being decided
    REFUSED = enum.auto()  #: connect was refused; waiting for the client to go
    CONNECTED = enum.auto()
    ENDED = enum.auto()
