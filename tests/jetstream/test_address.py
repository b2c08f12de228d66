"""NatsAddress: what a URL says, what it may not, and that no secret is ever shown."""

from __future__ import annotations

import pytest

from openline.errors import DeclarationError
from openline.jetstream.address import NatsAddress
from openline.urls import Endpoint


def test_a_host_is_enough() -> None:
    """Everything else has a default."""
    address = NatsAddress.parse("nats://localhost")
    assert address == NatsAddress(servers=(Endpoint("localhost", 4222),))
    assert (address.timeout, address.prefix, address.replicas, address.storage, address.tls) == (
        *(5.0, "openline", 1, "file"),
        False,
    )


def test_everything_can_be_said() -> None:
    """Several servers, who it is, and each option; what is special is percent-encoded."""
    address = NatsAddress.parse(
        "tls://an%40na:p%2Fw%3A1@one:4222,two,[::1]:5333?timeout=2.5&prefix=staging&replicas=3&storage=memory"
        "&ca=/ca.pem&cert=/cert.pem&key=/key.pem"
    )
    assert address.servers == (Endpoint("one", 4222), Endpoint("two", 4222), Endpoint("::1", 5333))
    assert (address.user, address.password, address.token) == ("an@na", "p/w:1", "")
    assert (address.timeout, address.prefix, address.replicas, address.storage) == (2.5, "staging", 3, "memory")
    assert (address.tls, address.ca, address.cert, address.key) == (True, "/ca.pem", "/cert.pem", "/key.pem")


def test_a_name_alone_is_a_token() -> None:
    """As NATS's own clients read it."""
    address = NatsAddress.parse("nats://s3cret@host")
    assert (address.token, address.user, address.password) == ("s3cret", "", "")


def test_credentials_are_a_file() -> None:
    """That of a user's JWT and key."""
    assert NatsAddress.parse("nats+tls://host?creds=/etc/hub.creds").credentials == "/etc/hub.creds"


@pytest.mark.parametrize("url", ["nats://anna:s3cret@host", "nats://s3cret@host"])
def test_no_secret_is_shown(url: str) -> None:
    """In neither of the ways a value is printed."""
    address = NatsAddress.parse(url)
    assert "s3cret" not in f"{address} {address!r}"
    assert str(address) == "nats://host:4222"


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("localhost:4222", "has to begin"),
        ("redis://localhost", "has to begin"),
        ("nats://", "host"),
        ("nats://a,,b", "host"),
        ("nats://a b", "host"),
        ("nats://host:0", "port"),
        ("nats://host:65536", "port"),
        ("nats://host:x", "port"),
        ("nats://[::1", "port|host"),
        ("nats://host/path", "follows"),
        ("nats://s3c/ret@host", "follows"),
        ("nats://anna:s3#cret@host", "%23"),
        ("nats://host?nobody=knows", "option"),
        ("nats://host?timeout=1&timeout=2", "twice"),
        ("nats://host?timeout=0", "timeout"),
        ("nats://host?timeout=soon", "timeout"),
        ("nats://host?prefix=a.b", "prefix"),
        ("nats://host?prefix=", "prefix"),
        ("nats://host?replicas=0", "replicas"),
        ("nats://host?replicas=6", "replicas"),
        ("nats://host?storage=disk", "storage"),
        ("nats://host?ca=/ca.pem", "tls://"),
        ("tls://host?key=/key.pem", "cert"),
        ("nats://anna:s3cret@host?creds=/x", "creds"),
    ],
)
def test_what_cannot_be_is_named(url: str, wrong: str) -> None:
    """The message says which part, and holds nothing of a password."""
    with pytest.raises(DeclarationError, match=wrong) as raised:
        NatsAddress.parse(url)
    assert "s3c" not in str(raised.value)
