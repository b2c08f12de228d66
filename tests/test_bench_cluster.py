"""The measures of many nodes: each runs and gives figures that can be true; what is lost is found.

No figure is tested here, only that there is one. It needs Linux and a C compiler, `cc`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.cluster import report
from bench.cluster.__main__ import main
from bench.cluster.client import Client
from bench.cluster.engines import Engine
from bench.cluster.herd import Stampede
from bench.cluster.measures import Attention, Cluster, Shared, Size
from bench.cluster.nodes import node
from bench.cluster.publishing import Published
from bench.cluster.sizing import measure
from bench.cluster.usage import cpu_seconds
from bench.generator import Generator, Result
from bench.running import ROOT, Failed, serving
from tests.engines.nats import NatsServer
from tests.engines.valkey import ValkeyServer

PAGE = ROOT / "docs" / "benchmarks.md"
SIZE = Size(rounds=1, publications=200, in_flight=16, lines=8, near_lines=4, messages=8, rate=200, seconds=0.2, herd=30)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """The generator, built."""
    return Generator(tmp_path_factory.mktemp("load"))


@pytest.fixture
def cluster(valkey: ValkeyServer, generator: Generator) -> Cluster:
    """The measures, on the Valkey of all tests."""
    return Cluster(Engine("valkey", valkey.url, valkey.pid), generator, SIZE)


# --- the measures -------------------------------------------------------------------------------------------------


def test_publishing_has_its_cost_in_each_way(cluster: Cluster) -> None:
    """The engine's part, and the publisher's."""
    found = cluster.publish()

    assert set(found) == {"broker", "hub", "bare"}
    for (one,) in found.values():
        assert one.per_second > 0
        assert one.engine_us > 0
        assert one.client_us > 0


def test_publishing_is_measured_on_nats_too(nats: NatsServer, generator: Generator) -> None:
    """Beside the client that people have."""
    found = Cluster(Engine("nats", nats.url, nats.pid), generator, SIZE).publish()

    assert all(one.per_second > 0 and one.engine_us > 0 for (one,) in found.values())


def test_a_node_without_interest_is_beside_one_with(cluster: Cluster) -> None:
    """The one with subscribers has more to do."""
    (one,) = cluster.interest()

    assert one.resting > 0
    assert 0 < one.without < one.with_interest
    assert one.per_second > SIZE.rate / 2


def test_two_workers_are_beside_one(cluster: Cluster) -> None:
    """All lines hear everything, whichever worker has them."""
    found = cluster.workers()

    for count, (one,) in found.items():
        assert one.result.deliveries == SIZE.lines * SIZE.messages
        assert one.result.cpu_us > 0
        assert 1 / (count + 1) < one.busiest_share <= 1


def test_what_crosses_nodes_is_beside_what_does_not(cluster: Cluster) -> None:
    """The publisher hears it too, as it is subscribed, and is not timed."""
    found = cluster.across()

    for (one,) in found.values():
        assert one.deliveries == (1 + SIZE.near_lines) * SIZE.messages
        assert 0 < one.p50_ms <= one.p99_ms


def test_a_herd_comes_back_and_misses_nothing(cluster: Cluster) -> None:
    """All of it, with everything that was published meanwhile."""
    (one,) = cluster.herd()

    assert one.clients == SIZE.herd
    assert 0 < one.half_seconds <= one.most_seconds <= one.all_seconds
    assert (one.lost, one.repeated, one.unrecovered) == (0, 0, 0)
    assert one.nodes_cpu_seconds > 0


# --- the load generator, where there are many ---------------------------------------------------------------------


def test_each_line_has_its_room(generator: Generator) -> None:
    """The first and the third are in one, the others in another: they hear what is published there, and say so."""
    peer = dataclasses.replace(node("memory://"), publish='{"id":3,"publish":{"channel":"kept:1","data":"%s"}}')
    with serving(peer) as server:
        elsewhere = "line 1 has heard more than was said"
        with pytest.raises(Failed, match=elsewhere), generator.holding(server, lines=2, rooms=2):
            generator.run(server, lines=1, messages=1, stall_seconds=0.3, may_miss=True)
        with generator.holding(server, lines=1, rooms=2) as result:
            heard = generator.run(server, lines=1, messages=1, stall_seconds=0.3, may_miss=True)

    assert result.lines == heard.missing == 1  # both are in the first room


def test_cpu_is_counted_while_a_process_runs() -> None:
    """It grows with what is done; of a process that has ended nothing is known."""
    before, until = cpu_seconds([os.getpid()]), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_seconds([os.getpid()]) - before >= 0.04

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(Failed, match=f"process {ended.pid} has ended"):
        cpu_seconds([ended.pid])


# --- a client of the herd -----------------------------------------------------------------------------------------

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
SUBSCRIBED = b'{"id":1,"connect":{}}\n{"id":2,"subscribe":{"epoch":"e","offset":%d,"recovered":%s,"publications":[%s]}}'


def frame(text: bytes) -> bytes:
    """A text message as a server sends it."""
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


def publication(number: int) -> bytes:
    """A push, as a server sends it."""
    return frame(b'{"push":{"channel":"kept:0","pub":{"data":%d,"offset":%d}}}' % (number, number))


class Onlooker:
    """Counts who is live."""

    def __init__(self) -> None:
        self.live_again = 0
        self.cut_off_live: list[bool] = []

    def live(self, client: Client) -> None:
        """One is."""
        self.live_again += 1

    def cut_off(self, client: Client) -> int:
        """One is not."""
        self.cut_off_live.append(client.live)
        return 2


@asynccontextmanager
async def connected(herd: Onlooker, *heard: bytes) -> AsyncIterator[Client]:
    """Have a client that has connected to a server that says this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"".join((SWITCHED, *heard)):
            writer.write(bytes([byte]))  # cut anywhere
            await writer.drain()
        writer.close()
        done.set()

    done = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        client = Client("kept:0", server.sockets[0].getsockname()[1], herd)
        await client.connect()
        await done.wait()
        while not herd.cut_off_live:  # noqa: ASYNC110  # the end of the connection is a turn or two away
            await asyncio.sleep(0)
        yield client
        client.leave()


async def test_a_client_knows_what_it_missed() -> None:
    """By the numbers of what it hears: a gap is lost, what is not newer is repeated."""
    herd = Onlooker()
    told = (frame(SUBSCRIBED % (0, b"false", b"")), publication(1), publication(4), publication(4), publication(2))
    async with connected(herd, *told, frame(b"{}")) as client:
        assert (client.number, client.lost, client.repeated, client.unrecovered) == (4, 2, 2, 0)
        assert herd.live_again == 1
        assert herd.cut_off_live == [True]
        assert not client.live


async def test_a_client_counts_what_it_recovers() -> None:
    """What comes with the subscription counts like what comes after it; not to be recovered is told apart."""
    herd = Onlooker()
    kept = b",".join(b'{"data":%d,"offset":%d}' % (number, number) for number in (1, 2, 3))
    again = (frame(SUBSCRIBED % (3, b"true", kept)), publication(4), frame(SUBSCRIBED % (4, b"false", b"")))
    async with connected(herd, *again) as client:
        assert (client.number, client.lost, client.repeated, client.unrecovered) == (4, 0, 0, 1)


async def test_a_client_that_is_refused_was_never_live() -> None:
    """It comes back, and is counted once it is live."""
    herd = Onlooker()
    async with connected(herd, frame(b'{"id":1,"error":{"code":100,"message":"internal"}}')) as client:
        assert herd.cut_off_live == [False]
        assert client.number == 0


# --- the tables ---------------------------------------------------------------------------------------------------


def result(value: float) -> Result:
    """One round's."""
    return Result(
        lines=8, open_seconds=1, open_us=1, kib=1, cpu_us=value, per_second=value, p50_ms=value, p99_ms=2 * value
    )


def printed() -> list[str]:
    """Every table, of two rounds."""
    published = [Published(per_second=one, engine_us=1, client_us=2) for one in (100, 200)]
    half = [Published(per_second=one, engine_us=1, client_us=2) for one in (50, 120)]
    attention = Attention(resting=0.01, without=0.02, with_interest=0.5, per_second=10)
    shared = {count: [Shared(result=result(count), busiest_share=0.5)] for count in (1, 2)}
    counts = Stampede(
        clients=30,
        published=3,
        half_seconds=1,
        most_seconds=2,
        all_seconds=3,
        lost=0,
        repeated=0,
        unrecovered=1,
        refused=0,
        nodes_cpu_seconds=1,
        engine_cpu_seconds=1,
        herd_cpu_seconds=1,
    )
    return [
        report.publish("valkey", {"bare": published, "broker": half, "hub": half}, SIZE),
        report.interest("valkey", [attention], SIZE),
        report.workers("valkey", shared, SIZE),
        report.across("valkey", {"another node": [result(2)], "same node": [result(1)]}, SIZE),
        report.herd("valkey", [counts, counts]),
    ]


def test_ratios_are_those_of_each_round() -> None:
    """Their median, and not the ratio of medians."""
    publish, interest, workers, across, herd = printed()

    assert "| ValkeyBroker.publish | 85 | 0.55 | 1.0 | 2.0 |" in publish
    assert interest.endswith("| 10 | 50.0% | 2.00% | 1.00% | 0.040 |")
    assert workers.endswith("| 2 | 2.00 | 2.00 | 2 | 2.00 | 50% |")
    assert across.endswith("| another node | 2.00 | 2.00 | 4.00 | 2.00 |")
    assert herd.endswith("| 3 | 0 | 0 | 2 |")


def test_the_page_has_these_tables() -> None:
    """So that a run can be put there as it is."""
    page = PAGE.read_text()

    for table in printed():
        assert table.splitlines()[2] in page


def test_an_unknown_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(sys, "argv", ["bench-cluster", "--only", "valkey,speed"])

    with pytest.raises(SystemExit, match="--only knows no speed"):
        main()


# --- what is kept -------------------------------------------------------------------------------------------------


async def test_sizing_finds_what_a_node_keeps_on_its_engine() -> None:
    """Every row of the table, and each a figure that can be true: more than the payload, and some connections."""
    # So many that what connections take for a moment does not show in the quotient.
    rows = {row.what: row.found for row in await measure(2_000)}

    assert rows["Valkey: a publication of 1000 bytes"] > 1_000 > rows["Valkey: a publication of 100 bytes"] > 100
    assert rows["Valkey: a channel with one publication"] > 100
    assert rows["Valkey: an idempotency key of 12 characters"] > 12
    assert rows["NATS: a publication of 100 bytes"] > 100
    plain, replicated = (
        rows[f"Valkey cluster{query}: connections of a node to a master"] for query in ("", "?replicas=1")
    )
    assert replicated == plain + 1
    assert plain == rows["Valkey: connections of a node"]
