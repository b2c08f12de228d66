"""How a connection is made: to a server of whatever kind, encrypted or not, until it lets us in."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from openline.errors import DeclarationError
from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.line import Line, Push
from openline.valkey.trouble import AccessDenied, Refused, Trouble, Unsent
from openline.valkey.words import pack

#: Of a call's time, what a silent server is given: what can be repeated is then repeated within the rest.
_SILENT_PART: Final = 0.6

#: How a server says that it does not let us in.
_DENIED: Final = frozenset({"WRONGPASS", "NOAUTH", "NOPERM", "DENIED", "ERR"})
#: A server that is full says ERR too, and may have room later.
_FULL: Final = "max number of clients"


def silence_of(address: ValkeyAddress) -> float:
    """Give the seconds after which a server that says nothing is given up."""
    return address.timeout * _SILENT_PART


def encryption_of(address: ValkeyAddress) -> ssl.SSLContext | None:
    """Read what TLS needs; None without TLS.

    Raises:
        DeclarationError: a file cannot be read.
    """
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca or None)
        if address.cert:
            context.load_cert_chain(address.cert, address.key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (address.ca, address.cert, address.key)))
        raise DeclarationError(f"the certificates of {address} cannot be read ({files}): {error}") from error
    return context


async def dial(
    endpoint: Endpoint,
    address: ValkeyAddress,
    encryption: ssl.SSLContext | None,
    *,
    name: str = "openline",
    sentinel: bool = False,
    push: Push | None = None,
    seconds: float | None = None,
) -> Line:
    """Connect and be let in.

    Args:
        name: what the server's list of clients shows.
        sentinel: it is a sentinel, not a server with data.
        push: as for `Line`.
        seconds: until it has to be done; as long as a server may be silent by default.
    Raises:
        Trouble: it was not done; nothing is left behind.
    """
    loop = asyncio.get_running_loop()
    silence = silence_of(address)
    seconds = silence if seconds is None else min(seconds, silence)
    line = Line(str(endpoint), silence, push)
    try:
        async with asyncio.timeout(seconds):
            if endpoint.port:
                hostname = endpoint.host if encryption is not None else None
                await loop.create_connection(
                    lambda: line, endpoint.host, endpoint.port, ssl=encryption, server_hostname=hostname
                )
            else:
                await loop.create_unix_connection(lambda: line, endpoint.host)
            await _enter(line, address, name, sentinel=sentinel, deadline=loop.time() + seconds)
    except BaseException as error:
        line.lose("it was never used")
        if isinstance(error, TimeoutError):
            raise Unsent(f"{endpoint} did not answer within {seconds:.1f} s") from error
        if isinstance(error, OSError):
            raise Unsent(f"{endpoint} cannot be reached: {error}") from error
        raise
    return line


async def _enter(line: Line, address: ValkeyAddress, name: str, *, sentinel: bool, deadline: float) -> None:
    """Say who we are and what we want, in one write."""
    user = address.sentinel_user if sentinel else address.user
    password = address.sentinel_password if sentinel else address.password
    answers: list[asyncio.Future[Any]] = []
    if password:
        words = ("AUTH", user, password) if user else ("AUTH", password)
        answers.append(line.call(pack(words), deadline))
    if address.database and not sentinel:
        answers.append(line.call(pack(("SELECT", address.database)), deadline))
    line.post(pack(("CLIENT", "SETNAME", name)))
    # The last one tells whether commands are taken at all: without a password that is needed, none is.
    ask = ("PING",) if sentinel or address.kind != "sentinel" else ("ROLE",)
    answers.append(line.call(pack(ask), deadline))
    results: list[Any] = await asyncio.gather(*answers, return_exceptions=True)
    for result in results:
        if isinstance(result, Refused) and result.code in _DENIED and _FULL not in str(result):
            # Its words, never ours: one that does not know AUTH shows what came with it, the password.
            reason = str(result).partition(", with args")[0]
            raise AccessDenied(f"{line.name} does not let us in: {reason}") from None
        if isinstance(result, Trouble):
            raise Unsent(f"{line.name} does not take commands: {result}") from result
        if isinstance(result, BaseException):
            raise result
    role = results[-1]
    if ask == ("ROLE",) and role[0] != b"master":
        raise Unsent(f"{line.name} is not the master (any more)")
