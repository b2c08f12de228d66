"""The socket below a transport, borrowed for sending.

A transport's `write` keeps buffers, limits and a queue of its own for the case that the kernel does not take everything
at once. Nearly always it does, and then all of that is a fifth on top of what a `send` costs (`bench/calls.py`). So the
fast wire sends first, and gives the transport only what the kernel did not take.

Invariants of this file:

1. A borrowed socket never closes the descriptor: that is the transport's, whatever becomes of the borrower.
2. It is given back before the transport closes the descriptor. Else the number could belong to another connection by
   then, which would be sent what was not meant for it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import final


@final
class BorrowedSocket(socket.SocketType):
    """A socket object on a descriptor that belongs to another."""

    __slots__ = ()

    def __del__(self) -> None:
        """Let go of the descriptor, where the base class would close it."""
        self.detach()


def borrow(transport: asyncio.BaseTransport) -> BorrowedSocket | None:
    """Borrow the socket of a transport that puts bytes on it as they are; None where it does not, as under TLS.

    Give it back with `detach`: nothing may be sent once the transport is told to close, or has said that it is lost.
    """
    below = transport.get_extra_info("socket")
    if below is None or os.name != "posix" or transport.get_extra_info("sslcontext") is not None:
        return None
    borrowed = BorrowedSocket(below.family, below.type, below.proto, fileno=below.fileno())
    borrowed.settimeout(0)  # whatever default an app has set: a send here never waits
    return borrowed
