"""A port that stays its owner's while nobody listens on it.

A server that was killed comes back on the port it had, and meanwhile nobody else may get it: another program could ask
the system for a port, and a client that tries to reconnect again and again could even be given the very port it calls
as its own, and then talk to itself. A socket that is bound and does not listen keeps both away, and refuses whoever
calls; the server can bind the port beside it, since both say SO_REUSEADDR.
"""

from __future__ import annotations

import socket
import sys
from typing import final


@final
class HeldPort:
    """A port of 127.0.0.1 that the system chose; nobody else gets it until `close`.

    Attributes:
        number: the port.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if sys.platform != "linux":
            self._socket.close()  # other systems do not let the server bind beside it

    def close(self) -> None:
        """Give the port back; the second time is nothing."""
        self._socket.close()
