"""What is measured, in rounds: in each of them every peer has its turn, so the machine's moods hit all the same.

A measure gives, for each peer, one result a round, in the order of the rounds. The n-th results of two peers are of one
round, and their ratio is of one mood.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final, Literal, NamedTuple, Self, final

import msgspec

from bench.generator import Generator, Result
from bench.peers import Measure, Peer
from bench.running import Server, serving

#: After this long without a delivery, while one client is frozen, all the others stand still.
STANDSTILL_SECONDS: Final = 3
WARM_LINES: Final = 100
WARM_MESSAGES: Final = 200

#: By peer's key, a result a round.
Rounds = dict[str, list[Result]]


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    frozen_rounds: int  #: of its own: the slowest deliveries vary most
    lines: int  #: subscribers
    many_lines: int  #: where they are many
    idle_lines: int  #: at most, idle ones
    handshakes: int  #: lines opened in a round
    seconds: float  #: about how long the load lasts in a round


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a server keeps for each of so many idle connections."""

    lines: int
    bytes: dict[str, float]  #: counted, by the source file that asked for them
    kib: float  #: by which the resident memory of a server grew that did not count


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One round with an additional client that reads, and one with such a client that is frozen."""

    reading: Result
    frozen: Result


@final
class Bench:
    """Runs the measures; a context manager, which ends the servers it has started.

    Args:
        generator: built.
        peers: in the order of the tables.
        size: how much.

    Attributes:
        size: how much is measured.
    """

    def __init__(self, generator: Generator, peers: Sequence[Peer], size: Size) -> None:
        self._generator = generator
        self._peers = peers
        self.size = size
        self._stack = ExitStack()
        self._servers: dict[str, Server] = {}
        self._costs: dict[tuple[str, int], float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    # --- the measures ---------------------------------------------------------------------------------------------

    def idle(self) -> Rounds:
        """What an idle connection with one subscription keeps in memory.

        Each time in a new server, which has served others before: what is loaded once and what is kept for the next
        connection is not counted.
        """
        found: Rounds = {}
        for peer, _ in self._turns("idle"):
            found.setdefault(peer.key, []).append(self._idle(peer))
        return found

    def _idle(self, peer: Peer) -> Result:
        with serving(peer) as server:
            self._warm(server)
            return self._generator.run(server, lines=min(peer.idle_lines, self.size.idle_lines))

    def memory(self) -> dict[str, Kept]:
        """What that is made of: the bytes that each source file keeps. Counted, so once is enough."""
        found: dict[str, Kept] = {}
        for peer, _ in self._turns("memory"):
            with serving(peer, traced=True) as server:
                self._warm(server)
                before = server.account()
                with self._generator.holding(server, lines=min(peer.idle_lines, self.size.idle_lines)) as result:
                    after = server.account()
            lines = result.lines
            kept = {file: (after.get(file, 0) - before.get(file, 0)) / lines for file in before | after}
            found[peer.key] = Kept(lines=lines, bytes=kept, kib=self._idle(peer).kib)
        return found

    def handshake(self) -> Rounds:
        """What opening a connection costs: the handshake, and what has to be said until it is subscribed."""
        found: Rounds = {}
        for peer, _ in self._turns("handshake"):
            result = self._generator.run(self._server(peer), lines=self.size.handshakes)
            found.setdefault(peer.key, []).append(result)
        return found

    def delivery(self, measure: Literal["delivery", "many"], window: int) -> Rounds:
        """What a delivery costs, to the usual number of subscribers or to many, with so many messages in flight."""
        return self._load(measure, self.size.many_lines if measure == "many" else self.size.lines, window)

    def commands(self, lines: int, window: int) -> Rounds:
        """What answering a command costs, with so many of each line in flight."""
        return self._load("commands", lines, window)

    def _load(self, measure: Measure, lines: int, window: int) -> Rounds:
        found: Rounds = {}
        for peer, _ in self._turns(measure):
            server = self._server(peer)
            messages = self._messages(server, lines, window)
            result = self._generator.run(server, lines=lines, messages=messages, window=window)
            found.setdefault(peer.key, []).append(result)
        return found

    def frozen(self) -> dict[str, list[Pair]]:
        """What one client that never reads does to the others."""
        found: dict[str, list[Pair]] = {}
        for peer, number in self._turns("frozen"):
            pairs = found.setdefault(peer.key, [])
            if any(pair.frozen.missing for pair in pairs):
                continue  # that all stand still need not be seen twice
            server = self._server(peer)
            if number % 2:
                frozen, reading = self._beside(server, "frozen"), self._beside(server, "reading")
            else:
                reading, frozen = self._beside(server, "reading"), self._beside(server, "frozen")
            pairs.append(Pair(reading=reading, frozen=frozen))
        return found

    def _beside(self, server: Server, extra: Literal["reading", "frozen"]) -> Result:
        """Deliver to the usual lines, with one more beside them."""
        lines, stand = self.size.lines, extra == "frozen"
        messages = self._messages(server, lines, 1)
        result = self._generator.run(
            server, lines=lines, messages=messages, extra=extra, stall_seconds=STANDSTILL_SECONDS, may_miss=stand
        )
        if result.missing:
            server.restart()
        return result

    # --- how ------------------------------------------------------------------------------------------------------

    def _turns(self, measure: Measure) -> Iterator[tuple[Peer, int]]:
        """Every peer once a round, with the number of the round; who begins changes."""
        peers = [peer for peer in self._peers if measure in peer.measures]
        rounds = {"frozen": self.size.frozen_rounds, "memory": 1}.get(measure, self.size.rounds)
        for number in range(rounds):
            for place in range(len(peers)):
                peer = peers[(place + number) % len(peers)]
                print(f"{measure}, round {number + 1} of {rounds}: {peer.name}", file=sys.stderr, flush=True)
                yield peer, number

    def _server(self, peer: Peer) -> Server:
        """The peer's server, warm. It stays for every measure that asks for it."""
        if peer.key not in self._servers:
            self._servers[peer.key] = self._stack.enter_context(serving(peer))
            self._warm(self._servers[peer.key])
        return self._servers[peer.key]

    def _warm(self, server: Server) -> None:
        """Let a server do all of it once before it is measured, for its compiler, its caches and its buffers."""
        loaded = {"delivery", "commands"} & {*server.peer.measures}
        self._generator.run(server, lines=WARM_LINES, messages=WARM_MESSAGES if loaded else 0)

    def _messages(self, server: Server, lines: int, window: int) -> int:
        """How many messages make a round as long as it shall be: the faster the peer, the more."""
        key = (server.peer.key, window)
        if key not in self._costs:
            short = self._generator.run(server, lines=min(lines, WARM_LINES), messages=WARM_MESSAGES, window=window)
            self._costs[key] = short.cpu_us
        return max(round(self.size.seconds * 1e6 / (lines * self._costs[key])), 4 * window, 16)
