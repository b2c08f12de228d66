"""The figures as Markdown, ready for docs/benchmarks.md: medians of the rounds, ratios too."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.generator import Result
from bench.measures import Kept, Pair, Rounds
from bench.peers import Measure, name_of
from bench.running import ROOT
from openline.version import VERSION

#: What a delivery is compared with, what a handshake is, and what an answer is.
FASTEST: Final = "uwebsockets"
BARE: Final = "bare-accept"
FASTEST_ECHO: Final = "uwebsockets-echo"
ECHO: Final = "echo"
#: So many source files are told what they keep.
TOP_FILES: Final = 12
#: From this share of a core on it may be the generator that is measured.
BUSY: Final = 0.9

#: Of each measure the figure that is compared with what it was.
_FIGURES: Final[dict[Measure, tuple[str, Callable[[Result], float]]]] = {
    "idle": ("KiB", lambda one: one.kib),
    "handshake": ("CPU µs", lambda one: one.open_us),
    "commands": ("CPU µs", lambda one: one.cpu_us),
    "delivery": ("CPU µs", lambda one: one.cpu_us),
    "many": ("CPU µs", lambda one: one.cpu_us),
}
_PACKAGES: Final = ("fastapi", "uvicorn", "uvloop", "websockets", "msgspec", "python-socketio", "socketify")
_NODE_PACKAGES: Final = ("ws", "socket.io")
_NONE: Final = "-"


def conditions(rounds: int) -> str:
    """When, on what and with which versions it was measured."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    lock = json.loads((ROOT / "bench/node/package-lock.json").read_text())["packages"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
    versions += [f"{name} {lock[f'node_modules/{name}']['version']}" for name in _NODE_PACKAGES]
    text = (
        f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}, Node {node.removeprefix('v')}; "
        f"Openline {VERSION}, {', '.join(versions)}. Medians of {rounds} round{'s' if rounds > 1 else ''}."
    )
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return found[1] if found else platform.machine()


def delivery(found: Rounds) -> str:
    """What a delivery costs."""
    some = next(iter(found.values()))[0]
    heads = ("server", "CPU µs", "ratio", "deliveries/s", "p50 ms", "p99 ms", "bytes", "server busy", "generator busy")
    rows = []
    for key, results in found.items():
        cells = [
            f"{_median(results, lambda one: one.cpu_us):.2f}",
            _ratio(found, key, FASTEST, lambda one: one.cpu_us),
            f"{_median(results, lambda one: one.per_second):,.0f}",
            f"{_median(results, lambda one: one.p50_ms):.1f}",
            f"{_median(results, lambda one: one.p99_ms):.1f}",
            f"{_median(results, lambda one: one.bytes):.0f}",
            f"{_median(results, lambda one: one.server_share):.0%}",
            f"{_median(results, lambda one: one.generator_share):.0%}",
        ]
        rows.append([name_of(key), *cells])
    title = f"{some.lines:,} subscribers, {'one message' if some.window == 1 else some.window} in flight"
    return _section(title, heads, rows, _busy(found))


def idle(found: Rounds) -> str:
    """What an idle connection keeps."""
    rows = [
        [
            name_of(key),
            f"{results[0].lines:,}",
            f"{_median(results, lambda one: one.kib):.1f}",
            _ratio(found, key, FASTEST, lambda one: one.kib),
        ]
        for key, results in found.items()
    ]
    return _section("An idle connection with one subscription", ("server", "connections", "KiB each", "ratio"), rows)


def memory(found: Mapping[str, Kept]) -> str:
    """What an idle connection keeps, file by file."""
    most = {
        file: max(kept.bytes.get(file, 0) for kept in found.values()) for kept in found.values() for file in kept.bytes
    }
    top = sorted(most, key=lambda file: -most[file])[:TOP_FILES]
    rows = [[file, *(f"{kept.bytes.get(file, 0):,.0f}" for kept in found.values())] for file in top]
    totals = {key: sum(kept.bytes.values()) for key, kept in found.items()}
    others = [totals[key] - sum(kept.bytes.get(file, 0) for file in top) for key, kept in found.items()]
    rows.append(["all others", *(f"{value:,.0f}" for value in others)])
    rows.append(["all that Python counts", *(f"{value:,.0f}" for value in totals.values())])
    rows.append(["resident, not counting", *(f"{1024 * kept.kib:,.0f}" for kept in found.values())])
    lines = next(iter(found.values())).lines
    title = f"Bytes kept for each of {lines:,} idle connections with one subscription"
    return _section(title, ("file", *map(name_of, found)), rows)


def handshake(found: Rounds) -> str:
    """What opening a connection costs."""
    rows = [
        [
            name_of(key),
            f"{_median(results, lambda one: one.open_us):.0f}",
            _ratio(found, key, BARE, lambda one: one.open_us),
            _ratio(found, key, FASTEST, lambda one: one.open_us),
        ]
        for key, results in found.items()
    ]
    heads = ("server", "CPU µs", "to FastAPI's bare accept", "to uWebSockets")
    return _section("Handshake, connect and subscribe", heads, rows)


def commands(found: Rounds) -> str:
    """What answering a command costs."""
    some = next(iter(found.values()))[0]
    heads = ("server", "CPU µs", "to FastAPI's echo", "to uWebSockets' echo", "commands/s", "p50 ms", "p99 ms")
    rows = []
    for key, results in found.items():
        cells = [
            f"{_median(results, lambda one: one.cpu_us):.2f}",
            _ratio(found, key, ECHO, lambda one: one.cpu_us),
            _ratio(found, key, FASTEST_ECHO, lambda one: one.cpu_us),
            f"{_median(results, lambda one: one.per_second):,.0f}",
            f"{_median(results, lambda one: one.p50_ms):.2f}",
            f"{_median(results, lambda one: one.p99_ms):.2f}",
            f"{_median(results, lambda one: one.server_share):.0%}",
            f"{_median(results, lambda one: one.generator_share):.0%}",
        ]
        rows.append([name_of(key), *cells])
    each = "" if some.lines == 1 else " each"
    asking = f"{some.window} commands" if some.window > 1 else "one command"
    title = f"{f'{some.lines:,} sessions' if each else 'One session'}, {asking} in flight{each}"
    return _section(title, (*heads, "server busy", "generator busy"), rows, _busy(found))


def frozen(found: Mapping[str, Sequence[Pair]]) -> str:
    """What one frozen client does to the others."""
    rows = []
    for key, pairs in found.items():
        still = any(pair.frozen.missing for pair in pairs)
        ratio = statistics.median(pair.frozen.p99_ms / pair.reading.p99_ms for pair in pairs)
        rows.append(
            [
                name_of(key),
                f"{statistics.median(pair.reading.p99_ms for pair in pairs):.1f}",
                "all stand still" if still else f"{statistics.median(pair.frozen.p99_ms for pair in pairs):.1f}",
                _NONE if still else f"{ratio:.2f}",
                "kept" if all(pair.frozen.held for pair in pairs) else "let go",
            ]
        )
    lines = next(iter(found.values()))[0].reading.lines
    heads = ("server", "p99 ms, it reads", "p99 ms, it is frozen", "ratio", "the frozen client is")
    return _section(f"One frozen client beside {lines:,} subscribers, one message in flight", heads, rows)


def against(ref: str, found: Iterable[tuple[Measure, str, Rounds]]) -> str:
    """What has become of each figure since a commit."""
    rows = []
    for measure, what, rounds in found:
        unit, value = _FIGURES[measure]
        for key in rounds:
            before = f"{key}@{ref}"
            if before in rounds:
                medians = [f"{_median(rounds[one], value):.2f}" for one in (before, key)]
                rows.append([f"{what}: {unit}", name_of(key), *medians, _ratio(rounds, key, before, value)])
    return _section(f"Openline at {ref} and now", ("figure", "server", f"at {ref}", "now", "ratio"), rows)


def _median(results: Iterable[Result], value: Callable[[Result], float]) -> float:
    return statistics.median(map(value, results))


def _ratio(found: Rounds, key: str, reference: str, value: Callable[[Result], float]) -> str:
    """The median of each round's own ratio."""
    if reference not in found:
        return _NONE
    pairs = zip(found[key], found[reference], strict=True)
    ratios = [value(one) / value(other) for one, other in pairs if value(other) > 0]
    return f"{statistics.median(ratios):.2f}" if ratios else _NONE


def _busy(found: Rounds) -> str:
    """A word on the peers whose figures may be the generator's."""
    busy = [name_of(key) for key, all_ in found.items() if _median(all_, lambda one: one.generator_share) > BUSY]
    return f"The generator was as busy as it can be with {', '.join(busy)}: it may be what is measured." if busy else ""


def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    lines = [f"### {title}", ""]
    lines += [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines + (["", note] if note else []))
