"""What every request passes that opens a line, whatever its wire: the hub runs, the page may, and there is a place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import lru_cache
from typing import Any, Final, final

from fastapi.requests import HTTPConnection

from openline.commands import Commands
from openline.handshake import Handshake
from openline.origins import Origins, is_origin

_NOT_RUNNING: Final = (
    "the hub is not running: the lifespan of its router never started. Either the app is mounted in another app "
    "(lifespans of mounted apps are not run: enter hub.running() in the outer app's lifespan), or the router was "
    "included after the app had started, or the server runs with its lifespan off"
)
_STOPPING: Final = "the hub is stopping"
_ELSEWHERE: Final = "the hub runs in another event loop than the server of this request: a hub belongs to one at a time"

#: A browser names no ``Origin`` where a page asks for something of its own host's, nor for an image, a link or a frame
#: of whatever page; there it says in ``Sec-Fetch-Site`` whose it is.
_OWN_SITES: Final = ("same-origin", "none")

#: Of what a client wrote, this many characters stand in a line of the log.
_TOLD: Final = 200


class Refused(Exception):
    """A request does not become a line. It was counted, and the log has it.

    Attributes:
        status: of HTTP.
        cause: for the client.
    """

    def __init__(self, status: int, cause: str) -> None:
        super().__init__(status, cause)
        self.status = status
        self.cause = cause


@final
class Door:
    """The door of one hub.

    Args:
        reads_handshake: says whether a handler needs what stood in the opening request; else it is let go.
        origins: the pages that may open a line.
    """

    __slots__ = ("_reads_handshake", "commands", "origins")

    def __init__(self, commands: Commands, reads_handshake: Callable[[], bool], origins: Origins) -> None:
        self.commands = commands
        self._reads_handshake = reads_handshake
        self.origins = origins

    def check(self, connection: HTTPConnection) -> None:
        """Say whether the hub takes requests, and those of this page.

        Raises:
            Refused: not this one.
        """
        node = self.commands.node
        if not node.accepts:
            raise self.refused(503, _STOPPING if node.runs_here else _ELSEWHERE if node.started else _NOT_RUNNING)
        self.check_page(connection)

    def check_page(self, connection: HTTPConnection) -> None:
        """Say whether the page of a request may connect.

        Raises:
            Refused: it may not.
        """
        headers = connection.headers
        if not self.origins.allows(headers.getlist("origin"), headers.getlist("host")):
            self._note_origin(connection)
            raise Refused(403, "pages of this origin may not connect here")
        if "origin" not in headers and headers.get("sec-fetch-site", "none") not in _OWN_SITES:
            self._note_site(connection)
            raise Refused(403, "pages of another site may not connect here")

    def refused(self, status: int, cause: str) -> Refused:
        """Give the refusal for a cause, counted and logged."""
        self.commands.node.notices.take("handshakes_refused", f"a handshake was refused: {cause}")
        return Refused(status, cause)

    def take_place(self, connection: HTTPConnection) -> None:
        """Keep a place for a request until `leave_place`, which is idempotent: it has become a session, or nothing.

        Raises:
            Refused: every place is taken. The client comes back, or a load balancer goes elsewhere.
        """
        node = self.commands.node
        if not node.places.expect(connection):
            words = "a handshake was refused with 503: there are as many connections as Limits.connections allows (%d)"
            node.notices.take("connections_refused", words, node.limits.connections)
            raise Refused(503, "too many connections")

    def leave_place(self, connection: HTTPConnection) -> None:
        """The request has become a session, or come to nothing."""
        self.commands.node.places.expected(connection)

    def handshake(self, connection: HTTPConnection) -> Handshake:
        """Give what is kept of a request: as good as nothing where no handler reads it."""
        app = connection.scope.get("app")
        # A dependency that a test overrides may read what the declared one does not.
        if self._reads_handshake() or getattr(app, "dependency_overrides", None):
            return Handshake.of(connection.scope)
        return _bare(app)

    def _note_origin(self, connection: HTTPConnection) -> None:
        """Say what page was refused. Anybody may send as many as they like: the log has some of them."""
        headers = connection.headers
        origins = headers.getlist("origin")
        origin, host = (", ".join(headers.getlist(name))[:_TOLD] for name in ("origin", "host"))
        values = [origin, host]
        words = "a handshake was refused with 403: its page is of origin %r, and it went to host %r"
        if len(origins) > 1:
            words = "a handshake was refused with 403: it has several Origin headers, %r, and went to host %r"
        elif origin == "null":
            words = (
                "a handshake was refused with 403: its page has no origin, %r (a file, a sandboxed frame), and it went "
                "to host %r. Hub(origins=['null']) would let in every such page, whoever's it is"
            )
        elif is_origin(origins[0]) and origin == origins[0]:
            values.append(origin)
            words += (
                ". If the page is yours, list it, Hub(origins=[%r]), or have the proxy in front pass the Host header "
                "on as it came"
            )
        self.commands.node.notices.take("origins_refused", words, *values)

    def _note_site(self, connection: HTTPConnection) -> None:
        """Say that something was opened from a page that does not say where it is from: an image, a link."""
        headers = connection.headers
        mode, path = headers.get("sec-fetch-mode", "")[:_TOLD], connection.url.path[:_TOLD]
        words = "a request was refused with 403: a page of another site asked for %r as it would for an image (%r)"
        self.commands.node.notices.take("origins_refused", words, path, mode)


@lru_cache(maxsize=1)
def _bare(app: Any) -> Handshake:
    """Give the one handshake that serves all connections of an app none of whose handlers reads it."""
    return Handshake.bare(app)


async def close_dependencies(connection: HTTPConnection) -> None:
    """Close what the router's dependencies opened: a database connection lasts as long as the handshake.

    One that fails to close refuses the handshake; one that hangs holds nothing but itself.
    """
    for key in ("fastapi_function_astack", "fastapi_inner_astack"):
        stack = connection.scope.get(key)
        if isinstance(stack, AsyncExitStack):
            await stack.aclose()
