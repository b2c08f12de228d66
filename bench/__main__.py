"""`make bench`: Openline beside others in one run on one machine, printed as the tables of docs/benchmarks.md.

The words that `--only` knows are the peers' and the measures'; without a peer among them all are measured, without a
measure all measures are made.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import report
from bench.generator import Generator
from bench.history import exported
from bench.measures import Bench, Rounds, Size
from bench.peers import MEASURES, PEERS, Measure, Peer, at
from bench.running import ROOT, Failed

#: What a server or the generator has open beside its lines.
OTHER_FILES: Final = 200


def main() -> None:
    """Measure and print."""
    options = _options()
    peers, measures = _chosen(options.only)
    size = _size(options)
    raw: dict[str, Any] = {"options": vars(options) | {"json": None}, "size": size._asdict()}
    compared: list[tuple[Measure, str, Rounds]] = []
    try:
        with (
            _and_before(peers, options.against) as all_peers,
            Bench(Generator(ROOT / ".bench"), all_peers, size) as bench,
        ):
            print(report.conditions(size.rounds), flush=True)
            for measure in measures:
                for name, found, table in _measured(bench, measure):
                    raw[name] = msgspec.to_builtins(found)
                    print(f"\n{table}", flush=True)
                    if measure not in {"frozen", "memory"}:
                        compared.append((measure, name, found))
            if options.against:
                print(f"\n{report.against(options.against, compared)}")
    except Failed as error:
        sys.exit(f"bench: {error}")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(raw)))


@contextmanager
def _and_before(peers: Sequence[Peer], ref: str) -> Iterator[Sequence[Peer]]:
    """Give the peers, and behind each that runs Openline the one that runs it as of a commit."""
    if not ref:
        yield peers
        return
    with exported(ref) as sources:
        yield [one for peer in peers for one in ([peer, at(peer, ref, sources)] if peer.sources else [peer])]


def _measured(bench: Bench, measure: Measure) -> list[tuple[str, Any, str]]:
    """Make a measure; give its name in the raw results, those, and the table."""
    match measure:
        case "idle":
            found = bench.idle()
            return [(measure, found, report.idle(found))] if found else []
        case "memory":
            kept = bench.memory()
            return [(measure, kept, report.memory(kept))] if kept else []
        case "commands":
            loads = {"one session": (1, 16), "many sessions": (bench.size.lines, 1)}
            answered = {name: bench.commands(*load) for name, load in loads.items()}
            return [(f"{measure}, {name}", one, report.commands(one)) for name, one in answered.items() if one]
        case "handshake":
            found = bench.handshake()
            return [(measure, found, report.handshake(found))] if found else []
        case "frozen":
            pairs = bench.frozen()
            return [(measure, pairs, report.frozen(pairs))] if pairs else []
        case "delivery" | "many":
            windows = (1, 16) if measure == "delivery" else (1,)
            all_ = [(window, bench.delivery(measure, window)) for window in windows]
            return [(f"{measure}, {window} in flight", one, report.delivery(one)) for window, one in all_ if one]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each peer is measured (5)")
    parser.add_argument("--lines", type=int, help="subscribers (1000); where they are many, ten times as many")
    words = ", ".join([*(peer.key for peer in PEERS), *MEASURES])
    parser.add_argument("--only", default="", help=f"some of, with commas between them: {words}")
    parser.add_argument("--against", default="", metavar="REF", help="measure Openline as of a git commit too")
    parser.add_argument("--quick", action="store_true", help="a look at whether all of it runs: its figures say little")
    parser.add_argument("--json", type=Path, help="the file to write every single result to")
    return parser.parse_args()


def _chosen(only: str) -> tuple[Sequence[Peer], Sequence[Measure]]:
    words = {word.strip() for word in only.split(",")} - {""}
    peers = [peer for peer in PEERS if peer.key in words]
    measures: list[Measure] = [measure for measure in MEASURES if measure in words]
    if unknown := words - {peer.key for peer in peers} - set(measures):
        sys.exit(f"bench: --only knows no {', '.join(sorted(unknown))}")
    return peers or PEERS, measures or MEASURES


def _size(options: argparse.Namespace) -> Size:
    """How much is measured. Servers and generator get all the files this machine allows them."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    most = files - OTHER_FILES
    lines = min(options.lines or (200 if options.quick else 1000), most)
    rounds = options.rounds or (1 if options.quick else 5)
    return Size(
        rounds=rounds,
        frozen_rounds=1 if options.quick else 2 * rounds,
        lines=lines,
        many_lines=min(10 * lines, most),
        idle_lines=1000 if options.quick else min(10_000, most),
        handshakes=200 if options.quick else min(2000, most),
        seconds=0.2 if options.quick else 1.0,
    )


if __name__ == "__main__":
    main()
