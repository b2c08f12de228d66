"""The figures of many nodes as Markdown, ready for docs/benchmarks.md: medians of the rounds, ratios too."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from bench.cluster.engines import EngineName
from bench.cluster.herd import Stampede
from bench.cluster.measures import Attention, Shared, Size
from bench.cluster.publishing import Published
from bench.generator import Result

#: What Openline set out to keep to, on Valkey.
LEAST_PUBLISHED: Final = 0.7
MOST_WITHOUT_INTEREST: Final = 0.03
MOST_OF_TWO_WORKERS: Final = 1.1

_TITLES: Final = {"valkey": "Valkey", "nats": "NATS"}
_WAYS: Final = {
    ("valkey", "bare"): "redis-py, XADD and PUBLISH in a script, pipelined",
    ("nats", "bare"): "nats-py, JetStream with republish",
    ("valkey", "broker"): "ValkeyBroker.publish",
    ("nats", "broker"): "NatsBroker.publish",
}

_One = TypeVar("_One")


def publish(engine: EngineName, found: Mapping[str, Sequence[Published]], size: Size) -> str:
    """What publishing costs."""
    rows = []
    for way, all_ in sorted(found.items()):
        ratios = [one.per_second / bare.per_second for one, bare in zip(all_, found["bare"], strict=True)]
        rows.append(
            [
                _WAYS.get((engine, way), "room.publish, through the whole hub"),
                f"{_median(all_, lambda one: one.per_second):,.0f}",
                f"{statistics.median(ratios):.2f}",
                f"{_median(all_, lambda one: one.engine_us):.1f}",
                f"{_median(all_, lambda one: one.client_us):.1f}",
            ]
        )
    heads = ("publisher", "publications/s", "ratio", f"{_TITLES[engine]}'s CPU µs", "publisher's CPU µs")
    return _section(f"{_TITLES[engine]}: publishing with history, {size.in_flight} at a time", heads, rows)


def interest(engine: EngineName, found: Sequence[Attention], size: Size) -> str:
    """What a node without interest costs."""
    cells = [
        f"{_median(found, lambda one: one.per_second):,.0f}",
        f"{_median(found, lambda one: one.with_interest):.1%}",
        f"{_median(found, lambda one: one.without):.2%}",
        f"{_median(found, lambda one: one.resting):.2%}",
        f"{_median(found, lambda one: one.without / one.with_interest):.3f}",
    ]
    heads = ("publications/s", "node with interest", "node without", "the same, nothing published", "ratio")
    title = f"{_TITLES[engine]}: CPU of a node without interest beside one with {size.lines:,} subscribers"
    return _section(title, heads, [cells])


def workers(engine: EngineName, found: Mapping[int, Sequence[Shared]], size: Size) -> str:
    """What a delivery costs with two workers."""
    rows = []
    for count, all_ in sorted(found.items()):
        pairs = list(zip(all_, found[1], strict=True))
        rows.append(
            [
                str(count),
                f"{_median(all_, lambda one: one.result.cpu_us):.2f}",
                f"{statistics.median(one.result.cpu_us / alone.result.cpu_us for one, alone in pairs):.2f}",
                f"{_median(all_, lambda one: one.result.per_second):,.0f}",
                f"{statistics.median(one.result.per_second / alone.result.per_second for one, alone in pairs):.2f}",
                f"{_median(all_, lambda one: one.busiest_share):.0%}",
            ]
        )
    heads = ("workers", "CPU µs", "ratio", "deliveries/s", "ratio", "CPU of the busier one")
    return _section(f"{_TITLES[engine]}: a delivery to {size.lines:,} subscribers, one message in flight", heads, rows)


def across(engine: EngineName, found: Mapping[str, Sequence[Result]], size: Size) -> str:
    """What another node adds to the way of a message."""
    rows = []
    for place, all_ in sorted(found.items(), key=lambda item: item[0] != "same node"):
        pairs = list(zip(all_, found["same node"], strict=True))
        rows.append(
            [
                place,
                f"{_median(all_, lambda one: one.p50_ms):.2f}",
                f"{statistics.median(one.p50_ms / near.p50_ms for one, near in pairs):.2f}",
                f"{_median(all_, lambda one: one.p99_ms):.2f}",
                f"{statistics.median(one.p99_ms / near.p99_ms for one, near in pairs):.2f}",
            ]
        )
    heads = ("subscribers are on the", "p50 ms", "ratio", "p99 ms", "ratio")
    title = f"{_TITLES[engine]}: from publish to delivery, {size.near_lines:,} subscribers"
    return _section(title, heads, rows)


def herd(engine: EngineName, found: Sequence[Stampede]) -> str:
    """What became of the herd."""
    cells = [
        f"{_median(found, lambda one: one.half_seconds):.2f}",
        f"{_median(found, lambda one: one.most_seconds):.2f}",
        f"{_median(found, lambda one: one.all_seconds):.2f}",
        f"{_median(found, lambda one: one.nodes_cpu_seconds):.2f}",
        f"{_median(found, lambda one: one.engine_cpu_seconds):.2f}",
        f"{_median(found, lambda one: one.herd_cpu_seconds):.2f}",
        f"{_median(found, lambda one: one.published):,.0f}",
        *(str(sum(getattr(one, count) for one in found)) for count in ("lost", "repeated", "unrecovered")),
    ]
    heads = (
        *("half live, s", "99 % live, s", "all live, s", "CPU s, both nodes", f"CPU s, {_TITLES[engine]}"),
        *("CPU s, the herd", "published meanwhile", "lost", "repeated", "not recovered"),
    )
    title = f"{_TITLES[engine]}: {found[0].clients:,} clients of a node that is killed come back to two others at once"
    return _section(title, heads, [cells])


def _median(results: Iterable[_One], value: Callable[[_One], float]) -> float:
    return statistics.median(map(value, results))


def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"### {title}", ""]
    lines += [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)
