"""Which pages may open a line: the check of the ``Origin`` header, against cross-site WebSocket hijacking.

A browser opens WebSockets from any page to any host, sends the host's cookies along, and does not ask the host first,
as it does for other requests. What it does is name the page in ``Origin``, which no page can forge. So a page may open
a line to the host it came from, and other pages if the app lists them.

Invariants of this file:

1. Hosts are compared whole, label by label: a listed host lets in itself, one behind ``*.`` what ends with all of its
   labels, and neither any other, whatever that begins or ends with. Whose the labels are is not known here:
   a wildcard is refused before a top-level domain, and not before others below which anybody can have a host.
2. Nothing that is not an origin is let in, save by ``"*"``: an origin as a browser writes it, and with one slash behind
   it, as some clients that are no browser do. The slash means nothing.
3. Only ``Origin`` and ``Host`` count. What proxies add, a client can add too.

Source: RFC 6454, 7; RFC 6455, 10.2.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, final

from openline.errors import DeclarationError

#: Not in an origin of that scheme, nor in the Host of a request by it.
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]*)(?::([0-9]{1,5}|\*))?/?", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_LABELS: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)

#: Top-level names that belong to nobody, and so to whoever uses them.
_PRIVATE: Final = frozenset(("localhost", "local", "internal", "lan", "home", "corp", "test", "example", "invalid"))


class _Origin(NamedTuple):
    """An origin taken apart; a port of None is the scheme's own, or none where the scheme has none."""

    scheme: str
    host: str
    port: int | None


class _Pattern(NamedTuple):
    """A listed origin."""

    scheme: str
    host: str
    port: int | None
    any_port: bool
    below: bool  #: the hosts below this one, and not itself

    def matches(self, origin: _Origin) -> bool:
        """Tell whether an origin is one of these."""
        if origin.scheme != self.scheme or not (self.any_port or origin.port == self.port):
            return False
        if not self.below:
            return origin.host == self.host
        prefix = origin.host.removesuffix(f".{self.host}")
        return prefix != origin.host and _LABELS.fullmatch(prefix) is not None


@final
class Origins:
    """The pages that may open a line.

    Let in are requests without an ``Origin``, which come from no page; those whose origin has the host and port that
    the request went to, whatever the scheme, because TLS may end at a proxy; and the listed origins.

    Args:
        listed: origins as a browser writes them, ``scheme://host`` with a port where it is not the scheme's own. A host
            may begin with ``*.``, which stands for one or more labels; ``:*`` is any port. ``"null"`` is the origin of
            pages that have none (files, sandboxed frames), ``"*"`` is every origin.
    Raises:
        DeclarationError: it is no list, or one of them is no origin, or a wildcard that stands before no domain.
    """

    __slots__ = ("_any", "_null", "_patterns")

    def __init__(self, listed: Iterable[str] = ()) -> None:
        if isinstance(listed, str):
            raise DeclarationError(f"origins is {listed!r}: it is a list, such as [{listed!r}]")
        if not isinstance(listed, Iterable):
            raise DeclarationError(f"origins is {listed!r}: it is a list, and an empty one lets in the same host only")
        listed = tuple(listed)
        self._any = "*" in listed
        self._null = "null" in listed
        self._patterns = tuple(_pattern(text) for text in listed if text not in ("*", "null"))

    @property
    def all_pages(self) -> bool:
        """Whether every page may, whoever's it is."""
        return self._any

    def allows(self, origins: Sequence[str], hosts: Sequence[str]) -> bool:
        """Tell whether a request may open a line.

        Args:
            origins: the values of its ``Origin`` headers.
            hosts: the values of its ``Host`` headers.
        """
        if not origins or self._any:
            return True
        if len(origins) > 1:
            return False
        text = origins[0]
        if text == "null":
            return self._null
        origin = _read(text)
        if origin is None:
            return False
        same = len(hosts) == 1 and _is_same_host(origin, hosts[0])
        return same or any(pattern.matches(origin) for pattern in self._patterns)


def is_origin(text: str) -> bool:
    """Tell whether a text is the origin of a page; if so it may be listed."""
    return _read(text) is not None


def _read(text: str) -> _Origin | None:
    """Take an origin apart; None where it is none."""
    found = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    if found is None or found[3] == "*":
        return None
    scheme, host, port = found[1], _host(found[2]), _port(found[3])
    if host is None or port == 0 or (not host and scheme in _DEFAULT_PORTS):
        return None
    return _Origin(scheme, host, None if port == _DEFAULT_PORTS.get(scheme) else port)


def _is_same_host(origin: _Origin, text: str) -> bool:
    """Tell whether a page comes from where its request goes to."""
    default = _DEFAULT_PORTS.get(origin.scheme)
    found = _HOST.fullmatch(text.lower()) if text.isascii() else None
    if default is None or found is None or _host(found[1]) != origin.host:
        return False
    port = _port(found[2])
    return (None if port == default else port) == origin.port


def _host(text: str) -> str | None:
    """Write a host in one way; None where an IPv6 address is none."""
    if not text.startswith("["):
        return text
    try:
        return f"[{ipaddress.IPv6Address(text[1:-1]).exploded}]"
    except ValueError:
        return None


def _port(text: str | None) -> int | None:
    """Read a port; 0 where there is no such port."""
    if text is None:
        return None
    port = int(text)
    return port if port <= 65_535 else 0


def _pattern(text: object) -> _Pattern:
    """Take a listed origin apart.

    Raises:
        DeclarationError: it is none.
    """
    if not isinstance(text, str):
        raise DeclarationError(f"origins: {text!r} is no text")
    if not text.isascii():
        raise DeclarationError(f"origins: {text!r} is not as a browser writes it: that is in ASCII, xn--…")
    lowered = text.lower()
    scheme, separator, rest = lowered.partition("://")
    below = rest.startswith("*.")
    found = _ORIGIN.fullmatch(f"{scheme}{separator}{rest[2:] if below else rest}")
    if found is None:
        raise DeclarationError(f"origins: {text!r} {_advice(scheme, separator, rest)}")
    any_port = found[3] == "*"
    host, port = _host(found[2]), None if any_port else _port(found[3])
    if host is None or port == 0 or (not host and (below or scheme in _DEFAULT_PORTS)):
        raise DeclarationError(f"origins: {text!r} has no host, or no port, that there is")
    if below:
        _check_domain(text, host)
    if port is not None and port == _DEFAULT_PORTS.get(scheme):
        port = None
    return _Pattern(scheme, host, port, any_port, below)


def _advice(scheme: str, separator: str, rest: str) -> str:
    """Say what is wrong with an origin."""
    if not separator:
        return "has no scheme: write https://… before it"
    if "*" in scheme:
        return "has a wildcard in its scheme: list both origins, https://… and http://…"
    if "*" in rest:
        return "has a wildcard elsewhere than before the first dot (https://*.example.com) or for the port (:*)"
    if "@" in rest:
        return "names a user: an origin is a scheme, a host and a port"
    if any(mark in rest for mark in "/?#"):
        return "has a path behind its host: an origin ends with the host, or its port"
    return "is no origin: it is a scheme, a host and a port, such as https://app.example.com:8443"


def _check_domain(text: str, host: str) -> None:
    """See that what a wildcard stands before is a domain of somebody's.

    Raises:
        DeclarationError: it is not.
    """
    if _LABELS.fullmatch(host) is None or host.rpartition(".")[2].isdecimal():
        raise DeclarationError(f"origins: {text!r} has a wildcard before what is no domain")
    if "." not in host and host not in _PRIVATE:
        raise DeclarationError(f"origins: {text!r} would let in every host under {host!r}: name a domain of yours")
