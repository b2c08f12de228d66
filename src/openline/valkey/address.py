"""Where a Valkey or Redis is, and how to be let in.

A URL is the only place where a person writes this, so everything wrong with one is said by name. Nothing here ever
shows a password: not the value, not an error, not the text of a URL that could not be read, as it may hold one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, final
from urllib.parse import unquote

from openline.errors import DeclarationError
from openline.urls import Endpoint, Options, wrong

#: How the servers stand together: one (its replicas need no word here), a cluster, or a master under sentinels.
Kind = Literal["single", "cluster", "sentinel"]

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_OPTIONS: Final = frozenset(
    {"timeout", "replicas", "prefix", "ca", "cert", "key", "db", "sentinel_user", "sentinel_password"}
)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SCHEME: Final = re.compile(r"(?P<name>valkey|redis)(?P<tls>s?)(?:\+(?P<form>cluster|sentinel|unix))?")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValkeyAddress:
    """The address of a Valkey or Redis. `parse` makes one from a URL and checks it."""

    kind: Kind = "single"
    endpoints: tuple[Endpoint, ...]  #: one server; some of a cluster; the sentinels
    master: str = ""  #: what the sentinels call the master
    user: str = ""
    password: str = field(default="", repr=False)
    sentinel_user: str = ""
    sentinel_password: str = field(default="", repr=False)
    database: int = 0
    timeout: float = 5.0  #: seconds a call may take, repeats and reconnects included
    replicas: int = 0  #: how many replicas confirm a publication that is kept before it counts as published
    prefix: str = "openline"  #: what every key and pub/sub channel begins with
    tls: bool = False
    ca: str = ""  #: file of the certificates to trust; "" for those of the system
    cert: str = ""  #: file of the client's own certificate; "" for none
    key: str = ""  #: file of its key

    @classmethod
    def parse(cls, url: str) -> ValkeyAddress:
        """Read a URL.

        ``valkey://[user:password@]host[:port][/db]``; ``valkeys://`` with TLS; ``valkey+cluster://`` with several
        hosts; ``valkey+sentinel://host,host/master``; ``valkey+unix:///path``. ``redis`` may stand for ``valkey``.
        Options follow a ``?``: ``timeout``, ``replicas``, ``prefix``, ``ca``, ``cert``, ``key``, ``db`` (of a socket
        or a master under sentinels), ``sentinel_user`` and ``sentinel_password``. What is special in a URL is
        percent-encoded in a user or password.

        Raises:
            DeclarationError: it cannot be; the message names what is wrong, without any password.
        """
        scheme, separator, rest = url.partition("://")
        found = _SCHEME.fullmatch(scheme)
        if not separator or found is None or (found["tls"] and found["form"] == "unix"):
            raise _wrong(
                "it has to begin with valkey://, valkeys://, valkey+cluster://, valkey+sentinel:// or the like"
            )
        if "#" in rest:
            raise _wrong("it holds a #, which in a user or password is written %23")
        place, _, query = rest.partition("?")
        authority, slash, path = place.partition("/")
        if "@" in path or "@" in query:
            raise _wrong("it holds an @ after its hosts; in a user or password @, / and ? are written %40, %2F and %3F")
        options = Options("Valkey", query, _OPTIONS)
        form = found["form"] or "single"
        credentials, _, hosts = authority.rpartition("@")
        user, _, password = credentials.partition(":")
        path = unquote(path)
        kind: Kind = "cluster" if form == "cluster" else "sentinel" if form == "sentinel" else "single"
        if form == "unix":
            if hosts or not path:
                raise _wrong("a socket is written valkey+unix:///path/of/the.sock")
            endpoints: tuple[Endpoint, ...] = (Endpoint("/" + path, 0),)
        else:
            endpoints = _endpoints(hosts, _SENTINEL_PORT if kind == "sentinel" else _PORT, several=kind != "single")
        return cls(
            kind=kind,
            endpoints=endpoints,
            master=_master(path) if kind == "sentinel" else "",
            user=unquote(user),
            password=unquote(password),
            sentinel_user=options.text("sentinel_user"),
            sentinel_password=options.text("sentinel_password"),
            database=_database(form, path if slash else "", options.text("db")),
            timeout=options.seconds("timeout", 5),
            replicas=_count("replicas", options.text("replicas", "0")),
            prefix=options.name("prefix", "openline", _PREFIX, "letters, digits and _.:-, 64 at most"),
            tls=bool(found["tls"]),
            **options.files("valkeys://", tls=bool(found["tls"])),
        )

    def __str__(self) -> str:
        """The URL, without user, password and options."""
        form = "" if self.kind == "single" else f"+{self.kind}"
        if not self.endpoints[0].port:
            return f"valkey+unix://{self.endpoints[0]}"
        path = f"/{self.master}" if self.master else f"/{self.database}" if self.database else ""
        return f"valkey{'s' if self.tls else ''}{form}://{','.join(map(str, self.endpoints))}{path}"


def _wrong(problem: str) -> DeclarationError:
    return wrong("Valkey", problem)


def _endpoints(hosts: str, default_port: int, *, several: bool) -> tuple[Endpoint, ...]:
    endpoints = []
    for one in hosts.split(","):
        if one.startswith("["):
            host, _, rest = one[1:].partition("]")
            colon, port = rest[:1], rest[1:]
        else:
            host, colon, port = one.partition(":")
        if not host:
            raise _wrong("a host is missing")
        # Neither is shown: of a password with a / in it, a part would stand here.
        if colon not in ("", ":") or (colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536)):
            raise _wrong("a port is not a number from 1 to 65535; a / in a password is written %2F")
        endpoints.append(Endpoint(host, int(port) if port else default_port))
    if len(endpoints) > 1 and not several:
        raise _wrong("several hosts are for valkey+cluster:// and valkey+sentinel://")
    return tuple(endpoints)


def _master(path: str) -> str:
    name = path.partition("/")[0]
    if not name:
        raise _wrong("the name the sentinels have for the master is missing: valkey+sentinel://host:26379/name")
    return name


def _database(form: str, path: str, option: str) -> int:
    if form == "sentinel":
        path = path.partition("/")[2]
    elif form == "unix":
        path = ""
    if path and option:
        raise _wrong("the database is there twice, as the path and as db")
    number = _count("the database", path or option or "0")
    if form == "cluster" and number:
        raise _wrong("a cluster has no databases but 0")
    return number


def _count(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 6):
        raise _wrong(f"{name} is {value!r}, which is not a whole number")
    return int(value)
