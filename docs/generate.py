"""Writes what the reference takes from the code: `reference/api.md` whole, and the tables of `reference/protocol.md`.

    python docs/generate.py            # write
    python docs/generate.py --check    # only say what is not fresh, as the tests do

Nothing of a docstring is changed on the way but its layout, so the place to mend a sentence is the code. Signatures are
the source's own text. Tables stand between two comments, ``<!-- made from codes.py: errors -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from described import Module, entry

from openline import codes
from openline.protocol import messages

DOCS: Final = Path(__file__).parent

#: The names of each part of the page, in their order. `openline.__all__` and `openline.testing.__all__` are told whole.
PARTS: Final[Sequence[tuple[str, str, str, tuple[str, ...]]]] = (
    ("openline", "The hub and its channels", "", ("Hub", "Channel", "HistoryPage", "Kept", "Counters")),
    ("openline", "The nodes of a hub", "", ("NodeInfo", "Survey")),
    ("openline", "Publishing from elsewhere", "", ("Publisher", "PublisherChannel")),
    ("openline", "Clients", "", ("Session", "CurrentSession", "User", "Line")),
    ("openline", "What handlers return", "", ("Accept", "Allow", "Override", "Publish")),
    ("openline", "Options", "Frozen values, checked when they are made.", ("History", "Limits", "Heartbeat")),
    ("openline", "Tokens", "", ("JWT",)),
    ("openline", "Positions and people", "", ("Position", "ClientInfo", "PresenceStats")),
    (
        "openline",
        "Codes",
        "The tables stand in [the protocol](protocol.md#codes); the constants in `openline.codes`.",
        ("ErrorCode", "DisconnectCode", "UnsubscribeCode"),
    ),
    (
        "openline",
        "Errors",
        "`OpenlineError` is the root of all of them. The number of a refusal is its error code.",
        (
            "OpenlineError",
            "UsageError",
            "DeclarationError",
            "HubNotStarted",
            "MissingExtra",
            "BrokerUnavailable",
            "PayloadTooBig",
            "FellBehind",
            "Disconnect",
            "Refusal",
            "InternalError",
            "Unauthorized",
            "UnknownChannel",
            "PermissionDenied",
            "MethodNotFound",
            "AlreadySubscribed",
            "LimitExceeded",
            "BadRequest",
            "NotAvailable",
            "TokenExpired",
            "Expired",
            "TooManyRequests",
            "UnrecoverablePosition",
        ),
    ),
    ("openline", "Version", "", ("__version__",)),
    (
        "openline.testing",
        "The testing kit",
        "In `openline.testing`; [Testing](../testing.md) shows its use.",
        ("started", "connect", "line", "Client", "Refused", "Closed", "HandshakeRefused", "VirtualClock"),
    ),
    (
        "openline.testing",
        "Contract suites",
        "In `openline.testing`, for those who write a broker or a presence.",
        (
            "check_broker",
            "BrokerNodes",
            "BROKER_CHECKS",
            "check_presence",
            "PresenceNodes",
            "PRESENCE_CHECKS",
            "Check",
            "ContractBroken",
        ),
    ),
)


# --- the pages ----------------------------------------------------------------------------------------------------


def api() -> str:
    """Write the page of the public names.

    Raises:
        LookupError: a public name is in no part, or a part names what is not public.
    """
    lines = [
        "# The public names",
        "",
        "Made from the docstrings by `make docs`; what is not on this page is not promised. Seconds are bare numbers,",
        "every other unit is in the name.",
        "",
        *(f"- [{title}](#{title.lower().replace(' ', '-')})" for _, title, _, _ in PARTS),
    ]
    for package_name in ("openline", "openline.testing"):
        told = [name for part in PARTS if part[0] == package_name for name in part[3]]
        public = Module.read(package_name).exported()
        if sorted(told) != sorted(public):
            raise LookupError(f"{package_name}: {sorted(set(told) ^ set(public)) or 'a name told twice'}")
    for package_name, title, words, names in PARTS:
        package = Module.read(package_name)
        lines += ["", f"## {title}"]
        lines += ["", words] if words else []
        for name in names:
            lines += ["", *entry(package, name)]
    return "\n".join(lines) + "\n"


def _table(*rows: Sequence[str]) -> list[str]:
    head, *body = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|" + " --- |" * len(rows[0]), *body]


def _constant(code: tuple[object, ...]) -> str:
    return next(f"`{name}`" for name, value in vars(codes).items() if value is code)


def _errors() -> list[str]:
    def client(code: codes.ErrorCode) -> str:
        if code is codes.TOKEN_EXPIRED:
            return "tries again with a new token"
        return "tries again" if code.temporary else ""

    rows = [(str(code.number), code.message, client(code), _constant(code)) for code in codes.ERRORS]
    return _table(("code", "message", "client", "constant"), *rows)


def _disconnects() -> list[str]:
    rows = [
        (str(c.number), c.reason, "comes back" if c.reconnect else "stays away", _constant(c))
        for c in codes.DISCONNECTS
    ]
    return _table(("code", "reason", "client", "constant"), *rows)


def _unsubscribes() -> list[str]:
    rows = [
        (str(c.number), c.reason, "subscribes again" if c.resubscribe else "stays out", _constant(c))
        for c in codes.UNSUBSCRIBES
    ]
    return _table(("code", "reason", "client", "constant"), *rows)


def _messages() -> list[str]:
    module = Module.read("openline.protocol.messages")
    rows = [("message", "fields", "is")]
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            fields = ", ".join(f"`{name}`" for name in getattr(messages, node.name).__struct_fields__)
            rows.append((f"`{node.name}`", fields or "none", (ast.get_docstring(node) or "").partition("\n")[0]))
    return _table(*rows)


#: What each marked place of the protocol page is made of.
TABLES: Final = {
    "codes.py: errors": _errors,
    "codes.py: disconnects": _disconnects,
    "codes.py: unsubscribes": _unsubscribes,
    "protocol/messages.py": _messages,
}


def protocol(text: str) -> str:
    """Give the protocol page with every table made anew.

    Raises:
        LookupError: a table has no place, or a place no table.
    """
    places = re.findall(r"<!-- made from (.*?) -->", text)
    if sorted(places) != sorted(TABLES):
        raise LookupError(f"places {places} in protocol.md, and tables {list(TABLES)}")
    for name, make in TABLES.items():
        start, end = f"<!-- made from {name} -->\n", "<!-- end -->"
        before, _, rest = text.partition(start)
        text = before + start + "\n" + "\n".join(make()) + "\n\n" + end + rest.partition(end)[2]
    return text


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or check them; give the exit status."""
    page = DOCS / "reference" / "protocol.md"
    fresh = {DOCS / "reference" / "api.md": api(), page: protocol(page.read_text())}
    stale = [path for path, text in fresh.items() if not path.is_file() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(DOCS.parent)} is not fresh: run `make docs`\n")
        return bool(stale)
    for path in stale:
        path.write_text(fresh[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
