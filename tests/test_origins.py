"""Which pages may open a line: those of the same host and those listed, and no others by any trick."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from openline.errors import DeclarationError
from openline.origins import Origins


def allows(origin: str, host: str = "other.example", listed: tuple[str, ...] = ()) -> bool:
    """Ask for one origin and one host."""
    return Origins(listed).allows([origin], [host])


# --- the same host ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example.com", "app.example.com"),
        ("http://app.example.com", "app.example.com"),
        ("https://app.example.com:8443", "app.example.com:8443"),
        ("https://app.example.com", "app.example.com:443"),
        ("https://app.example.com:443", "app.example.com"),
        ("http://app.example.com", "app.example.com:80"),
        ("HTTPS://App.Example.COM", "aPP.example.com"),
        ("http://localhost:8000", "localhost:8000"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[2001:DB8::1]", "[2001:db8:0:0::1]"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://my_host.example", "my_host.example"),
        ("https://example.com.", "example.com."),
        ("https://app.example.com/", "app.example.com"),
        ("https://app.example.com:8443/", "app.example.com:8443"),
        ("wss://app.example.com", "app.example.com"),  # some clients that are no browser write it so
        ("ws://app.example.com:80", "app.example.com"),
    ],
)
def test_pages_of_the_same_host_are_let_in(origin: str, host: str) -> None:
    """Whatever the scheme: TLS may end before the server. A port that goes without saying may be said."""
    assert allows(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "app.example.com"),
        ("https://example.com", "app.example.com"),
        ("https://app.example.com", "example.com"),
        ("https://app.example.com.evil.example", "app.example.com"),
        ("https://evil-app.example.com", "app.example.com"),
        ("https://app.example.com", "app.example.com:8443"),
        ("https://app.example.com:8443", "app.example.com"),
        ("https://app.example.com:80", "app.example.com"),
        ("http://app.example.com", "app.example.com:443"),
        ("https://app.example.com", "app.example.com."),
        ("https://app.example.com@evil.example", "app.example.com"),
        ("https://evil.example/app.example.com", "app.example.com"),
        ("https://evil.example#app.example.com", "app.example.com"),
        ("https://app.example.com\\@evil.example", "app.example.com"),
        ("https://app.example.com ", "app.example.com"),
        ("https://app.example.com\n", "app.example.com"),
        ("https://app.example.com//", "app.example.com"),
        ("https://app.example.com/ ", "app.example.com"),
        ("https://app.example.com/:443", "app.example.com"),
        ("https://app.example.com", "app.example.com/"),
        ("https:///", ""),
        ("/", ""),
        ("https://app.example.com:99999", "app.example.com:99999"),
        ("https://app.example.com:0", "app.example.com:0"),
        ("https://[::1", "[::1"),
        ("https://[1:2]", "[1:2]"),
        ("app.example.com", "app.example.com"),
        ("//app.example.com", "app.example.com"),
        ("://app.example.com", "app.example.com"),
        ("https://", ""),
        ("", ""),
        ("", "app.example.com"),
        ("null", "null"),
        ("null", "app.example.com"),
        ("https://*", "*"),
        ("https://app.example.com:*", "app.example.com:*"),
        ("capacitor://localhost", "localhost"),
        ("chrome-extension://abcdef", "abcdef"),
        ("file://", ""),
        ("https://\u212a.example", "k.example"),  # the sign of Kelvin is a small k in small letters
    ],
)
def test_pages_of_other_hosts_are_not(origin: str, host: str) -> None:
    """Nor what is no origin of a page, whatever it resembles."""
    assert not allows(origin, host)


def test_who_is_no_browser_is_let_in() -> None:
    """There is no origin, so no page. With cookies of its own it does what it likes anyway."""
    assert Origins().allows([], ["app.example.com"])
    assert Origins(["https://app.example.com"]).allows([], [])


@pytest.mark.parametrize(
    ("origins", "hosts"),
    [
        (["https://a.example", "https://a.example"], ["a.example"]),
        (["https://evil.example", "https://a.example"], ["a.example"]),
        (["https://a.example"], ["a.example", "a.example"]),
        (["https://a.example"], ["a.example", "evil.example"]),
        (["https://a.example"], []),
    ],
)
def test_headers_that_come_twice_or_not_at_all_mean_nothing(origins: list[str], hosts: list[str]) -> None:
    """No browser sends them so; whoever reads the first and whoever reads the last would differ."""
    assert not Origins().allows(origins, hosts)


def test_a_listed_origin_needs_no_host() -> None:
    """What the request went to does not matter then."""
    assert Origins(["https://a.example"]).allows(["https://a.example"], [])


# --- the list ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("https://app.example.com", "https://APP.example.com:443"),
        ("HTTPS://App.Example.com:443", "https://app.example.com"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://localhost:*", "http://localhost:5173"),
        ("http://localhost:*", "http://localhost"),
        ("http://[::1]:*", "http://[0:0::1]:5173"),
        ("http://192.168.1.7:8080", "http://192.168.1.7:8080"),
        ("https://*.example.com", "https://app.example.com"),
        ("https://*.example.com", "https://a.b.example.com"),
        ("https://*.example.com:8443", "https://app.example.com:8443"),
        ("https://*.example.com:*", "https://app.example.com:1"),
        ("https://*.EXAMPLE.com", "https://app.example.COM"),
        ("http://*.localhost:*", "http://app.localhost:8000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ("https://app.example.com", "https://app.example.com/"),
        ("https://app.example.com/", "https://app.example.com"),
        ("https://*.example.com/", "https://app.example.com"),
        ("https://*.example.com", "https://app.example.com/"),
        ("http://localhost:*/", "http://localhost:5173/"),
        ("file://", "file://"),
        ("file://", "file:///"),
        ("null", "null"),
        ("*", "https://anybody.example"),
        ("*", "null"),
        ("*", "no origin at all"),
    ],
)
def test_what_is_listed_is_let_in(listed: str, origin: str) -> None:
    """Beside other things that are listed."""
    assert allows(origin, listed=("https://first.example", listed))


@pytest.mark.parametrize(
    ("listed", "origin"),
    [
        ("https://app.example.com", "http://app.example.com"),
        ("https://app.example.com", "https://app.example.com:8443"),
        ("https://app.example.com:8443", "https://app.example.com"),
        ("https://app.example.com", "https://evil-app.example.com"),
        ("https://app.example.com", "https://app.example.com.evil.com"),
        ("https://app.example.com", "https://app.example.com."),
        ("https://app.example.com", "https://sub.app.example.com"),
        ("https://app.example.com", "https://app.example.com:443@evil.com"),
        ("https://*.example.com", "https://example.com"),
        ("https://*.example.com", "https://.example.com"),
        ("https://*.example.com", "https://evil-example.com"),
        ("https://*.example.com", "https://evilexample.com"),
        ("https://*.example.com", "https://example.com.evil.com"),
        ("https://*.example.com", "https://app.example.com.evil.com"),
        ("https://*.example.com", "https://app.example.com."),
        ("https://*.example.com", "https://evil.com:443.example.com"),
        ("https://*.example.com", "https://evil.com@app.example.com"),
        ("https://*.example.com", "https://evil.com/.example.com"),
        ("https://*.example.com", "https://app.example.com//"),
        ("https://*.example.com", "https://evil.com/app.example.com/"),
        ("https://*.example.com", "https://evil.com?.example.com"),
        ("https://*.example.com", "https://evil.com#.example.com"),
        ("https://*.example.com", "https://evil.com\\.example.com"),
        ("https://*.example.com", "https://evil.com%00.example.com"),
        ("https://*.example.com", "https://*.example.com"),
        ("https://*.example.com", "https://a..example.com"),
        ("https://*.example.com", "http://app.example.com"),
        ("https://*.example.com", "https://app.example.com:8443"),
        ("http://localhost:*", "http://localhost.evil.com:5173"),
        ("http://localhost:*", "http://localhost:*"),
        ("http://localhost:*", "http://localhost:99999"),
        ("http://localhost:*", "https://localhost:5173"),
        ("https://app.example.com", "null"),
        ("null", "https://null"),
    ],
)
def test_what_only_resembles_it_is_not(listed: str, origin: str) -> None:
    """By its beginning, its end, its scheme, its port, or what a careless reader would make of it."""
    assert not allows(origin, listed=(listed,))


def test_a_list_is_added_to_the_same_host() -> None:
    """Whoever lets in a second page does not shut out the first."""
    assert allows("https://app.example.com", "app.example.com", listed=("https://other.example",))


# --- what cannot be listed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "wrong"),
    [
        ("app.example.com", "has no scheme"),
        ("localhost:5173", "has no scheme"),
        ("", "has no scheme"),
        ("*.example.com", "has no scheme"),
        ("*://app.example.com", "wildcard in its scheme"),
        ("https://*", "wildcard elsewhere"),
        ("https://app-*.example.com", "wildcard elsewhere"),
        ("https://app.*.com", "wildcard elsewhere"),
        ("https://*example.com", "wildcard elsewhere"),
        ("https://*.*.example.com", "wildcard elsewhere"),
        ("https://app.example.com:8*", "wildcard elsewhere"),
        ("https://app.example.com//", "a path behind its host"),
        ("https://*/", "wildcard elsewhere"),
        ("https://*.com/", "every host under 'com'"),
        ("https:///", "no host"),
        ("/", "has no scheme"),
        (None, "is no text"),
        (b"https://app.example.com", "is no text"),
        ("https://app.example.com/live", "a path behind its host"),
        ("https://app.example.com?x", "a path behind its host"),
        ("https://me@app.example.com", "names a user"),
        ("https://app.example.com:", "is no origin"),
        ("https://app example.com", "is no origin"),
        ("https://app.example.com\n", "is no origin"),
        ("https://b\u00fccher.example", "not as a browser writes it"),
        ("https://", "no host"),
        ("https://:8443", "no host"),
        ("https://app.example.com:0", "no port"),
        ("https://app.example.com:65536", "no port"),
        ("https://[::1:]", "no host"),
        ("https://*.", "no host"),
        ("https://*.com", "every host under 'com'"),
        ("https://*.127.0.0.1", "no domain"),
        ("https://*.[::1]", "no domain"),
        ("https://*..com", "no domain"),
        ("https://*.example.com.", "no domain"),
        (7, "is no text"),
    ],
)
def test_what_is_no_origin_is_refused_when_it_is_declared(listed: Any, wrong: str) -> None:
    """The message quotes it and says what is wrong: nobody is to find out from an attacker."""
    with pytest.raises(DeclarationError) as refused:
        Origins(["https://first.example", listed])

    assert repr(listed) in str(refused.value)
    assert wrong in str(refused.value)


def test_a_list_is_a_list() -> None:
    """A text is a sequence of texts too, and nobody means that."""
    with pytest.raises(DeclarationError, match=r"it is a list, such as \['https://app.example.com'\]"):
        Origins("https://app.example.com")


@pytest.mark.parametrize("listed", [None, 7, False])
def test_what_is_no_list_is_refused_by_name(listed: Any) -> None:
    """None is a setting that was not found, as often as not."""
    with pytest.raises(DeclarationError, match=rf"origins is {listed}: it is a list"):
        Origins(listed)


@pytest.mark.parametrize("made", [iter, set, tuple, dict.fromkeys])
def test_a_list_may_be_anything_that_gives_its_origins_once(made: Any) -> None:
    """Such as a generator over the lines of a setting."""
    for origin in ("https://a.example", "https://b.example", "null"):
        origins = Origins(made(["https://a.example", "https://b.example", "null"]))
        assert origins.allows([origin], ["other.example"])


# --- whatever comes ---------------------------------------------------------------------------------------------------

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
domains = st.tuples(labels, st.from_regex(r"[a-z]{2,6}", fullmatch=True)).map(".".join)
ports = st.one_of(st.none(), st.integers(1, 65_535))
schemes = st.sampled_from(["http", "https"])
anything = st.text(st.sampled_from("abz019-._:/@#?*[]%\\ \t\n\u00e9\u212a"), max_size=12)


def write(scheme: str, host: str, port: int | None) -> str:
    """Write an origin."""
    return f"{scheme}://{host}" + ("" if port is None else f":{port}")


@given(schemes, domains, ports, anything, anything)
def test_a_listed_origin_lets_in_itself_and_nothing_made_from_it(
    scheme: str, domain: str, port: int | None, before: str, after: str
) -> None:
    """Something put before or behind its host makes another host of it, or none."""
    listed = (write(scheme, domain, port),)
    assert allows(listed[0], listed=listed)
    assume((before + after).strip(":") or before)
    for made in (write(scheme, before + domain + after, port), write(scheme, domain, port) + after):
        default = {"http": ":80", "https": ":443"}[scheme]
        if made.removesuffix("/") not in (listed[0], listed[0] + default, listed[0].removesuffix(default)):
            assert not allows(made, listed=listed)


@given(domains, domains, st.lists(labels, max_size=3), anything)
def test_a_wildcard_lets_in_only_what_ends_with_its_whole_domain(
    domain: str, other: str, below: list[str], between: str
) -> None:
    """Label by label: whoever owns another domain can call a host as it likes."""
    listed = (f"https://*.{domain}",)
    assert allows("https://" + ".".join([*below, domain]), listed=listed) is bool(below)
    if other != domain:
        prefix = ".".join([*below, domain])
        for host in (f"{prefix}.{other}", f"{prefix}{other}", f"{prefix}-{other}", other):
            if not host.endswith(f".{domain}"):
                assert not allows(f"https://{host}", listed=listed)
        for mark in "@/#?\\:%;,":
            assert not allows(f"https://{other}{mark}{between}.{domain}", listed=listed)


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_stands_in_the_headers_is_answered(origin: str, host: str) -> None:
    """Nothing raises, and only equal hosts are the same."""
    if allows(origin, host):
        name, _, _ = host.partition(":")
        assert name.lower() in origin.lower()


@given(st.text(max_size=40))
def test_whatever_is_listed_is_an_origin_or_a_declaration_error(listed: str) -> None:
    """And what was taken lets no stranger in."""
    try:
        origins = Origins([listed])
    except DeclarationError:
        return
    if listed != "*":
        assert not origins.allows(["https://evil.stranger.example"], ["app.example.com"])
