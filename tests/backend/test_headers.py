"""Which headers go with an event: nothing a client says gets where it should not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline import DeclarationError
from openline.backend.headers import NEVER, Headers

ALLOWED = ("cookie", "x-tenant", "X-Forwarded-For", "authorization", "x-service")


def test_only_what_is_allowed_by_name_is_passed_on() -> None:
    """In the order it came; each as often as it came."""
    headers = Headers(ALLOWED, {})
    handshake = [(b"host", b"h"), (b"cookie", b"a=1"), (b"x-other", b"no"), (b"cookie", b"b=2")]
    assert headers.of(handshake, ()) == [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
    assert Headers((), {}).of(handshake, ()) == []


def test_the_operator_goes_before_the_request_and_the_request_before_the_command() -> None:
    """Nobody speaks for the one before."""
    headers = Headers(ALLOWED, {"X-Service": "openline"})
    told = headers.told({"X-Tenant": "acme", "Cookie": "forged", "X-Service": "forged", "X-Forwarded-For": "1.2.3.4"})
    assert told == ((b"x-tenant", b"acme"), (b"cookie", b"forged"))
    handshake = [(b"cookie", b"real"), (b"x-service", b"forged"), (b"x-forwarded-for", b"4.3.2.1")]
    assert headers.of(handshake, told) == [
        (b"x-service", b"openline"),
        (b"cookie", b"real"),
        (b"x-forwarded-for", b"4.3.2.1"),
        (b"x-tenant", b"acme"),
    ]


@given(st.dictionaries(st.sampled_from(("cookie", "x-tenant", "x-tenant\r\nhost", "")) | st.text(), st.text()))
def test_no_value_of_a_client_ends_a_line(said: dict[str, str]) -> None:
    """Whatever it writes into its connect command."""
    for name, value in Headers(ALLOWED, {}).told(said):
        assert name in (b"cookie", b"x-tenant", b"authorization", b"x-service")
        assert value
        assert not {*value} & {*b"\r\n\0"}


def test_a_value_that_a_careless_server_let_through_is_left_out() -> None:
    """Of the opening request too."""
    assert Headers(ALLOWED, {}).of([(b"cookie", b"a\r\nx-admin: 1")], ()) == []


@pytest.mark.parametrize("name", [*sorted(NEVER), "Transfer-Encoding", "", "a b", "a:b", "ä"])
def test_what_belongs_to_the_request_itself_is_never_set(name: str) -> None:
    """Neither by the operator nor by allowing a client to."""
    with pytest.raises(DeclarationError):
        Headers([name], {})
    with pytest.raises(DeclarationError):
        Headers([], {name: "x"})


def test_a_static_value_that_cannot_be_is_refused_without_repeating_it() -> None:
    """It may be a secret."""
    with pytest.raises(DeclarationError) as caught:
        Headers([], {"x-key": "s3cret\r\n"})
    assert "s3cret" not in str(caught.value)
