"""JWT: what verifies, every claim, expiry by a given clock, rotation, separate keys for subscriptions."""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.errors import DeclarationError, TokenExpired
from openline.options import Override
from openline.tokens import JWT, ConnectionClaims, InvalidToken, SubscriptionClaims, TokenSubscription
from tests import keys
from tests.keys import HMAC, KINDS, NOW, OTHER_SECRET, SECRET, auth, issue, issue_raw


def read(**claims: Any) -> ConnectionClaims:
    """Verify a connection token with these claims."""
    return auth().verify(issue(claims))


def read_subscription(**claims: Any) -> SubscriptionClaims:
    """Verify a subscription token with these claims."""
    return auth().verify_subscription(issue(claims))


# --- keys and algorithms ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", HMAC)
def test_secret(algorithm: str) -> None:
    """One secret verifies all three HS algorithms."""
    assert auth().verify(issue({"sub": "42"}, SECRET, algorithm)).user == "42"


@pytest.mark.parametrize(("algorithm", "kind"), KINDS.items())
def test_public_key(algorithm: str, kind: str) -> None:
    """A public key verifies the algorithms of its kind; a token of another key is invalid."""
    verifier = JWT(public_key=keys.public_pem(kind), now=lambda: NOW)
    assert verifier.verify(issue({"sub": "42"}, keys.private_key(kind), algorithm)).user == "42"
    with pytest.raises(InvalidToken, match="signature"):
        verifier.verify(issue({"sub": "42"}, keys.private_key(kind, 1), algorithm))


def test_rotation() -> None:
    """While tokens of the old secret live it is still accepted; new ones are signed with the new one."""
    before, after = auth(), auth(secret=OTHER_SECRET, previous_secrets=[SECRET])
    assert after.verify(before.sign("42", expires_in=60)).user == "42"
    assert after.verify(after.sign("42", expires_in=60)).user == "42"
    with pytest.raises(InvalidToken):
        before.verify(after.sign("42", expires_in=60))
    with pytest.raises(InvalidToken):
        auth(secret=OTHER_SECRET).verify(before.sign("42", expires_in=60))


def test_several_public_keys() -> None:
    """An issuer's old and new key are accepted side by side, and a secret beside them."""
    verifier = auth(public_key=[keys.public_pem("P-256"), keys.public_key("P-256", 1)])
    for token in (
        issue({"sub": "1"}, keys.private_key("P-256"), "ES256"),
        issue({"sub": "1"}, keys.private_key("P-256", 1), "ES256"),
        issue({"sub": "1"}),
    ):
        assert verifier.verify(token).user == "1"


def test_algorithms_can_be_narrowed() -> None:
    """What is not listed is refused, whoever signed it."""
    verifier = auth(algorithms=["HS512"])
    assert verifier.verify(issue({}, SECRET, "HS512")) == ConnectionClaims()
    with pytest.raises(InvalidToken, match="algorithm"):
        verifier.verify(issue({}, SECRET, "HS256"))


def test_a_public_key_is_never_a_secret() -> None:
    """A token signed by HMAC with the text of a public key is refused, even beside a secret."""
    pem = keys.public_pem("rsa")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    signed = head + b"." + base64.urlsafe_b64encode(b'{"sub":"root"}').rstrip(b"=")
    signature = jwt.get_algorithm_by_name("HS256").sign(signed, pem.encode())
    token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
    for verifier in (JWT(public_key=pem), auth(public_key=pem)):
        with pytest.raises(InvalidToken):
            verifier.verify(token)


def test_unsigned_tokens_are_refused() -> None:
    """``none`` is nobody's algorithm."""
    with pytest.raises(InvalidToken):
        auth().verify(issue({"sub": "root"}, None, "none"))
    with pytest.raises(DeclarationError, match="'none'"):
        auth(algorithms=["none"])


def test_an_empty_token_is_no_token() -> None:
    """Anonymous or not, nothing is verified as somebody; who may come without a token is for the caller to ask."""
    for anonymous in (False, True):
        verifier = auth(anonymous=anonymous)
        assert verifier.anonymous is anonymous
        with pytest.raises(InvalidToken):
            verifier.verify("")
        with pytest.raises(InvalidToken):
            verifier.verify(issue({"sub": "42"}, OTHER_SECRET))


# --- connection claims -----------------------------------------------------------------------------------------------


def test_nothing_said() -> None:
    """An empty token is of an anonymous user, who may stay for ever."""
    assert read() == ConnectionClaims(user="", info=b"", channels=(), subs={}, meta=b"", expires_at=None)


def test_everything_said() -> None:
    """Every claim of a connection token has its place."""
    claims = read(
        sub="42",
        exp=NOW + 60,
        iat=NOW,
        nbf=NOW,
        jti="1",
        aud="anybody",
        iss="somebody",
        info={"name": "Anna"},
        channels=["news", "room:1", "news"],
        subs={
            "room:2": {"info": {"a": 1}, "data": [1], "override": {"presence": {"value": True}}},
            "room:3": {"b64info": base64.b64encode(b"[2]").decode(), "b64data": base64.b64encode(b"3").decode()},
            "room:4": {},
        },
        meta={"plan": "free"},
        role="not ours",
    )
    assert claims == ConnectionClaims(
        user="42",
        info=b'{"name":"Anna"}',
        channels=("news", "room:1"),
        subs={
            "room:2": TokenSubscription(info=b'{"a":1}', data=b"[1]", override=Override(presence=True)),
            "room:3": TokenSubscription(info=b"[2]", data=b"3"),
            "room:4": TokenSubscription(),
        },
        meta=b'{"plan":"free"}',
        expires_at=NOW + 60,
    )


@pytest.mark.parametrize("user", [42, 4.2, True, None, ["42"], {"id": "42"}])
def test_the_user_is_a_string(user: object) -> None:
    """An id that is a number is a mistake of the issuer that would show as another user sooner or later."""
    with pytest.raises(InvalidToken, match="sub is not a string"):
        auth().verify(issue_raw({"sub": user}))


def test_user_claim() -> None:
    """The user's id may be in another claim, of both kinds of tokens; `sub` then says nothing."""
    verifier = auth(user_claim="uid")
    assert verifier.verify(issue({"sub": "other", "uid": "42"})).user == "42"
    assert verifier.verify(issue({"sub": "other"})).user == ""
    assert verifier.verify_subscription(issue({"uid": "42", "channel": "a"})).user == "42"
    assert verifier.verify(verifier.sign("42", expires_in=None)).user == "42"


@pytest.mark.parametrize("channel", ["a", "", None, 1])
def test_a_subscription_token_is_no_connection_token(channel: object) -> None:
    """Whatever it is, the claim `channel` says that the token was made for less."""
    with pytest.raises(InvalidToken, match="it is a subscription token"):
        read(sub="42", channel=channel)


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("channels", "news"),
        ("channels", {"news": {}}),
        ("channels", [1]),
        ("subs", ["news"]),
        ("subs", {"news": None}),
        ("subs", {"news": {"override": {"presence": True}}}),
        ("subs", {"news": {"b64info": "?"}}),
        ("b64info", "?"),
        ("b64info", 1),
        ("exp", "soon"),
        ("expire_at", "never"),
        ("expire_at", None),
        ("nbf", True),
        ("iat", []),
    ],
)
def test_claims_of_the_wrong_type(claim: str, value: object) -> None:
    """A claim that is not what it has to be makes the token invalid; the error names it and not its value."""
    with pytest.raises(InvalidToken, match=claim.removeprefix("b64")):
        auth().verify(issue_raw({claim: value}))


# --- time ------------------------------------------------------------------------------------------------------------


def test_expiry() -> None:
    """A token is good until its `exp`, which is when the connection ends; from then on it is expired."""
    verifier = auth()
    token = issue({"exp": NOW + 10})
    assert verifier.verify(token).expires_at == NOW + 10
    assert verifier.verify(token, now=NOW + 9.999).expires_at == NOW + 10
    for late in (NOW + 10, NOW + 11, NOW + 1e9):
        with pytest.raises(TokenExpired):
            verifier.verify(token, now=late)


def test_expire_at() -> None:
    """`expire_at` alone says when the connection ends, 0 for never; `exp` is checked all the same."""
    assert read(exp=NOW + 10, expire_at=NOW + 99).expires_at == NOW + 99
    assert read(exp=NOW + 10, expire_at=0).expires_at is None
    assert read(expire_at=NOW + 99).expires_at == NOW + 99
    assert read(expire_at=NOW - 1).expires_at == NOW - 1
    with pytest.raises(TokenExpired):
        read(exp=NOW, expire_at=NOW + 99)
    with pytest.raises(TokenExpired):
        read(exp=NOW, expire_at=0)


def test_not_before() -> None:
    """A token that begins later is answered like an expired one: the client comes again with a new one."""
    token = issue({"nbf": NOW + 10})
    with pytest.raises(TokenExpired, match="not valid yet"):
        auth().verify(token)
    assert auth().verify(token, now=NOW + 10) == ConnectionClaims()


def test_issued_in_the_future() -> None:
    """When a token was made matters to nobody."""
    assert read(iat=NOW + 1000) == ConnectionClaims()


def test_leeway() -> None:
    """The issuer's clock may be off by so much: tokens begin earlier, and they and their connections end later."""
    verifier = auth(leeway_seconds=5)
    assert verifier.verify(issue({"exp": NOW - 4})).expires_at == NOW + 1
    assert verifier.verify(issue({"nbf": NOW + 5})) == ConnectionClaims()
    assert verifier.verify(issue({"exp": NOW - 4, "expire_at": NOW + 7})).expires_at == NOW + 7
    with pytest.raises(TokenExpired):
        verifier.verify(issue({"exp": NOW - 5}))
    with pytest.raises(TokenExpired):
        verifier.verify(issue({"nbf": NOW + 6}))


def test_the_clock_is_the_machines() -> None:
    """Without a clock given, it is the system's."""
    verifier = JWT(secret=SECRET)
    assert verifier.verify(issue({"exp": time.time() + 60})).expires_at is not None
    with pytest.raises(TokenExpired):
        verifier.verify(issue({"exp": time.time() - 60}))


MOMENTS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**64), 2**64)


@given(exp=MOMENTS | st.none(), nbf=MOMENTS | st.none(), expire_at=MOMENTS | st.none(), now=st.floats(0, 2**40))
def test_times_of_any_size(exp: float | None, nbf: float | None, expire_at: float | None, now: float) -> None:
    """Whatever numbers a token has, it is expired or read by the one rule, and what comes out is a moment."""
    times = {"exp": exp, "nbf": nbf, "expire_at": expire_at}
    token = issue_raw({name: value for name, value in times.items() if value is not None})
    if (exp is not None and now >= float(exp)) or (nbf is not None and now < float(nbf)):
        with pytest.raises(TokenExpired):
            auth().verify(token, now=now)
        return
    expected = exp if expire_at is None else expire_at or None
    assert auth().verify(token, now=now).expires_at == (None if expected is None else float(expected))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "true", '"1"', "null", "[1]", "1" * 400])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat", "expire_at"])
def test_times_that_are_none(claim: str, number: str) -> None:
    """What is not a finite number is no time, not even one that never comes."""
    token = jwt.api_jws.encode(f'{{"{claim}":{number}}}'.encode(), SECRET, "HS256")
    with pytest.raises(InvalidToken):
        auth().verify(token)


# --- whom it is for --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audience", ["chat", ["chat"], ["other", "chat"]])
def test_audience(audience: str | list[str]) -> None:
    """Where an audience is asked for, a token names it, alone or among others; where none is, none matters."""
    verifier = auth(audience=audience)
    for good in ("chat", ["x", "chat"]):
        assert verifier.verify(issue({"aud": good})) == ConnectionClaims()
        assert auth().verify(issue({"aud": good})) == ConnectionClaims()
    for bad in ("chat2", "", "Chat", [], ["x"]):
        with pytest.raises(InvalidToken, match="audience"):
            verifier.verify(issue({"aud": bad}))
    with pytest.raises(InvalidToken, match="audience"):
        verifier.verify(issue({}))
    for wrong in (1, None, {"chat": 1}, ["chat", 1]):
        with pytest.raises(InvalidToken, match="aud is not"):
            verifier.verify(issue_raw({"aud": wrong}))


@pytest.mark.parametrize("issuer", ["me", ["me"], ["other", "me"]])
def test_issuer(issuer: str | list[str]) -> None:
    """Where an issuer is asked for, a token is by it; where none is, none matters."""
    verifier = auth(issuer=issuer)
    assert verifier.verify(issue({"iss": "me"})) == ConnectionClaims()
    assert auth().verify(issue({"iss": "anybody"})) == ConnectionClaims()
    for claims in ({"iss": "you"}, {"iss": ""}, {}):
        with pytest.raises(InvalidToken, match="issuer"):
            verifier.verify(issue(claims))
    for wrong in (1, None, ["me"]):
        with pytest.raises(InvalidToken, match="iss is not"):
            verifier.verify(issue_raw({"iss": wrong}))


# --- subscription tokens ---------------------------------------------------------------------------------------------


def test_subscription_claims() -> None:
    """Every claim of a subscription token has its place."""
    claims = read_subscription(
        sub="42",
        channel="room:1",
        client="session",
        info={"a": 1},
        b64data=base64.b64encode(b"[4]").decode(),
        exp=NOW + 60,
        expire_at=NOW + 30,
        override={"force_recovery": {"value": True}},
    )
    assert claims == SubscriptionClaims(
        user="42",
        channel="room:1",
        client="session",
        info=b'{"a":1}',
        data=b"[4]",
        expires_at=NOW + 30,
        override=Override(force_recovery=True),
    )
    assert read_subscription(channel="a") == SubscriptionClaims(user="", channel="a")


def test_a_connection_token_is_no_subscription_token() -> None:
    """A token that names no channel opens none."""
    for claims in ({"sub": "42"}, {"sub": "42", "channel": ""}):
        with pytest.raises(InvalidToken, match="names no channel"):
            read_subscription(**claims)
    with pytest.raises(InvalidToken, match="channel is not a string"):
        read_subscription(channel=1)


def test_subscription_tokens_are_verified_alike() -> None:
    """Signature, times, audience and issuer count as for a connection; the error says which kind it was."""
    with pytest.raises(InvalidToken, match=r"^invalid subscription token: its signature"):
        auth().verify_subscription(issue({"channel": "a"}, OTHER_SECRET))
    with pytest.raises(TokenExpired):
        read_subscription(channel="a", exp=NOW)
    with pytest.raises(TokenExpired):
        auth().verify_subscription(issue({"channel": "a", "exp": NOW + 5}), now=NOW + 5)
    with pytest.raises(InvalidToken, match="audience"):
        auth(audience="chat").verify_subscription(issue({"channel": "a"}))


def test_keys_of_their_own_for_subscriptions() -> None:
    """Where subscriptions have their own keys, neither kind of token is good for the other."""
    verifier = auth(subscriptions=JWT(secret=OTHER_SECRET))
    mine, theirs = issue({"channel": "a"}, SECRET), issue({"channel": "a", "exp": NOW + 5}, OTHER_SECRET)
    assert verifier.verify_subscription(theirs).channel == "a"  # by the clock of the verifier it was asked for
    with pytest.raises(InvalidToken):
        verifier.verify_subscription(mine)
    with pytest.raises(InvalidToken):
        verifier.verify(issue({"sub": "42"}, OTHER_SECRET))
    signed = verifier.sign_subscription("42", "a", expires_in=None)
    assert verifier.verify_subscription(signed).user == "42"
    assert jwt.decode(signed, OTHER_SECRET, ["HS256"])["channel"] == "a"


CLAIMS = ("sub", "exp", "nbf", "iat", "aud", "iss", "channels", "subs", "b64info", "override", "expire_at")


@given(claim=st.sampled_from(CLAIMS), data=st.data())
def test_errors_never_repeat_the_token(claim: str, data: st.DataObject) -> None:
    """Neither what a token says nor the token itself is in what the client or the log is told."""
    canary = "canary-bird"
    value = data.draw(st.sampled_from([canary, [canary, 1], {canary: canary}, {canary: 1}, [[canary]]]))
    token = issue_raw({claim: value})
    verifier = auth(audience="chat", issuer="me")
    for attempt in (token, token[:-2] + "AA", issue({"sub": canary}, OTHER_SECRET)):
        with pytest.raises(InvalidToken) as caught:
            verifier.verify(attempt)
        shown = f"{caught.value} {caught.value!r} {caught.value.code} {caught.value.__cause__}"
        assert canary not in shown
        assert not any(part in shown for part in attempt.split("."))
