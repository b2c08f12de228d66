"""Where NATS is, and how to be let in.

A URL is the only place where a person writes this, so everything wrong with one is said by name. Nothing here ever
shows a password or a token: not the value, not an error, not the text of a URL that could not be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, final
from urllib.parse import unquote

from openline.errors import DeclarationError
from openline.urls import Endpoint, Options, wrong

#: Where JetStream keeps what the hub gives it.
Storage = Literal["file", "memory"]

_PORT: Final = 4222
_SCHEMES: Final = {"nats": False, "tls": True, "nats+tls": True}
_OPTIONS: Final = frozenset({"timeout", "prefix", "replicas", "storage", "creds", "ca", "cert", "key"})
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HOST: Final = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\](?P<rest>.*)|(?P<host>[^:\[\]]*)(?P<other>.*)")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NatsAddress:
    """The address of NATS. `parse` makes one from a URL and checks it."""

    servers: tuple[Endpoint, ...]  #: any of them will do
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials: str = ""  #: file with a user's JWT and key; "" for none
    timeout: float = 5.0  #: seconds a call may take, reconnects included
    prefix: str = "openline"  #: what the names of streams and all subjects but those of live channels begin with
    replicas: int = 1  #: servers of a NATS cluster that keep each stream: 1, 3 or 5
    storage: Storage = "file"
    tls: bool = False
    ca: str = ""  #: file of the certificates to trust; "" for those of the system
    cert: str = ""  #: file of the client's own certificate; "" for none
    key: str = ""  #: file of its key

    @classmethod
    def parse(cls, url: str) -> NatsAddress:
        """Read a URL.

        ``nats://[user:password@]host[:port][,host[:port]]``, or ``tls://`` (``nats+tls://``) with TLS. A name without a
        password is a token. Options follow a ``?``: ``timeout``, ``prefix``, ``replicas``, ``storage`` (``file`` or
        ``memory``), ``creds``, ``ca``, ``cert`` and ``key``. What is special in a URL is percent-encoded in a user,
        password or token.

        Raises:
            DeclarationError: it cannot be; the message names what is wrong, without any secret.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in _SCHEMES:
            raise _wrong("it has to begin with nats://, tls:// or nats+tls://")
        if "#" in rest:
            raise _wrong("it holds a #, which in a user, password or token is written %23")
        place, _, query = rest.partition("?")
        authority, _, path = place.partition("/")
        if path or "@" in query:
            raise _wrong("something follows its hosts; in a user, password or token /, ? and @ are %2F, %3F and %40")
        options = Options("NATS", query, _OPTIONS)
        credentials, _, hosts = authority.rpartition("@")
        user, colon, password = credentials.partition(":")
        if options.text("creds") and credentials:
            raise _wrong("it has both a user or token and creds")
        tls = _SCHEMES[scheme]
        return cls(
            servers=tuple(_endpoint(one) for one in hosts.split(",")),
            user=unquote(user) if colon else "",
            password=unquote(password),
            token="" if colon else unquote(user),
            credentials=options.text("creds"),
            timeout=options.seconds("timeout", 5),
            prefix=options.name("prefix", "openline", _PREFIX, "letters, digits, _ and -, 32 at most"),
            replicas=_replicas(options.text("replicas", "1")),
            storage=_storage(options.text("storage", "file")),
            tls=tls,
            **options.files("tls://", tls=tls),
        )

    def __str__(self) -> str:
        """The URL, without user, password, token and options."""
        return f"{'tls' if self.tls else 'nats'}://{','.join(map(str, self.servers))}"


def _wrong(problem: str) -> DeclarationError:
    return wrong("NATS", problem)


def _endpoint(text: str) -> Endpoint:
    found = _HOST.fullmatch(text)
    host, port = (found["six"] or found["host"], found["rest"] or found["other"] or "") if found else ("", "")
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise _wrong("a host is missing, or is none")
    # Neither is shown: of a password with a , in it, a part would stand here.
    number = port[1:]
    if port and not (port[0] == ":" and number.isascii() and number.isdigit() and 0 < int(number) < 65_536):
        raise _wrong("a port is not a number from 1 to 65535")
    return Endpoint(host, int(number) if number else _PORT)


def _replicas(value: str) -> int:
    if value not in ("1", "2", "3", "4", "5"):
        raise _wrong(f"replicas is {value!r}, which is not a whole number from 1 to 5")
    return int(value)


def _storage(value: str) -> Storage:
    if value == "file":
        return "file"
    if value == "memory":
        return "memory"
    raise _wrong(f"storage is {value!r}: it is file or memory")
