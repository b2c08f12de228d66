"""Commands to a Valkey or Redis, however its servers stand together.

What is known of a command's fate decides whether it is repeated, never hope:

- It was not sent, or refused in a way that says it had no effect (the table below): it is repeated, with pauses, until
  its time is over.
- It was sent and not answered: it is repeated only if its caller said that doing it twice is doing it once.
- Everything else is `BrokerUnavailable` at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, final

from openline.errors import BrokerUnavailable
from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.fleet import Fleet
from openline.valkey.line import Line
from openline.valkey.pauses import Pauses
from openline.valkey.script import Script
from openline.valkey.trouble import AccessDenied, Refused, Trouble, Unanswered, Unsent
from openline.valkey.words import Word, pack

#: Errors of a server that did nothing, and will later or elsewhere.
_LATER: Final = frozenset({"LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "MOVED", "ASK"})
#: Those of them that say the masters may have changed.
_ELSEWHERE: Final = frozenset({"READONLY", "MOVED", "CLUSTERDOWN", "MASTERDOWN"})
_ASKING: Final = pack((b"ASKING",))
_LONGEST_PAUSE_SECONDS: Final = 0.25
#: An attempt is not made with less time than this.
_LEAST_SECONDS: Final = 0.05


@final
class _Request:
    """One command and its fate so far."""

    __slots__ = ("confirmed", "deadline", "on", "packed", "repeatable", "routed_by", "whole")

    def __init__(
        self,
        packed: bytes,
        routed_by: bytes,
        deadline: float,
        *,
        on: Endpoint | None = None,
        repeatable: bool,
        confirmed: bool = False,
    ) -> None:
        self.packed = packed
        self.whole: tuple[Script, Sequence[bytes], Sequence[Word]] | None = None  #: how it runs where it is not known
        self.routed_by = routed_by
        self.on = on
        self.deadline = deadline
        self.repeatable = repeatable
        self.confirmed = confirmed


@final
class Valkey:
    """A client: one connection to each master, shared by all who call in this event loop.

    Everything called in one turn of the event loop goes out together. Each call has a deadline, `ValkeyAddress.timeout`
    from when it is made, and ends by it.

    Args:
        address: where the servers are.
        name: what a server's list of clients shows.
    Attributes:
        fleet: the masters, as they are known.
    """

    __slots__ = ("_address", "_loop", "_replicas", "_timeout", "fleet")

    def __init__(self, address: ValkeyAddress, *, name: str = "openline") -> None:
        self._address = address
        self._timeout = address.timeout
        self._replicas = address.replicas
        self._loop: asyncio.AbstractEventLoop | None = None
        self.fleet = Fleet(address, name)

    @property
    def problem(self) -> str:
        """What is wrong as of now, in words; "" while all works."""
        return self.fleet.problem

    @property
    def shards(self) -> tuple[Endpoint, ...]:
        """The masters, for what has to be asked of each: ``call(…, on=shard)``."""
        return self.fleet.topology.masters

    async def start(self) -> None:
        """Connect to every master. Once started, starting again is nothing.

        Raises:
            BrokerUnavailable: it was not possible within `ValkeyAddress.timeout`; nothing is left behind.
            DeclarationError: a file with certificates cannot be read.
        """
        loop = asyncio.get_running_loop()
        if self.fleet.running and loop is not self._loop:
            # A loop that was closed took everything along.
            self.fleet = Fleet(self._address, self.fleet.name)
        self._loop = loop
        await self.fleet.start(self._loop.time() + self._timeout)

    async def stop(self) -> None:
        """Close everything; calls under way raise `BrokerUnavailable`. Waits for no server. Idempotent."""
        await self.fleet.stop()

    def call(
        self,
        *words: Word,
        routed_by: bytes = b"",
        on: Endpoint | None = None,
        repeatable: bool = False,
        timeout: float | None = None,  # a deadline of the command, which is why it is here
    ) -> Coroutine[Any, Any, Any]:
        """Give a command.

        Args:
            words: the command and its arguments.
            routed_by: the key that says which master of a cluster it is for.
            on: the master it is for, one of `shards`, in place of a key.
            repeatable: doing it twice is doing it once.
            timeout: seconds, in place of `ValkeyAddress.timeout`.
        Returns:
            To be awaited: the answer, as RESP2 has it: bytes, integers, None, lists of these.
        Raises:
            BrokerUnavailable: on awaiting: it was not done, or may not have been; the words say what happened.
        """
        packed = pack(words)
        deadline = self._deadline(timeout)
        return self._carry(_Request(packed, routed_by, deadline, on=on, repeatable=repeatable))

    def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[Word],
        *,
        repeatable: bool = False,
        confirmed: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Run a script on the master of its keys; as `call`.

        Args:
            keys: at least one; all in one slot.
            confirmed: as many replicas as `ValkeyAddress.replicas` says have to have it.
        """
        request = _Request(
            script.packed(keys, args),
            keys[0],
            self._deadline(None),
            repeatable=repeatable,
            confirmed=confirmed and self._replicas > 0,
        )
        request.whole = (script, keys, args)
        return self._carry(request)

    def _deadline(self, timeout: float | None) -> float:
        if self._loop is None:
            return 0.0  # never started, which is found out where it is carried
        return self._loop.time() + (self._timeout if timeout is None else timeout)

    async def _carry(self, request: _Request) -> Any:
        line = self.fleet.line(request.routed_by, on=request.on, confirming=request.confirmed)
        if line is None:
            return await self._insist(request, Unsent(""))
        try:
            return await line.call(request.packed, request.deadline)
        except Trouble as trouble:
            return await self._insist(request, trouble)

    async def _insist(self, request: _Request, trouble: Trouble) -> Any:
        """Go on with a command that did not succeed at once, as long as that is right."""
        assert self._loop is not None or not self.fleet.running  # noqa: S101  # `start` sets both
        pauses = Pauses(_LONGEST_PAUSE_SECONDS)
        while True:
            self._judge(request, trouble)
            line: Line | None
            asked = isinstance(trouble, Refused) and trouble.code == "ASK"
            if asked:
                line = self.fleet.visit(str(trouble))
            else:
                if str(trouble):
                    await self._pause(pauses.next(), request.deadline, trouble)
                line = self.fleet.line(request.routed_by, on=request.on, confirming=request.confirmed)
            if line is None:
                trouble = Unsent(self.problem or "there is no connection yet")
                if not await self.fleet.changes(request.deadline):
                    raise BrokerUnavailable(self._words(trouble)) from trouble
                continue
            if asked:
                line.post(_ASKING)
            try:
                return await line.call(request.packed, request.deadline)
            except Trouble as error:
                trouble = error

    def _judge(self, request: _Request, trouble: Trouble) -> None:
        """Prepare the next attempt.

        Raises:
            BrokerUnavailable: there is none.
        """
        final_ = not self.fleet.running or isinstance(trouble, AccessDenied)
        if isinstance(trouble, Unanswered):
            final_ = final_ or not request.repeatable
        elif isinstance(trouble, Refused):
            if trouble.code == "NOSCRIPT" and request.whole is not None:
                script, keys, args = request.whole
                request.packed, request.whole = script.packed_whole(keys, args), None
            elif trouble.code not in _LATER:
                final_ = True
            elif trouble.code in _ELSEWHERE:
                self.fleet.look(str(trouble))
        if final_ or (self._loop is not None and self._loop.time() >= request.deadline):
            raise BrokerUnavailable(self._words(trouble)) from trouble

    async def _pause(self, seconds: float, deadline: float, trouble: Trouble) -> None:
        """Wait before the next attempt.

        Raises:
            BrokerUnavailable: there is no time for another; its words tell of the last one.
        """
        assert self._loop is not None  # noqa: S101  # whoever comes here was sent once
        if self._loop.time() + seconds + _LEAST_SECONDS >= deadline:
            raise BrokerUnavailable(self._words(trouble)) from trouble
        if seconds:
            await asyncio.sleep(seconds)

    def _words(self, trouble: Trouble) -> str:
        return f"{self._address}: {self.problem if not self.fleet.running else str(trouble) or self.problem}"
