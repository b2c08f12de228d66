"""What the suite found: its verdicts, counted and told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

#: The verdicts that are no failure. Whatever else the suite may say is one.
PASSED: Final = ("OK", "NON-STRICT", "INFORMATIONAL")


class Case(NamedTuple):
    """One case of the suite, run against one server."""

    server: str
    number: str
    behavior: str  #: the verdict on the messages
    closing: str  #: the verdict on the end
    seconds: float

    @property
    def verdict(self) -> str:
        """The worse of the two."""
        for verdict in (self.behavior, self.closing):
            if verdict not in PASSED:
                return "FAILED"
        return max(self.behavior, self.closing, key=("OK", "INFORMATIONAL", "NON-STRICT").index)


def read(index: Path) -> list[Case]:
    """Read the index that the suite writes, in the order of its cases."""
    servers: Mapping[str, Mapping[str, Mapping[str, object]]] = json.loads(index.read_text())
    return [
        Case(server, number, str(found["behavior"]), str(found["behaviorClose"]), float(str(found["duration"])) / 1000)
        for server, cases in servers.items()
        for number, found in sorted(cases.items(), key=lambda item: [int(part) for part in item[0].split(".")])
    ]


def told(cases: Iterable[Case]) -> Iterator[str]:
    """Tell what was found: a line for each case that is not simply OK, then a table of servers and verdicts."""
    counted: dict[str, Counter[str]] = {}
    for case in cases:
        counted.setdefault(case.server, Counter())[case.verdict] += 1
        if case.verdict != "OK":
            yield f"{case.verdict}: {case.server}, case {case.number}: {case.behavior}, closing {case.closing}"
    columns = (*PASSED, "FAILED")
    yield f"{'server':24}{'cases':>8}" + "".join(f"{column:>15}" for column in columns)
    for server, verdicts in counted.items():
        yield f"{server:24}{verdicts.total():>8}" + "".join(f"{verdicts[column]:>15}" for column in columns)


def failures(cases: Iterable[Case]) -> int:
    """Count the cases that failed."""
    return sum(case.verdict == "FAILED" for case in cases)
