"""Options are frozen values that are right from the moment they are made."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from openline.errors import DeclarationError
from openline.options import ChannelOptions, Heartbeat, History, Limits

OPTIONS = (History, Limits, Heartbeat, ChannelOptions)

#: The limits that are no whole numbers, and the least each takes.
FRACTIONS: dict[str, float] = {
    name: 0 if "grace" in name else 0.001
    for name in Limits.__struct_fields__
    if name.endswith("_seconds") or name == "commands_per_second"
}
WHOLE = [name for name in Limits.__struct_fields__ if name not in FRACTIONS]

#: The least that each field takes.
LEAST: dict[type[msgspec.Struct], dict[str, float]] = {
    History: {"size": 1, "seconds": 0.001},
    Limits: FRACTIONS | dict.fromkeys(WHOLE, 1),
    Heartbeat: {"ping_seconds": 1},
}


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_defaults_are_taken(kind: type[msgspec.Struct]) -> None:
    """Everything has a default, and the defaults go together."""
    assert kind() == kind()


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_options_do_not_change(kind: type[msgspec.Struct]) -> None:
    """A value can be shared by every channel that uses it."""
    options = kind()
    with pytest.raises(AttributeError):
        setattr(options, kind.__struct_fields__[0], 7)
    assert hash(options) == hash(kind())


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_options_are_given_by_name(kind: type[msgspec.Struct]) -> None:
    """A bare number says nothing to who reads the call."""
    with pytest.raises(TypeError):
        kind(7)


def test_equal_options_are_equal_and_show_what_they_are() -> None:
    """They compare by value and print as they are written."""
    assert History(size=7) == History(size=7)
    assert History(size=7) != History(size=8)
    assert "size=7" in repr(History(size=7))


@pytest.mark.parametrize(
    ("kind", "field", "least"),
    [(kind, field, least) for kind, fields in LEAST.items() for field, least in fields.items()],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_a_value_below_the_least_is_refused_by_name(kind: type[msgspec.Struct], field: str, least: float) -> None:
    """The message names the field, the value and the limit."""
    for wrong in (least - 1, -1, float("nan")):
        with pytest.raises(DeclarationError) as refused:
            kind(**{field: wrong})
        assert f"{kind.__name__}.{field} is {wrong!r}" in str(refused.value)
        assert str(least) in str(refused.value)


@pytest.mark.parametrize(("field", "least"), LEAST[Limits].items())
def test_the_least_is_taken(field: str, least: Any) -> None:
    """It is the last value that is not refused."""
    assert getattr(Limits(**{field: least}), field) == least


@pytest.mark.parametrize("field", WHOLE)
@pytest.mark.parametrize("wrong", [1.5, 2.0, math.inf, True, "7"])
def test_what_is_counted_is_a_whole_number(field: str, wrong: Any) -> None:
    """Half a connection is none, and what is no number is told at once, not by the first client."""
    with pytest.raises(DeclarationError, match=rf"Limits\.{field} is .*: it must be a whole number, and at least 1"):
        Limits(**{field: wrong})


@pytest.mark.parametrize("field", FRACTIONS)
@pytest.mark.parametrize("wrong", [True, "7", None])
def test_what_is_measured_is_a_number(field: str, wrong: Any) -> None:
    """The message names field and value."""
    with pytest.raises(DeclarationError, match=rf"Limits\.{field} is .*: it must be a number"):
        Limits(**{field: wrong})


@pytest.mark.parametrize("field", [name for name in FRACTIONS if name.endswith("_seconds")])
def test_every_wait_comes_to_an_end(field: str) -> None:
    """A deadline at no time would be none, and no timer can be set to it."""
    endless: Any = {field: math.inf}
    with pytest.raises(DeclarationError, match=rf"Limits\.{field} is inf: .* finite, and at least {FRACTIONS[field]}$"):
        Limits(**endless)


def test_connections_and_commands_may_be_without_a_limit() -> None:
    """Connections are, unless told otherwise; of the rate infinity says so."""
    assert Limits().connections is None
    assert Limits().connections_per_user is None
    assert Limits(commands_per_second=math.inf).commands_per_second == math.inf
    for field in ("connections", "connections_per_user"):
        nobody: Any = {field: 0}
        with pytest.raises(DeclarationError, match=rf"Limits\.{field} is 0: .* at least 1; None for no limit"):
            Limits(**nobody)
    for field in set(WHOLE) - {"connections", "connections_per_user"}:
        broken: Any = {field: None}
        with pytest.raises(DeclarationError, match=field):
            Limits(**broken)


def test_json_nests_no_deeper_than_what_reads_it_goes() -> None:
    """Pydantic stops at 200 levels: a higher limit would let through what nobody can read."""
    assert Limits(json_depth=200).json_depth == 200
    with pytest.raises(DeclarationError, match=r"Limits\.json_depth is 201: it must be at most 200"):
        Limits(json_depth=201)


def test_a_streams_memory_outlives_its_publications() -> None:
    """Otherwise positions would be forgotten while there is something to recover by them."""
    assert History(seconds=60, meta_seconds=60).meta_seconds == 60
    with pytest.raises(DeclarationError, match="meta_seconds"):
        History(seconds=60, meta_seconds=59)


@pytest.mark.parametrize("pong_seconds", [0, -1, 5, 6])
def test_an_answer_is_due_before_the_next_ping(pong_seconds: float) -> None:
    """Else two pings would be unanswered at once, and nobody knew to which one a pong belongs."""
    with pytest.raises(DeclarationError, match="pong_seconds"):
        Heartbeat(ping_seconds=5, pong_seconds=pong_seconds)
    assert Heartbeat(ping_seconds=5, pong_seconds=4.9).pong_seconds == 4.9


def test_clients_are_told_whole_seconds_between_pings() -> None:
    """On the wire the interval is an integer."""
    broken: Any = 2.5
    with pytest.raises(DeclarationError, match="whole seconds"):
        Heartbeat(ping_seconds=broken, pong_seconds=1)


def test_the_limits_are_those_of_the_reference() -> None:
    """What a client of any Centrifuge server expects, it finds here."""
    limits = Limits()
    assert limits.message_bytes == 64 * 1024
    assert limits.outbox_bytes == 1024 * 1024
    assert limits.channels == 128
    assert limits.name_length == 255
    assert limits.recovery_publications == limits.history_publications == 300
    assert limits.expiry_grace_seconds == 25
    assert limits.connect_seconds == 10
    assert Heartbeat() == Heartbeat(ping_seconds=25, pong_seconds=10)


@pytest.mark.parametrize("wrong", ["force", "", 2, None])
def test_arrivals_are_told_to_nobody_to_who_asks_or_to_all(wrong: Any) -> None:
    """No other word is one."""
    with pytest.raises(DeclarationError, match=r"join_leave is .*: it must be False, True or 'forced'"):
        ChannelOptions(join_leave=wrong)
