"""Addresses: every form a person writes, everything that can be wrong with one, and no password shown."""

from __future__ import annotations

import pickle

import pytest

from openline.errors import DeclarationError
from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress

SECRET = "s3cret"


def parse(url: str) -> ValkeyAddress:
    """Read a URL."""
    return ValkeyAddress.parse(url)


@pytest.mark.parametrize(
    ("url", "kind", "endpoints", "tls"),
    [
        ("valkey://host", "single", [("host", 6379)], False),
        ("redis://host:1234", "single", [("host", 1234)], False),
        ("valkeys://host", "single", [("host", 6379)], True),
        ("rediss://host", "single", [("host", 6379)], True),
        ("valkey://[::1]:7", "single", [("::1", 7)], False),
        ("valkey+cluster://a,b:2,c", "cluster", [("a", 6379), ("b", 2), ("c", 6379)], False),
        ("valkeys+cluster://a", "cluster", [("a", 6379)], True),
        ("rediss+cluster://a", "cluster", [("a", 6379)], True),
        ("valkey+sentinel://a,b:2/main", "sentinel", [("a", 26379), ("b", 2)], False),
        ("redis+sentinel://a/main", "sentinel", [("a", 26379)], False),
        ("valkey+unix:///run/valkey.sock", "single", [("/run/valkey.sock", 0)], False),
        ("redis+unix:///run/a%20b.sock", "single", [("/run/a b.sock", 0)], False),
    ],
)
def test_each_form_is_read(url: str, kind: str, endpoints: list[tuple[str, int]], tls: bool) -> None:
    """One server, a cluster, sentinels, a socket; with TLS or not; both spellings."""
    address = parse(url)
    assert (address.kind, list(address.endpoints), address.tls) == (kind, [Endpoint(*one) for one in endpoints], tls)


def test_what_is_not_said_has_a_default() -> None:
    """Five seconds, no replicas, a prefix of our own, database 0, nobody in particular."""
    address = parse("valkey://host")
    assert (address.timeout, address.replicas, address.prefix, address.database) == (5.0, 0, "openline", 0)
    assert (address.user, address.password, address.sentinel_user, address.sentinel_password) == ("", "", "", "")
    assert (address.ca, address.cert, address.key, address.master) == ("", "", "", "")


def test_user_and_password_are_decoded() -> None:
    """What is special in a URL is percent-encoded; either may be missing."""
    address = parse("valkey://m%40e:a%2Fb%3Ac@host")
    assert (address.user, address.password) == ("m@e", "a/b:c")
    assert parse(f"valkey://:{SECRET}@host").password == SECRET
    assert parse("valkey://me@host").user == "me"


def test_options_are_read() -> None:
    """Everything that may follow the question mark."""
    address = parse("valkeys://host/3?timeout=0.5&replicas=2&prefix=app:1&ca=/ca&cert=/cert&key=/key")
    assert (address.database, address.timeout, address.replicas, address.prefix) == (3, 0.5, 2, "app:1")
    assert (address.ca, address.cert, address.key) == ("/ca", "/cert", "/key")


def test_sentinels_have_a_name_a_database_and_a_password_of_their_own() -> None:
    """The path names the master; a number after it, or db, is the database."""
    address = parse("valkey+sentinel://:one@a/main/4?sentinel_user=u&sentinel_password=two")
    assert (address.master, address.database) == ("main", 4)
    assert (address.password, address.sentinel_user, address.sentinel_password) == ("one", "u", "two")
    assert parse("valkey+sentinel://a/main?db=2").database == 2
    assert parse("valkey+unix:///s.sock?db=2").database == 2


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("host:6379", "begin with valkey://"),
        ("http://host", "begin with valkey://"),
        ("valkeys+unix:///s", "begin with valkey://"),
        ("valkey+embedded://", "begin with valkey://"),
        ("valkey://", "host is missing"),
        ("valkey://:1", "host is missing"),
        ("valkey+cluster://a,,b", "host is missing"),
        ("valkey://a,b", "several hosts"),
        ("valkey://a:0", "port"),
        ("valkey://a:65536", "port"),
        ("valkey://a:x", "port"),
        ("valkey://[::1]x", "port"),
        ("valkey://a/x", "database"),
        ("valkey://a/-1", "database"),
        ("valkey://a/1?db=2", "twice"),
        ("valkey+cluster://a/1", "no databases"),
        ("valkey+sentinel://a", "name"),
        ("valkey+unix://host/s.sock", "socket"),
        ("valkey+unix://", "socket"),
        ("valkey://a?timeout=0", "timeout"),
        ("valkey://a?timeout=nan", "timeout"),
        ("valkey://a?timeout=soon", "timeout"),
        ("valkey://a?replicas=-1", "replicas"),
        ("valkey://a?replicas=one", "replicas"),
        ("valkey://a?prefix=", "prefix"),
        ("valkey://a?prefix={x}", "prefix"),
        ("valkey://a?colour=red", "not known"),
        ("valkey://a?timeout=1&timeout=2", "twice"),
        ("valkey://a?ca=/file", "TLS"),
        ("valkeys://a?key=/file", "no cert"),
    ],
)
def test_what_cannot_be_is_named(url: str, names: str) -> None:
    """Every mistake has words of its own."""
    with pytest.raises(DeclarationError, match=names):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        f"valkey://:{SECRET}/x@host",
        f"valkey://:{SECRET}#x@host",
        f"valkey://:{SECRET}?x@host",
        f"valkey://:{SECRET}",
        f"valkey://me:{SECRET}/more",
        f"valkey://host?{SECRET}",
        f"valkey://host?{SECRET}=1",
        f"valkey://:{SECRET}@host:x",
        f"valkey://:{SECRET}@host/x",
        f"{SECRET}",
    ],
)
def test_a_password_in_the_wrong_place_is_not_shown(url: str) -> None:
    """An address that cannot be read is not quoted: nobody knows which part of it was a secret."""
    with pytest.raises(DeclarationError) as raised:
        parse(url)
    assert SECRET not in str(raised.value)


def test_it_is_shown_without_secrets() -> None:
    """What it prints names the servers, and none of the passwords."""
    address = parse(f"valkey+sentinel://me:{SECRET}@a,b:2/main?sentinel_password={SECRET}&timeout=1")
    assert str(address) == "valkey+sentinel://a:26379,b:2/main"
    assert SECRET not in repr(address)
    assert str(parse(f"rediss://:{SECRET}@[::1]/2")) == "valkeys://[::1]:6379/2"
    assert str(parse("redis+unix:///run/s.sock")) == "valkey+unix:///run/s.sock"


def test_addresses_are_values() -> None:
    """The same URL is the same address, also in another process."""
    address = parse("valkey://host?timeout=1")
    assert address == parse("valkey://host?timeout=1")
    assert hash(address) == hash(parse("redis://host?timeout=1"))
    assert pickle.loads(pickle.dumps(address)) == address
