"""What a server keeps to itself: how the wires differ, as data. ``docs/servers.md`` shows it, the tests prove it."""

from __future__ import annotations

from typing import Final, NamedTuple


class Difference(NamedTuple):
    """One thing that is the server's own on the plain wire; the fields are the columns of the table in the docs."""

    what: str
    fast: str
    plain: str


SHUTDOWN_CODE: Final = Difference(
    "the code clients see when the server stops",
    "3001",
    "the server's: uvicorn 1012, Hypercorn 1011, or nothing (from Python 3.12 on); clients come back in any case",
)
STREAM_SHUTDOWN: Final = Difference(
    "what a line over HTTP sees when the server stops",
    "3001, with `openline run`",
    "3001 on uvicorn, within half a second; Hypercorn breaks it off when its grace time is over",
)
FROZEN_PEER: Final = Difference(
    "a client that does not read, at the end",
    "aborted after `Limits.close_seconds`",
    "the hub lets go of it then; how long the server holds the socket is the server's affair",
)
INVALID_UTF8: Final = Difference(
    "text that is not UTF-8",
    "1007",
    "what the server makes of it",
)
EMPTY_SUBPROTOCOL: Final = Difference(
    "an empty `Sec-WebSocket-Protocol` header, as centrifuge-python sent before 0.7",
    "taken",
    "stock uvicorn answers 400 before the app hears of it",
)
COMPRESSION: Final = Difference(
    "compression",
    "none, or with `Hub(compression=True)` once for all clients that offer it",
    "as the server agrees with the client, for each of them; the option does nothing",
)

DIFFERENCES: Final = (SHUTDOWN_CODE, STREAM_SHUTDOWN, FROZEN_PEER, INVALID_UTF8, EMPTY_SUBPROTOCOL, COMPRESSION)
