"""What is measured of many nodes, in rounds: what is compared takes turns within each, so its moods hit both.

Each measure gives a result a round for each thing that is compared; the n-th results are of one round.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeVar, final, get_args

import msgspec

from bench.cluster.engines import Engine
from bench.cluster.herd import Stampede
from bench.cluster.nodes import serving_nodes
from bench.cluster.publishing import WAYS, Published
from bench.cluster.usage import cpu_seconds
from bench.generator import LIMIT_SECONDS, Generator, Result
from bench.running import ROOT, Failed, Server

Measure = Literal["publish", "interest", "workers", "across", "herd"]
MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)

_WARM_LINES: Final = 20
_WARM_MESSAGES: Final = 100
#: The herd's node is killed, and two are left.
_HERD_NODES: Final = 3
_HERD_CHANNELS: Final = 50
_ROOMS: Final = 100

_Found = TypeVar("_Found")


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    publications: int  #: in a round
    in_flight: int
    lines: int  #: subscribers
    near_lines: int  #: subscribers where latency is measured
    messages: int  #: in a round of deliveries
    rate: int  #: publications a second, where it is steady
    seconds: float  #: it is steady for
    herd: int  #: clients


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """The CPU of two nodes beside each other, as shares of a core."""

    resting: float  #: of the one without interest, while nothing is published
    without: float  #: of the same, while it is
    with_interest: float  #: of the other, meanwhile
    per_second: float  #: publications


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker or several did."""

    result: Result
    busiest_share: float  #: of the CPU of all workers: 0.5 is an even split between two


@final
class Cluster:
    """Measures on one engine.

    Args:
        engine: running.
        generator: built.
        size: how much.
    """

    def __init__(self, engine: Engine, generator: Generator, size: Size) -> None:
        self._engine = engine
        self._generator = generator
        self._size = size

    def publish(self) -> dict[str, list[Published]]:
        """What publishing costs in each way."""
        found: dict[str, list[Published]] = {}
        for way in self._turns("publish", WAYS):
            words = ["--count", self._size.publications, "--in-flight", self._size.in_flight]
            found.setdefault(way, []).append(self._publish(way, *words))
        return found

    def interest(self) -> list[Attention]:
        """What a node costs that nobody is interested in, beside one with subscribers."""
        with (
            serving_nodes(self._engine.url, 2) as (idle, busy),
            self._generator.holding(busy, lines=self._size.lines, rooms=_ROOMS),
        ):
            return [self._attention(idle, busy) for _ in self._turns("interest", [""])]

    def _attention(self, idle: Server, busy: Server) -> Attention:
        both = [idle.processes(), busy.processes()]
        start = cpu_seconds(both[0])
        time.sleep(self._size.seconds)
        resting = (cpu_seconds(both[0]) - start) / self._size.seconds
        begin, before = time.perf_counter(), [cpu_seconds(one) for one in both]
        words = ["--rate", self._size.rate, "--seconds", self._size.seconds, "--channels", _ROOMS]
        published = self._publish("steadily", *words)
        seconds = time.perf_counter() - begin
        without, with_interest = [(cpu_seconds(one) - then) / seconds for one, then in zip(both, before, strict=True)]
        return Attention(resting=resting, without=without, with_interest=with_interest, per_second=published.per_second)

    def workers(self) -> dict[int, list[Shared]]:
        """What a delivery costs with one worker, and with two that share a port."""
        found: dict[int, list[Shared]] = {}
        with (
            serving_nodes(self._engine.url, 1, workers=1) as (one,),
            serving_nodes(self._engine.url, 1, workers=2) as (two,),
        ):
            servers = {1: one, 2: two}
            for server in servers.values():
                self._warm(server)
            for count in self._turns("workers", list(servers)):
                found.setdefault(count, []).append(self._shared(servers[count]))
        return found

    def _shared(self, server: Server) -> Shared:
        processes = server.processes()
        before = [cpu_seconds([one]) for one in processes]
        result = self._generator.run(server, lines=self._size.lines, messages=self._size.messages)
        used = [cpu_seconds([one]) - then for one, then in zip(processes, before, strict=True)]
        return Shared(result=result, busiest_share=max(used) / sum(used))

    def across(self) -> dict[str, list[Result]]:
        """How long a message takes to subscribers of the publisher's node, and of another one."""
        found: dict[str, list[Result]] = {}
        with serving_nodes(self._engine.url, 2) as (here, there):
            for place in self._turns("across", ["same node", "another node"]):
                found.setdefault(place, []).append(self._delivered(here if place == "same node" else there, here))
        return found

    def _delivered(self, server: Server, publisher: Server) -> Result:
        return self._generator.run(
            server, lines=1 + self._size.near_lines, messages=self._size.messages, publisher=publisher
        )

    def herd(self) -> list[Stampede]:
        """What becomes of many clients when their node dies."""
        return [self._stampede() for _ in self._turns("herd", [""])]

    def _stampede(self) -> Stampede:
        with serving_nodes(self._engine.url, _HERD_NODES) as (victim, *others):
            words: list[object] = [self._engine.url, "--engine", self._engine.process, "--port", victim.port]
            words += ["--kill", *victim.processes(), "--clients", self._size.herd, "--channels", _HERD_CHANNELS]
            words += ["--rate", 2 * _HERD_CHANNELS]
            for other in others:
                words += ["--other", other.port]
                words += [word for process in other.processes() for word in ("--survivor", process)]
            return _run("herd", words, Stampede)

    # --- how ------------------------------------------------------------------------------------------------------

    def _turns(self, measure: Measure, compared: Sequence[_Found]) -> Iterator[_Found]:
        """Everything that is compared once a round; who begins changes."""
        for number in range(self._size.rounds):
            for place in range(len(compared)):
                one = compared[(place + number) % len(compared)]
                what = f"{self._engine.name}, {measure}, round {number + 1} of {self._size.rounds}"
                print(f"{what}: {one}" if one else what, file=sys.stderr, flush=True)
                yield one

    def _warm(self, server: Server) -> None:
        self._generator.run(server, lines=_WARM_LINES, messages=_WARM_MESSAGES)

    def _publish(self, way: str, *words: object) -> Published:
        return _run("publishing", [way, self._engine.url, self._engine.process, *words], Published)


def _run(program: str, words: Sequence[object], kind: type[_Found]) -> _Found:
    """Run one of the programs beside this file.

    Raises:
        Failed: it did not end well.
    """
    command = [sys.executable, "-m", f"bench.cluster.{program}", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    if done.returncode:
        raise Failed(f"{program} {words[0]}: {done.stderr.strip()}")
    return msgspec.json.decode(done.stdout, type=kind)
