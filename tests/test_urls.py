"""What the URLs of all engines have in common; what is each engine's own stands with its address."""

from __future__ import annotations

import re

import pytest

from openline.errors import DeclarationError
from openline.urls import Endpoint, Options

KNOWN = frozenset({"timeout", "prefix", "ca", "cert", "key"})
LETTERS = re.compile("[a-z]+")


def options(query: str) -> Options:
    """Read a query."""
    return Options("Valkey", query, KNOWN)


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [(Endpoint("host", 1), "host:1"), (Endpoint("::1", 1), "[::1]:1"), (Endpoint("/a.sock", 0), "/a.sock")],
)
def test_an_endpoint_is_shown_as_it_is_written(endpoint: Endpoint, shown: str) -> None:
    """A number of version 6 in brackets, a socket by its path."""
    assert str(endpoint) == shown


def test_what_is_not_given_is_as_it_is_otherwise() -> None:
    """Nothing is wrong with an URL that says nothing."""
    none = options("")
    assert (none.text("ca"), none.text("ca", "x"), none.seconds("timeout", 5)) == ("", "x", 5)
    assert none.name("prefix", "openline", LETTERS, "letters") == "openline"
    assert none.files("valkeys://", tls=False) == {"ca": "", "cert": "", "key": ""}


@pytest.mark.parametrize("seconds", ["0.01", "3600", "1e1"])
def test_a_time_is_a_number_of_seconds(seconds: str) -> None:
    """From the shortest to the longest that makes sense."""
    assert options(f"timeout={seconds}").seconds("timeout", 5) == float(seconds)


@pytest.mark.parametrize("seconds", ["", "0", "0.001", "3601", "nan", "inf", "-1", "soon"])
def test_another_time_is_refused(seconds: str) -> None:
    """With its name, and with what it may be."""
    with pytest.raises(DeclarationError, match=r"Valkey server cannot be: timeout is .* from 0\.01 to 3600"):
        options(f"timeout={seconds}").seconds("timeout", 5)


@pytest.mark.parametrize(
    ("query", "words"),
    [("hunter2=x", "an option that is not known; known are ca, cert"), ("ca=a&ca=b", "ca is there twice")],
)
def test_an_option_is_known_and_there_once(query: str, words: str) -> None:
    """What is not known is not shown: it may be a part of a password."""
    with pytest.raises(DeclarationError, match=words) as caught:
        options(query)
    assert "hunter2" not in str(caught.value)


def test_a_name_is_made_of_what_it_may_be() -> None:
    """In the words of whoever knows."""
    with pytest.raises(DeclarationError, match="prefix is 'A b': it is made of letters"):
        options("prefix=A+b").name("prefix", "openline", LETTERS, "letters")


def test_files_are_for_tls() -> None:
    """And a key is for a certificate."""
    assert options("cert=c&key=k").files("tls://", tls=True) == {"ca": "", "cert": "c", "key": "k"}
    with pytest.raises(DeclarationError, match="are for TLS: tls://"):
        options("ca=c").files("tls://", tls=False)
    with pytest.raises(DeclarationError, match="key is there, but no cert"):
        options("key=k").files("tls://", tls=True)
