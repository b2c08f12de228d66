"""Signed tokens: every algorithm with real keys, and every way to pass a token off for a signed one."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from openline.errors import DeclarationError
from openline.signing import ALGORITHMS, Key, NotSigned, private_key, public_key, secret_key, verified
from tests import keys
from tests.keys import HMAC, KINDS, OTHER_SECRET, SECRET, issue

CLAIMS = {"sub": "42"}
SECRET_KEY = secret_key("secret", SECRET, None)


def accepted(token: str, *by: Key) -> bool:
    """Tell whether one of the keys signed a token."""
    try:
        return bool(json.loads(verified(token, by)) == CLAIMS)
    except NotSigned:
        return False


def encode(part: bytes | dict[str, Any]) -> str:
    """Write a part of a token."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: dict[str, Any], secret: bytes, payload: dict[str, Any] | None = None) -> str:
    """Sign by hand, with HMAC and SHA-256, whatever the header says."""
    signed = f"{encode(header)}.{encode(CLAIMS if payload is None else payload)}"
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


# --- what is accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", HMAC)
@pytest.mark.parametrize("secret", [SECRET, SECRET.encode()], ids=["text", "bytes"])
def test_secrets(algorithm: str, secret: str | bytes) -> None:
    """A secret verifies what was signed with it, by each HS algorithm; another does not."""
    token = issue(CLAIMS, secret, algorithm)
    assert accepted(token, secret_key("secret", secret, None))
    assert not accepted(token, secret_key("secret", OTHER_SECRET, None))


@pytest.mark.parametrize(("algorithm", "kind"), KINDS.items())
@pytest.mark.parametrize("form", ["pem", "object"])
def test_public_keys(algorithm: str, kind: str, form: str) -> None:
    """A public key verifies what its private half signed, by each algorithm of its kind; another does not."""
    token = issue(CLAIMS, keys.private_key(kind), algorithm)
    mine: object = keys.public_pem(kind) if form == "pem" else keys.public_key(kind)
    assert accepted(token, public_key("public_key", mine, None))
    assert not accepted(token, public_key("public_key", keys.public_key(kind, 1), None))


def test_ed448() -> None:
    """EdDSA is on the other Edwards curve as well."""
    token = issue(CLAIMS, keys.private_key("Ed448"), "EdDSA")
    assert accepted(token, public_key("public_key", keys.public_pem("Ed448"), None))
    assert not accepted(token, public_key("public_key", keys.public_pem("Ed25519"), None))


@pytest.mark.parametrize(("algorithm", "kind"), KINDS.items())
def test_signs_for_others(algorithm: str, kind: str) -> None:
    """What a private key signs here, PyJWT verifies with the public half, and so do we."""
    signer, verifier = private_key("private_key", keys.private_pem(kind), [algorithm])
    token = signer.sign(json.dumps(CLAIMS).encode())
    assert jwt.decode(token, keys.public_key(kind), [algorithm]) == CLAIMS
    assert accepted(token, verifier)


@pytest.mark.parametrize("algorithm", HMAC)
def test_signs_with_a_secret(algorithm: str) -> None:
    """What a secret signs here, PyJWT verifies."""
    token = secret_key("secret", SECRET, [algorithm]).sign(json.dumps(CLAIMS).encode())
    assert jwt.decode(token, SECRET, [algorithm]) == CLAIMS


def test_a_certificate_is_a_public_key() -> None:
    """The key in a certificate verifies; who signed the certificate, and until when, is not looked at."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    key = keys.private_key("rsa")
    assert isinstance(key, rsa.RSAPrivateKey)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + dt.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert accepted(issue(CLAIMS, key, "RS256"), public_key("public_key", certificate, None))


def test_pem_with_space_around() -> None:
    """A key that was indented or got an empty line around it in a settings file is the same key."""
    pem = f"\n  {keys.public_pem('P-256')}\n\n"
    assert accepted(issue(CLAIMS, keys.private_key("P-256"), "ES256"), public_key("public_key", pem, None))


def test_any_of_several_keys() -> None:
    """One key that fits is enough, of whatever kind the others are."""
    several = [
        secret_key("secret", SECRET, None),
        secret_key("secret", OTHER_SECRET, None),
        public_key("public_key", keys.public_key("rsa"), None),
        public_key("public_key", keys.public_key("rsa", 1), None),
    ]
    for signer, algorithm in ((SECRET, "HS256"), (OTHER_SECRET, "HS512"), (keys.private_key("rsa", 1), "RS384")):
        assert accepted(issue(CLAIMS, signer, algorithm), *several)


def test_headers_that_say_nothing_here() -> None:
    """A type, a key's name or an address beside the algorithm change nothing; no address is ever asked."""
    token = issue(CLAIMS, SECRET, "HS256", kid="7", jku="https://127.0.0.1:1/keys", typ="at+jwt", x5u="x")
    assert accepted(token, SECRET_KEY)


# --- what is not -----------------------------------------------------------------------------------------------------


def test_unsigned_tokens() -> None:
    """An algorithm of ``none`` is never accepted, however it is spelled and whatever stands for a signature."""
    unsigned = issue(CLAIMS, None, "none")
    assert not accepted(unsigned, SECRET_KEY)
    for spelling in ("none", "None", "NONE", "nOnE", "", "HS256 "):
        for signature in ("", "AA", encode(b"x" * 32)):
            assert not accepted(f"{encode({'alg': spelling})}.{encode(CLAIMS)}.{signature}", SECRET_KEY)
    assert not accepted(unsigned)


@pytest.mark.parametrize("kind", ["rsa", "P-256", "Ed25519"])
def test_a_public_key_is_no_secret(kind: str) -> None:
    """What everybody knows signs nothing: a token signed by HMAC with the text of the public key is refused."""
    pem = keys.public_pem(kind)
    verifier = public_key("public_key", pem, None)
    for text in (pem, pem.strip(), pem.replace("\n", "")):
        assert not accepted(forge({"alg": "HS256", "typ": "JWT"}, text.encode()), verifier, SECRET_KEY)


def test_a_key_in_the_token_is_not_used() -> None:
    """A token that brings its own key is held against ours."""
    own = {"kty": "oct", "k": encode(OTHER_SECRET.encode())}
    token = forge({"alg": "HS256", "jwk": own}, OTHER_SECRET.encode())
    assert not accepted(token, SECRET_KEY)


def test_each_key_has_its_own_algorithms() -> None:
    """A key is not tried with another kind's algorithm, nor with one of its kind that is not allowed."""
    rsa_key = keys.private_key("rsa")
    assert not accepted(issue(CLAIMS, SECRET, "HS512"), secret_key("secret", SECRET, ["HS256", "HS384"]))
    assert not accepted(issue(CLAIMS, rsa_key, "PS256"), public_key("public_key", keys.public_key("rsa"), None))
    assert not accepted(issue(CLAIMS, rsa_key, "RS256"), public_key("public_key", keys.public_key("rsa"), ["RS512"]))
    assert not accepted(issue(CLAIMS, rsa_key, "RS256"), public_key("public_key", keys.public_key("P-256"), None))
    token = issue(CLAIMS, keys.private_key("P-256"), "ES256")
    head, payload, signature = token.split(".")
    assert not accepted(
        f"{encode({'alg': 'ES384'})}.{payload}.{signature}", public_key("public_key", keys.public_key("P-256"), None)
    )
    assert accepted(token, public_key("public_key", keys.public_key("P-256"), None))
    assert head


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_tampering(algorithm: str) -> None:
    """A token of which one character is another one is refused: header, payload and signature have one spelling."""
    if algorithm in HMAC:
        signer, verifier = issue(CLAIMS, SECRET, algorithm), SECRET_KEY
    else:
        kind = KINDS[algorithm]
        signer, verifier = (
            issue(CLAIMS, keys.private_key(kind), algorithm),
            public_key("p", keys.public_key(kind), None),
        )
    assert accepted(signer, verifier)
    for index, character in enumerate(signer):
        for other in "AQgw_-.=":
            if other != character:
                assert not accepted(signer[:index] + other + signer[index + 1 :], verifier), (index, other)


def test_another_payload_under_a_signature() -> None:
    """The signature of one token is none for another."""
    head, _, signature = issue(CLAIMS).split(".")
    with pytest.raises(NotSigned, match="signature"):
        verified(f"{head}.{encode({'sub': '43'})}.{signature}", [SECRET_KEY])


@pytest.mark.parametrize(
    "header",
    [{"alg": "HS256", "crit": ["b64"], "b64": False}, {"alg": "HS256", "b64": False}, {"alg": "HS256", "crit": []}],
)
def test_extensions(header: dict[str, Any]) -> None:
    """A token that wants an extension understood is refused, even if its signature is right."""
    with pytest.raises(NotSigned, match="extension"):
        verified(forge(header, SECRET.encode()), [SECRET_KEY])


def made_of(header: bytes | dict[str, Any], payload: bytes | dict[str, Any] = CLAIMS) -> str:
    """Put a token together, with a signature that is none."""
    return f"{encode(header)}.{encode(payload)}.AAAA"


_NO_TOKENS = [
    *("", ".", "..", "...", "a.b.c", "no token", "e30.e30", "e30.e30.e30.e30", "\ud800.\udfff.\u2603"),
    *(" " + issue(CLAIMS), issue(CLAIMS) + "\n", issue(CLAIMS) + "=", issue(CLAIMS) + ".", "Bearer " + issue(CLAIMS)),
    *(made_of(b"[]"), made_of(b"not json"), made_of({}), made_of({"alg": 5}), made_of({"alg": None})),
    *(made_of(b"[" * 30_000), made_of(b'{"alg":"HS256","x":' + b"[" * 30_000)),
    made_of({"alg": "HS256"}, b"\xff"),
]


@pytest.mark.parametrize("token", _NO_TOKENS, ids=range(len(_NO_TOKENS)))
def test_what_is_no_token(token: str) -> None:
    """Anything that is not three parts in base64url with a header that names its algorithm is refused as no token."""
    with pytest.raises(NotSigned, match="not a signed token"):
        verified(token, [SECRET_KEY])


@given(
    token=st.text() | st.from_regex(r"[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,40}\.[A-Za-z0-9_-]{1,90}", fullmatch=True)
)
def test_never_raises_anything_else(token: str) -> None:
    """Whatever a client sends as a token is refused in the one way there is."""
    everything = [SECRET_KEY, *(public_key("p", keys.public_key(kind), None) for kind in set(KINDS.values()))]
    with pytest.raises(NotSigned):
        verified(token, everything)


@given(signature=st.binary(min_size=1, max_size=300), algorithm=st.sampled_from(ALGORITHMS))
def test_signatures_of_any_length(signature: bytes, algorithm: str) -> None:
    """No length of a made-up signature upsets an algorithm."""
    everything = [SECRET_KEY, *(public_key("p", keys.public_key(kind), None) for kind in set(KINDS.values()))]
    with pytest.raises(NotSigned, match="signature"):
        verified(f"{encode({'alg': algorithm})}.{encode(CLAIMS)}.{encode(signature)}", everything)


# --- keys ------------------------------------------------------------------------------------------------------------


def test_weak_keys_are_known() -> None:
    """A key that can be guessed or broken says so, with the size it should have; a good one does not."""
    assert "9 bytes can be guessed: use 32 or more" in secret_key("secret", "change me", None).weakness
    assert "use 64 or more" in secret_key("secret", "x" * 63, ["HS512"]).weakness
    assert secret_key("secret", "x" * 32, None).weakness == ""
    short = rsa.generate_private_key(65537, 1024)
    assert "1024 bits of RSA can be broken" in public_key("public_key", short.public_key(), None).weakness
    assert public_key("public_key", keys.public_key("rsa"), None).weakness == ""
    assert public_key("public_key", keys.public_key("Ed25519"), None).weakness == ""


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        ("", "is empty"),
        (b"", "is empty"),
        (None, "NoneType"),
        (42, "int"),
        (keys.public_pem("rsa"), "asymmetric key"),
        (keys.private_pem("P-256"), "asymmetric key"),
    ],
)
def test_what_is_no_secret(secret: object, problem: str) -> None:
    """A secret that cannot be one is refused where it is declared, and not repeated."""
    with pytest.raises(DeclarationError, match=problem) as caught:
        secret_key("JWT.secret", secret, None)
    assert str(caught.value).startswith("JWT.secret ")
    assert not secret or str(secret) not in str(caught.value)


_NO_PUBLIC_KEYS: list[tuple[object, str]] = [
    ("", "no public key"),
    ("a secret", "no public key"),
    (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no public key"),
    (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no public key"),
    (keys.private_pem("rsa"), "is a private key"),
    (keys.private_key("Ed25519"), "is a private key"),
    (None, "NoneType"),
    (x25519.X25519PrivateKey.generate().public_key(), "no public key that tokens"),
    (keys.public_key("secp256k1"), "curve secp256k1"),
    (keys.public_pem("secp256k1"), "curve secp256k1"),
]


@pytest.mark.parametrize(("public", "problem"), _NO_PUBLIC_KEYS)
def test_what_is_no_public_key(public: object, problem: str) -> None:
    """A public key that cannot be one is refused where it is declared."""
    with pytest.raises(DeclarationError, match=problem) as caught:
        public_key("JWT.public_key", public, None)
    assert str(caught.value).startswith("JWT.public_key ")


def test_what_is_no_private_key() -> None:
    """Neither a public one, nor one behind a password, nor any other text."""
    locked = keys.private_key("rsa").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    for private in ("", "a secret", keys.public_pem("rsa"), locked):
        with pytest.raises(DeclarationError, match="without a password"):
            private_key("JWT.private_key", private, None)
    for other in (None, keys.public_key("rsa")):
        with pytest.raises(DeclarationError, match="no private key that signs"):
            private_key("JWT.private_key", other, None)


def test_a_key_without_an_algorithm() -> None:
    """A key for which no algorithm is left would verify nothing: it is refused with both lists."""
    with pytest.raises(DeclarationError, match="is for HS256, HS384, HS512, and algorithms allows only RS256"):
        secret_key("JWT.secret", SECRET, ["RS256"])
    with pytest.raises(DeclarationError, match="is for ES256, and algorithms allows only ES384, EdDSA"):
        public_key("JWT.public_key", keys.public_key("P-256"), ["ES384", "EdDSA"])
