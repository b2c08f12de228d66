"""The opening HTTP request of a connection, kept small for as long as the connection is open.

Handlers of a connected client may read its headers, cookies and query string, hours after the server let go of them.
Invariants:

1. A handshake is never changed: every call gets a request of its own, over a scope of its own.
2. It holds nothing of the server or of the wire: what it keeps alive are the app, the request's bytes and what
   middleware put into the scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from starlette.requests import Request
from starlette.types import Scope

#: Where the scope of a handler's request carries the session the handler was called for.
SESSION_KEY: Final = "openline.session"

_SCHEMES: Final = {"ws": "http", "wss": "https"}
_NOTHING: Final[Mapping[str, Any]] = {}

# What a scope holds that is kept as an attribute, is the same for every handshake, or belongs to one call or wire.
_KEPT: Final = ("app", "client", "headers", "http_version", "path", "path_params", "query_string", "raw_path")
_KEPT_TOO: Final = ("root_path", "scheme", "server", "state")
_LET_GO: Final = ("asgi", "endpoint", "extensions", "method", "route", "router", "subprotocols", "type")
_NOT_EXTRA: Final = frozenset((*_KEPT, *_KEPT_TOO, *_LET_GO))
_NOT_EXTRA_PREFIXES: Final = ("fastapi", "openline", "starlette")


@final
class Handshake:
    """What is kept of the opening request of a connection.

    What middleware has put into the scope (``user``, ``auth``, ``session``) is kept too.

    Attributes:
        app: the application that served it; None where there was none.
        client: address and port of the peer, as the server gave them.
        http_version: "1.1" or "2".
        path: the whole path, decoded.
        path_params: what the route matched, such as the parts of a router's prefix.
        query_string: the raw bytes behind the question mark.
        root_path: where the app is mounted.
        scheme: "http" or "https".
        server: host and port of the server, as the server gave them.
        state: what the lifespan and middleware left for requests; a call sees a copy.
    """

    __slots__ = (
        "_extra",
        "_headers",
        "_raw_path",
        "app",
        "client",
        "http_version",
        "path",
        "path_params",
        "query_string",
        "root_path",
        "scheme",
        "server",
        "state",
    )

    def __init__(self, scope: Mapping[str, Any]) -> None:
        self.app: Any = scope.get("app")
        self.client: Any = scope.get("client")
        self.http_version: str = scope.get("http_version", "1.1")
        self.path: str = scope.get("path", "/")
        self.path_params: Mapping[str, Any] = dict(scope.get("path_params") or ()) or _NOTHING
        self.query_string: bytes = scope.get("query_string", b"")
        self.root_path: str = scope.get("root_path", "")
        self.scheme: str = _SCHEMES.get(scope.get("scheme", "http"), scope.get("scheme", "http"))
        self.server: Any = scope.get("server")
        self.state: Mapping[str, Any] = dict(scope.get("state") or ()) or _NOTHING
        raw_path: bytes | None = scope.get("raw_path")
        # Nearly every path needs no escapes: then its bytes are made anew when they are asked for.
        self._raw_path = None if raw_path == self.path.encode() else raw_path
        self._headers = _pack(scope.get("headers") or ())
        self._extra = {
            key: value
            for key, value in scope.items()
            if key not in _NOT_EXTRA and not key.startswith(_NOT_EXTRA_PREFIXES)
        } or None

    @classmethod
    def of(cls, scope: Scope) -> Handshake:
        """Keep what handlers may ask of the scope of a WebSocket or HTTP request."""
        return cls(scope)

    @classmethod
    def bare(cls, app: Any = None) -> Handshake:
        """Give a handshake that knows its app and nothing else.

        One serves every connection of a hub none of whose handlers reads the handshake.
        """
        return cls({"app": app})

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers in the order they came, names in lower case; a new list every time."""
        return _unpack(self._headers)

    def request(self, session: object = None, parts: Mapping[str, str] = _NOTHING) -> Request:
        """Make the request a handler's dependencies are solved against.

        Args:
            session: what `CurrentSession` gives; read from the scope by its key `SESSION_KEY`.
            parts: of the channel's name; they are path parameters, before those of the route.
        Returns:
            A GET without a body. It and its scope belong to the caller.
        """
        scope: dict[str, Any] = {
            **(self._extra or _NOTHING),
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": self.http_version,
            "method": "GET",
            "scheme": self.scheme,
            "path": self.path,
            "raw_path": self.path.encode() if self._raw_path is None else self._raw_path,
            "query_string": self.query_string,
            "root_path": self.root_path,
            "headers": _unpack(self._headers),
            "client": self.client,
            "server": self.server,
            "state": dict(self.state),
            "path_params": {**self.path_params, **parts},
            SESSION_KEY: session,
        }
        if self.app is not None:
            scope["app"] = self.app
        return Request(scope)

    def __repr__(self) -> str:
        return f"Handshake({self.path!r})"


# A dozen headers as pairs of bytes objects take over 2 KiB, as one bytes object a third of it. No header has a line
# feed in it: what a careless server lets through is kept as it came.
_Packed = bytes | tuple[tuple[bytes, bytes], ...]


def _pack(headers: Any) -> _Packed:
    pairs = tuple((bytes(name), bytes(value)) for name, value in headers)
    packed = b"\n".join(piece for pair in pairs for piece in pair)
    return packed if packed.count(b"\n") == 2 * len(pairs) - 1 else pairs


def _unpack(packed: _Packed) -> list[tuple[bytes, bytes]]:
    if isinstance(packed, tuple):
        return list(packed)
    pieces = packed.split(b"\n")
    return list(zip(pieces[::2], pieces[1::2], strict=True))
