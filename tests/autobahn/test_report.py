"""What the Autobahn suite found is told as it is: nothing that failed is counted among what passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.autobahn.__main__ import SERVERS
from tests.autobahn.report import Case, failures, read, told


def case(behavior: str, closing: str = "OK") -> Case:
    """Give a case with these verdicts."""
    return Case("route", "1.1.1", behavior, closing, 0.1)


@pytest.mark.parametrize(
    ("behavior", "closing", "verdict"),
    [
        ("OK", "OK", "OK"),
        ("NON-STRICT", "OK", "NON-STRICT"),
        ("OK", "INFORMATIONAL", "INFORMATIONAL"),
        ("INFORMATIONAL", "INFORMATIONAL", "INFORMATIONAL"),
        ("FAILED", "OK", "FAILED"),
        ("UNIMPLEMENTED", "OK", "FAILED"),
        ("OK", "WRONG CODE", "FAILED"),
        ("OK", "UNCLEAN", "FAILED"),
        ("NON-STRICT", "FAILED BY CLIENT", "FAILED"),
        ("OK", "whatever comes to its mind", "FAILED"),
    ],
)
def test_the_worse_of_two_verdicts_counts(behavior: str, closing: str, verdict: str) -> None:
    """On the messages and on the end; what is not known to be good is a failure."""
    assert case(behavior, closing).verdict == verdict


def test_an_index_is_read_in_the_order_of_its_cases(tmp_path: Path) -> None:
    """10 comes after 9, as in the suite."""
    verdicts = {"behavior": "OK", "behaviorClose": "OK", "duration": 1500}
    index = tmp_path / "index.json"
    index.write_text(json.dumps({"route": {"10.1.1": verdicts, "9.1.2": verdicts, "9.1.10": verdicts}}))
    found = read(index)
    assert [one.number for one in found] == ["9.1.2", "9.1.10", "10.1.1"]
    assert found[0] == Case("route", "9.1.2", "OK", "OK", 1.5)


def test_what_is_not_simply_right_is_told_one_by_one() -> None:
    """Then everything is counted."""
    cases = [case("OK"), case("OK"), case("NON-STRICT"), case("OK", "UNCLEAN")]
    assert list(told(cases)) == [
        "NON-STRICT: route, case 1.1.1: NON-STRICT, closing OK",
        "FAILED: route, case 1.1.1: OK, closing UNCLEAN",
        "server                     cases             OK     NON-STRICT  INFORMATIONAL         FAILED",
        "route                          4              2              1              0              1",
    ]
    assert failures(cases) == 1


def test_each_server_gets_the_cases_that_it_can_answer() -> None:
    """A line sends back one kind of message, and compresses or does not; every case has a server of each kind."""
    asked = {server.name: server.wanted(["9.*"]) for server in SERVERS}
    assert asked == {
        "route": ["9.*"],
        "json": ["9.*"],
        "json-compressed": ["9.*"],
        "protobuf": ["9.2.*", "9.4.*", "9.6.*", "9.8.*"],
        "protobuf-compressed": ["9.2.*", "9.4.*", "9.6.*", "9.8.*"],
    }
    assert {server.name for server in SERVERS if server.wanted(["12.1.1"])} == {"route", "json-compressed"}
    assert {server.name for server in SERVERS if server.wanted(["12.2.*"])} == {"route", "protobuf-compressed"}
    assert {server.name for server in SERVERS if server.wanted(["13.3.1"])} == {"route"}
