"""The table of the chaos runs tells what was found; what is wrong is nowhere called right."""

from __future__ import annotations

import json

from tests.chaos.checker import Verdict
from tests.chaos.report import as_json, details, told
from tests.chaos.trial import Outcome


def outcome(*, lost: int = 0, problems: tuple[str, ...] = ()) -> Outcome:
    """Give an outcome."""
    verdict = Verdict(acknowledged=300, told=2, told_lost_tail=2, silence=1.26)
    for number in range(lost):
        verdict.find("lost", None, f"message {number}")
    return Outcome(fault="node-killed", subscribers=200, verdict=verdict, problems=list(problems))


def test_each_fault_has_a_line() -> None:
    """With what was lost, and whether all of it was right."""
    head, right, wrong = told([outcome(), outcome(lost=3)])
    assert head.split() == [
        *("fault", "messages", "subscribers", "lost", "repeated", "out", "of", "order"),
        *("told", "lost", "tail", "ghosts", "silence", "s", "verdict"),
    ]
    assert right.split() == ["node-killed", "300", "200", "0", "0", "0", "0", "2", "0", "1.3", "right"]
    assert wrong.split() == ["node-killed", "300", "200", "3", "0", "0", "0", "2", "0", "1.3", "WRONG"]
    assert len(head) == len(right) == len(wrong)


def test_what_is_wrong_is_told_in_words() -> None:
    """What the checker found, and all else."""
    wrong = outcome(lost=1, problems=("node 1 does not run",))
    assert not wrong.right
    assert list(details(wrong, notes=False)) == ["  ! node 1 does not run", "  ! lost: message 0"]
    assert list(details(outcome(), notes=False)) == []


def test_a_problem_alone_makes_an_outcome_wrong() -> None:
    """Although every message was seen."""
    assert outcome().right
    assert not outcome(problems=("a ghost",)).right


def test_programs_read_the_same_table() -> None:
    """With the words beside it."""
    (row,) = json.loads(as_json([outcome(lost=1, problems=("a ghost",))]))
    assert (row["fault"], row["lost"], row["verdict"]) == ("node-killed", 1, "WRONG")
    assert row["problems"] == ["a ghost", "lost: message 0"]
