"""The sockets a server listens on: one port, on every address it was told."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Final

from openline.errors import UsageError

#: What ``localhost`` stands for, whatever this machine's own list of names says of it.
_LOOPBACK: Final = ("127.0.0.1", "::1")

#: Why one address of a name may be missing here while another is there.
_NOT_HERE: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


class CannotListen(UsageError):
    """A host is not known, or its port cannot be had."""


def listen(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Take one port on every address of these hosts.

    All of them or none: where one cannot be had, those that were taken are let go.

    Args:
        hosts: addresses or names. ``localhost`` is 127.0.0.1 and ::1; of a name with several addresses those count
            that this machine has.
        port: 0 takes a free one, the same on all.
    Returns:
        Bound sockets, in the order of the hosts.
    Raises:
        CannotListen: a host is not known, or its port cannot be had.
    """
    listeners: list[socket.socket] = []
    try:
        for host in hosts:
            addresses = _addresses(host)
            for address in addresses:
                listener = _bound(host, address, port, may_be_missing=len(addresses) > 1)
                if listener is not None:
                    listeners.append(listener)
                    port = port or listener.getsockname()[1]
        if not listeners:
            raise CannotListen(f"cannot listen on {', '.join(hosts)}: this machine has none of these addresses")
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def shown(listener: socket.socket) -> str:
    """Write the address of a socket as it stands in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Find the addresses of a host, each once."""
    found: dict[tuple[socket.AddressFamily, str], None] = {}
    for name in _LOOPBACK if host == "localhost" else (host,):
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise CannotListen(f"cannot listen on {host}: {error.strerror}") from None
        for family, _, _, _, address in answers:
            found[family, str(address[0])] = None
    return list(found)


def _bound(
    host: str, address: tuple[socket.AddressFamily, str], port: int, *, may_be_missing: bool
) -> socket.socket | None:
    """Take a port on one address; None where this machine does not have the address, and that may be."""
    family, name = address
    listener: socket.socket | None = None
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere it would let two servers have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else "::" is every address of both kinds, and 0.0.0.0 beside it is taken.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((name, port))
    except OSError as error:
        if listener is not None:
            listener.close()
        if may_be_missing and error.errno in _NOT_HERE:
            return None
        where = name if name == host else f"{host} ({name})"
        raise CannotListen(f"cannot listen on {where}, port {port}: {error.strerror}") from None
    return listener
