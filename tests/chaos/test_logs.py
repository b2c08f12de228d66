"""What a node logged: a fault in it is found, and what it has to say while its engine is away is none."""

from __future__ import annotations

import pytest

from tests.chaos import logs

AWAY = "ERROR openline 2026-01-01 10:00:00,000: the broker is away: connection refused"
WARNED = "WARNING openline 2026-01-01 10:00:00,000: channel room:ash: history cannot be read; trying again"


def test_what_a_node_may_say_is_no_fault() -> None:
    """And is counted."""
    log = f"INFO:     Application startup complete.\n{AWAY}\n{WARNED}\n"
    assert not list(logs.faults(log))
    assert logs.warnings(log) == 2


NOT_STARTED = """ERROR:    Traceback (most recent call last):
  File "connection.py", line 127, in open
ConnectionRefusedError

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "node.py", line 110, in running
openline.errors.BrokerUnavailable: no connection to the engine

ERROR:    Application startup failed. Exiting.
"""


def test_what_a_node_may_say_while_its_engine_is_away_is_a_fault_while_it_is_there() -> None:
    """It had no reason to."""
    assert list(logs.faults(AWAY, engine_stays=True)) == [AWAY]


def test_a_node_may_refuse_to_start_without_its_engine_and_for_no_other_reason() -> None:
    """It is started again later."""
    assert not list(logs.faults(f"{WARNED}\n{NOT_STARTED}{WARNED}\n"))
    assert len(list(logs.faults(NOT_STARTED, engine_stays=True))) == 3
    assert len(list(logs.faults(NOT_STARTED.replace("errors.BrokerUnavailable", "errors.Other")))) == 3


@pytest.mark.parametrize(
    "line",
    [
        "ERROR asyncio 2026-01-01 10:00:00,000: Task exception was never retrieved",
        "ERROR openline 2026-01-01 10:00:00,000: a task of the hub failed",
        "ERROR:    Exception in ASGI application",
        "Traceback (most recent call last):",
        "Task was destroyed but it is pending!",
        "app.py:3: RuntimeWarning: coroutine 'publish' was never awaited",
    ],
)
def test_a_fault_in_a_log_is_found(line: str) -> None:
    """Wherever it stands."""
    assert list(logs.faults(f"{WARNED}\n{line}\n{AWAY}\n")) == [line]
