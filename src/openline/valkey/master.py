"""One master: the connection to it, which is made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final, final

from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.dialing import dial
from openline.valkey.line import Line
from openline.valkey.pauses import Pauses
from openline.valkey.trouble import AccessDenied, Trouble

_log: Final = logging.getLogger("openline.valkey")


@final
class Master:
    """The commands' side of one server.

    Args:
        replicas: how many replicas have to confirm what is sent on this line.
        changed: called when the line was made (with True) or is gone, or could not be made.
    Attributes:
        endpoint: the server.
        line: the connection; None while there is none.
        problem: why there is none; "" while there is one or none was tried.
        denied: whether that is because the server does not let us in.
    """

    __slots__ = (
        "_address",
        "_changed",
        "_encryption",
        "_left",
        "_name",
        "_replicas",
        "denied",
        "endpoint",
        "line",
        "problem",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        address: ValkeyAddress,
        encryption: ssl.SSLContext | None,
        *,
        name: str,
        replicas: int,
        changed: Callable[[bool], None],
    ) -> None:
        self.endpoint = endpoint
        self.line: Line | None = None
        self.problem = ""
        self.denied = False
        self._address = address
        self._encryption = encryption
        self._name = name
        self._replicas = replicas
        self._changed = changed
        self._left = asyncio.Event()

    def leave(self) -> None:
        """Let go of the server: `keep` ends."""
        self._left.set()
        if self.line is not None:
            self.line.lose(f"{self.endpoint} is not the master any more")

    async def keep(self) -> None:
        """Keep a line to the server, until `leave`."""
        pauses = Pauses.for_calls(self._address.timeout)
        try:
            while not self._left.is_set():
                await self._pause(pauses.next())
                try:
                    line = await dial(self.endpoint, self._address, self._encryption, name=self._name)
                except Trouble as error:
                    self._note(str(error), denied=isinstance(error, AccessDenied))
                    continue
                await self._use(line, pauses)
        finally:
            if self.line is not None:
                self.line.lose("the connection was closed")
                self.line = None

    async def _use(self, line: Line, pauses: Pauses) -> None:
        if self._left.is_set():
            line.lose("the connection was closed")
            return
        if self.problem:
            _log.info("connected to %s again", self.endpoint)
        line.replicas = self._replicas
        self.line, self.problem, self.denied = line, "", False
        self._changed(True)
        reason = await pauses.outlive(line.lost)
        self.line = None
        if not self._left.is_set():
            self._note(reason, denied=False)

    def _note(self, problem: str, *, denied: bool) -> None:
        if not self.problem:
            _log.warning("%s; trying again", problem)
        self.problem, self.denied = problem, denied
        self._changed(False)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self._left.wait()
            except TimeoutError:
                pass
