"""`make bench-cluster`: what many nodes cost, in one run on one machine, printed as the tables of docs/benchmarks.md.

The words that `--only` knows are the engines' and the measures'; without an engine among them all are run, without a
measure all measures are made.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.cluster import report
from bench.cluster.engines import ENGINES, EngineName, running
from bench.cluster.measures import MEASURES, Cluster, Measure, Size
from bench.generator import Generator
from bench.running import ROOT, Failed

_QUICK = Size(
    rounds=1,
    publications=1_000,
    in_flight=256,
    lines=100,
    near_lines=20,
    messages=50,
    rate=500,
    seconds=0.5,
    herd=100,
)
_WHOLE = Size(
    rounds=5,
    publications=40_000,
    in_flight=256,
    lines=1_000,
    near_lines=100,
    messages=300,
    rate=1_000,
    seconds=5,
    herd=5_000,
)


def main() -> None:
    """Measure and print."""
    options = _options()
    engines, measures = _chosen(options.only)
    size = _QUICK if options.quick else _WHOLE
    if options.rounds:
        size = size._replace(rounds=options.rounds)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    raw: dict[str, Any] = {"size": size._asdict()}
    try:
        generator = Generator(ROOT / ".bench")
        for name in engines:
            with running(name) as engine:
                cluster = Cluster(engine, generator, size)
                for measure in measures:
                    found, table = measured(cluster, name, measure, size)
                    raw[f"{name}, {measure}"] = msgspec.to_builtins(found, str_keys=True)
                    print(f"\n{table}", flush=True)
    except Failed as error:
        sys.exit(f"bench-cluster: {error}")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(raw)))


def measured(cluster: Cluster, engine: EngineName, measure: Measure, size: Size) -> tuple[object, str]:
    """Make a measure; give what was found, and the table."""
    match measure:
        case "publish":
            published = cluster.publish()
            return published, report.publish(engine, published, size)
        case "interest":
            attention = cluster.interest()
            return attention, report.interest(engine, attention, size)
        case "workers":
            shared = cluster.workers()
            return shared, report.workers(engine, shared, size)
        case "across":
            delivered = cluster.across()
            return delivered, report.across(engine, delivered, size)
        case "herd":
            stampedes = cluster.herd()
            return stampedes, report.herd(engine, stampedes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each is measured (5)")
    words = ", ".join([*ENGINES, *MEASURES])
    parser.add_argument("--only", default="", help=f"some of, with commas between them: {words}")
    parser.add_argument("--quick", action="store_true", help="a look at whether all of it runs: its figures say little")
    parser.add_argument("--json", type=Path, help="the file to write every single result to")
    return parser.parse_args()


def _chosen(only: str) -> tuple[Sequence[EngineName], Sequence[Measure]]:
    words = {word.strip() for word in only.split(",")} - {""}
    engines = [engine for engine in ENGINES if engine in words]
    measures = [measure for measure in MEASURES if measure in words]
    if unknown := words - {*engines, *measures}:
        sys.exit(f"bench-cluster: --only knows no {', '.join(sorted(unknown))}")
    return engines or ENGINES, measures or MEASURES


if __name__ == "__main__":
    main()
