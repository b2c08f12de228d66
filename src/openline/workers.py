"""How many processes serve this app, found out by looking at the server that runs it.

ASGI does not tell a process whether it is one of several. But the hub starts inside a call of the server's, so the
server is on the stack, and with it the object that knows. Nothing is imported for that: what is not on the stack is not
there.

- uvicorn, `fastapi run` and `openline run`: the supervisor's `Process` is on the stack of each of its workers. With
  ``--reload`` there is none, whatever ``--workers`` says; nor with a `Server` that a program runs by itself. What
  ``WEB_CONCURRENCY`` says is in uvicorn's own config by then.
- Hypercorn: the config that the function of each of its workers was given. A program that awaits its `serve` is one
  process, whatever the config says.
- Gunicorn: its arbiter, below the worker, which is a fork of it.
- Granian: its server, where workers are forked.

For any other server, ``WEB_CONCURRENCY`` and the arguments of the command count, and if neither says anything nobody
knows. Tests that run an app's lifespan are no server.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from types import FrameType
from typing import Any, Final, NamedTuple

from openline.errors import UsageError

_log: Final = logging.getLogger("openline")

#: What knows how many there are, by its class, and where it has the number. More than one may be on the stack: a
#: worker of gunicorn is a whole uvicorn, whose own config says 1.
_SERVERS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "uvicorn.supervisors.multiprocess.Process": ("uvicorn", lambda process: process.config.workers),
    "uvicorn.lifespan.on.LifespanOn": ("uvicorn", lambda _: 1),
    "uvicorn.server.Server": ("uvicorn", lambda _: 1),
    "hypercorn.config.Config": ("Hypercorn", lambda config: config.workers),
    "hypercorn.asyncio.lifespan.Lifespan": ("Hypercorn", lambda _: 1),
    "gunicorn.arbiter.Arbiter": ("Gunicorn", lambda arbiter: arbiter.num_workers),
    "granian.server.mp.MPServer": ("Granian", lambda server: server.workers),
}
#: Functions that know it by their argument ``config``; elsewhere it is ``self`` that is asked.
_TOLD: Final = frozenset({("hypercorn.asyncio.run", "asyncio_worker"), ("hypercorn.asyncio.run", "uvloop_worker")})
_LIBRARIES: Final = frozenset(name.partition(".")[0] for name in _SERVERS)

#: Whose calls run an app's lifespan without being a server.
_TESTS: Final = ("_pytest", "unittest", "starlette.testclient", "openline.testing")

#: Variables that servers take the number from where the command does not say it.
_VARIABLES: Final = ("WEB_CONCURRENCY", "GRANIAN_WORKERS")
_OPTION: Final = re.compile(r"(?:--workers=|-w=?)(\d+)")


class Count(NamedTuple):
    """How many processes serve this app, and where that was read."""

    number: int | None  #: None where nobody says
    source: str  #: "uvicorn", "WEB_CONCURRENCY", …; "" where nobody runs the app: no server, or a test


def count() -> Count:
    """Say how many processes serve this app; call it from within the app's lifespan.

    Returns:
        The number, at least 1, and its source. A number of None with a source means: this server does not say.
    """
    found, served = _look(sys._getframe(1))  # the stack is the only place where a server can be seen
    if found is not None:
        return found
    if not served:
        return Count(None, "")
    return _declared(os.environ, sys.argv) or Count(None, "a server that does not say")


def check(url: str) -> None:
    """Refuse what cannot work: a hub whose messages stay within one process, in an app that is served by several.

    Where it cannot be found out, a warning is logged, once.

    Args:
        url: that of the hub's broker.
    Raises:
        UsageError: there are several processes; the message names the ways out.
    """
    if url.partition("://")[0] != "memory":
        return
    number, source = count()
    if number is not None and number > 1:
        raise UsageError(
            f"memory:// carries messages within one process, and there are {number} workers (so says {source}): "
            "clients of one would not hear those of another. Either run one worker; or let the hub speak to a broker "
            'that all of them share, Hub("valkey://host:6379") or Hub("nats://host:4222"); or have it start one for '
            'all workers of this machine, Hub("valkey+embedded://")'
        )
    if number is None and source:
        _tell_that_nobody_knows()


@cache
def _tell_that_nobody_knows() -> None:
    """Say what to see to: once, however many hubs there are."""
    _log.warning(
        "memory:// carries messages within one process, and this server does not say how many there are: run one "
        'worker, or give the hub a broker that all of them share, such as Hub("valkey+embedded://")'
    )


def _look(frame: FrameType | None) -> tuple[Count | None, bool]:
    """Search the stack for servers; say also whether it is a server that runs the app at all."""
    found: Count | None = None
    served = False
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_TESTS):
            return found, False
        if module == "starlette.routing" and frame.f_code.co_name == "lifespan":
            served = True
        elif module.partition(".")[0] in _LIBRARIES:
            # Only the frames of these libraries are opened: the app's are no business of ours.
            owner = "config" if (module, frame.f_code.co_name) in _TOLD else "self"
            seen = _ask(frame.f_locals.get(owner))
            if seen is not None and (found is None or (seen.number or 1) > (found.number or 1)):
                found = seen
        frame = frame.f_back
    return found, served


def _ask(owner: object) -> Count | None:
    for kind in type(owner).__mro__:
        server, read = _SERVERS.get(f"{kind.__module__}.{kind.__qualname__}", ("", None))
        if read is not None:
            try:
                return Count(max(1, int(read(owner))), server)  # Hypercorn's 0 is one: the command's own process
            except (AttributeError, TypeError, ValueError):
                return None  # a version that keeps it elsewhere
    return None


def _declared(environment: Mapping[str, str], arguments: Sequence[str]) -> Count | None:
    """Read what the command says, and what servers read where it says nothing."""
    for number in _options(arguments):
        return Count(max(1, number), f"the option of {arguments[0].rpartition('/')[2]}")
    for variable in _VARIABLES:
        if environment.get(variable, "").strip().isdecimal():
            return Count(max(1, int(environment[variable])), variable)
    return None


def _options(arguments: Sequence[str]) -> Iterator[int]:
    for option, value in zip(arguments[1:], (*arguments[2:], ""), strict=False):
        if option in ("--workers", "-w") and value.isdecimal():
            yield int(value)
        elif written := _OPTION.fullmatch(option):
            yield int(written[1])
