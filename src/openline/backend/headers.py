"""The headers of a request to a back end: which of a client's go with it, and which never do.

Invariants of this file:

1. No header of a client's is passed on that was not allowed by name, and none that rules the connection itself.
2. What the operator set goes before what a client says, and what stood in the opening request before what its page
   says in the connect command instead.
3. Nothing that could end a header line stands in a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, final

from openline.errors import DeclarationError

Header = tuple[bytes, bytes]

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t -~]*")
_ENDS_A_LINE: Final = re.compile(rb"[\r\n\0]")

#: They belong to one connection, or to the request Openline itself makes.
NEVER: Final = frozenset(
    (
        *("accept-encoding", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("connection", "http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "x-openline-signature"),
    )
)

#: What proxies say of the client's address: never taken from the connect command, which only the client wrote.
_OF_PROXIES: Final = re.compile(r"forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip|cf-connecting-ip")


@final
class Headers:
    """The headers of every request of one hub to its back end.

    Args:
        allowed: names of headers of a client that are passed on.
        static: sent with every request.
    Raises:
        DeclarationError: a name or value cannot be, or is not to be passed on.
    """

    __slots__ = ("_allowed", "_static")

    def __init__(self, allowed: Iterable[str], static: Mapping[str, str]) -> None:
        self._static: list[Header] = []
        for name, value in static.items():
            _check(name, "static_headers")
            if not _VALUE.fullmatch(value):
                raise DeclarationError(f"static_headers: the value of {name!r} has characters that no header may have")
            self._static.append((name.lower().encode(), value.strip().encode()))
        fixed = {name for name, _ in self._static}
        for name in allowed:
            _check(name, "headers")
        self._allowed = frozenset(name.lower().encode() for name in allowed) - fixed

    @property
    def reads_handshake(self) -> bool:
        """Whether any header of a client is passed on."""
        return bool(self._allowed)

    def told(self, headers: Mapping[str, str]) -> tuple[Header, ...]:
        """Give what may be passed on of the headers that a client wrote in its connect command."""
        pairs = ((name.lower(), value.strip()) for name, value in headers.items())
        return tuple(
            (name.encode(), value.encode())
            for name, value in pairs
            if _NAME.fullmatch(name)
            and name.encode() in self._allowed
            and value
            and _VALUE.fullmatch(value)
            and not _OF_PROXIES.fullmatch(name)
        )

    def of(self, handshake: Iterable[Header], told: Sequence[Header]) -> list[Header]:
        """Give the headers of a request.

        Args:
            handshake: the headers of the client's opening request, names in lower case.
            told: what `told` gave.
        """
        passed = [pair for pair in handshake if pair[0] in self._allowed and not _ENDS_A_LINE.search(pair[1])]
        there = {name for name, _ in passed}
        return [*self._static, *passed, *(pair for pair in told if pair[0] not in there)]


def _check(name: str, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"{where}: {name!r} is no name of a header")
    if name.lower() in NEVER:
        raise DeclarationError(f"{where}: {name!r} belongs to the connection or the request itself, and is not sent on")
