"""JWT: making tokens, and the options that cannot be."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import jwt
import pytest

from openline.errors import DeclarationError, UsageError
from openline.tokens import JWT, ConnectionClaims, SubscriptionClaims
from tests import keys
from tests.keys import KINDS, NOW, OTHER_SECRET, SECRET, auth

# --- making tokens ---------------------------------------------------------------------------------------------------


def test_sign() -> None:
    """What is signed here is read here, and by any other library."""
    signer = auth()
    token = signer.sign("42", expires_in=60, info={"name": "Anna"}, channels=["news"], meta=[1])
    assert signer.verify(token) == ConnectionClaims(
        user="42", info=b'{"name":"Anna"}', channels=("news",), meta=b"[1]", expires_at=NOW + 60
    )
    options: Any = {"verify_exp": False}
    assert jwt.decode(token, SECRET, ["HS256"], options) == {
        "sub": "42",
        "iat": NOW,
        "exp": NOW + 60,
        "info": {"name": "Anna"},
        "channels": ["news"],
        "meta": [1],
    }
    assert signer.verify(signer.sign(expires_in=None)) == ConnectionClaims()


def test_sign_subscription() -> None:
    """A subscription token is for one user and one channel."""
    signer = auth()
    token = signer.sign_subscription("42", "room:1", expires_in=60, info="i", data={"d": 1})
    assert signer.verify_subscription(token) == SubscriptionClaims(
        user="42", channel="room:1", info=b'"i"', data=b'{"d":1}', expires_at=NOW + 60
    )


@pytest.mark.parametrize(("algorithm", "kind"), KINDS.items())
def test_sign_with_a_private_key(algorithm: str, kind: str) -> None:
    """A private key signs, goes before a secret, and needs no public key beside it to verify."""
    signer = JWT(secret=SECRET, private_key=keys.private_pem(kind), algorithms=["HS256", algorithm], now=lambda: NOW)
    token = signer.sign("42", expires_in=None)
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT"}
    assert signer.verify(token).user == "42"
    assert JWT(public_key=keys.public_pem(kind)).verify(token).user == "42"


def test_sign_names_audience_and_issuer() -> None:
    """A token made here is for the first audience and by the first issuer that are accepted here."""
    signer = auth(audience=["chat", "other"], issuer="me")
    token = signer.sign("42", expires_in=None)
    assert signer.verify(token).user == "42"
    options: Any = {"verify_aud": False, "verify_iat": False}
    claims = jwt.decode(token, SECRET, ["HS256"], options)
    assert (claims["aud"], claims["iss"]) == ("chat", "me")


def test_sign_rounds_up() -> None:
    """Times are whole seconds, as other verifiers want them, and never shorter than asked for."""
    signer = auth(now=lambda: NOW + 0.25)
    assert signer.verify(signer.sign(expires_in=0.5)).expires_at == NOW + 1
    assert signer.verify(signer.sign(expires_in=1)).expires_at == NOW + 2


def test_sign_refuses_what_cannot_be() -> None:
    """A mistake is told to the app that makes it, not to a client later."""
    signer = auth()
    mistakes: list[tuple[Any, str]] = [
        (lambda: signer.sign(42, expires_in=1), "user is a int"),  # type: ignore[arg-type]  # the mistake
        (lambda: signer.sign("42", expires_in=0), "expires_in is 0"),
        (lambda: signer.sign("42", expires_in=float("inf")), "expires_in is inf"),
        (lambda: signer.sign("42", expires_in=None, channels="news"), "give a list"),
        (lambda: signer.sign("42", expires_in=None, info=object()), "cannot be written as JSON"),
        (lambda: signer.sign_subscription("42", "", expires_in=None), "channel is empty"),
        (lambda: JWT(public_key=keys.public_pem("rsa")).sign("42", expires_in=1), "only public keys"),
    ]
    for mistake, problem in mistakes:
        with pytest.raises(UsageError, match=problem):
            mistake()


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "JWT has no key"),
        ({"secret": ""}, "JWT.secret"),
        ({"secret": 42}, "JWT.secret is a int"),
        ({"secret": SECRET, "previous_secrets": OTHER_SECRET}, "JWT.previous_secrets is one secret"),
        ({"secret": SECRET, "previous_secrets": [""]}, r"JWT.previous_secrets\[0\]"),
        ({"previous_secrets": [SECRET]}, "JWT.previous_secrets is given without"),
        ({"public_key": SECRET}, "JWT.public_key is no"),
        ({"public_key": [keys.public_pem("rsa"), "x"]}, r"JWT.public_key\[1\]"),
        ({"public_key": []}, "JWT has no key"),
        ({"private_key": keys.public_pem("rsa")}, "JWT.private_key"),
        ({"secret": SECRET, "algorithms": []}, "JWT.algorithms"),
        ({"secret": SECRET, "algorithms": "HS256"}, "JWT.algorithms"),
        ({"secret": SECRET, "algorithms": ["HS1"]}, "JWT.algorithms has 'HS1'"),
        ({"secret": SECRET, "algorithms": ["PS256"]}, "JWT.algorithms has 'PS256'"),
        ({"secret": SECRET, "algorithms": ["RS256"]}, "JWT.secret is for HS256"),
        ({"secret": SECRET, "audience": ""}, "JWT.audience"),
        ({"secret": SECRET, "audience": []}, "JWT.audience"),
        ({"secret": SECRET, "issuer": ["a", ""]}, "JWT.issuer"),
        ({"secret": SECRET, "user_claim": ""}, "JWT.user_claim"),
        ({"secret": SECRET, "user_claim": "exp"}, "JWT.user_claim"),
        ({"secret": SECRET, "leeway_seconds": -1}, "JWT.leeway_seconds"),
        ({"secret": SECRET, "leeway_seconds": float("nan")}, "JWT.leeway_seconds"),
        ({"secret": SECRET, "leeway_seconds": float("inf")}, "JWT.leeway_seconds"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], problem: str) -> None:
    """A wrong option is refused at construction, by name, without its secret."""
    with pytest.raises(DeclarationError, match=problem) as caught:
        JWT(**options)
    assert SECRET not in str(caught.value)
    assert OTHER_SECRET not in str(caught.value)


def test_a_short_secret_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A secret that can be guessed works, and the log says how long it should be; verifying warns of nothing more."""
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        verifier = JWT(secret="change me", anonymous=True)
        for _ in range(2):
            verifier.verify(verifier.sign("42", expires_in=60))
    assert [record.getMessage() for record in caplog.records] == [
        "JWT.secret is not safe: 9 bytes can be guessed: use 32 or more, as of secrets.token_hex(32)"
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        auth(previous_secrets=[OTHER_SECRET])
    assert caplog.records == []


def test_shows_no_secret() -> None:
    """Printed, a verifier tells what it accepts and nothing of its keys."""
    assert repr(auth(algorithms=["HS384"], anonymous=True)) == "JWT(algorithms=['HS384'], anonymous=True)"
