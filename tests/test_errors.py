"""The tree of exceptions, and what each tells a client."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import codes, errors
from openline.codes import DisconnectCode, ErrorCode
from openline.errors import DeclarationError, Disconnect, MissingExtra, OpenlineError, PayloadTooBig, Refusal
from openline.protocol.json import is_json

REFUSALS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Refusal)]


# --- the tree -----------------------------------------------------------------------------------------------------


def drawn() -> dict[str, str]:
    """Read the tree at the top of the file: each exception and the one it hangs on."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        branch = re.match(r"([│ ├└─]*)([A-Z]\w+)", line)
        if branch:
            depth = len(branch[1]) // 4
            above[depth:] = [branch[2]]
            if depth:
                found[branch[2]] = above[depth - 1]
    return found


def test_the_tree_is_drawn_as_it_stands() -> None:
    """Who reads the top of the file knows every exception and what catches it."""
    real = {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, OpenlineError) and kind is not OpenlineError
    }
    assert drawn() == real


def test_one_clause_catches_everything() -> None:
    """There is one root, and it is an ordinary exception."""
    assert OpenlineError.__bases__ == (Exception,)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.DeclarationError, ValueError),
        (errors.HubNotStarted, RuntimeError),
        (errors.MissingExtra, ImportError),
        (errors.PayloadTooBig, ValueError),
    ],
)
def test_an_error_is_also_the_builtin_it_resembles(kind: type[OpenlineError], builtin: type[Exception]) -> None:
    """Code that knows nothing of Openline catches it as what it is."""
    assert issubclass(kind, builtin)


def test_a_missing_extra_says_what_to_install() -> None:
    """The command stands in the message, the names beside it."""
    error = MissingExtra("the Protobuf codec", "protobuf")
    assert str(error) == "the Protobuf codec needs an optional library: pip install 'openline[protobuf]'"
    assert (error.part, error.extra) == ("the Protobuf codec", "protobuf")


def test_a_payload_too_big_carries_the_numbers() -> None:
    """What it was and what it may be, for the message and for the program."""
    error = PayloadTooBig(70_000, 65_536)
    assert "70000" in str(error)
    assert "65536" in str(error)
    assert (error.size_bytes, error.limit_bytes) == (70_000, 65_536)
    tagged = PayloadTooBig(70_000, 65_536, tags_bytes=60_000)
    assert str(tagged) == "payload of 10000 bytes with tags of 60000 bytes exceeds the limit of 65536 bytes"


# --- refusals -----------------------------------------------------------------------------------------------------


def test_each_error_code_that_an_app_may_answer_has_its_refusal() -> None:
    """All but the one that belongs to a kind of pagination no app does."""
    own = {kind.default for kind in REFUSALS if kind is not Refusal}
    assert own == set(codes.ERRORS) - {codes.CONCURRENT_PAGINATION}


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.__name__)
def test_a_refusal_speaks_for_itself(kind: type[Refusal]) -> None:
    """Raised bare it has its code's number and words; its own message replaces only the words."""
    assert kind().code == kind.default
    assert kind("not you").code == kind.default._replace(message="not you")
    assert str(kind("not you")) == f"{kind.default.number} not you"


def test_a_refusals_message_is_never_empty() -> None:
    """A client indexes it; an empty one is the code's own."""
    assert errors.PermissionDenied("").code.message == "permission denied"


@pytest.mark.parametrize("number", [400, 1999])
def test_an_app_has_codes_of_its_own(number: int) -> None:
    """From 400 to 1999, with a message and, if it wants, the hint to try again."""
    refusal = Refusal("name is taken", code=number, temporary=True)
    assert refusal.code == ErrorCode(number, "name is taken", temporary=True)


@pytest.mark.parametrize("number", [-1, 0, 1, 99, 100, 103, 399, 2000, 3000])
def test_the_protocols_codes_are_not_an_apps(number: int) -> None:
    """Below 100 clients make them up themselves, up to 399 they are reserved, and 2000 on is something else."""
    with pytest.raises(DeclarationError, match="400 to 1999"):
        Refusal("no", code=number)


def test_a_refusal_may_be_given_its_own_code() -> None:
    """Saying what it says anyway is no mistake."""
    assert errors.PermissionDenied(code=103).code.number == 103


def test_whether_to_try_again_can_be_said_either_way() -> None:
    """The code's own answer is only the default."""
    assert errors.InternalError().code.temporary
    assert not errors.InternalError(temporary=False).code.temporary
    assert errors.NotAvailable(temporary=True).code.temporary


# --- disconnects --------------------------------------------------------------------------------------------------


def test_a_disconnect_without_words_is_for_good() -> None:
    """3503, after which a client stays away."""
    assert Disconnect().code == codes.CLOSED_FORCED
    assert not Disconnect().code.reconnect


@pytest.mark.parametrize("code", codes.DISCONNECTS, ids=lambda code: str(code.number))
def test_a_known_code_brings_its_reason(code: DisconnectCode) -> None:
    """By value or by number, the words are the code's unless others are given."""
    assert Disconnect(code).code == Disconnect(code.number).code == code
    assert Disconnect(code, "go home").code == DisconnectCode(code.number, "go home")


@pytest.mark.parametrize("number", [4000, 4499, 4500, 4999])
def test_an_app_may_end_connections_with_its_own_code(number: int) -> None:
    """A reason is sent even if none is given: without one a client ignores the terminal ranges."""
    assert Disconnect(number, "kicked").code == DisconnectCode(number, "kicked")
    assert Disconnect(number).code.reason


@pytest.mark.parametrize("number", [-1, 0, 1000, 2500, 2999, 5000])
def test_a_number_that_is_no_end_of_a_connection_is_refused(number: int) -> None:
    """What is below 3000 belongs to the WebSocket itself, what is above 4999 to nobody."""
    with pytest.raises(DeclarationError, match="3000-4999"):
        Disconnect(number, "bye")


@pytest.mark.parametrize(
    "reason",
    ["", " ", "\t\n", "{}", '{"reconnect":true}', " {}", "[1]", '"bye"', "123", "-1", " 1", "true", "false", "null "],
    ids=repr,
)
def test_a_reason_that_is_empty_or_json_is_refused(reason: str) -> None:
    """An empty one makes a client come back after all, one that parses as JSON corrupts its decision."""
    with pytest.raises(DeclarationError, match="plain words"):
        Disconnect(4000, reason)


@pytest.mark.parametrize("reason", ["x" * 123, "ü" * 61])
def test_a_reason_may_fill_the_close_frame(reason: str) -> None:
    """123 bytes of UTF-8 are left after the code."""
    assert Disconnect(4000, reason).code.reason == reason


@pytest.mark.parametrize("reason", ["x" * 124, "ü" * 62])
def test_a_reason_that_does_not_fit_the_close_frame_is_refused(reason: str) -> None:
    """It would break the frame that carries it."""
    with pytest.raises(DeclarationError, match="123 bytes"):
        Disconnect(4000, reason)


@given(st.text(max_size=150))
def test_fuzz_reason_is_taken_can_be_sent(reason: str) -> None:
    """It fits, is not empty, and no reader of JSON accepts it."""
    try:
        taken = Disconnect(4000, reason).code.reason
    except DeclarationError:
        return
    assert taken.strip()
    assert len(taken.encode()) <= codes.MAX_REASON_BYTES
    assert not is_json(taken.encode())
