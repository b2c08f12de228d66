"""What a server lets the app do with the connection an HTTP request came on.

ASGI has no word for ending a connection whose client does not read, nor for saying that the server is about to end. A
server that can do both says so in the scope, under `extensions`: the value at `HELD` is a `HeldConnection`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

#: The key of the scope's extensions.
HELD: Final = "openline.http"


class HeldConnection(Protocol):
    """The connection of a request that is being answered: each has its own, also where they share a connection."""

    def end_within(self, seconds: float) -> None:
        """Give the client so many seconds from now for the rest of the answer; then the connection is aborted."""

    def when_server_ends(self, call: Callable[[], None] | None) -> None:
        """Call when the server begins to end while this answer is under way, at once if it has; None calls it off."""


def held_connection(scope: Mapping[str, Any]) -> HeldConnection | None:
    """Give the connection of a request, where the server lets go of it."""
    held: HeldConnection | None = scope.get("extensions", {}).get(HELD)
    return held
