"""Listening: one port on every address, or a message that says which could not be had."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import pytest

from openline.listening import CannotListen, listen, shown


def addresses(hosts: Sequence[str], port: int = 0) -> list[str]:
    """Listen, and say where, without the port."""
    listeners = listen(hosts, port)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1, "all have one port"
        return [shown(listener).rpartition(":")[0] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def test_one_address() -> None:
    """A free port is taken, and a connection comes in on it."""
    (listener,) = listen(["127.0.0.1"], 0)
    with listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
            connection.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_localhost_is_both_loopbacks() -> None:
    """Whatever the machine's own names say: a client that looks it up may get either."""
    assert addresses(["localhost"]) == ["127.0.0.1", "[::1]"]
    assert addresses(["::1", "127.0.0.1"]) == ["[::1]", "127.0.0.1"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_all_of_both_kinds_stand_beside_each_other() -> None:
    """``::`` is IPv6 alone."""
    assert addresses(["::", "0.0.0.0"]) == ["[::]", "0.0.0.0"]


def test_a_taken_port_is_told_and_nothing_is_kept() -> None:
    """What was taken before is free again."""
    (taken,) = listen(["127.0.0.2"], 0)
    port = taken.getsockname()[1]
    with taken:
        taken.listen()
        with pytest.raises(CannotListen, match=rf"cannot listen on 127\.0\.0\.2, port {port}: Address already in use"):
            listen(["127.0.0.1", "127.0.0.2"], port)
    assert addresses(["127.0.0.1"], port) == ["127.0.0.1"]


def test_a_host_that_is_not_known_is_told() -> None:
    """With the name as it was written."""
    with pytest.raises(CannotListen, match=r"cannot listen on host\.invalid: "):
        listen(["host.invalid"], 0)


def test_an_address_of_somebody_else_is_told() -> None:
    """A name may have addresses that are not here; one that was written out has to be."""
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1, port 0: "):
        listen(["192.0.2.1"], 0)
