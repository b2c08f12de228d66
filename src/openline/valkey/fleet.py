"""The masters a client talks to: who they are, the lines to them, and who has changed.

Invariants of this file:

1. There is a `Master` for each endpoint of the topology, and a second one where replicas have to confirm; each keeps
   its line by itself. A master that is in the topology no more is let go of.
2. Who the masters are is looked up again whenever somebody says they have changed, and again and again while one of
   them cannot be reached: so a failover is followed by itself.
3. Whoever waits for a line waits for `changes`, which every change wakes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, final

from openline.errors import BrokerUnavailable
from openline.urls import Endpoint
from openline.valkey.address import ValkeyAddress
from openline.valkey.dialing import encryption_of, silence_of
from openline.valkey.line import Line
from openline.valkey.master import Master
from openline.valkey.pauses import Pauses
from openline.valkey.tasks import Tasks
from openline.valkey.topology import UNKNOWN, Topology, look_up, moved_to
from openline.valkey.trouble import AccessDenied, Trouble

_log: Final = logging.getLogger("openline.valkey")

#: Between two looks at who the masters are.
_LOOK_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0


@final
class Fleet:
    """The masters of one address.

    Args:
        name: what a server's list of clients shows.
    Attributes:
        address: where it is.
        connections: how often a connection to a master was made.
        encryption: what TLS needs; None without TLS.
        running: whether it is started.
        tasks: run what belongs to it.
        topology: the masters as they are known.
    """

    __slots__ = (
        "_change",
        "_confirming",
        "_look",
        "_masters",
        "_only",
        "_problem",
        "_visited",
        "_watchers",
        "address",
        "connections",
        "denied",
        "encryption",
        "name",
        "running",
        "tasks",
        "topology",
    )

    def __init__(self, address: ValkeyAddress, name: str) -> None:
        self.address = address
        self.encryption: ssl.SSLContext | None = None
        self.running = False
        self.tasks = Tasks()
        self.topology: Topology = UNKNOWN
        self.denied = False
        self.connections = 0
        self.name = name
        self._masters: dict[Endpoint, Master] = {}
        #: The second line to each, for what replicas have to confirm: others need not wait behind it.
        self._confirming: dict[Endpoint, Master] = {}
        #: Servers of a cluster a slot is on its way to, that have none yet.
        self._visited: dict[Endpoint, Master] = {}
        self._only: Master | None = None
        self._problem = ""
        self._change = asyncio.Event()
        self._look = asyncio.Event()
        self._watchers: list[Callable[[], None]] = []

    @property
    def problem(self) -> str:
        """What is wrong as of now; "" while there is a line to every master."""
        if not self.running:
            return "the connection is not started"
        if not self.topology.masters:
            return self._problem or "nothing is known of its servers yet"
        for master in (*self._masters.values(), *self._confirming.values()):
            if master.line is None:
                return master.problem or f"{master.endpoint} is being connected to"
        return "" if self.topology.whole else "some slots of the cluster are served by nobody"

    # --- beginning and end ----------------------------------------------------------------------------------------

    async def start(self, deadline: float) -> None:
        """Find the masters and connect to each; see `Valkey.start`.

        Args:
            deadline: a time of the event loop's clock.
        """
        if self.running:
            return
        self.encryption = encryption_of(self.address)
        self._change, self._look = asyncio.Event(), asyncio.Event()
        self._problem, self.denied = "", False
        self.running = True
        await self.tasks.start()
        try:
            self.tasks.spawn(self._keep_looking(), "topology")
            self._look.set()
            while self.problem:
                if self.denied or not self.running or not await self.changes(deadline):  # or stopped meanwhile
                    raise BrokerUnavailable(f"{self.address}: {self.problem}")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything. Idempotent."""
        self.running = False
        await self.tasks.stop()
        self._masters, self._confirming, self._visited = {}, {}, {}
        self._only, self.topology = None, UNKNOWN
        self._change.set()

    # --- finding a line -------------------------------------------------------------------------------------------

    def line(self, key: bytes, *, on: Endpoint | None = None, confirming: bool = False) -> Line | None:
        """Give the line to the master of a key, if there is one now.

        Args:
            on: the master itself, in place of a key.
            confirming: the line on which replicas confirm.
        """
        master = self._only
        if master is None or confirming or on is not None:
            endpoint = on if on is not None else self.topology.owner(key)
            if endpoint is None:
                return None
            found = (self._confirming if confirming else self._masters).get(endpoint)
            if found is None:
                return None
            master = found
        return master.line

    def visit(self, words: str) -> Line | None:
        """Give the line to the server that an ASK names; it is made if there is none."""
        endpoint = moved_to(words, "")
        if endpoint is None:
            return None
        master = self._masters.get(endpoint) or self._visited.get(endpoint)
        if master is None:
            master = self._visited[endpoint] = self._meet(endpoint)
        return master.line

    async def changes(self, deadline: float) -> bool:
        """Wait until something changes; False if nothing did until the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._change.wait()
                return True
        return False

    # --- who the masters are --------------------------------------------------------------------------------------

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call this from now on whenever the topology was looked up anew."""
        self._watchers.append(watcher)

    def look(self, words: str = "") -> None:
        """Look up who the masters are, soon.

        Args:
            words: a MOVED, which is believed at once if it names a master that is known.
        """
        owners = self.topology.owners
        endpoint = moved_to(words, "") if words.startswith("MOVED ") else None
        if owners is not None and endpoint in self.topology.masters:
            owners[int(words.split()[1])] = self.topology.masters.index(endpoint)
        if self.address.kind != "single":
            self._look.set()

    async def _keep_looking(self) -> None:
        pauses = Pauses(_LONGEST_PAUSE_SECONDS)
        while True:
            await self._look.wait()
            self._look.clear()
            # Those that answer know better than those that are away, or just came back.
            known = sorted(self._masters.values(), key=lambda master: master.line is None)
            try:
                topology = await look_up(
                    self.address,
                    self.encryption,
                    [master.endpoint for master in known],
                    seconds=silence_of(self.address) / 2,
                )
            except Trouble as error:
                if not self._problem:
                    _log.warning("%s: %s", self.address, error)
                self._problem, self.denied = str(error), isinstance(error, AccessDenied)
                self._look.set()
            else:
                self._problem = ""
                self._apply(topology)
            self._changed(False)
            if not self.problem:
                pauses.reset()
            await asyncio.sleep(max(_LOOK_SECONDS, pauses.next()))

    def _apply(self, topology: Topology) -> None:
        if topology.masters != self.topology.masters and self.topology.masters:
            _log.info("the masters of %s are now %s", self.address, ", ".join(map(str, topology.masters)))
        self.topology = topology
        for masters, confirming in ((self._masters, False), (self._confirming, True)):
            if confirming and not self.address.replicas:
                continue
            for endpoint in [known for known in masters if known not in topology.masters]:
                masters.pop(endpoint).leave()
            for endpoint in topology.masters:
                if endpoint not in masters:
                    visited = None if confirming else self._visited.pop(endpoint, None)
                    masters[endpoint] = visited or self._meet(endpoint, confirming=confirming)
        self._only = self._masters[topology.masters[0]] if topology.owners is None else None
        for watcher in self._watchers:
            watcher()

    def _meet(self, endpoint: Endpoint, *, confirming: bool = False) -> Master:
        master = Master(
            endpoint,
            self.address,
            self.encryption,
            name=self.name,
            replicas=self.address.replicas if confirming else 0,
            changed=self._changed,
        )
        self.tasks.spawn(master.keep(), f"master {endpoint}")
        return master

    def _changed(self, connected: bool) -> None:
        """Wake whoever waits for a line; look up the masters while one is away."""
        self.connections += connected
        masters = (*self._masters.values(), *self._confirming.values())
        self.denied = self.denied or any(master.denied for master in masters)
        if not self.topology.whole or any(master.line is None for master in masters):
            self.look()
        self._change.set()
        self._change = asyncio.Event()
