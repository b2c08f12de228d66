"""Breaks things under load, tells what came of it, and fails if a message was lost, repeated or out of order.

python -m tests.chaos                                    # everything: about ten minutes
python -m tests.chaos --only node-killed valkey-killed --subscribers 50 --seconds 4
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop

from tests.chaos.faults import FAULTS
from tests.chaos.report import as_json, details, told
from tests.chaos.stage import Load
from tests.chaos.trial import Outcome, attempt


def main() -> int:
    """Try what was asked for."""
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="make chaos", description="Break nodes, engines and lines under load.")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--subscribers", type=int, help="how many clients (200)")
    parser.add_argument("--seconds", type=float, help="that publishers write on after the fault (8)")
    parser.add_argument("--seed", type=int, default=1, help="of the storms: what is broken in which order (1)")
    parser.add_argument("--quick", action="store_true", help="60 subscribers and 3 seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--logs", type=Path, default=Path(".chaos"), help="where the logs of the last run go")
    parser.add_argument("--verbose", action="store_true", help="tell more of each fault")
    asked = parser.parse_args()
    subscribers = asked.subscribers or (60 if asked.quick else 200)
    seconds = asked.seconds or (3.0 if asked.quick else 8.0)
    load = Load(subscribers=subscribers, seconds=seconds, seed=asked.seed)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")

    outcomes: list[Outcome] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for fault in FAULTS:
            if fault.name not in asked.only:
                continue
            print(f"{fault.name}: …", end=" ", flush=True)
            outcome = runner.run(attempt(fault, load))
            print(f"{'right' if outcome.right else 'WRONG'}, {outcome.seconds:.0f} seconds", flush=True)
            for line in details(outcome, notes=asked.verbose):
                print(line, flush=True)
            for name, log in outcome.logs.items():
                file = asked.logs / fault.name / f"{name}.log"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(log)
            outcomes.append(outcome)
    print(*told(outcomes), sep="\n")
    if asked.json:
        asked.json.write_text(as_json(outcomes))
    return 0 if all(outcome.right for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
