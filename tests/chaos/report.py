"""The table: one line for each fault, and in words what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from tests.chaos.trial import Outcome

_COLUMNS: Final = (
    "messages",
    "subscribers",
    "lost",
    "repeated",
    "out of order",
    "told",
    "lost tail",
    "ghosts",
    "silence s",
    "verdict",
)


def row(outcome: Outcome) -> dict[str, Any]:
    """Give one line of the table."""
    verdict = outcome.verdict
    return {
        "fault": outcome.fault,
        "messages": verdict.acknowledged,
        "subscribers": outcome.subscribers,
        "lost": verdict.counts["lost"],
        "repeated": verdict.counts["repeated"],
        "out of order": verdict.counts["out of order"] + verdict.counts["never written"],
        "told": verdict.told - verdict.told_lost_tail,
        "lost tail": verdict.told_lost_tail,
        "ghosts": outcome.ghosts + outcome.missing,
        "silence s": round(verdict.silence, 1),
        "verdict": "right" if outcome.right else "WRONG",
    }


def told(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Tell the table, line by line."""
    width = 18
    yield f"{'fault':{width}}" + "".join(f"{column:>{max(len(column), 6) + 2}}" for column in _COLUMNS)
    for outcome in outcomes:
        cells = row(outcome)
        line = f"{outcome.fault:{width}}"
        yield line + "".join(f"{cells[column]!s:>{max(len(column), 6) + 2}}" for column in _COLUMNS)


def details(outcome: Outcome, *, notes: bool) -> Iterator[str]:
    """Tell in words what is wrong with one outcome, and what else is worth knowing."""
    for words in (*outcome.problems, *outcome.verdict.findings):
        yield f"  ! {words}"
    if notes:
        yield (
            f"    {outcome.reconnects} reconnects, {outcome.recovered} subscriptions recovered, "
            f"{outcome.repaired} topics healed, {outcome.refused} attempts to publish repeated, "
            f"{outcome.seconds:.0f} s"
        )
        for words in outcome.notes:
            yield f"    {words}"


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Write the table for programs."""
    rows = [
        row(outcome)
        | {"problems": [*outcome.problems, *outcome.verdict.findings], "seconds": round(outcome.seconds, 1)}
        for outcome in outcomes
    ]
    return json.dumps(rows, indent=2) + "\n"
